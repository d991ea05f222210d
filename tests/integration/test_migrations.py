"""From an empty database to this program's structure, and what refuses to run on another one."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

import schema
from broker.embedded.postgres import connected
from handlers import migrate as migrate_module
from handlers.migrate import (
    SchemaTooNewError,
    SchemaTooOldError,
    applied_migrations,
    migrate,
    require_current,
)
from schema.sql import migrations
from tests.servers import PostgresServer

MakeEmpty = Callable[[], Awaitable[str]]

# Everything that makes a structure, as text, so that a difference is readable.
STRUCTURE = """
    SELECT 'table ' || c.relname AS what,
           concat_ws(' ', c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relacl,
                     pg_get_userbyid(c.relowner)) AS how
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'S')
    UNION ALL
    SELECT 'column ' || attrelid::regclass || '.' || attname,
           concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                     pg_get_expr(adbin, adrelid))
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'policy ' || tablename || '.' || policyname, concat_ws(' ', permissive, roles, cmd, qual, with_check)
    FROM pg_policies WHERE schemaname = 'public'
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure,
           concat_ws(' ', pg_get_functiondef(p.oid), p.proacl, pg_get_userbyid(p.proowner))
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'trigger ' || tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
"""


@pytest.fixture
async def make_empty(postgres_server: PostgresServer) -> AsyncIterator[MakeEmpty]:
    """Make empty databases: call it for the URL of one."""
    names: list[str] = []

    async def make() -> str:
        names.append(f"empty_{uuid.uuid4().hex}")
        async with connected(postgres_server.url_of("postgres")) as admin:
            await admin.execute(f'CREATE DATABASE "{names[-1]}"')
        return postgres_server.url_of(names[-1])

    yield make
    async with connected(postgres_server.url_of("postgres")) as admin:
        for name in names:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def structure(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, str]:
    """What a database is made of, by name. Columns have no order here: a migration can only add at the end."""
    return {row["what"]: row["how"] for row in await connection.fetch(STRUCTURE)}


async def test_two_migrators_at_once_are_harmless(make_empty: MakeEmpty) -> None:
    """One applies every step, the other waits and finds nothing to do."""
    url = await make_empty()
    async with connected(url) as one, connected(url) as two:
        applied = await asyncio.gather(migrate(one), migrate(two))
        assert sorted(applied, key=len) == [[], list(migrations())]
        assert await applied_migrations(one) == list(migrations())
        await require_current(two)


async def test_many_databases_of_one_cluster_share_the_roles(make_empty: MakeEmpty) -> None:
    """Roles belong to the cluster: two databases that are migrated at the same time do not trip over them."""
    urls = [await make_empty(), await make_empty()]
    async with connected(urls[0]) as one, connected(urls[1]) as two:
        applied = await asyncio.gather(migrate(one), migrate(two))
        assert list(applied) == [list(migrations())] * 2


async def test_an_older_program_refuses_a_newer_database(make_empty: MakeEmpty) -> None:
    """Unknown migrations are named, for migrating and for serving; nothing is changed."""
    async with connected(await make_empty()) as connection:
        await migrate(connection)
        await connection.execute("INSERT INTO schema_migrations (name) VALUES ('9999_future')")
        before = await structure(connection)
        for refuse in (migrate, require_current):
            with pytest.raises(SchemaTooNewError, match="9999_future; upgrade jobbroker"):
                await refuse(connection)
        assert await structure(connection) == before


async def test_a_database_that_was_not_migrated_is_refused(make_empty: MakeEmpty) -> None:
    """Serving an empty database says what to run."""
    async with connected(await make_empty()) as connection:
        with pytest.raises(SchemaTooOldError, match=r"0001_init.*run: jobbroker migrate"):
            await require_current(connection)


async def test_a_step_that_fails_leaves_nothing_of_itself(
    make_empty: MakeEmpty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before it stay, the failing one is neither recorded nor half applied, and can be run again."""
    steps = {**migrations(), "9000_half": "CREATE TABLE half (); SELECT 1 / 0"}
    async with connected(await make_empty()) as connection:
        with monkeypatch.context() as newer:
            newer.setattr(migrate_module, "migrations", lambda: steps)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await migrate(connection)
        assert await applied_migrations(connection) == list(migrations())
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        assert await migrate(connection) == []


async def test_schema_sql_is_what_the_migrations_make(make_empty: MakeEmpty) -> None:
    """schema/schema.sql, for readers, makes the same tables, constraints, indexes, policies, functions and rights."""
    text = (Path(schema.__file__).parent / "schema.sql").read_text("utf-8")
    async with connected(await make_empty()) as migrated, connected(await make_empty()) as read:
        await migrate(migrated)
        async with read.transaction():
            await read.execute(text)
        expected, found = await structure(migrated), await structure(read)
        different = {
            what: (expected.get(what), found.get(what))
            for what in sorted({*expected, *found})
            if expected.get(what) != found.get(what)
        }
        assert different == {}, json.dumps(different, indent=1)
        assert len(found) > 100
