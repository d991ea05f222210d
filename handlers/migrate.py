"""Brings a database to this program's structure: forward only, each step once, two at a time harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.sql import migrations

if TYPE_CHECKING:
    from handlers.database import Connection

# Any fixed number will do, as long as every version of this program takes the same one.
_LOCK = 0x6A6F6262  # "jobb"


class SchemaTooNewError(Exception):
    """The database has migrations this program does not know: it is older than the program that wrote them."""

    def __init__(self, unknown: list[str]) -> None:
        """Take the names of the unknown migrations."""
        super().__init__(
            f"the database is newer than this program: it has {', '.join(unknown)}; upgrade jobbroker",
        )
        self.unknown = unknown


class SchemaTooOldError(Exception):
    """The database lacks migrations this program needs."""

    def __init__(self, missing: list[str]) -> None:
        """Take the names of the missing migrations."""
        super().__init__(f"the database lacks {', '.join(missing)}; run: jobbroker migrate")
        self.missing = missing


async def applied_migrations(connection: Connection) -> list[str]:
    """Names of the migrations the database has, oldest first; empty for a new database."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return []
    return [
        row["name"]
        for row in await connection.fetch("SELECT name FROM schema_migrations ORDER BY name")
    ]


async def require_current(connection: Connection) -> None:
    """Pass when the database has exactly this program's migrations.

    Raises SchemaTooNewError or SchemaTooOldError otherwise.
    """
    have, known = set(await applied_migrations(connection)), set(migrations())
    if unknown := sorted(have - known):
        raise SchemaTooNewError(unknown)
    if missing := sorted(known - have):
        raise SchemaTooOldError(missing)


async def migrate(connection: Connection) -> list[str]:
    """Apply what is missing; returns the names applied, oldest first.

    The connection's role must own the tables and be able to create roles. An advisory lock makes a second caller wait
    and then find nothing to do. Raises SchemaTooNewError, having changed nothing, when the database is ahead.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        have = await applied_migrations(connection)
        if unknown := sorted(set(have) - set(migrations())):
            raise SchemaTooNewError(unknown)
        todo = [name for name in migrations() if name not in have]
        for name in todo:
            async with connection.transaction():
                # Recorded first, so that a migrator without the lock would collide here instead of running it twice.
                await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
                await connection.execute(migrations()[name])
        # Not tenant data: the serving role reads it to refuse a database that does not fit.
        await connection.execute("GRANT SELECT ON schema_migrations TO jobbroker_serve")
        return todo
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
