"""From a job's targets to executions: the snapshot is frozen at once, and becomes executions chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers import store
from schema.changes import Change, NobodyHears, never
from schema.lifecycle import queued
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.database import Connection
    from handlers.store import Told

CHUNK: Final = 1000
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
    """Make QUEUED executions of the next frozen chunk, for those of its things that still exist."""
    names = await connection.fetchval(_SQL["take_chunk"], tenant_id, job_id)
    if names is None:
        return None
    things, now = await store.lock_things(connection, tenant_id, names)
    changes = [Change(None, queued(name, job_id, now)) for name in sorted(things)]
    if not changes:
        return None
    heads = dict.fromkeys(things, 1)
    loaded = await store.load_queues(connection, tenant_id, things, heads=heads)
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


async def is_rolled_out(connection: Connection, tenant_id: str, job_id: str) -> bool:
    """Whether no chunk is left."""
    return not await connection.fetchval(_SQL["has_chunks"], tenant_id, job_id)
