"""Live events on a real Mosquitto: made for whoever listens, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from handlers.database import Pool
from tests.acceptance.devices import Devices, devices
from tests.acceptance.mqtt_probe import Login, Probe
from tests.acceptance.serving import Site, site
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_things
from tests.helpers import eventually

UPDATES = 40
TOPIC = "$aws/events/jobExecution/j1/progress"


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto, a database and a broker."""
    async with site(mosquitto_server, database, tmp_path) as made:
        await made.start()
        yield made


async def _progress(fleet: Devices) -> int:
    """Report progress; returns the version that this made."""
    body = {"status": "IN_PROGRESS", "includeJobExecutionState": True}
    answer = await fleet.accepted("$aws/things/t1/jobs/j1/update", body)
    version: int = answer["executionState"]["versionNumber"]
    return version


async def test_progress_is_told_to_whoever_listens_and_costs_nothing_otherwise(
    here: Site, pool: Pool, admin: asyncpg.Connection
) -> None:
    """Unheard progress leaves no outbox rows; after somebody has subscribed, all of it is told, in versions."""
    await add_things(pool, "t1")
    await add_job(pool, "j1", ["t1"])

    async def rows_so_far() -> int:
        return int(await admin.fetchval("SELECT last_value FROM outbox_outbox_id_seq"))

    def heard(listener: Probe) -> list[int]:
        while not listener.received.empty():
            versions.append(json.loads(listener.received.get_nowait()[1])["versionNumber"])
        return versions

    versions: list[int] = []
    async with devices(here.device_port) as fleet:
        await fleet.accepted("$aws/things/t1/jobs/start-next")
        await _progress(fleet)
        before = await rows_so_far()
        for _ in range(UPDATES):
            await _progress(fleet)
        assert await rows_so_far() - before < UPDATES

        async with Probe(Login(here.device_port)) as listener:
            await listener.subscribe(TOPIC)
            while not heard(listener):
                await _progress(fleet)
            sent = [await _progress(fleet) for _ in range(UPDATES)]
            await eventually(lambda: set(sent) <= set(heard(listener)))
