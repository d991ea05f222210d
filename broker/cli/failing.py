"""jobbroker jobs failures: what failed over all jobs, by its reason, and sending it again as jobs with one tag."""

from __future__ import annotations

from typing import Any

import click

from broker.cli.callers import Where, caller
from broker.cli.deciding import FAILURES
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Failure, print_done, print_json, print_table, runs_async

_NAMED = 5


@click.command("failures", short_help="Show what failed over all jobs, and send it again.")
@click.option(
    "--kind",
    type=click.Choice(FAILURES, case_sensitive=False),
    default="ALL",
    show_default=True,
    help="What of it.",
)
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--search", help="Only reasons that have this part, in any case.")
@click.option("--retry", is_flag=True, help="Send the things of all that is shown again.")
@click.option("--retry-id", help="With --retry: the new job's id, and the tag of all of them.")
@as_json
@reaching
@runs_async
async def failures(
    where: Where,
    kind: str,
    job_id: str | None,
    search: str | None,
    retry_id: str | None,
    *,
    retry: bool,
    as_json: bool,
) -> None:
    """Show what failed in the newest jobs that have any failures, by status and reason; with --retry send it again.

    Things are sent the document that they had: one new job for each document, all with the tag `retry`.

    \b
    Example:
      jobbroker jobs failures --search "no space" --retry --retry-id again-1
    """
    async with caller(where) as asked:
        wanted = said({"failureType": kind, "jobId": job_id, "search": search, "maxResults": 250})
        body = await asked.call("failures/list", wanted)
        found = body["failures"]
        if not retry:
            _show(body, as_json=as_json)
            return
        if not found:
            raise Failure("nothing has failed like this")
        payload: dict[str, Any] = {
            "failures": [{"status": one["status"], "reason": one["reason"]} for one in found],
            "jobIds": sorted({job["jobId"] for one in found for job in one["jobs"]}),
        }
        done = await asked.call("failures/retry", {**payload, **said({"retryId": retry_id})})
    jobs = ", ".join(one["jobId"] for one in done["jobs"])
    count = done["numberOfThings"]
    things = "thing is" if count == 1 else "things are"
    print_done(done, f"{count} {things} tried again by {jobs}", as_json=as_json)


def _show(body: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(body)
        return
    rows = []
    for one in body["failures"]:
        jobs = [f"{job['jobId']} ({job['numberOfThings']})" for job in one["jobs"][:_NAMED]]
        more = len(one["jobs"]) - len(jobs)
        jobs += [f"and {more} more"] if more else []
        rows.append((one["numberOfThings"], one["status"], one["reason"], ", ".join(jobs)))
    print_table(("THINGS", "STATUS", "REASON", "JOBS"), rows)
