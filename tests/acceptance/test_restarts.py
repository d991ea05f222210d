"""Servers that go away under load and brokers that die beside each other: nothing answered is lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded.postgres import connected
from broker.hooks import Place
from handlers.database import Pool
from tests.acceptance.devices import devices
from tests.acceptance.serving import Site, site
from tests.acceptance.working import JOBS, THINGS, all_is_well, loaded, nothing_waits, prepare
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import PATIENCE, eventually
from tests.servers import PostgresServer


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto and a database, and no broker yet."""
    async with site(mosquitto_server, database, tmp_path) as made:
        yield made


@pytest.mark.parametrize("how", ["in order", "as by a power cut", "with all it knew"])
async def test_mosquitto_restarted_under_load(here: Site, how: str) -> None:
    """Mosquitto ends and comes back, with its sessions or without: the broker does as well, and tells again."""
    await prepare(here.database)
    broker = await here.start()
    async with devices(here.device_port, retry_seconds=1) as fleet:
        async with loaded(fleet) as load:
            await load.busy()
            await (here.mosquitto.stop() if how == "in order" else here.mosquitto.kill())
            if how == "with all it knew":
                shutil.rmtree(here.mosquitto.config.parent / "data")
            await here.mosquitto.start()
            await load.busy()
        await all_is_well(here.database, fleet, load)
    assert broker.exit_code is None


async def test_what_a_crashed_mosquitto_forgot_is_told_again(here: Site, pool: Pool) -> None:
    """A Mosquitto that comes back with its sessions and without their last messages: things are told again."""
    broker = await here.start()
    await add_things(pool, "sleeper")
    async with devices(here.device_port, client_id="sleeper"):
        pass
    await here.mosquitto.stop()  # saves the sessions
    await here.mosquitto.start()
    await eventually(lambda: len(broker.lines("mqtt_connected")) == 2)
    await add_job(pool, "j1", ["sleeper"])
    await eventually(lambda: nothing_waits(here.database))
    await here.mosquitto.kill()
    await here.mosquitto.start()
    await eventually(lambda: len(broker.lines("mqtt_connected")) == 3)

    async with devices(here.device_port, client_id="sleeper") as sleeper:
        await sleeper.hears_of("sleeper", "j1")
    assert broker.lines("mqtt_connected")[-1]["session_present"]


@pytest.mark.parametrize("plain", [False, True], ids=["mounted", "plain with a standby"])
async def test_postgres_restarted_under_load(
    mosquitto_server: StartMosquitto,
    own_postgres: tuple[PostgresServer, Database],
    tmp_path: Path,
    plain: bool,
) -> None:
    """PostgreSQL ends and comes back: the same processes go on with the same slots, and lose nothing."""
    postgres, database = own_postgres
    await prepare(database)
    async with site(mosquitto_server, database, tmp_path, plain=plain) as here:
        brokers = [await here.start()]
        if plain:
            brokers.append(await here.launch())
            await eventually(lambda: brokers[1].lines("standing_by"))
        async with devices(here.device_port, retry_seconds=1) as fleet:
            async with loaded(fleet) as load:
                await load.busy()
                await postgres.stop()
                await postgres.start()
                await load.busy()
                await eventually(lambda: len(brokers[0].lines("slot_held_again")) == 1)
                await postgres.stop()
                await eventually(lambda: len(brokers[0].lines("slot_connection_lost")) == 2)
                await postgres.start()
                await load.busy()
            await all_is_well(database, fleet, load)
            assert [broker.exit_code for broker in brokers] == [None] * len(brokers)
            await eventually(lambda: len(brokers[0].lines("slot_held_again")) == 2)
        if plain:
            assert not brokers[1].lines("serving")
        for broker in reversed(brokers):
            assert await broker.stop() == 0


async def test_the_database_is_away_while_the_broker_is_told_to_stop(
    mosquitto_server: StartMosquitto,
    own_postgres: tuple[PostgresServer, Database],
    tmp_path: Path,
) -> None:
    """SIGTERM with requests that cannot be decided: the process ends, and another answers them later."""
    postgres, database = own_postgres
    await prepare(database)
    async with site(mosquitto_server, database, tmp_path) as here:
        broker = await here.start()
        async with devices(here.device_port, retry_seconds=60) as fleet:
            await postgres.stop()
            asking = asyncio.create_task(fleet.accepted(f"$aws/things/{THINGS[0]}/jobs/start-next"))
            await eventually(lambda: broker.lines("database_waits"))
            assert await broker.stop() == 0
            await postgres.start()
            await here.start()
            assert (await asking)["execution"]["jobId"] == JOBS[0]


