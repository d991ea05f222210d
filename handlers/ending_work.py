"""Background work that ends a job's executions, chunk by chunk: its endTime, a cancel, its expiry, its deletion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from handlers import store
from handlers.context import told_of
from handlers.endings import cancel_unapproved
from handlers.holds import Hold, find_live
from handlers.job_work import START, Chunk, Job, Key, complete, lock_counts, say
from handlers.rollouts import CHUNK
from schema import lifecycle
from schema.changes import Change
from schema.lifecycle import Execution, JobMove, Status
from schema.sql import queries
from schema.windows import EndBehavior, SchedulingConfig

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.store import Told

_SQL = queries("jobs")
_STAGES = queries("stages")


async def end(job: Job, after: Key) -> Chunk:
    """What the endTime means for the executions (AWS: endBehavior); the job completes with the last of them."""
    behavior = SchedulingConfig.from_text(job.scheduling or "{}").end_behavior
    force = behavior is EndBehavior.FORCE_CANCEL
    statuses = [Status.QUEUED, Status.IN_PROGRESS] if force else [Status.QUEUED]
    told: tuple[Told, ...] = ()
    if force or behavior is EndBehavior.CANCEL:
        told, last = await _end_some(
            job, after, statuses, lambda one, now: lifecycle.cancel(one, now, force=force)
        )
        if last is not None:
            return Chunk(told, last)
    now, _ = await lock_counts(job)
    await _forget_waiting(job)
    await job.connection.execute(_SQL["finish_end"], job.tenant_id, job.job_id)
    return Chunk((*told, *await complete(job, now)))


async def cancel(job: Job, after: Key) -> Chunk:
    """Cancel what is QUEUED, with force what is IN_PROGRESS, too."""
    statuses = [Status.QUEUED, Status.IN_PROGRESS] if job.force else [Status.QUEUED]
    told, last = await _end_some(
        job, after, statuses, lambda one, now: lifecycle.cancel(one, now, force=job.force)
    )
    if last is not None:
        return Chunk(told, last)
    now, queued = await lock_counts(job)
    if queued:  # a retry, made by whoever had not seen the cancel yet
        return Chunk(told, START)
    await _forget_waiting(job)
    await job.connection.execute(_SQL["finish_cancel"], job.tenant_id, job.job_id, now)
    return Chunk((*told, *await _tell(job, "canceled", now)))


async def expire(job: Job, after: Key) -> Chunk:
    """Time out what is QUEUED; one that was never approved is canceled."""
    told, last = await _end_some(job, after, [Status.QUEUED], lifecycle.expire)
    if last is not None:
        return Chunk(told, last)
    now, queued = await lock_counts(job)
    if queued:
        return Chunk(told, START)
    await _forget_waiting(job)
    held = await find_live(job.connection, job.tenant_id, job.job_id)
    if held is None:  # canceled or deleted meanwhile
        return Chunk(told, START)
    messages = await cancel_unapproved(held, now, comment="it was not approved when it expired")
    if messages is not None:
        return Chunk((*told, *await say(job, messages)))
    if Hold.APPROVAL in held.holds:
        ended = lifecycle.next_job_status(held.status, JobMove.END)
        await held.change(now, take=[Hold.APPROVAL], status=ended)
    await job.connection.execute(_SQL["finish_expiry"], job.tenant_id, job.job_id)
    return Chunk((*told, *await complete(job, now)))


async def delete(job: Job, after: Key) -> Chunk:
    """Delete all executions, and then the job."""
    told, last = await _end_some(job, after, list(Status), None)
    if last is not None:
        return Chunk(told, last)
    now, queued = await lock_counts(job)
    if queued:
        return Chunk(told, START)
    gone = await _tell(job, "deleted", now)
    await job.connection.execute(_SQL["remove_job"], job.tenant_id, job.job_id)
    return Chunk((*told, *gone))


async def _end_some(
    job: Job,
    after: Key,
    statuses: list[Status],
    end: Callable[[Execution, datetime], Execution] | None,
) -> tuple[tuple[Told, ...], Key | None]:
    """End (or with no `end` delete) the next executions in these statuses.

    Returns what is to be told and where to go on; None when all of the job's have been seen from the first one on.
    """
    keys = [
        (row["thing_name"], row["execution_number"])
        for row in await job.connection.fetch(
            _SQL["find_executions"], job.tenant_id, job.job_id, statuses, *after, CHUNK
        )
    ]
    told = await _end_these(job, keys, statuses, end) if keys else None
    if len(keys) == CHUNK:
        return told_of(told), keys[-1]
    return told_of(told), None if after == START else START


async def _end_these(
    job: Job,
    keys: list[Key],
    statuses: list[Status],
    end: Callable[[Execution, datetime], Execution] | None,
) -> Told | None:
    names = {thing for thing, _ in keys}
    _, now = await store.lock_things(job.connection, job.tenant_id, names)
    loaded = await store.load_executions(
        job.connection, job.tenant_id, [(thing, job.job_id, number) for thing, number in keys]
    )
    # Looked at again under the lock: a device may have started one since it was found.
    changes = [
        Change(one.execution, None if end is None else end(one.execution, now))
        for one in loaded.values()
        if one.execution.status in statuses
    ]
    if not changes:
        return None
    heads = {name: 1 + count for name, count in Counter(thing for thing, _ in keys).items()}
    queues = await store.load_queues(job.connection, job.tenant_id, names, heads=heads)
    return await store.save(
        job.connection,
        job.tenant_id,
        changes,
        queues={name: [one.execution for one in queue] for name, queue in queues.items()},
        now=now,
        slot=job.slot,
    )


async def _forget_waiting(job: Job) -> None:
    if job.stage is not None:
        await job.connection.execute(_STAGES["forget_waiting"], job.tenant_id, job.job_id)


async def _tell(job: Job, operation: str, now: datetime) -> tuple[Told, ...]:
    messages = await store.job_events(
        job.connection, job.tenant_id, [job.job_id], operation=operation, now=now
    )
    return await say(job, messages)
