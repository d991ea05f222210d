"""jobs/{id}/retry-failed: things whose latest execution failed are put back before those who wait for the rollout.

So a retry by wish goes at the job's rate, stops with its holds, and survives a kill as any rollout does. A thing counts
as failed until its turn comes. A job that is COMPLETED is not opened again (handlers.retried_jobs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import stages, store
from handlers.context import Context, Outcome, told_of
from handlers.holds import HeldJob, Hold, lock_live
from handlers.retried_jobs import retry_by_new_job
from handlers.rollouts import CHUNK
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.stages import Staged
    from schema.job_commands import RetryFailed

_SQL = queries("stages")
_JOBS = queries("jobs")
_GROUPS = queries("groups")


async def retry_failed(context: Context, command: RetryFailed, job_id: str) -> Outcome:
    """Try again what failed, timed out or was rejected, of one stage or of all; answers how many things.

    Failures so far are forgiven, and a job that a gate has paused goes on; of one that is COMPLETED a new job is made.
    Raises Rejected: ResourceNotFound; InvalidRequest for a stage that the job has not; InvalidStateTransition for a job
    that is canceled, ended or expired.
    """
    connection, place = context.connection, (context.tenant_id, job_id)
    # Nobody rolls out meanwhile; the counters, on which devices wait, are held only when the failed are found.
    await connection.execute(_SQL["hold_work"], *place)
    if await _is_completed(context, job_id):
        _require_stage(command, await stages.lock(connection, *place))
        await connection.fetchrow(_JOBS["lock_job"], *place)
        return await retry_by_new_job(context, command, job_id)
    things = await connection.fetchval(
        _SQL["retry_failed"], *place, command.failure_type.statuses, command.stage, CHUNK
    )
    await connection.fetchrow(_JOBS["hold_counts"], *place)
    staged = await stages.lock(connection, *place)
    job = await lock_live(connection, *place)
    await _require_open(job)
    _require_stage(command, staged)
    was_stopped = staged is not None and any(staged.reasons)
    if staged is not None:
        staged.forgive()
        await stages.write(job, staged)
    if was_stopped and Hold.PAUSE in job.holds:
        await job.change(context.now, take=[Hold.PAUSE])
    if things:
        await connection.execute(_GROUPS["owe_rollout"], context.tenant_id, [job_id])
        await connection.execute(_JOBS["announce_work"])
    await stages.look_again(job)
    return Outcome(
        {"jobId": job_id, "jobArn": context.home.arn("job", job_id), "numberOfThings": things},
        await _tell(context, job_id, things),
        subject=f"job/{job_id}",
        details={
            **command.model_dump(
                mode="json", by_alias=True, exclude_none=True, exclude={"client_token"}
            ),
            "things": things,
        },
    )


async def _is_completed(context: Context, job_id: str) -> bool:
    job = await context.connection.fetchrow(_JOBS["find_job"], context.tenant_id, job_id)
    return job is not None and job["status"] == JobStatus.COMPLETED


async def _require_open(job: HeldJob) -> None:
    row = await job.connection.fetchrow(_SQL["get_live_job"], job.tenant_id, job.job_id)
    assert row is not None  # noqa: S101 - the job is held
    if row["has_ended"] or row["expired"]:
        why = "its endTime has come" if row["has_ended"] else "it has expired"
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: {why}; {job.job_id!r} is not tried again"
        )


def _require_stage(command: RetryFailed, staged: Staged | None) -> None:
    if command.stage is None:
        return
    count = 0 if staged is None else len(staged.rows)
    if command.stage > count:
        has = f"{count} stages" if count else "none"
        raise Rejected(Code.INVALID_REQUEST, f"stage: is {command.stage}, but the job has {has}")


async def _tell(context: Context, job_id: str, things: int) -> tuple[store.Told, ...]:
    messages = await store.job_events(
        context.connection,
        context.tenant_id,
        [job_id],
        operation="retry_requested",
        now=context.now,
        more={"numberOfThings": things},
    )
    return told_of(
        await store.tell(
            context.connection, context.tenant_id, messages=messages, slot=context.slot
        )
    )
