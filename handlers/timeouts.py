"""Timers: executions whose in-progress or step deadline has passed become TIMED_OUT (AWS: job timeouts)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlers import store
from handlers.database import tenant_transaction
from handlers.store import Told
from schema import lifecycle
from schema.changes import Change
from schema.errors import Conflict
from schema.pending import arranged
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.database import Connection, Pool
    from schema.lifecycle import Execution

_SQL = queries("executions")


@dataclass(frozen=True, slots=True)
class Swept:
    """What one pass did: what is to be told, and whether more work is waiting."""

    told: list[Told]
    more: bool


async def run_once(pool: Pool, *, slot: int | None, most: int = 500) -> Swept:
    """Time out what is due, at most `most` executions; any number of processes may run this at once.

    The sweep over all tenants only finds things; whether a timer of theirs has fired is decided again under their lock.
    """
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT tenant_id, thing_name FROM sweep_timeouts($1)", most)
        due: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            due[row["tenant_id"]].add(row["thing_name"])
        told, more = [], len(rows) == most
        for tenant_id, things in due.items():
            try:
                async with tenant_transaction(connection, tenant_id):
                    one = await _time_out(connection, tenant_id, things, slot=slot, most=most)
            except Conflict:  # a job that was to be tried again was ended just now
                more = True
                continue
            if one is not None:
                told.append(one)
    return Swept(told, more=more)


async def _time_out(
    connection: Connection, tenant_id: str, things: set[str], *, slot: int | None, most: int
) -> Told | None:
    _, now = await store.lock_things(connection, tenant_id, things)
    queues = await store.load_queues(connection, tenant_id, things)
    live = {one.execution.key: one.execution for queue in queues.values() for one in queue}
    # A thing may have more under way than the part of its queue that is loaded.
    rows = await connection.fetch(_SQL["find_due"], tenant_id, sorted(things), now, most)
    due = [(row["thing_name"], row["job_id"], row["execution_number"]) for row in rows]
    beyond = [key for key in due if key not in live]
    if beyond:
        found = await store.load_executions(connection, tenant_id, beyond)
        live |= {one.execution.key: one.execution for one in found.values()}
    changes = [Change(live[key], lifecycle.time_out(live[key], now)) for key in due]
    if not changes:
        return None
    executions: dict[str, list[Execution]] = {name: [] for name in things}
    for one in live.values():
        executions[one.thing_name].append(one)
    before = {name: arranged(queue) for name, queue in executions.items()}
    return await store.save(connection, tenant_id, changes, queues=before, now=now, slot=slot)
