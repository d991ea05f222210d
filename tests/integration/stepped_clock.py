"""PostgreSQL's clock in the hands of a test: it stands until it is moved, for all who connect after it was taken.

What happens in an hour is then seen in seconds, and a machine that is slow is late by nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from tests.conftest import Database

_CLOCK = """
CREATE SCHEMA stepped;
CREATE TABLE stepped.clock (at timestamptz NOT NULL);
INSERT INTO stepped.clock VALUES (pg_catalog.clock_timestamp());
CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM stepped.clock';
CREATE FUNCTION stepped.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT at FROM stepped.clock';
GRANT USAGE ON SCHEMA stepped TO PUBLIC;
GRANT SELECT ON stepped.clock TO PUBLIC;
"""
# What is named without a schema is looked for in pg_catalog first only where the path does not say otherwise.
_PATH = "stepped, pg_catalog, public"
_SWEEPS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'sweep%'
"""


class SteppedClock:
    """The clock of one test's database."""

    def __init__(self, admin: asyncpg.Connection) -> None:
        """Take a superuser's connection; see `take`."""
        self._admin = admin

    @classmethod
    async def take(cls, admin: asyncpg.Connection, database: Database) -> SteppedClock:
        """Stop the clock; connections that are opened from now on, and the sweeps, go by it."""
        await admin.execute(_CLOCK)
        await admin.execute(f'ALTER DATABASE "{database.name}" SET search_path = {_PATH}')
        for row in await admin.fetch(_SWEEPS):
            await admin.execute(f"ALTER FUNCTION {row[0]} SET search_path = {_PATH}, pg_temp")
        return cls(admin)

    async def now(self) -> datetime:
        """What it says."""
        at: datetime = await self._admin.fetchval("SELECT at FROM stepped.clock")
        return at

    async def move(self, **by: float) -> None:
        """Put it forward, by seconds=, minutes= or hours=."""
        await self._admin.execute("UPDATE stepped.clock SET at = at + $1", timedelta(**by))
