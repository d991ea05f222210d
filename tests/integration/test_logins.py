"""The login that serves, what `check` sees of it, and many things registered at once."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import asyncpg
import pytest

from handlers.audit import latest
from handlers.credentials import verify_token
from handlers.database import Pool, connect, tenant_transaction
from handlers.inspection import describe_session, unprotected_tables, visible_tenants
from handlers.logins import ensure_serving_login
from handlers.registration import CHUNK, register_things
from schema.errors import Rejected
from tests.conftest import Database


def as_login(database: Database, name: str, password: str) -> str:
    """The database's address for another login."""
    where = urlsplit(database.admin_url)
    return where._replace(netloc=f"{name}:{password}@{where.hostname}:{where.port}").geturl()


async def test_a_serving_login_is_made_with_no_right_of_its_own(
    database: Database, admin: asyncpg.Connection
) -> None:
    """It can act as the serving role; by itself it sees no table."""
    name, password = f"login_{uuid.uuid4().hex[:8]}", 'it\'s "quoted" \\ %s'
    assert await ensure_serving_login(admin, name, password)
    try:
        connection = await connect(as_login(database, name, "it%27s%20%22quoted%22%20%5C%20%25s"))
        seen = await describe_session(connection)
        assert (seen.login, seen.role) == (name, "jobbroker_serve")
        assert not any((seen.superuser, seen.bypasses, seen.strong_login, seen.owned))
        await connection.close()
    finally:
        await admin.execute(f'DROP ROLE "{name}"')


async def test_a_password_stays_unless_it_is_renewed(
    database: Database, admin: asyncpg.Connection
) -> None:
    """`migrate` run again with another password does not lock the running ones out."""
    name = f"login_{uuid.uuid4().hex[:8]}"
    await ensure_serving_login(admin, name, "first")
    try:
        assert not await ensure_serving_login(admin, name, "second")
        await (await connect(as_login(database, name, "first"))).close()
        assert not await ensure_serving_login(admin, name, "third", renew=True)
        await (await connect(as_login(database, name, "third"))).close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(as_login(database, name, "first"))
    finally:
        await admin.execute(f'DROP ROLE "{name}"')


async def test_a_table_without_its_wall_is_found(pool: Pool, admin: asyncpg.Connection) -> None:
    """Not forced, not enabled, without a policy: each is named; as migrated, none is."""
    async with pool.acquire() as connection:
        assert await unprotected_tables(connection) == []
        assert await visible_tenants(connection) == 0
        await admin.execute("ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY")
        await admin.execute("ALTER TABLE things DISABLE ROW LEVEL SECURITY")
        await admin.execute("DROP POLICY outbox_tenant_isolation ON outbox")
        await admin.execute("DROP POLICY outbox_sweep ON outbox")
        assert await unprotected_tables(connection) == ["jobs", "outbox", "things"]


async def test_many_things_are_registered_each_with_a_token(pool: Pool) -> None:
    """More than a chunk of them, the tokens good, the old ones not, an audit line for each chunk."""
    names = [f"many-{number}" for number in range(CHUNK + 3)]
    who = ("cli:tester", "owner")
    before = await register_things(pool, "default", names[-2:], who=who)
    tokens = await register_things(pool, "default", names, who=who)
    assert sorted(tokens) == sorted(names)
    last = names[-1]
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        assert await verify_token(connection, "default", last, tokens[last])
        assert not await verify_token(connection, "default", last, before[last])
        lines = await latest(connection, "default")
    assert [line.details["things"] for line in lines] == [3, CHUNK, 2]
    assert [line.details["created"] for line in lines] == [1, CHUNK, 2]
    assert {line.actor for line in lines} == {"cli:tester"}


async def test_an_operators_name_is_no_things(pool: Pool, admin: asyncpg.Connection) -> None:
    """The refusal names it, and nothing of its chunk is registered."""
    await admin.execute("INSERT INTO principals VALUES ('default', 'ann', 'operator')")
    with pytest.raises(Rejected, match="ann"):
        await register_things(pool, "default", ["aaa", "ann"], who=("cli:tester", "owner"))
    assert await admin.fetchval("SELECT count(*) FROM things") == 0
