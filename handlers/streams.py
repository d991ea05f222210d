"""Events for those who follow a tenant over HTTP: written as they leave the outbox, read by whoever is connected where.

While nobody follows, nothing is written. What is kept is bounded in time and number; whoever comes back for what is no
longer there learns that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from handlers.database import tenant_transaction
from schema.sql import queries
from schema.streams import Position, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.database import Connection, Pool

_SQL = queries("streams")
KEPT: Final = timedelta(minutes=15)
"""How long events are kept, and how long after the last follower left some are written."""
KEPT_EVENTS: Final = 20_000
_EVENTS_IN_ROW: Final = 500


@dataclass(frozen=True, slots=True)
class Read:
    """Rows from a position on. floor: rows up to this one are not there any more."""

    rows: list[Row]
    floor: int


async def follow(pool: Pool, tenant_id: str, *, all_live: bool = True) -> tuple[int, Position]:
    """Have the tenant's events written from now on, for KEPT; returns the floor, and where the present is.

    all_live: live events are wanted each, not just some. To be called again while somebody follows.
    """
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        row = await connection.fetchrow(_SQL["follow"], tenant_id, KEPT, all_live)
        await connection.execute(_SQL["announce_follow"])
    assert row is not None  # noqa: S101 - an INSERT that returns
    return row["floor_id"], Position(max(row["newest"] or 0, row["floor_id"]) + 1)


async def followed(pool: Pool) -> dict[str, bool]:
    """The tenants that somebody follows, or did so lately; for each whether all live events are wanted."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["find_followed"])
    return {row["tenant_id"]: row["all_live"] for row in rows}


async def keep(connection: Connection, tenant_id: str, messages: Sequence[tuple[str, str]]) -> None:
    """Write events, inside the tenant's transaction, which must end soon: other writers wait for it."""
    await connection.execute(_SQL["lock_stream"], tenant_id)
    for start in range(0, len(messages), _EVENTS_IN_ROW):
        some = messages[start : start + _EVENTS_IN_ROW]
        topics, payloads = [topic for topic, _ in some], [payload for _, payload in some]
        await connection.execute(_SQL["keep_events"], tenant_id, topics, payloads)
    await connection.execute(_SQL["announce_events"])


async def read(pool: Pool, tenant_id: str, since: Position, *, most: int) -> Read:
    """At most so many rows from a position on."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        rows = await connection.fetch(_SQL["read_events"], tenant_id, since.row, most)
    floor = max((row["floor_id"] for row in rows), default=0)
    found = [
        Row(row["event_id"], row["topics"], row["payloads"])
        for row in rows
        if row["event_id"] is not None
    ]
    return Read(found, floor)


async def trim(pool: Pool, tenant_id: str) -> None:
    """Drop what is older than KEPT, or behind KEPT_EVENTS newer ones."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        await connection.execute(_SQL["trim_events"], tenant_id, KEPT, KEPT_EVENTS)


async def trim_all(pool: Pool) -> None:
    """The same for every tenant, also those that nobody follows any more."""
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT tenant_id FROM sweep_tenants() AS tenant_id")
    for row in rows:
        await trim(pool, row["tenant_id"])
