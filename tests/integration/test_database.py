"""Which of the database's refusals are waited out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from broker.embedded.ports import LOOPBACK
from broker.slots import Slot
from handlers.database import TRANSIENT, Connection, create_pool, tenant_transaction
from tests.chaos.proxy import Proxy
from tests.conftest import Database
from tests.factories import add_things
from tests.helpers import eventually


async def test_a_database_that_takes_no_writes_for_now_is_waited_for(database: Database) -> None:
    """After a failover writes are refused for a while; that must neither end the process nor answer a device."""
    admin = await asyncpg.connect(database.admin_url)
    await admin.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on')
    await admin.close()
    pool = await create_pool(database.url)
    with pytest.raises(TRANSIENT, match="read-only"):
        await add_things(pool, "t1")
    await pool.close()


async def test_a_statement_of_before_a_migration_is_run_again(database: Database) -> None:
    """A migration beside us changes what a prepared statement returns: the next try prepares it anew."""
    admin = await asyncpg.connect(database.admin_url)
    pool = await create_pool(database.url, size=1)
    read = "SELECT * FROM leases"
    async with pool.acquire() as connection:
        await connection.fetch(read)
        await admin.execute("ALTER TABLE leases ADD COLUMN more text")
        with pytest.raises(TRANSIENT):
            async with tenant_transaction(connection, "default"):
                await connection.fetch(read)
        async with tenant_transaction(connection, "default"):
            assert await connection.fetch(read) == []
    await pool.close()
    await admin.close()


async def test_a_lost_connection_does_not_hide_why_the_transaction_ended(
    database: Database,
) -> None:
    """A task that is told to stop while its connection is being lost does stop: nothing takes that error's place."""
    admin = await asyncpg.connect(database.admin_url)
    pool = await create_pool(database.url, size=1)

    async def lose_it_and_be_told_to_stop() -> None:
        async with pool.acquire() as connection, tenant_transaction(connection, "default"):
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
            await eventually(lambda: _is_taken_back(connection))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await lose_it_and_be_told_to_stop()
    await pool.close()
    await admin.close()


def _is_taken_back(connection: Connection) -> bool:
    """Whether the pool has taken it back, as it does when it is lost: asking it anything is an error then."""
    try:
        connection.is_closed()
    except asyncpg.InterfaceError:
        return True
    return False


@asynccontextmanager
async def _silenced(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The database behind a line that goes dead, without a word, when it is told to stall; and its URL there."""
    parts = urlsplit(url)
    assert parts.port
    proxy = Proxy("database", 0, parts.port)
    await proxy.open()
    try:
        login = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{login}@{LOOPBACK}:{proxy.port}")), proxy
    finally:
        await proxy.close()


async def test_a_server_that_fell_silent_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead line is noticed by the statement that has no answer, and is then a failure that heals."""
    monkeypatch.setattr("handlers.database._ROLLBACK_SECONDS", 0.2)
    async with _silenced(database.url) as (url, line):
        pool = await create_pool(url, size=1, statement_seconds=2)
        await add_things(pool, "t1")
        line.stall()
        with pytest.raises(TRANSIENT):
            await asyncio.wait_for(add_things(pool, "t2"), 60)
        pool.terminate()


async def test_a_transaction_can_be_stopped_when_the_server_fell_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that shall end does so, whatever its transactions wait for."""
    monkeypatch.setattr("handlers.database._ROLLBACK_SECONDS", 0.2)
    async with _silenced(database.url) as (url, line):
        pool = await create_pool(url, size=1)
        await add_things(pool, "t1")
        line.stall()
        waiting = asyncio.create_task(add_things(pool, "t2"))
        await eventually(lambda: pool.get_idle_size() == 0)  # it has a connection, and asks
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=60)
        assert waiting.cancelled()
        pool.terminate()


async def test_a_process_says_goodbye_to_a_silent_server_no_longer_than_it_may(
    database: Database,
) -> None:
    """The slot's own connection waits for answers without a bound: whoever stops ends that wait."""
    async with _silenced(database.url) as (url, line), await Slot.take(url, alone=False) as slot:
        line.stall()
        leaving = asyncio.create_task(asyncio.wait_for(slot.leave(), 0.2))
        await asyncio.wait({leaving}, timeout=30)
        assert leaving.done()
        assert isinstance(leaving.exception(), TimeoutError)
