"""Credentials given and taken in the database reach the running MQTT server by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from broker.access import CHECK_SECONDS, SETTLE_SECONDS
from handlers.credentials import (
    ACCESS_CHANNEL,
    issue_token,
    load_access,
    record_certificate,
    revoke,
    revoke_all,
)
from handlers.database import Pool, connect, tenant_transaction
from schema.access import AccessSnapshot
from tests.acceptance.access_server import AccessServer, serial_of, start_access_server
from tests.acceptance.mqtt_probe import Login, Probe, RefusedError
from tests.conftest import Database
from tests.helpers import eventually
from tests.servers import Choice

pytestmark = pytest.mark.local_servers

# Files are also looked at without an announcement: that is not waited for.
AT_MOST_SECONDS = CHECK_SECONDS / 2


class Reloads:
    """Counts the reloads of a server."""

    def __init__(self, access: AccessServer) -> None:
        self.count = 0
        self._access = access

    async def __call__(self) -> None:
        """Reload, and count it."""
        self.count += 1
        await self._access.server.reload()


@pytest.fixture
async def access(
    servers: Choice, pool: Pool, database: Database, tmp_path: Path
) -> AsyncIterator[AccessServer]:
    """A server whose files follow the database: as the broker runs it."""
    access = await start_access_server(servers, tmp_path)
    await access.server.start()

    async def load() -> AccessSnapshot:
        async with pool.acquire() as connection:
            return await load_access(connection)

    access.files._load = load
    access.files._reload = Reloads(access)
    listener = await connect(database.url)
    await listener.add_listener(ACCESS_CHANNEL, lambda *_: access.files.announce())
    task = asyncio.create_task(access.files.run())
    yield access
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await listener.close()
    await access.server.remove()


async def add_things(pool: Pool, *names: str) -> None:
    """Register things in the default tenant."""
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        for name in names:
            await inside.execute("INSERT INTO principals VALUES ('default', $1, 'thing')", name)
            await inside.execute(
                "INSERT INTO things (tenant_id, thing_name) VALUES ('default', $1)", name
            )


async def give_token(pool: Pool, access: AccessServer, name: str) -> Login:
    """Give a thing a token and return its login."""
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        access.tokens[name] = await issue_token(inside, "default", name)
    return access.by_token(name)


async def let_in(login: Login) -> bool:
    """Tell whether the server lets a client in."""
    try:
        async with Probe(login):
            return True
    except RefusedError:
        return False


async def kept_out(login: Login) -> bool:
    """Tell whether the server keeps a client out."""
    return not await let_in(login)


async def test_new_token_works_and_nobody_is_dropped(pool: Pool, access: AccessServer) -> None:
    """A token issued on the running server works by itself; the others stay connected."""
    await add_things(pool, "dev1", "dev2")
    first = await give_token(pool, access, "dev1")
    await eventually(lambda: let_in(first), timeout=AT_MOST_SECONDS)
    async with Probe(first) as token, Probe(access.by_certificate("dev9")) as certificate:
        second = await give_token(pool, access, "dev2")
        await eventually(lambda: let_in(second), timeout=AT_MOST_SECONDS)
        assert await token.publish("$aws/things/dev1/jobs/get")
        assert await certificate.publish("$aws/things/dev9/jobs/get")
        assert not token.dropped.is_set()
        assert not certificate.dropped.is_set()


async def test_revoked_token_is_out_at_once(pool: Pool, access: AccessServer) -> None:
    """Taking a token away closes its connections by itself, and no one else's."""
    await add_things(pool, "dev1", "dev2")
    gone, stays = [await give_token(pool, access, name) for name in ("dev1", "dev2")]
    await eventually(lambda: let_in(stays), timeout=AT_MOST_SECONDS)
    async with Probe(gone) as victim, Probe(stays) as bystander:
        async with (
            pool.acquire() as connection,
            tenant_transaction(connection, "default") as inside,
        ):
            assert await revoke(inside, "default", "dev1", kind="token") == 1
        await asyncio.wait_for(victim.dropped.wait(), AT_MOST_SECONDS)
        assert await kept_out(gone)
        assert await bystander.publish("$aws/things/dev2/jobs/get")


async def test_rotated_token_replaces_the_old_one(pool: Pool, access: AccessServer) -> None:
    """A second token of a name ends the first."""
    await add_things(pool, "dev1")
    old = await give_token(pool, access, "dev1")
    await eventually(lambda: let_in(old), timeout=AT_MOST_SECONDS)
    new = await give_token(pool, access, "dev1")
    await eventually(lambda: let_in(new), timeout=AT_MOST_SECONDS)
    assert await kept_out(old)


async def test_deleted_things_certificates_are_listed(pool: Pool, access: AccessServer) -> None:
    """Revoking all of a deleted thing reaches the list by itself, for good."""
    await add_things(pool, "dev1", "dev2")
    gone, stays = access.by_certificate("dev1"), access.by_certificate("dev2")
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        for name, login in (("dev1", gone), ("dev2", stays)):
            await record_certificate(
                inside,
                "default",
                name,
                serial=serial_of(login),
                fingerprint="00",
                not_after=access.authorities["default"].certificate.not_valid_after_utc,
            )
    assert await let_in(gone)
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        assert await revoke_all(inside, "default", ["dev1"]) == 1
        await inside.execute("DELETE FROM principals WHERE name = 'dev1'")
    await eventually(lambda: kept_out(gone), timeout=AT_MOST_SECONDS)
    await add_things(pool, "dev1")
    fresh = await give_token(pool, access, "dev1")
    await eventually(lambda: let_in(fresh), timeout=AT_MOST_SECONDS)
    assert await kept_out(gone)
    assert await let_in(stays)


async def test_many_changes_are_one_reload(pool: Pool, access: AccessServer) -> None:
    """A burst of new credentials costs the server a reload for each fifth of a second, however many they are."""
    names = [f"dev{number}" for number in range(20)]
    await add_things(pool, *names)
    reloads = access.files._reload
    assert isinstance(reloads, Reloads)
    await eventually(lambda: reloads.count, timeout=AT_MOST_SECONDS)
    loop = asyncio.get_running_loop()
    before, began = reloads.count, loop.time()
    logins = [await give_token(pool, access, name) for name in names]
    for login in logins:
        await eventually(partial(let_in, login), timeout=AT_MOST_SECONDS)
    # Each has waited for what belongs to it: on a machine that takes long to give them there may be more.
    assert reloads.count - before <= (loop.time() - began) / SETTLE_SECONDS + 1
