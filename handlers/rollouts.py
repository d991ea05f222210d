"""From a job's targets to executions: the snapshot is frozen at once, and becomes executions chunk by chunk.

Of a CONTINUOUS job only those of a chunk have an execution whom its targets reach when the chunk's turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from handlers import membership, reach, store
from schema.changes import Change, NobodyHears, never
from schema.counts import Counts
from schema.lifecycle import queued
from schema.rollout import Pace, RolloutConfig, current_rate, due, grant, start
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.database import Connection
    from handlers.store import Told

CHUNK: Final = 1000
# How far apart the ticks of one job are at least: slower jobs tell one thing each, faster ones some at once.
_TICK: Final = timedelta(seconds=0.2)
_SQL = queries("jobs")


async def freeze_snapshot(connection: Connection, tenant_id: str, job_id: str) -> int:
    """Put away the names of all things the job's targets reach now, each once; returns how many.

    One statement, so one snapshot: whoever joins a group later is not in it (AWS: SNAPSHOT).
    """
    return int(await connection.fetchval(_SQL["freeze_snapshot"], tenant_id, job_id, CHUNK))


async def roll_out_chunk(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    *,
    slot: int | None,
    nobody_hears: NobodyHears = never,
) -> Told | None:
    """Make QUEUED executions of the next chunk, for those of its things that still exist and are to have one."""
    names = await connection.fetchval(_SQL["take_chunk"], tenant_id, job_id)
    _, told = await _queue(
        connection, tenant_id, job_id, names or (), slot=slot, nobody_hears=nobody_hears
    )
    return told


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
        names = await connection.fetchval(_SQL["take_part"], tenant_id, job_id, granted.things)
        count, told = await _queue(
            connection, tenant_id, job_id, names or (), slot=slot, nobody_hears=nobody_hears
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
    names: Sequence[str],
    *,
    slot: int | None,
    nobody_hears: NobodyHears,
) -> tuple[int, Told | None]:
    """Make QUEUED executions for those of the things that exist; returns how many, and what is to be told."""
    if not names:
        return 0, None
    job = await connection.fetchrow(_SQL["load_rollout"], tenant_id, job_id)
    assert job is not None  # noqa: S101 - the caller works on it
    numbers, now = await _lock_wanted(
        connection, tenant_id, job_id, names, continuous=job["is_continuous"]
    )
    changes = [
        Change(
            None,
            queued(name, job_id, now, execution_number=number, priority=job["priority"]),
        )
        for name, number in sorted(numbers.items())
    ]
    if not changes:
        return 0, None
    heads = dict.fromkeys(numbers, 1)
    loaded = await store.load_queues(connection, tenant_id, numbers, heads=heads)
    queues = {name: [one.execution for one in queue] for name, queue in loaded.items()}
    told = await store.save(
        connection,
        tenant_id,
        changes,
        queues=queues,
        now=now,
        slot=slot,
        nobody_hears=nobody_hears,
    )
    return len(changes), told


async def _lock_wanted(
    connection: Connection, tenant_id: str, job_id: str, names: Sequence[str], *, continuous: bool
) -> tuple[dict[str, int], datetime]:
    """Lock a chunk's things; returns whose execution is to be made, with its number, and the clock after that."""
    if not continuous:
        things, now = await store.lock_things(connection, tenant_id, names)
        return dict.fromkeys(things, 1), now
    await membership.hold(connection, tenant_id)
    things, now = await store.lock_things(connection, tenant_id, names)
    return await reach.find_joiners(connection, tenant_id, job_id, things), now


async def is_rolled_out(connection: Connection, tenant_id: str, job_id: str) -> bool:
    """Whether no chunk is left."""
    return not await connection.fetchval(_SQL["has_chunks"], tenant_id, job_id)
