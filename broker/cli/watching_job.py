"""`jobbroker jobs watch`, and how a command ends that watched a job."""

from __future__ import annotations

from typing import Any

import click

from broker.cli.callers import Where, caller
from broker.cli.kinds import Duration
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, print_json, runs_async
from broker.cli.watching import exit_of, told, watch

with_timeout = click.option(
    "--timeout", type=Duration(), help="Give up after this long, as 30s or 5m; exit 6."
)


@click.command("watch", short_help="Watch a job until it is over.")
@click.argument("job_id")
@with_timeout
@as_json
@reaching
@runs_async
async def watch_job(where: Where, job_id: str, timeout: float | None, as_json: bool) -> None:
    """Watch a job until it is over.

    Exits with 0 when all its executions succeeded, 5 when not or when it was canceled, 6 when
    --timeout was shorter.

    \b
    Example:
      jobbroker jobs watch fw-7 --timeout 10m && echo done
    """
    async with caller(where) as asked:
        job = await watch(asked, job_id, timeout=timeout)
    finish(job, as_json=as_json)


def finish(job: dict[str, Any], *, as_json: bool) -> None:
    """Say how a watched job ended, and exit with what that is (`Exit`)."""
    if as_json:
        print_json(job)
    else:
        click.echo(told(job))
    if (code := exit_of(job)) is not Exit.OK:
        raise click.exceptions.Exit(code)
