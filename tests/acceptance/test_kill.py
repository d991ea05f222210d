"""kill -9 of the broker at the three places where it could lose or double something (architecture, laws 3 and 4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.hooks import Place
from handlers.database import Pool
from tests.acceptance.devices import Devices, devices
from tests.acceptance.serving import Site, site
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_operator, add_things, counts_equal_rows
from tests.helpers import PATIENCE, eventually

THINGS = ("hasty", "careful", "starter", "returning")
OUTSTANDING = 20  # as many as paho-mqtt sends at once


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto and a database, and no broker yet."""
    async with site(mosquitto_server, database, tmp_path) as made:
        yield made


async def _prepare(here: Site, pool: Pool, fleet: Devices) -> None:
    """Four things with jobs j1 and j2, which they were told of; `returning` has done j1 already."""
    broker = await here.start()
    await add_things(pool, *THINGS)
    await add_job(pool, "j1", THINGS)
    await add_job(pool, "j2", THINGS)
    await eventually(lambda: all(fleet.times_told[thing] >= 1 for thing in THINGS))
    # Without a clientToken, so that the same bytes come again below.
    fleet.send("$aws/things/returning/jobs/start-next")
    await eventually(lambda: fleet.topics("things/returning/jobs/start-next/accepted"))
    await fleet.accepted("$aws/things/returning/jobs/j1/update", {"status": "SUCCEEDED"})
    await eventually(lambda: fleet.next_told["returning"].get("jobId") == "j2")
    assert await broker.stop() == 0


def _say_everything(fleet: Devices) -> None:
    for step in range(OUTSTANDING):
        progress = {"status": "IN_PROGRESS", "statusDetails": {"step": str(step)}}
        fleet.send("$aws/things/hasty/jobs/j1/update", progress)
    fleet.send("$aws/things/hasty/jobs/j1/update", {"status": "SUCCEEDED"})
    careful = {
        "status": "SUCCEEDED",
        "expectedVersion": "1",
        "clientToken": "careful-1",
        "includeJobExecutionState": True,
    }
    fleet.send("$aws/things/careful/jobs/j1/update", careful)
    fleet.send("$aws/things/starter/jobs/start-next", {"statusDetails": {"boot": "1"}})
    fleet.send("$aws/things/returning/jobs/start-next")


async def _rows(admin: asyncpg.Connection) -> dict[tuple[str, str], tuple[str, int]]:
    found = await admin.fetch("SELECT thing_name, job_id, status, version_number FROM executions")
    return {
        (row["thing_name"], row["job_id"]): (row["status"], row["version_number"]) for row in found
    }


@pytest.mark.parametrize("place", list(Place))
async def test_devices_are_answered_and_no_version_is_spent_twice(
    here: Site, pool: Pool, admin: asyncpg.Connection, place: Place
) -> None:
    """Requests outstanding at kill -9, with and without clientTokens: each is answered, applied once, and told."""
    async with devices(here.device_port) as fleet:
        await _prepare(here, pool, fleet)
        before = len(fleet.heard)
        _say_everything(fleet)
        assert await fleet.link.drain(PATIENCE)
        broker = await here.launch(pause_at=place)
        await here.paused()
        await broker.kill()
        await here.start()

        def answered() -> list[Any]:
            since = [one.topic for one in fleet.heard[before:]]
            assert since.count("$aws/things/hasty/jobs/j1/update/accepted") >= OUTSTANDING + 1
            assert "$aws/things/careful/jobs/j1/update/accepted" in since
            assert "$aws/things/starter/jobs/start-next/accepted" in since
            assert "$aws/things/returning/jobs/start-next/accepted" in since
            return since

        await eventually(answered)
        assert not fleet.topics("/rejected")
        assert {
            (one.body["executionState"]["status"], one.body["executionState"]["versionNumber"])
            for one in fleet.answers("careful-1")
        } == {("SUCCEEDED", 2)}
        assert {
            one.body["execution"]["jobId"]
            for one in fleet.heard[before:]
            if one.topic == "$aws/things/returning/jobs/start-next/accepted"
        } == {"j2"}
        assert await _rows(admin) == {
            ("hasty", "j1"): ("SUCCEEDED", OUTSTANDING + 2),
            ("hasty", "j2"): ("QUEUED", 1),
            ("careful", "j1"): ("SUCCEEDED", 2),
            ("careful", "j2"): ("QUEUED", 1),
            ("starter", "j1"): ("IN_PROGRESS", 2),
            ("starter", "j2"): ("QUEUED", 1),
            ("returning", "j1"): ("SUCCEEDED", 3),
            ("returning", "j2"): ("IN_PROGRESS", 2),
        }
        for thing in ("hasty", "careful"):
            await fleet.hears_of(thing, "j2")
            assert (await fleet.next_of(thing))["jobId"] == "j2"
        assert await counts_equal_rows(pool)
        await eventually(lambda: _outbox_is_empty(admin))


async def _outbox_is_empty(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("SELECT count(*) = 0 FROM outbox"))


