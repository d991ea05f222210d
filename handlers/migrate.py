"""Brings a database to this program's structure: forward only, each step once, two at a time harmless.

Also while it is being served: whoever waits for a table's lock holds up all who come after, so a step waits for a
moment only, lets the others through, and tries again. What a step does under a lock must be quick, then: it adds
columns and constraints (NOT VALID), and does not rewrite a table that has a million rows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import asyncpg

from schema.sql import migrations

if TYPE_CHECKING:
    from handlers.database import Connection

# How long a step waits for one lock, growing from try to try: serving transactions take milliseconds, and from one
# second on (deadlock_timeout) PostgreSQL ends an autovacuum that is in the way.
_FIRST_WAIT_SECONDS: Final = 0.2
_LONGEST_WAIT_SECONDS: Final = 2.0
TRIES: Final = 60
"""With the pauses between them about five minutes."""

# In the order in which serving transactions lock them: who has the first has nobody before him at the others. Locked
# as a step's statements come to them, they would be a deadlock at nearly every try.
_BUSY: Final = ("things", "executions", "job_counts", "job_stages", "jobs", "outbox")
_PRESENT: Final = """
SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place)
WHERE to_regclass(name) IS NOT NULL ORDER BY place
"""

_OLDEST = """
SELECT format('%s (%s) for %s s', pid, coalesce(nullif(application_name, ''), usename, backend_type),
              extract(epoch FROM clock_timestamp() - xact_start)::integer) AS told
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 3
"""

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


class MigrationBlockedError(Exception):
    """A step found a table in use at each of its tries; it has changed nothing and can be run again."""

    def __init__(self, name: str, oldest: list[str]) -> None:
        """Take the step's name, and the oldest transactions, one of which is probably in the way."""
        super().__init__(
            f"{name} changed nothing: a table it changes was in use at each of its tries; end long transactions and"
            f" run it again. The oldest, by process id: {', '.join(oldest) or 'none now'}",
        )
        self.name = name


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


async def migrate(connection: Connection, *, tries: int = TRIES) -> list[str]:
    """Apply what is missing; returns the names applied, oldest first.

    The connection's role must own the tables and be able to create roles. An advisory lock makes a second caller wait
    and then find nothing to do. Raises SchemaTooNewError, having changed nothing, when the database is ahead, and
    MigrationBlockedError when a table was in use at each of so many `tries`; the steps before it are done then.
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
            await _apply(connection, name, tries)
        # Not tenant data: the serving role reads it to refuse a database that does not fit.
        await connection.execute("GRANT SELECT ON schema_migrations TO jobbroker_serve")
        return todo
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _apply(connection: Connection, name: str, tries: int) -> None:
    wait = _FIRST_WAIT_SECONDS
    for _ in range(tries):
        try:
            async with connection.transaction():
                # Recorded first, so that a migrator without the lock would collide here instead of running it twice.
                await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
                await connection.execute(f"SET LOCAL lock_timeout = '{round(wait * 1000)}ms'")
                if tables := [row["name"] for row in await connection.fetch(_PRESENT, _BUSY)]:
                    await connection.execute(
                        f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"
                    )
                await connection.execute(migrations()[name])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            # Those who were held up go first.
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        else:
            return
    rows = await connection.fetch(_OLDEST)
    raise MigrationBlockedError(name, [row["told"] for row in rows])
