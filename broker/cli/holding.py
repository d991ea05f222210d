"""jobbroker jobs pause and resume."""

from __future__ import annotations

import click

from broker.cli.callers import Where, caller
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, runs_async


@click.command("pause", short_help="Tell nobody else of a job, and hide it.")
@click.argument("job_id")
@click.option("--comment", help="Words for it, kept in the audit.")
@as_json
@reaching
@runs_async
async def pause(where: Where, job_id: str, comment: str | None, as_json: bool) -> None:
    """Tell nobody else of a job, and hide it from those who have not begun; who is at work goes on.

    \b
    Example:
      jobbroker jobs pause fw-7 --comment "somebody is at the pumps"
    """
    await _switch(where, job_id, "pause", comment=comment, as_json=as_json)


@click.command("resume", short_help="Go on with a paused job.")
@click.argument("job_id")
@click.option("--comment", help="Words for it, kept in the audit.")
@as_json
@reaching
@runs_async
async def resume(where: Where, job_id: str, comment: str | None, as_json: bool) -> None:
    """Go on with a paused job where it was.

    \b
    Example:
      jobbroker jobs resume fw-7
    """
    await _switch(where, job_id, "resume", comment=comment, as_json=as_json)


async def _switch(
    where: Where, job_id: str, verb: str, *, comment: str | None, as_json: bool
) -> None:
    payload = {} if comment is None else {"comment": comment}
    async with caller(where) as asked:
        body = await asked.call(f"jobs/{verb}", payload, job_id=job_id)
    print_done(body, f"{job_id} {verb}d", as_json=as_json)
