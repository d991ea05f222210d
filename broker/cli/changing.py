"""jobbroker jobs update: the rate, the brakes, the retries and the words of a job that is under way."""

from __future__ import annotations

import click

from broker.cli.brakes import braking
from broker.cli.callers import Body, Where, caller
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, runs_async


@click.command("update", short_help="Change a job's rate, brakes, retries or words.")
@click.argument("job_id")
@click.option("--description", help="What it is for.")
@click.option("--timeout-minutes", type=click.IntRange(1), help="For those who start from now on.")
@click.option("--url-seconds", type=int, help="How long presigned URLs are good.")
@click.option("--no-rate", is_flag=True, help="Tell everybody left at once.")
@braking
@as_json
@reaching
@runs_async
async def update(
    where: Where,
    /,
    brakes: Body,
    job_id: str,
    description: str | None,
    timeout_minutes: int | None,
    url_seconds: int | None,
    no_rate: bool,
    as_json: bool,
) -> None:
    """Change what is named of a job that is not over; it holds from now on.

    \b
    Example:
      jobbroker jobs update fw-7 --per-minute 500 --abort 'FAILED 5% after 50' --retry FAILED=1
    """
    if no_rate and "jobExecutionsRolloutConfig" in brakes:
        raise click.UsageError("--no-rate does not go with --per-minute")
    mine = {
        "description": description,
        "timeoutConfig": timeout_minutes and {"inProgressTimeoutInMinutes": timeout_minutes},
        "presignedUrlConfig": url_seconds and {"expiresInSec": url_seconds},
        "jobExecutionsRolloutConfig": {} if no_rate else None,
    }
    payload = {**brakes, **said(mine)}
    if not payload:
        raise click.UsageError("nothing is to be changed: see --help for what can be")
    async with caller(where) as asked:
        body = await asked.call("jobs/update", payload, job_id=job_id)
    print_done(body, f"{job_id} updated", as_json=as_json)