def _create(things: tuple[str, ...], **more: str) -> dict[str, object]:
    arns = [f"arn:aws:iot:us-east-1:000000000000:thing/{name}" for name in things]
    return {"targets": arns, "document": '{"operation":"reboot"}', **more}


def _command(fleet: Devices) -> None:
    topic = "operators/ann/jobs/create"
    fleet.send(topic, _create(THINGS, jobId="named"))
    fleet.send(topic, _create(THINGS, jobId="tokened", clientToken="c1"))
    fleet.send(topic, _create(THINGS, clientToken="c2"))


async def _created_once(pool: Pool, fleet: Devices, admin: asyncpg.Connection) -> None:
    def answered() -> bool:
        accepted = fleet.topics("operators/ann/jobs/create/accepted")
        assert len({one.body["jobId"] for one in accepted}) == 3
        return {"c1", "c2"} <= {one.body.get("clientToken") for one in accepted}

    await eventually(answered)
    assert not fleet.topics("/rejected")
    assert await admin.fetchval("SELECT count(*) FROM jobs") == 3
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE action = 'jobs/create'") == 3

    async def rolled_out() -> bool:
        rows = await admin.fetch("SELECT count(*) AS n FROM executions GROUP BY job_id")
        return [row["n"] for row in rows] == [len(THINGS)] * 3

    await eventually(rolled_out)
    for thing in THINGS:
        await fleet.hears_of(thing, (await fleet.next_of(thing))["jobId"])
    assert await counts_equal_rows(pool)
    await eventually(lambda: _outbox_is_empty(admin))


@pytest.mark.parametrize("place", [Place.BEFORE_PUBLISH, Place.BEFORE_ACKNOWLEDGE])
async def test_an_operators_jobs_are_created_once(
    here: Site, pool: Pool, admin: asyncpg.Connection, place: Place
) -> None:
    """A create that was committed and not yet answered, or not yet acknowledged, is answered after the restart."""
    await add_things(pool, *THINGS)
    await add_operator(pool, "ann", "manager")
    async with devices(here.device_port) as fleet:
        await (await here.start()).stop()  # from now on its session collects
        _command(fleet)
        assert await fleet.link.drain(PATIENCE)
        broker = await here.launch(pause_at=place)
        await here.paused()
        await broker.kill()
        await here.start()

        await _created_once(pool, fleet, admin)


async def test_an_operators_create_killed_before_commit(
    here: Site, pool: Pool, admin: asyncpg.Connection, database: Database
) -> None:
    """A create whose transaction was open at kill -9 left nothing, and is carried out after the restart."""
    await add_things(pool, *THINGS)
    await add_operator(pool, "ann", "manager")
    async with devices(here.device_port) as fleet:
        broker = await here.start()
        holder = await asyncpg.connect(database.admin_url)
        try:
            await holder.execute("BEGIN; LOCK TABLE job_counts IN SHARE MODE")
            _command(fleet)
            await eventually(lambda: _somebody_waits_for(admin, "job_counts"))
            await broker.kill()
        finally:
            await holder.close()
        await here.start()

        await _created_once(pool, fleet, admin)


async def _somebody_waits_for(admin: asyncpg.Connection, table: str) -> bool:
    found = await admin.fetchval(
        "SELECT count(*) FROM pg_locks WHERE relation = $1::regclass AND NOT granted", table
    )
    return bool(found)


async def test_killed_in_the_middle_of_a_rollout(
    here: Site, pool: Pool, admin: asyncpg.Connection
) -> None:
    """A job for 6,000 things, the broker killed when some have it: all get it, once, and are told."""
    names = [f"fleet-{number:04d}" for number in range(6000)]
    await add_things(pool, *names)
    await add_operator(pool, "ann", "manager")
    async with devices(here.device_port) as fleet:
        broker = await here.start()
        create = {"target_all": True, "document_type": "reboot", "document_params": {}}
        await fleet.accepted("operators/ann/jobs/create", create)
        await eventually(lambda: fleet.next_told)
        await broker.kill()
        await here.start()

        async def everybody() -> bool:
            found: int = await admin.fetchval("SELECT count(*) FROM executions")
            return found == len(names)

        await eventually(everybody)
        await eventually(lambda: len(fleet.next_told) == len(names))
        assert {one["versionNumber"] for one in fleet.next_told.values()} == {1}
        assert await counts_equal_rows(pool)
        await eventually(lambda: _outbox_is_empty(admin))


async def test_stopped_in_order_everything_taken_is_answered(here: Site, pool: Pool) -> None:
    """SIGTERM among requests: the process ends with 0, and what it did not take is answered by the next one."""
    names = [f"t{number}" for number in range(50)]
    await add_things(pool, *names)
    async with devices(here.device_port, retry_seconds=60) as fleet:
        broker = await here.start()
        await add_job(pool, "j1", names)
        asking = [
            asyncio.create_task(fleet.ask(f"$aws/things/{name}/jobs/start-next", {}))
            for name in names
            for _ in range(10)
        ]
        assert await broker.stop() == 0
        await here.start()

        assert all(answer.accepted for answer in await asyncio.gather(*asking))
        assert not fleet.retries
