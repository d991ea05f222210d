"""Jobs that are canceled because too much of them fails (AWS: AbortConfig, "Job abort")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.abort import AbortConfig, evaluate
from schema.lifecycle import JobMove, JobStatus, next_job_status
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from handlers.database import Connection
    from schema.abort import Abort
    from schema.counts import Counts

_SQL = queries("executions")
_JOBS = queries("jobs")


async def abort_jobs(
    connection: Connection, tenant_id: str, counted: Mapping[str, Counts], *, now: datetime
) -> list[str]:
    """Begin to cancel those of the jobs whose criteria are met by their counts, as CancelJob without force does.

    counted: counters that this transaction holds. Each such job is CANCELED from now on, with reasonCode and comment;
    its QUEUED executions follow in chunks, IN_PROGRESS ones go on. Returns the jobs, whose events are the caller's.
    """
    rows = await connection.fetch(_SQL["load_aborts"], tenant_id, sorted(counted))
    met = [
        (row["job_id"], found)
        for row in rows
        if (found := evaluate(AbortConfig.from_text(row["abort_config"]), counted[row["job_id"]]))
    ]
    aborted = [
        job_id for job_id, why in met if await _cancel(connection, tenant_id, job_id, why, now=now)
    ]
    if aborted:
        await connection.execute(_JOBS["announce_work"])
    return aborted


async def _cancel(
    connection: Connection, tenant_id: str, job_id: str, why: Abort, *, now: datetime
) -> bool:
    # Looked at again under the lock: an operator may have canceled or deleted it meanwhile.
    job = await connection.fetchrow(_JOBS["lock_job"], tenant_id, job_id)
    if job is None or job["status"] not in {JobStatus.IN_PROGRESS, JobStatus.SCHEDULED}:
        return False
    status = next_job_status(JobStatus(job["status"]), JobMove.CANCEL)
    forced = False
    await connection.execute(
        _JOBS["cancel_job"], tenant_id, job_id, status, forced, why.reason_code, why.comment, now
    )
    return True
