"""Background work on jobs, at most a thousand executions a transaction: roll out, cancel, expire, delete.

Any number of processes may run it: one transaction at a time works on a job, under the job's advisory lock, and decides
anew what is owed. A kill at any instant leaves whole chunks done and the rest still owed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from handlers import ending_work, store
from handlers.context import told_of
from handlers.database import TRANSIENT, tenant_transaction
from handlers.failed_work import Failure
from handlers.holds import Hold, find_live
from handlers.job_work import START, Chunk, Job, Key, complete, lock_counts
from handlers.reach import finish, let_go_some
from handlers.rollouts import (
    CHUNK,
    is_rolled_out,
    roll_out_at_rate,
    roll_out_chunk,
    waits_for_stage,
)
from schema.changes import NobodyHears, never
from schema.errors import Conflict
from schema.lifecycle import Status
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.database import Pool
    from handlers.store import Told

# How many chunks one run does before it lets its caller tell of them.
_CHUNKS_PER_RUN: Final = 2
_MOST_HINTS: Final = 1000
_SQL = queries("jobs")


@dataclass(frozen=True, slots=True)
class Worked:
    """What one run did: what is to be told, how many chunks were done, whether more work is known.

    due_in: seconds until a job that rolls out at a rate is to be looked at again; None when none is.
    """

    told: tuple[Told, ...] = ()
    chunks: int = 0
    more: bool = False
    failures: tuple[Failure, ...] = ()
    due_in: float | None = None


@dataclass(slots=True)
class Progress:
    """How far this process has come in long jobs: a hint that saves looking at what is done. Keep one a process."""

    after: dict[tuple[int, str], Key] = field(default_factory=dict)
    turn: int = 0  # where the next run begins among the jobs, so that a long rollout does not hold up a cancel


async def run_once(
    pool: Pool,
    *,
    slot: int | None,
    progress: Progress,
    nobody_hears: Callable[[str, str], bool] = lambda _tenant, _topic: False,
) -> Worked:
    """Do some chunks of what is owed to jobs, over all tenants, the jobs taking turns.

    nobody_hears: of a tenant and a live event's topic, whether nobody listens to it. Call again at once while `more`,
    after `due_in`, and from time to time otherwise: another process may have died over its work. Transient errors of
    the database are raised, with what was done before them already committed and in the outbox.
    """
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["find_work"])
    found = [tuple(row)[:3] for row in rows if row["job_id"] is not None]
    waits: list[float] = [row["due_in"] for row in rows if row["job_id"] is None]
    told: list[Told] = []
    failures: list[Failure] = []
    chunks, more = 0, False
    begin = progress.turn % len(found) if found else 0
    for tenant_id, job_id, work in [*found[begin:], *found[:begin]]:
        progress.turn += 1
        if chunks == _CHUNKS_PER_RUN:
            more = True
            break
        try:
            done = await work_on_job(
                pool,
                tenant_id,
                job_id,
                slot=slot,
                progress=progress,
                nobody_hears=partial(nobody_hears, tenant_id),
            )
        except TRANSIENT:
            raise
        except Conflict:
            more = True
        except Exception as error:  # noqa: BLE001 - one job's trouble must not hold up the others
            failures.append(Failure(tenant_id, job_id, work, error))
        else:
            if done is not None:
                chunks += 1
                told += done.told
                more = more or done.after is not None
                waits += [] if done.due_in is None else [done.due_in]
    return Worked(tuple(told), chunks, more, tuple(failures), min(waits, default=None))


async def work_on_job(
    pool: Pool,
    tenant_id: str,
    job_id: str,
    *,
    slot: int | None,
    progress: Progress,
    nobody_hears: NobodyHears = never,
) -> Chunk | None:
    """Do one chunk of a job in one transaction; None when another process is at it or nothing is owed.

    Raises Conflict when another writer was faster: nothing was done.
    """
    async with pool.acquire() as connection:
        async with tenant_transaction(connection, tenant_id):
            if not await connection.fetchval(_SQL["try_job_work"], tenant_id, job_id):
                return None
            row = await connection.fetchrow(_SQL["get_work"], tenant_id, job_id)
            if row is None or row["work"] is None:
                return None
            job = Job(
                connection,
                tenant_id,
                job_id,
                row["job_uid"],
                row["work"],
                row["mark"],
                row["force_canceled"],
                row["scheduling_config"],
                row["has_rate"],
                row["stage"],
                slot,
                nobody_hears,
            )
            hint = (job.job_uid, f"{job.work} {job.mark}")
            after = progress.after.get(hint, START)
            done = await _CHUNK_OF[job.work](job, after)
        # Only what is committed counts as passed.
        if done.after is None:
            progress.after.pop(hint, None)
        else:
            if len(progress.after) >= _MOST_HINTS:  # left by jobs that other processes finished
                progress.after.clear()
            progress.after[hint] = done.after
        return done


async def _roll_out(job: Job, _after: Key) -> Chunk:
    place = (job.connection, job.tenant_id, job.job_id)
    due_in = None
    if job.has_rate:
        tick = await roll_out_at_rate(*place, slot=job.slot, nobody_hears=job.nobody_hears)
        told, due_in = tick.told, tick.due_in
    else:
        told = await roll_out_chunk(
            *place, slot=job.slot, stage=job.stage, nobody_hears=job.nobody_hears
        )
    if job.stage is not None and await waits_for_stage(*place, job.stage):
        await _hold_for_stage(job)
        return Chunk(told_of(told))
    goes_on = Chunk(told_of(told), None if due_in else START, due_in)
    if not await is_rolled_out(*place):
        return goes_on
    now, _ = await lock_counts(job)
    # Somebody who joined a CONTINUOUS job meanwhile may have added to it: whoever does holds the job.
    await job.connection.execute(_SQL["lock_job"], job.tenant_id, job.job_id)
    if not await is_rolled_out(*place):
        return goes_on
    await job.connection.execute(_SQL["finish_work"], job.tenant_id, job.job_id, job.work)
    # The last device may have finished before the rollout did: then completing is for us to do.
    return Chunk((*told_of(told), *await complete(job, now)))


async def _hold_for_stage(job: Job) -> None:
    """All who are to be told by now are: the rollout is nobody's work until the next stage starts."""
    now, _ = await lock_counts(job)
    held = await find_live(job.connection, job.tenant_id, job.job_id)
    # Looked at again under the lock: a stage may have started, or somebody come to the one that runs.
    if held is not None and await waits_for_stage(
        job.connection, job.tenant_id, job.job_id, held.stage or 0
    ):
        await held.change(now, add=[Hold.STAGE])


