"""Gates of staged rollouts, looked at when counts have changed or a soak is over: the background service.

Nothing is decided from memory: each look holds the job's stages and its row, decides by them alone (schema.gates) and
commits what it has decided with what must be told of it. So any number of processes may look, and a kill leaves the
gate to be looked at again. What is due is marked in the transaction that changes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handlers import stages, store
from handlers.context import told_of
from handlers.database import TRANSIENT, tenant_transaction
from handlers.failed_work import Failure
from handlers.holds import HeldJob, Hold, find_live
from handlers.stages import REASON_CODE, Staged
from schema.gates import Step, Verdict, evaluate
from schema.lifecycle import JobMove, JobStatus, next_job_status
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.store import Told

_SQL = queries("stages")
_JOBS = queries("jobs")
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Looked:
    """What one run did: what is to be told, and whether there may be more to look at."""

    told: tuple[Told, ...] = ()
    more: bool = False
    failures: tuple[Failure, ...] = ()


async def run_once(pool: Pool, *, slot: int | None, most: int = MOST) -> Looked:
    """Look at the gates that are due, of at most about `most` jobs over all tenants.

    Any number of processes may run this at once. Transient errors of the database are raised, with what was done before
    them already committed and in the outbox.
    """
    told: list[Told] = []
    failures: list[Failure] = []
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["find_gates"], most)
        for row in rows:
            place = (row["tenant_id"], row["job_id"])
            try:
                async with tenant_transaction(connection, row["tenant_id"]):
                    said = await _look(connection, *place, slot)
            except TRANSIENT:
                raise
            except Exception as error:  # noqa: BLE001 - one job's trouble must not hold up the others
                failures.append(Failure(*place, "GATES", error))
            else:
                told += said
    more = len(rows) >= most and not failures
    return Looked(tuple(told), more, tuple(failures))


async def _look(
    connection: Connection, tenant_id: str, job_id: str, slot: int | None
) -> tuple[Told, ...]:
    staged = await stages.lock(connection, tenant_id, job_id)
    if staged is None:
        return ()
    job = await find_live(connection, tenant_id, job_id)
    if job is None:
        # It is over: what its last things report changes nothing any more.
        await connection.execute(_SQL["forget_due"], tenant_id, job_id)
        return ()
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    messages: list[tuple[str, str]] = []
    if job.status is JobStatus.IN_PROGRESS and Hold.PAUSE not in job.holds:
        messages = await _decide(job, staged, now)
    await stages.write(job, staged)
    return told_of(await store.tell(connection, tenant_id, messages=messages, slot=slot))


async def _decide(job: HeldJob, staged: Staged, now: datetime) -> list[tuple[str, str]]:
    """Start stages until one is to be waited for, or stop the job; returns what is to be told."""
    messages: list[tuple[str, str]] = []
    while True:
        verdict = evaluate(staged.stages, staged.rows, now)
        running = staged.running
        if running is not None:
            staged.rows[running] = staged.rows[running]._replace(reached_at=verdict.reached_at)
        if verdict.step is not Step.START_NEXT:
            break
        staged.start(verdict.stage, now)
        messages += await stages.started_events(job, staged, verdict.stage, verdict.reason, now=now)
    staged.due_at = verdict.wake_at
    if verdict.step in (Step.PAUSE, Step.CANCEL):
        staged.reasons[verdict.stage] = verdict.reason
        return [*messages, *await _stop(job, verdict, now)]
    if Hold.STAGE in job.holds and staged.has_turn:
        await job.change(now, take=[Hold.STAGE])
    return messages


async def _stop(job: HeldJob, verdict: Verdict, now: datetime) -> list[tuple[str, str]]:
    operation = "paused"
    if verdict.step is Step.PAUSE:
        await job.change(now, add=[Hold.PAUSE])
    else:
        operation = "cancellation_in_progress"
        status, forced = next_job_status(job.status, JobMove.CANCEL), False
        await job.connection.execute(
            _JOBS["cancel_job"],
            job.tenant_id,
            job.job_id,
            status,
            forced,
            REASON_CODE,
            verdict.reason,
            now,
        )
        await job.connection.execute(_JOBS["announce_work"])
    return await store.job_events(
        job.connection,
        job.tenant_id,
        [job.job_id],
        operation=operation,
        now=now,
        more={"stage": verdict.stage + 1, "reason": verdict.reason},
    )
