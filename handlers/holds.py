"""Why a job does not roll out now: its holds.

While a job has any hold, nobody new is told of it. PAUSE and WINDOW also hide: QUEUED executions stay QUEUED, but no
device is shown or given one; those IN_PROGRESS run on (AWS: maintenance windows, reference 5.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from handlers.context import not_found
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from handlers.database import Connection

_SQL = queries("holds")
_JOBS = queries("jobs")
_LIVE = frozenset({JobStatus.SCHEDULED, JobStatus.IN_PROGRESS})


class Hold(StrEnum):
    """One reason why a rollout does not go on."""

    SCHEDULE = "SCHEDULE"  # the start time is to come
    WINDOW = "WINDOW"  # no maintenance window is open
    PAUSE = "PAUSE"
    APPROVAL = "APPROVAL"
    STAGE = "STAGE"  # the stage is told, and its gate has not opened


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job whose row this transaction holds: nothing but outbox rows may be locked after it."""

    connection: Connection
    tenant_id: str
    job_id: str
    status: JobStatus
    holds: frozenset[str]
    stage: int | None = None  # the one that started last, of a job with stages

    async def change(
        self,
        now: datetime,
        *,
        add: Iterable[Hold] = (),
        take: Iterable[Hold] = (),
        status: JobStatus | None = None,
    ) -> None:
        """Give it other holds, and another status if one is named; wakes whoever has work by that."""
        holds = sorted((self.holds | {*map(str, add)}) - {*map(str, take)})
        await self.connection.execute(
            _SQL["set_holds"], self.tenant_id, self.job_id, holds, status or self.status, now
        )
        await self.connection.execute(_JOBS["announce_work"])


async def lock_live(connection: Connection, tenant_id: str, job_id: str) -> HeldJob:
    """Hold a job that is not over. Raises Rejected: ResourceNotFound, InvalidStateTransition."""
    job = await _lock(connection, tenant_id, job_id)
    if job is None:
        raise not_found("job", job_id)
    if job.status not in _LIVE:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: {job_id!r} is {job.status}; it is over"
        )
    return job


async def find_live(connection: Connection, tenant_id: str, job_id: str) -> HeldJob | None:
    """Hold a job that is not over; None when it is, or is gone."""
    job = await _lock(connection, tenant_id, job_id)
    return None if job is None or job.status not in _LIVE else job


async def _lock(connection: Connection, tenant_id: str, job_id: str) -> HeldJob | None:
    row = await connection.fetchrow(_SQL["lock_holds"], tenant_id, job_id)
    if row is None:
        return None
    status, holds = JobStatus(row["status"]), frozenset(row["holds"])
    return HeldJob(connection, tenant_id, job_id, status, holds, row["stage"])
