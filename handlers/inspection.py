"""What the database says of itself and of the role we act as; for `jobbroker check`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from schema.sql import queries

if TYPE_CHECKING:
    from handlers.database import Connection

_SQL = queries("inspection")


@dataclass(frozen=True, slots=True)
class Session:
    """A connection as the server sees it. version as 150004; owned counts tables of the role."""

    version: int
    max_connections: int
    now: datetime
    login: str
    role: str
    superuser: bool
    bypasses: bool
    strong_login: bool
    owned: int


async def describe_session(connection: Connection) -> Session:
    """Who we are here and what the server is; `now` is its clock at the time of the answer."""
    return Session(**dict(await connection.fetchrow(_SQL["describe_session"]) or {}))


async def unprotected_tables(connection: Connection) -> list[str]:
    """Names of tenant tables without row-level security that also holds for their owner."""
    return [row["name"] for row in await connection.fetch(_SQL["find_unprotected_tables"])]


async def visible_tenants(connection: Connection) -> int:
    """How many tenants show without `app.tenant_id`: none, when the walls stand."""
    count: int = await connection.fetchval(_SQL["count_visible_tenants"])
    return count