async def _let_go(job: Job, after: Key) -> Chunk:
    """Look through the job's live executions for things that it reaches no more."""
    told, last = await let_go_some(job.connection, job.tenant_id, job.job_id, after, slot=job.slot)
    if last is not None:
        return Chunk(told_of(told), last)
    await lock_counts(job)
    await finish(job.connection, job.tenant_id, job.job_id, job.mark)
    return Chunk(told_of(told), START)  # a rollout may be owed behind it


async def _show_or_hide(job: Job, after: Key) -> Chunk:
    """Tell the things with a QUEUED execution that their lists are others now: what of, is seen when they are told."""
    rows = await job.connection.fetch(
        _SQL["find_executions"], job.tenant_id, job.job_id, [Status.QUEUED], *after, CHUNK
    )
    names = list(dict.fromkeys(row["thing_name"] for row in rows))
    told = await store.tell(
        job.connection,
        job.tenant_id,
        notify=names,
        notify_next=names,
        queued=[(row["thing_name"], job.job_id, row["execution_number"]) for row in rows],
        slot=job.slot,
    )
    if len(rows) == CHUNK:
        return Chunk(told_of(told), (rows[-1]["thing_name"], rows[-1]["execution_number"]))
    if after != START:  # another look from the first one on: some may have been made meanwhile
        return Chunk(told_of(told), START)
    await job.connection.execute(_SQL["finish_tell"], job.tenant_id, job.job_id, job.mark)
    await job.connection.execute(_SQL["announce_work"])  # a rollout may be owed behind it
    return Chunk(told_of(told), START)


_CHUNK_OF: Final = {
    "ROLLOUT": _roll_out,
    "REACH": _let_go,
    "TELL": _show_or_hide,
    "END": ending_work.end,
    "CANCEL": ending_work.cancel,
    "EXPIRE": ending_work.expire,
    "DELETE": ending_work.delete,
}
