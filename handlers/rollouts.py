"""From a job's targets to executions: the snapshot is frozen at once, and becomes executions chunk by chunk.

Of a CONTINUOUS job only those of a chunk have an execution whom its targets reach when the chunk's turn comes. Of a job
with stages only the chunks of those that have started have their turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers import membership, reach, store
from schema.changes import Change, NobodyHears, never
from schema.counts import Counts
from schema.lifecycle import Execution, Status, queued, queued_again
from schema.rollout import Pace, RolloutConfig, current_rate, due, grant, start
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from handlers.database import Connection
    from handlers.store import Told

CHUNK: Final = 1000
# How far apart the ticks of one job are at least: slower jobs tell one thing each, faster ones some at once.
_TICK: Final = timedelta(seconds=0.2)
_SQL = queries("jobs")
_STAGES = queries("stages")
_RETRIED: Final = frozenset({Status.FAILED, Status.REJECTED, Status.TIMED_OUT, Status.REMOVED})


class Names(NamedTuple):
    """Things whose turn has come, of one stage (0: the job has none); retry: those whose latest execution failed."""

    names: tuple[str, ...] = ()
    stage: int = 0
    retry: bool = False


async def freeze_snapshot(
    connection: Connection, tenant_id: str, job_id: str, *, seed: int | None = None, stage: int = 0
) -> int:
    """Put away the names of all things the job's targets reach now, each once; returns how many.

    One statement, so one snapshot: whoever joins a group later is not in it (AWS: SNAPSHOT). In order of name, or with
    a seed in an order of chance; all of them in one stage.
    """
    return int(
        await connection.fetchval(_SQL["freeze_snapshot"], tenant_id, job_id, CHUNK, seed, stage)
    )


async def roll_out_chunk(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    *,
    slot: int | None,
    stage: int | None = None,
    nobody_hears: NobodyHears = never,
) -> Told | None:
    """Make QUEUED executions of the next chunk, for those of its things that still exist and are to have one.

    stage: the one that started last.
    """
    row = await connection.fetchrow(_SQL["take_chunk"], tenant_id, job_id, stage or 0)
    _, told = await _queue(
        connection, tenant_id, job_id, _names(row), slot=slot, nobody_hears=nobody_hears
    )
    return told


def _names(row: asyncpg.Record | None) -> Names:
    return (
        Names() if row is None else Names(tuple(row["thing_names"]), row["stage"], row["is_retry"])
    )


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick of a paced rollout told, and the seconds until the next one."""

    told: Told | None
    due_in: float


async def roll_out_at_rate(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    *,
    slot: int | None,
    nobody_hears: NobodyHears = never,
) -> Tick:
    """Make QUEUED executions of as many frozen things as the job's rate allows now; the caller has the job's lock.

    What is granted to things that exist no more is left to the next ones (schema.rollout).
    """
    row = await connection.fetchrow(_SQL["load_pace"], tenant_id, job_id)
    assert row is not None  # noqa: S101 - the caller has just read the job and has its lock
    now: datetime = row["now"]
    config = RolloutConfig.from_text(row["rollout_config"])
    rate = current_rate(config, Counts(*(row[name] for name in Counts._fields)))
    granted = grant(_pace(row["credit"], row["credited_at"], now), rate, now, most=CHUNK)
    count, told = 0, None
    if granted.things:
        stage = row["stage"] or 0
        part = await connection.fetchrow(
            _SQL["take_part"], tenant_id, job_id, stage, granted.things
        )
        count, told = await _queue(
            connection, tenant_id, job_id, _names(part), slot=slot, nobody_hears=nobody_hears
        )
    pace = granted.unused(granted.things - count)
    after = due(pace, rate)
    if rate is not None and pace.credit < 1:
        after = max(after, now + _TICK)
    await connection.execute(_SQL["keep_pace"], tenant_id, job_id, pace.credit, pace.at, after)
    return Tick(told, max(0.0, (after - now).total_seconds()))


