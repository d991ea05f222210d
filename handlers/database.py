"""The way to PostgreSQL: the pool, one tenant's transaction, and driver errors translated once.

Statements on a device's way take sets as text[] alone and cast them: before a connection first sends an array of any
other type, the driver looks the type up in the catalog, which takes tens of milliseconds of somebody's request.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:  # only the stubs are generic
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

SERVING_ROLE = "jobbroker_serve"
_ROLLBACK_SECONDS = 5.0
_TENANT = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# What heals by itself: the transaction is run again, or the connection made again.
TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # a full disk, too: nothing is acknowledged until there is room again
    asyncpg.ReadOnlySQLTransactionError,  # a failover under way, or a database stopped from growing
    asyncpg.InvalidCachedStatementError,  # a migration beside us
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a query on a connection whose server has said goodbye and not yet hung up
    asyncpg.QueryCanceledError,
    ConnectionError,
    TimeoutError,
    OSError,
)


async def _act_as_serving_role(connection: Connection) -> None:
    # Even a superuser's login is held to row-level security: current_user decides, and nothing resets it.
    # A plan made while a table was small reads or sorts all of it, and sessions and foreign keys keep their plans:
    # seconds for a statement once there are a million executions. Ours find their rows in an index, and in its order.
    # Where a statement has no other plan, it seems so dear that PostgreSQL would compile it: 100 ms for nothing.
    # And planned anew for each execution, a request alone waits a millisecond for plans that are the same each time.
    await connection.execute(
        f"SET ROLE {SERVING_ROLE};"
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off;"
        "SET plan_cache_mode = force_generic_plan"
    )


async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """One connection outside the pool (for LISTEN and for session locks), acting as the serving role."""
    connection = await asyncpg.connect(url)
    try:
        await _act_as_serving_role(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def create_pool(url: str, *, size: int = 10, statement_seconds: float = 60) -> Pool:
    """A pool of at most `size` connections that act as the serving role, whatever login the URL names.

    A statement that has no answer after `statement_seconds` raises TimeoutError: a server that fell silent would
    otherwise be waited for as long as TCP does, a quarter of an hour. Raises asyncpg's and the operating system's
    errors when the server cannot be reached or refuses.
    """
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=statement_seconds,
        init=_act_as_serving_role,
        # RESET ALL of the default reset would be a round trip per checkout; SET LOCAL leaves nothing behind.
        reset=_nothing_to_reset,
        server_settings={"application_name": "jobbroker"},
    )
    return pool


async def _nothing_to_reset(_connection: Connection) -> None:
    return None


@asynccontextmanager
async def tenant_transaction(
    connection: Connection, tenant_id: str, *, durable: bool = True
) -> AsyncIterator[Connection]:
    """A transaction that sees and writes one tenant's rows only (architecture law 6; seed 004's policy).

    Commits on leaving, rolls back on an exception. durable: waits until the commit is on disk; else a crash of the
    server (not of ours) may undo the last ones of these, whole. Raises ValueError for something that cannot be a
    tenant's id.
    """
    if _TENANT.fullmatch(tenant_id) is None:
        msg = f"tenant_id {tenant_id[:80]!r} is not 1 to 64 of a-z A-Z 0-9 _ -"
        raise ValueError(msg)
    try:
        # One round trip for all; the pattern above is what makes the quoting safe.
        await connection.execute(
            f"BEGIN; SET LOCAL app.tenant_id = '{tenant_id}'"
            + ("" if durable else "; SET LOCAL synchronous_commit = off")
        )
        yield connection
        await connection.execute("COMMIT")
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: Connection) -> None:
    """Never raises but for being cancelled: why the transaction ended is what the caller must hear."""
    # A pool has taken back a connection that was lost; asking it anything is an error then.
    with suppress(asyncpg.InterfaceError):
        if connection.is_closed():
            return
        # Bounded, also while asyncpg still cancels the statement before: who is being stopped must not wait for a
        # server that is silent. Not by asyncio.timeout: before Python 3.11.3 it does not end a task that was cancelled.
        asked = asyncio.ensure_future(connection.execute("ROLLBACK"))
        try:
            await asyncio.wait({asked}, timeout=_ROLLBACK_SECONDS)
        finally:
            if not _is_done(asked):
                asked.cancel()
                connection.terminate()  # never again from the pool, whatever state it is in


def _is_done(asked: asyncio.Future[str]) -> bool:
    """Whether it was answered. Raises what is no failure of the database's."""
    if not asked.done():
        return False
    try:
        asked.result()
    except TRANSIENT:
        return False
    return True
