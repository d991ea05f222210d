"""Why a job does not roll out now: its holds, and pausing and resuming, which is one of them.

While a job has any hold, nobody new is told of it. PAUSE and WINDOW also hide: QUEUED executions stay QUEUED, but no
device is shown or given one; those IN_PROGRESS run on (AWS: maintenance windows, reference 5.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from handlers import store
from handlers.context import Context, Outcome, not_found, told_of
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from handlers.database import Connection
    from schema.job_commands import CommentedCommand

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
    row = await connection.fetchrow(_SQL["lock_holds"], tenant_id, job_id)
    if row is None:
        raise not_found("job", job_id)
    if row["status"] not in _LIVE:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: {job_id!r} is {row['status']}; it is over"
        )
    return HeldJob(connection, tenant_id, job_id, JobStatus(row["status"]), frozenset(row["holds"]))


async def pause_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Tell nobody else of a job, and hide it from those who have not begun. Pausing a paused one is accepted.

    Raises Rejected: ResourceNotFound, InvalidStateTransition for a job that is over.
    """
    job = await lock_live(context.connection, context.tenant_id, job_id)
    if Hold.PAUSE in job.holds:
        return Outcome(_body(context, job_id, paused=True))
    await job.change(context.now, add=[Hold.PAUSE])
    return await _switched(context, command, job_id, paused=True)


async def resume_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Go on with a paused job where it was. Resuming one that is not paused is accepted. Raises as `pause_job`."""
    job = await lock_live(context.connection, context.tenant_id, job_id)
    if Hold.PAUSE not in job.holds:
        return Outcome(_body(context, job_id, paused=False))
    await job.change(context.now, take=[Hold.PAUSE])
    return await _switched(context, command, job_id, paused=False)


async def _switched(
    context: Context, command: CommentedCommand, job_id: str, *, paused: bool
) -> Outcome:
    told = await store.tell(
        context.connection,
        context.tenant_id,
        messages=await store.job_events(
            context.connection,
            context.tenant_id,
            [job_id],
            operation="paused" if paused else "resumed",
            now=context.now,
        ),
        slot=context.slot,
    )
    details: dict[str, object] = {} if command.comment is None else {"comment": command.comment}
    body = _body(context, job_id, paused=paused)
    return Outcome(body, told_of(told), subject=f"job/{job_id}", details=details)


def _body(context: Context, job_id: str, *, paused: bool) -> dict[str, object]:
    return {"jobId": job_id, "jobArn": context.home.arn("job", job_id), "paused": paused}
