"""The test servers themselves: both kinds keep what the other tests rely on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker.embedded.mosquitto import find_mosquitto
from broker.embedded.ports import LOOPBACK
from broker.embedded.postgres import connected
from schema.access import mosquitto_hash
from tests.conftest import Database, StartMosquitto
from tests.helpers import eventually
from tests.ports import reserved_port
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from handlers.database import Pool

pytestmark = pytest.mark.local_servers

CONFIG = """
allow_anonymous false
password_file {directory}/passwd
persistence true
persistence_location {directory}/data/
log_dest stderr
listener PORT 127.0.0.1
"""


def _refusal(port: int, user: str, password: str) -> int:
    """Return the reason code that a connection as this user gets; 0 is success."""
    codes: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set(user, password)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: codes.append(
        reason.value
    )
    client.connect(LOOPBACK, port)
    while not codes:
        client.loop(timeout=1)
    client.disconnect()
    return codes[0]


def _password_line(user: str, password: str) -> str:
    return f"{user}:{mosquitto_hash(password, salt=b'0123456789ab')}\n"


async def test_each_test_has_a_database_of_its_own(database: Database, pool: Pool) -> None:
    """The database is migrated, the pool acts in the serving role, the login owns nothing."""
    assert await pool.fetchval("SELECT current_user") == "jobbroker_serve"
    assert await pool.fetchval("SELECT current_database()") == database.name
    async with connected(database.admin_url) as admin:
        assert await admin.fetchval("SELECT count(*) FROM schema_migrations") > 0
    async with connected(database.url) as login:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute("DROP TABLE schema_migrations")


async def test_a_postgres_of_its_own_comes_back_with_its_data(
    own_postgres: tuple[PostgresServer, Database],
) -> None:
    """A test may stop its PostgreSQL and start it again under the same address."""
    server, database = own_postgres
    async with connected(database.admin_url) as admin:
        await admin.execute("CREATE TABLE kept AS SELECT 1 AS number")
        await server.stop()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await admin.fetchval("SELECT 1")
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(database.admin_url)
    await server.start()
    async with connected(database.admin_url) as admin:
        assert await admin.fetchval("SELECT number FROM kept") == 1


async def test_mosquitto_reloads_restarts_and_comes_back_from_a_kill(
    mosquitto_server: StartMosquitto,
) -> None:
    """A user added to the file may connect after a reload; ports stay over restart and kill."""
    port = reserved_port()
    config = CONFIG.replace("PORT", str(port))
    server = await mosquitto_server(config, {"passwd": _password_line("ann", "first")})
    assert await asyncio.to_thread(_refusal, port, "ann", "first") == 0
    assert await asyncio.to_thread(_refusal, port, "ben", "second") == 135
    server.config.with_name("passwd").write_text(_password_line("ben", "second"))
    await server.reload()

    async def ben_may_enter() -> bool:
        return await asyncio.to_thread(_refusal, port, "ben", "second") == 0

    await eventually(ben_may_enter)
    await server.stop()
    await server.start()
    assert await ben_may_enter()
    await server.kill()
    await server.start()
    assert await ben_may_enter()


def test_the_machines_mosquitto_is_new_enough() -> None:
    """A Mosquitto that can mount listeners is found."""
    assert find_mosquitto().version >= (2, 0, 12)