async def test_two_share_the_work_and_one_is_killed(here: Site) -> None:
    """What a killed process's session collects is answered by the other; then all requests come to the other."""
    await prepare(here.database)
    first, second = await here.start(), await here.start()
    async with devices(here.device_port, retry_seconds=60) as fleet:
        async with loaded(fleet) as load:
            await load.busy()
            await second.kill()
            # Half of what is asked now goes to nobody: all devices get stuck, until the first takes it over.
            await eventually(lambda: first.lines("taken_over"))
            await load.busy()
        await all_is_well(here.database, fleet, load)
        assert not fleet.retries
    assert [line["slot"] for line in first.lines("taken_over")] == [1]
    assert await _slots(here.database) == ["slot-00"]


async def test_a_killed_process_leaves_what_it_wrote(here: Site, pool: Pool) -> None:
    """Killed after the commit: the other process answers its requests, once, and tells what its outbox rows say."""
    await prepare(here.database)
    first = await here.start()
    second = await here.launch(pause_at=Place.BEFORE_PUBLISH)
    await second.ready()
    async with devices(here.device_port, retry_seconds=60) as fleet:
        done = {"status": "SUCCEEDED", "includeJobExecutionState": True}
        asking = [
            asyncio.create_task(fleet.accepted(f"$aws/things/{name}/jobs/j1/update", done))
            for name in THINGS
        ]
        await here.paused()
        await second.kill()

        for body in await asyncio.gather(*asking):
            assert body["executionState"] == {"status": "SUCCEEDED", "versionNumber": 2}
        for name in THINGS:
            await fleet.hears_of(name, "j2")
        assert await counts_equal_rows(pool)
        await eventually(lambda: nothing_waits(here.database))
        await eventually(lambda: first.lines("taken_over"))


async def test_one_of_two_stops_in_order(here: Site) -> None:
    """SIGTERM of one of two: it answers what it has and ends its session; no request has to be sent again."""
    await prepare(here.database)
    first, second = await here.start(), await here.start()
    async with devices(here.device_port, retry_seconds=60) as fleet:
        async with loaded(fleet) as load:
            await load.busy()
            assert await second.stop() == 0
            assert await _slots(here.database) == ["slot-00"]
            await load.busy()
        await all_is_well(here.database, fleet, load)
        assert not fleet.retries
    assert not first.lines("taking_over")


async def test_both_stop_at_once(here: Site, pool: Pool) -> None:
    """SIGTERM of both: one session stays and collects, and the next process answers what came meanwhile."""
    await add_things(pool, "t1")
    brokers = [await here.start(), await here.start()]
    assert await asyncio.gather(*(broker.stop() for broker in brokers)) == [0, 0]
    async with devices(here.device_port, retry_seconds=60) as fleet:
        asking = asyncio.create_task(fleet.accepted("$aws/things/t1/jobs/get"))
        assert await fleet.link.drain(PATIENCE)
        await here.start()

        assert (await asking)["queuedJobs"] == []


async def test_plain_topics_have_one_process_and_a_standby(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """With plain topics the second process waits; it takes over at a kill, requests sent in between included."""
    await add_things(pool, "t1")
    async with site(mosquitto_server, database, tmp_path, plain=True) as here:
        first = await here.start()
        second, third = await here.launch(), await here.launch()
        await eventually(lambda: second.lines("standing_by"))
        await eventually(lambda: third.lines("standing_by"))
        assert await third.stop() == 0  # waiting is no reason not to stop
        await add_job(pool, "j1", ["t1"])
        async with devices(here.device_port, retry_seconds=60) as fleet:
            await fleet.accepted("$aws/things/t1/jobs/get")
            assert not second.lines("serving")
            await first.kill()
            assert (await fleet.accepted("$aws/things/t1/jobs/start-next"))["execution"][
                "versionNumber"
            ] == 2
            assert second.lines("serving")


async def _slots(database: Database) -> list[str]:
    async with connected(database.admin_url) as admin:
        rows = await admin.fetch("SELECT name FROM leases WHERE name LIKE 'slot-%' ORDER BY name")
    return [row["name"] for row in rows]
