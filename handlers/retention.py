"""What is kept no longer: jobs that have been over for long are deleted, as an operator would delete them.

AWS keeps inactive jobs for 730 days (quota "Data retention of inactive jobs"); here the operator says how long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import audit, store
from handlers.database import tenant_transaction
from schema.lifecycle import JOB_MOVES, JobMove, JobStatus, next_job_status
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import timedelta

    from handlers.database import Connection, Pool
    from handlers.store import Told

_SQL = queries("jobs")
_RUNS = queries("runs")
_ACTOR = ("jobbroker", "retention")


async def run_once(
    pool: Pool, *, older_than: timedelta, slot: int | None, most: int = 100
) -> tuple[list[Told], bool]:
    """Begin to delete jobs that ended longer ago than `older_than`, at most `most` of each tenant.

    The executions follow in chunks (handlers.chunks). Audit lines and runs of that age go as well. Returns what is to
    be told, and whether there may be more. Any number of processes may run this at once.
    """
    told: list[Told] = []
    more = False
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT tenant_id FROM sweep_tenants() AS tenant_id")
        for tenant_id in [row["tenant_id"] for row in rows]:
            async with tenant_transaction(connection, tenant_id):
                gone, said = await _forget_jobs(
                    connection, tenant_id, older_than, slot=slot, most=most
                )
                lines = await connection.fetchval(
                    _SQL["forget_audit"], tenant_id, older_than, 100 * most
                )
                runs = await connection.fetchval(_RUNS["forget_runs"], tenant_id, older_than, most)
            more = more or gone == most or lines == 100 * most or runs == most
            told += said
    return told, more


async def _forget_jobs(
    connection: Connection, tenant_id: str, older_than: timedelta, *, slot: int | None, most: int
) -> tuple[int, list[Told]]:
    over = [str(status) for status, moves in JOB_MOVES.items() if JobMove.DELETE in moves]
    rows = await connection.fetch(_SQL["find_forgettable"], tenant_id, over, older_than, most)
    for row in rows:
        status = next_job_status(JobStatus(row["status"]), JobMove.DELETE)
        await connection.execute(_SQL["delete_job"], tenant_id, row["job_id"], status, row["now"])
        await audit.record(
            connection,
            tenant_id,
            who=_ACTOR,
            action="jobs/delete",
            subject=f"job/{row['job_id']}",
            details={"olderThanDays": older_than.days},
        )
    if not rows:
        return 0, []
    messages = await store.job_events(
        connection,
        tenant_id,
        [row["job_id"] for row in rows],
        operation="deletion_in_progress",
        now=rows[0]["now"],
    )
    said = await store.tell(connection, tenant_id, messages=messages, slot=slot)
    return len(rows), [] if said is None else [said]
