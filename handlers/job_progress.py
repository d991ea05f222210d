"""jobs/counts and jobs/{id}/progress: how many jobs there are, and how far one has come, for who draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.context import Context, Outcome, not_found
from schema import paging
from schema.device import seconds
from schema.lifecycle import TERMINAL, JobStatus, Status
from schema.limits import JOBS_COUNTED
from schema.sql import queries

if TYPE_CHECKING:
    from schema.view_commands import CountJobs, JobProgress

_SQL = queries("progress")
LETTERS: Final = {
    Status.QUEUED: "Q",
    Status.IN_PROGRESS: "P",
    Status.SUCCEEDED: "S",
    Status.FAILED: "F",
    Status.TIMED_OUT: "T",
    Status.REJECTED: "R",
    Status.REMOVED: "M",
    Status.CANCELED: "C",
}


async def count_jobs(context: Context, command: CountJobs) -> Outcome:
    """Jobs by status, each counted up to 10,000: `counts`; a count of `most` means so many or more."""
    del command
    rows = await context.connection.fetch(
        _SQL["count_jobs"], context.tenant_id, [*JobStatus], JOBS_COUNTED
    )
    return Outcome({"counts": {row["status"]: row["jobs"] for row in rows}, "most": JOBS_COUNTED})


async def show_progress(context: Context, command: JobProgress, job_id: str) -> Outcome:
    """A page of a job's things by name, each by its latest execution.

    `statuses` has a letter for each thing (`letters` says which), from `firstThing` to `lastThing`; with includeNames
    `things` has their names. With bucketSeconds `queued`, `started` and `ended` say how many did so in which bucket of
    time since `since`. Raises Rejected (ResourceNotFound).
    """
    listing = f"progress/{job_id}"
    after = paging.decode(listing, command.next_token, (str,)) or ("",)
    since = await context.connection.fetchval(_SQL["find_job_start"], context.tenant_id, job_id)
    if since is None:
        raise not_found("job", job_id)
    row = await context.connection.fetchrow(
        _SQL["load_letters"],
        *(context.tenant_id, job_id, *after, command.most_things),
        *([*LETTERS], "".join(LETTERS.values()), command.include_names),
    )
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    body: dict[str, object] = {
        "statuses": row["letters"] or "",
        "letters": {letter: status for status, letter in LETTERS.items()},
        "since": seconds(since),
    }
    if command.include_names:
        body["things"] = row["names"] or []
    if command.bucket_seconds is not None:
        body |= {"queued": {}, "started": {}, "ended": {}, "bucketSeconds": command.bucket_seconds}
    if row["letters"]:
        body |= {"firstThing": row["first_thing"], "lastThing": row["last_thing"]}
        if command.bucket_seconds is not None:
            bounds = (*after, row["last_thing"], since)
            body |= await _curves(context, job_id, bounds, command.bucket_seconds)
    if row["looked"] == command.most_things:
        body["nextToken"] = paging.encode(listing, row["last_thing"])
    return Outcome(body)


async def _curves(
    context: Context, job_id: str, bounds: tuple[object, ...], width: int
) -> dict[str, dict[str, int]]:
    """What happened in which bucket to the things between two names, since a moment."""
    rows = await context.connection.fetch(
        _SQL["load_curves"], context.tenant_id, job_id, *bounds, width, sorted(TERMINAL)
    )
    curves: dict[str, dict[str, int]] = {"queued": {}, "started": {}, "ended": {}}
    for row in rows:
        curves[row["kind"]][str(row["bucket"])] = row["things"]
    return curves
