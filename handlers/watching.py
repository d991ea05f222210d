"""What the database says for /metrics, over all tenants: states and ages, nothing that a tenant has said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.lifecycle import Status
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Pool

_SQL = queries("watching")


@dataclass(frozen=True, slots=True)
class Figures:
    """By tenant: executions by status, rows in the outbox and the oldest one's age. And how late each timer is.

    Ages in seconds; a timer that has nothing overdue is 0 late.
    """

    executions: dict[tuple[str, str], int]
    outbox_rows: dict[str, int]
    outbox_age: dict[str, float]
    late: dict[str, float]


async def figures(pool: Pool) -> Figures:
    """Read all of it; as dear as a look at each job's counters."""
    async with pool.acquire() as connection:
        counts = await connection.fetch(_SQL["sum_counts"])
        outbox = await connection.fetch(_SQL["sum_outbox"])
        late = await connection.fetchrow(_SQL["find_lateness"])
    assert late is not None  # noqa: S101 - a SELECT of expressions has one row
    now: datetime = late["now"]
    rows = {row["tenant_id"]: 0 for row in counts}
    ages = dict.fromkeys(rows, 0.0)
    for row in outbox:
        tenant = row["tenant_id"]
        rows[tenant] = rows.get(tenant, 0) + row["depth"]
        age = max(0.0, (now - row["oldest"]).total_seconds())
        ages[tenant] = max(ages.get(tenant, 0.0), age)
    return Figures(
        {(row["tenant_id"], status): row[status.lower()] for row in counts for status in Status},
        rows,
        ages,
        {
            timer: 0.0 if late[timer] is None else max(0.0, (now - late[timer]).total_seconds())
            for timer in ("timeouts", "expiries", "rollouts")
        },
    )
