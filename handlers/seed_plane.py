"""What a device that polls over HTTP reads (seed 003): its queue, and one execution with its document.

Reading only: whatever it reports goes the way of all requests (`handlers.executions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from handlers import store
from handlers.database import tenant_transaction
from schema.lifecycle import JobStatus, Status
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.documents import Documents
    from handlers.store import Loaded

_SQL = queries("seeds")
QUEUE_SHOWN: Final = 10  # seed 003


class Seen(NamedTuple):
    """An execution as its device may read it; the document is JSON text."""

    loaded: Loaded
    document: str
    expires_at: datetime | None


async def queued(pool: Pool, documents: Documents, tenant_id: str, thing: str) -> list[Seen]:
    """The first ten executions that wait for the thing, oldest first.

    Raises Rejected (InternalError) for a document with URLs that cannot be signed any more.
    """
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        queues = await store.load_queues(connection, tenant_id, [thing])
        waiting = [
            one for one in queues[thing] if one.offered and one.execution.status is Status.QUEUED
        ]
        waiting.sort(key=lambda one: (one.execution.queued_at, one.execution.job_id))
        return await _seen(connection, documents, tenant_id, waiting[:QUEUE_SHOWN])


async def execution(
    pool: Pool, documents: Documents, tenant_id: str, thing: str, *, job_id: str
) -> Seen | None:
    """The latest execution of a job on the thing, also one that has ended; None when there is none."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        found = await store.load_executions(connection, tenant_id, [(thing, job_id, None)])
        there = [
            one for one in found.values() if one.job_status is not JobStatus.DELETION_IN_PROGRESS
        ]
        seen = await _seen(connection, documents, tenant_id, there)
    return seen[0] if seen else None


async def _seen(
    connection: Connection, documents: Documents, tenant_id: str, found: Sequence[Loaded]
) -> list[Seen]:
    if not found:
        return []
    jobs = [one.execution.job_id for one in found]
    rows = await connection.fetch(_SQL["load_expiries"], tenant_id, jobs)
    expiries = {row["job_id"]: row["expires_at"] for row in rows}
    now = await connection.fetchval("SELECT clock_timestamp()")
    texts = await documents.load(connection, tenant_id, found, now=now)
    return [Seen(one, texts.of(one), expiries.get(one.execution.job_id)) for one in found]
