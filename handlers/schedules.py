"""Schedules: a job begins at its startTime, rolls out in its maintenance windows, and ends at its endTime (AWS).

The database's clock decides; whoever finds a schedule due works out anew how things must stand, so that it does not
matter who does, how often, or how late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from handlers import store
from handlers.database import TRANSIENT, tenant_transaction
from handlers.endings import cancel_unapproved
from handlers.failed_work import Failure
from handlers.holds import HeldJob, Hold
from schema.lifecycle import JobMove, JobStatus, next_job_status
from schema.sql import queries
from schema.windows import Schedule, SchedulingConfig

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection, Pool

_SQL = queries("holds")
_JOBS = queries("jobs")
_TIMED = (Hold.SCHEDULE, Hold.WINDOW)


@dataclass(frozen=True, slots=True)
class Begun:
    """How a scheduled job stands at a moment: its status, what holds it, and when its schedule says something new."""

    status: JobStatus
    holds: tuple[Hold, ...]
    due_at: datetime | None


AT_WORK: Final = Begun(JobStatus.IN_PROGRESS, (), None)
"""A job without a schedule."""


def standing(schedule: Schedule, now: datetime) -> Begun:
    """How a job of this schedule stands at `now`, before its end: SCHEDULED while it is not to roll out."""
    if schedule.is_open(now):
        return Begun(JobStatus.IN_PROGRESS, (), schedule.next_change(now))
    early = schedule.start_at is not None and now < schedule.start_at
    # A start inside no window is nothing new to look at; but then the job waits for its window.
    due = [at for at in (schedule.start_at if early else None, schedule.next_change(now)) if at]
    hold = Hold.SCHEDULE if early else Hold.WINDOW
    return Begun(JobStatus.SCHEDULED, (hold,), min(due, default=None))


@dataclass(frozen=True, slots=True)
class Kept:
    """What one run did: whether there may be more to do, and the jobs whose schedules could not be kept."""

    more: bool
    failures: tuple[Failure, ...] = ()


async def run_once(pool: Pool, *, most: int = 100) -> Kept:
    """Bring jobs whose schedules are due to where they must stand, at most `most`.

    Any number of processes may run this at once. Transient errors of the database are raised.
    """
    failures: list[Failure] = []
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["find_schedules"], most)
        for row in rows:
            place = (row["tenant_id"], row["job_id"])
            try:
                async with tenant_transaction(connection, row["tenant_id"]):
                    await _bring_up(connection, *place)
            except TRANSIENT:
                raise
            except Exception as error:  # noqa: BLE001 - one job's trouble must not hold up the others
                failures.append(Failure(*place, "SCHEDULE", error))
    return Kept(len(rows) == most and not failures, tuple(failures))


async def _bring_up(connection: Connection, tenant_id: str, job_id: str) -> None:
    """Look again under the job's locks: another process may have been faster, or somebody cancelled the job."""
    if not await connection.fetchval(_JOBS["try_job_work"], tenant_id, job_id):
        return
    job = await connection.fetchrow(_SQL["lock_schedule"], tenant_id, job_id)
    if job is None or job["now"] < job["schedule_due_at"]:
        return
    if job["status"] not in (JobStatus.SCHEDULED, JobStatus.IN_PROGRESS):
        await connection.execute(_SQL["set_due"], tenant_id, job_id, None)
        return
    schedule = SchedulingConfig.from_text(job["scheduling_config"]).schedule()
    now: datetime = job["now"]
    status, known = JobStatus(job["status"]), frozenset(job["holds"])
    held = HeldJob(connection, tenant_id, job_id, status, known)
    if schedule.end_at is not None and now >= schedule.end_at:
        await _end(held, now)
        return
    stands = standing(schedule, now)
    if Hold.APPROVAL in held.holds:  # SCHEDULED until it is approved, whatever its schedule says
        stands = replace(stands, status=JobStatus.SCHEDULED)
    if set(stands.holds) != held.holds & set(_TIMED) or stands.status is not held.status:
        if stands.status is not status:
            opens = stands.status is JobStatus.IN_PROGRESS
            status = next_job_status(status, JobMove.ROLL_OUT if opens else JobMove.CLOSE)
        await held.change(
            now, add=stands.holds, take=set(_TIMED) - set(stands.holds), status=status
        )
    await connection.execute(_SQL["set_due"], tenant_id, job_id, stands.due_at)


async def _end(job: HeldJob, now: datetime) -> None:
    messages = await cancel_unapproved(
        job, now, comment="it was not approved when its endTime came"
    )
    if messages is not None:
        await store.tell(job.connection, job.tenant_id, messages=messages, slot=None)
        return
    # What endBehavior says of the executions is work in chunks; then the job completes.
    await job.connection.execute(_SQL["end_job"], job.tenant_id, job.job_id, now)
    await job.change(
        now, take=(*_TIMED, Hold.APPROVAL), status=next_job_status(job.status, JobMove.END)
    )
