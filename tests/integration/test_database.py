"""Which of the database's refusals are waited out."""

from __future__ import annotations

import asyncpg
import pytest

from handlers.database import TRANSIENT, create_pool, tenant_transaction
from tests.conftest import Database
from tests.factories import add_things


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
