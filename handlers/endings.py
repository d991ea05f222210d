"""A job's end, by endTime or by expiry, that comes while it waits to be approved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import store
from handlers.holds import Hold
from schema.approval import TOO_LATE
from schema.lifecycle import JobMove, next_job_status
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.holds import HeldJob

_SQL = queries("holds")
_JOBS = queries("jobs")


async def cancel_unapproved(
    job: HeldJob, now: datetime, *, comment: str
) -> list[tuple[str, str]] | None:
    """Cancel a job that waits for approval and that nobody was ever told of; the job is held, and nobody works on it.

    Returns what is to be told, or None for a job that is approved, or that waits anew after a change: its executions
    have an end of their own.
    """
    if Hold.APPROVAL not in job.holds:
        return None
    place = (job.tenant_id, job.job_id)
    if await job.connection.fetchval(_SQL["was_told"], *place):
        return None
    status, forced = next_job_status(job.status, JobMove.CANCEL), False
    await job.connection.execute(
        _JOBS["cancel_job"], *place, status, forced, TOO_LATE, comment, now
    )
    await job.connection.execute(_JOBS["announce_work"])
    return await store.job_events(
        job.connection,
        job.tenant_id,
        [job.job_id],
        operation="cancellation_in_progress",
        now=now,
    )