def _pace(credit: float | None, at: datetime | None, now: datetime) -> Pace:
    return start(now) if credit is None or at is None else Pace(credit, at)


async def _queue(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    these: Names,
    *,
    slot: int | None,
    nobody_hears: NobodyHears,
) -> tuple[int, Told | None]:
    """Make QUEUED executions for those of the things that exist; returns how many, and what is to be told."""
    if not these.names:
        return 0, None
    job = await connection.fetchrow(_SQL["load_rollout"], tenant_id, job_id)
    assert job is not None  # noqa: S101 - the caller works on it
    wanted, now = await _lock_wanted(connection, tenant_id, job_id, these, job)
    told = None
    if wanted:
        told = await make_executions(
            connection, tenant_id, wanted, now=now, slot=slot, nobody_hears=nobody_hears
        )
    if these.stage and not these.retry:
        if not wanted:  # else they are held: the counters before the stages, as everyone does
            await connection.fetchrow(_SQL["hold_counts"], tenant_id, job_id)
        # Also those who are to have none: the stage is without them from now on.
        await connection.execute(
            _STAGES["take_waiting"], tenant_id, job_id, these.stage, len(these.names)
        )
    return len(wanted), told


async def make_executions(
    connection: Connection,
    tenant_id: str,
    wanted: Sequence[Execution],
    *,
    now: datetime,
    slot: int | None,
    nobody_hears: NobodyHears = never,
) -> Told | None:
    """Add QUEUED executions of a job to the queues of their things, which are locked since before `now`."""
    heads = dict.fromkeys([one.thing_name for one in wanted], 1)
    loaded = await store.load_queues(connection, tenant_id, heads, heads=heads)
    return await store.save(
        connection,
        tenant_id,
        [Change(None, one) for one in wanted],
        queues={name: [one.execution for one in queue] for name, queue in loaded.items()},
        now=now,
        slot=slot,
        nobody_hears=nobody_hears,
    )


async def _lock_wanted(
    connection: Connection, tenant_id: str, job_id: str, these: Names, job: asyncpg.Record
) -> tuple[list[Execution], datetime]:
    """Lock a chunk's things; returns the executions that are to be made, by thing, and the clock after that."""
    if job["is_continuous"]:
        await membership.hold(connection, tenant_id)
    things, now = await store.lock_things(connection, tenant_id, these.names)
    if these.retry:
        return await _again(connection, tenant_id, job_id, things, job, now=now), now
    numbers = dict.fromkeys(things, 1)
    if job["is_continuous"]:
        numbers = await reach.find_joiners(connection, tenant_id, job_id, things)
    return [
        queued(
            name,
            job_id,
            now,
            execution_number=number,
            priority=job["priority"],
            stage=these.stage or None,
        )
        for name, number in sorted(numbers.items())
    ], now


async def _again(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    things: frozenset[str],
    job: asyncpg.Record,
    *,
    now: datetime,
) -> list[Execution]:
    """The executions that follow failed ones, of things that are still to have one."""
    names = set(things)
    if job["is_continuous"]:
        names = {name for _, name in await reach.find(connection, tenant_id, names, job_id)}
    latest = await store.load_executions(
        connection, tenant_id, [(name, job_id, None) for name in sorted(names)]
    )
    return [
        queued_again(one.execution, now)
        for one in latest.values()
        if one.execution.status in _RETRIED
    ]


async def is_rolled_out(connection: Connection, tenant_id: str, job_id: str) -> bool:
    """Whether no chunk is left."""
    return not await connection.fetchval(_SQL["has_chunks"], tenant_id, job_id)


async def waits_for_stage(
    connection: Connection, tenant_id: str, job_id: str, started: int
) -> bool:
    """Whether chunks are left, but only of stages after the one that started last."""
    stage = await connection.fetchval(_STAGES["next_chunk_stage"], tenant_id, job_id)
    return stage is not None and stage > started
