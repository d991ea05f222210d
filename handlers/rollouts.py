"""From a job's targets to executions: the snapshot is frozen at once, and becomes executions chunk by chunk.

Of a CONTINUOUS job only those of a chunk have an execution whom its targets reach when the chunk's turn comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers import membership, reach, store
from schema.changes import Change, NobodyHears, never
from schema.lifecycle import queued
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from handlers.database import Connection
    from handlers.store import Told

CHUNK: Final = 1000
_SQL = queries("jobs")
_GROUPS = queries("groups")


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
    if names is None:
        return None
    numbers, now = await _lock_wanted(connection, tenant_id, job_id, names)
    changes = [
        Change(None, queued(name, job_id, now, execution_number=numbers[name]))
        for name in sorted(numbers)
    ]
    if not changes:
        return None
    heads = dict.fromkeys(numbers, 1)
    loaded = await store.load_queues(connection, tenant_id, numbers, heads=heads)
    queues = {name: [one.execution for one in queue] for name, queue in loaded.items()}
    return await store.save(
        connection,
        tenant_id,
        changes,
        queues=queues,
        now=now,
        slot=slot,
        nobody_hears=nobody_hears,
    )


async def _lock_wanted(
    connection: Connection, tenant_id: str, job_id: str, names: Sequence[str]
) -> tuple[dict[str, int], datetime]:
    """Lock a chunk's things; returns whose execution is to be made, with its number, and the clock after that."""
    if not await connection.fetchval(_GROUPS["find_continuous"], tenant_id, job_id):
        things, now = await store.lock_things(connection, tenant_id, names)
        return dict.fromkeys(things, 1), now
    await membership.hold(connection, tenant_id)
    things, now = await store.lock_things(connection, tenant_id, names)
    return await reach.find_joiners(connection, tenant_id, job_id, things), now


async def is_rolled_out(connection: Connection, tenant_id: str, job_id: str) -> bool:
    """Whether no chunk is left."""
    return not await connection.fetchval(_SQL["has_chunks"], tenant_id, job_id)
