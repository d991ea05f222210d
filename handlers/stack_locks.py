"""Session locks by name, for work on one organization or application that lasts longer than a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from handlers.database import Connection

_LOCK_CLASS: Final = 0x74746E  # "ttn"


async def hold(connection: Connection, name: str) -> bool:
    """Hold what is named on this connection until it ends or lets go; whether it was free."""
    query = "SELECT pg_try_advisory_lock($1, hashtext($2))"
    return bool(await connection.fetchval(query, _LOCK_CLASS, name))


async def let_go(connection: Connection, name: str) -> None:
    """Let others have it."""
    await connection.execute("SELECT pg_advisory_unlock($1, hashtext($2))", _LOCK_CLASS, name)
