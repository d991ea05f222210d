"""What failed of a job that is COMPLETED is tried again by a new one.

The old job is not opened again: its events have said that it is over, and a retention may be forgetting it. The new one
is like it in all but the schedule and the stages, which have done their part; it rolls out at the same rate, and needs
the approvals that the old one needed. hawkBit's retry of a rollout makes a new one as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import approvals, store
from handlers.context import Context, Outcome, told_of
from handlers.job_targets import REDELIVERED_WITHIN
from handlers.rollouts import CHUNK
from handlers.schedules import AT_WORK
from schema.decode import fingerprint
from schema.sql import queries

if TYPE_CHECKING:
    from schema.job_commands import RetryFailed

_SQL = queries("stages")
_JOBS = queries("jobs")
_APPROVALS = queries("approvals")


async def retry_by_new_job(context: Context, command: RetryFailed, job_id: str) -> Outcome:
    """Make a job for the things of a COMPLETED one that failed; the caller holds its row.

    Answers its id as `newJobId`, and how many things it is for; none is made for nobody. A redelivered command is
    answered with the job that it made.
    """
    connection = context.connection
    digest = fingerprint("jobs/retry-failed", (job_id,), command)
    if context.duplicate and command.client_token is None:
        made = await connection.fetchrow(
            _JOBS["find_recent_job"], context.tenant_id, context.actor, digest, REDELIVERED_WITHIN
        )
        if made is not None:
            return Outcome(_body(context, job_id, made["total_targets"], made["job_id"]))
    failed = (context.tenant_id, job_id, command.failure_type.statuses, command.stage)
    things: int = await connection.fetchval(_SQL["count_failed"], *failed)
    if not things:
        return Outcome(_body(context, job_id, 0, None))
    new_id: str = await connection.fetchval(_JOBS["make_job_id"])
    needed = await _needed(context, job_id)
    begun = approvals.held_back(AT_WORK) if needed else AT_WORK
    await connection.execute(
        _SQL["insert_retry_job"],
        *(context.tenant_id, job_id, new_id, digest, context.actor, context.now),
        *(begun.status, begun.holds, things),
    )
    if needed:
        await approvals.ask(context, new_id, needed)
    await connection.execute(_SQL["freeze_failed"], *failed, new_id, CHUNK)
    await connection.execute(_JOBS["announce_work"])
    messages = await store.job_events(
        connection,
        context.tenant_id,
        [job_id],
        operation="retry_requested",
        now=context.now,
        more={"numberOfThings": things, "newJobId": new_id},
    )
    told = await store.tell(connection, context.tenant_id, messages=messages, slot=context.slot)
    return Outcome(
        _body(context, job_id, things, new_id),
        told_of(told),
        subject=f"job/{new_id}",
        details={"retryOf": job_id, "failureType": command.failure_type, "things": things},
    )


async def _needed(context: Context, job_id: str) -> int:
    """How many approvals the new job needs: as many as the old one, or as the tenant asks for by now."""
    asked = await context.connection.fetchrow(_APPROVALS["get_approval"], context.tenant_id, job_id)
    return max(approvals.needed(context, None), 0 if asked is None else asked["required"])


def _body(context: Context, job_id: str, things: int, new_id: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "jobId": job_id,
        "jobArn": context.home.arn("job", job_id),
        "numberOfThings": things,
    }
    if new_id is not None:
        body |= {"newJobId": new_id, "newJobArn": context.home.arn("job", new_id)}
    return body
