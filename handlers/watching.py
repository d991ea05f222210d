"""What the database says for /metrics, over all tenants: states and ages, nothing that a tenant has said."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from schema.lifecycle import Status
from schema.sql import queries
from schema.things_stack_runs import LIVE, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from asyncpg import Record

    from handlers.database import Pool

_SQL = queries("watching")
_TIMERS: Final = ("timeouts", "expiries", "rollouts", "schedules", "gates")


@dataclass(frozen=True, slots=True)
class Figures:
    """By tenant: executions by status, rows in the outbox and the oldest one's age. And how late each timer is.

    runs are those at The Things Stack, by tenant and status; run_age is that of a tenant's oldest one that has not
    ended. Ages in seconds; a timer that has nothing overdue is 0 late, and a tenant without anything that waits has 0.
    """

    executions: dict[tuple[str, str], int]
    outbox_rows: dict[str, int]
    outbox_age: dict[str, float]
    late: dict[str, float]
    runs: dict[tuple[str, str], int]
    run_age: dict[str, float]


async def figures(pool: Pool) -> Figures:
    """Read all of it; as dear as a look at each job's counters and each run."""
    async with pool.acquire() as connection:
        counts = await connection.fetch(_SQL["sum_counts"])
        outbox = await connection.fetch(_SQL["sum_outbox"])
        runs = await connection.fetch(_SQL["sum_runs"])
        late = await connection.fetchrow(_SQL["find_lateness"])
    assert late is not None  # noqa: S101 - a SELECT of expressions has one row
    now: datetime = late["now"]
    tenants = {row["tenant_id"]: None for row in (*counts, *outbox, *runs)}
    depth = dict.fromkeys(tenants, 0)
    for row in outbox:
        depth[row["tenant_id"]] += row["depth"]
    return Figures(
        {(row["tenant_id"], status): row[status.lower()] for row in counts for status in Status},
        depth,
        _ages(tenants, outbox, now),
        {timer: 0.0 if late[timer] is None else _seconds(late[timer], now) for timer in _TIMERS},
        dict.fromkeys(product(tenants, map(str, RunStatus)), 0)
        | {(row["tenant_id"], row["status"]): row["runs"] for row in runs},
        _ages(tenants, (row for row in runs if row["status"] in LIVE), now),
    )


def _ages(tenants: Iterable[str], rows: Iterable[Record], now: datetime) -> dict[str, float]:
    """How long ago each tenant's oldest was made, 0 where there is none."""
    ages = dict.fromkeys(tenants, 0.0)
    for row in rows:
        tenant = row["tenant_id"]
        ages[tenant] = max(ages[tenant], _seconds(row["oldest"], now))
    return ages


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
