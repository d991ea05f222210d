"""Malformed requests by the thousand: each is answered or logged, and nobody else has to wait for it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from handlers.database import Pool
from tests.acceptance.abuse import Abuse, Abuser, kinds, send_too_large
from tests.acceptance.devices import Devices, devices
from tests.acceptance.serving import BrokerProcess, Site, site
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import eventually

EACH = 100
THINGS = 5
FLOOD = 5000
_MEGABYTE = 1024 * 1024


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto and a database, and no broker yet."""
    async with site(mosquitto_server, database, tmp_path) as made:
        yield made


async def _megabytes(process: BrokerProcess) -> float:
    ps = await asyncio.create_subprocess_exec(
        "ps", "-o", "rss=", "-p", str(process.pid), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await ps.communicate()
    return int(out) * 1024 / _MEGABYTE


async def _work(fleet: Devices, stop: asyncio.Event) -> list[float]:
    """A well-behaved device: one request after the other; returns how long each took, in seconds."""
    took = []
    while not stop.is_set():
        began = time.perf_counter()
        await fleet.accepted(
            "$aws/things/good/jobs/j1/update",
            {"status": "IN_PROGRESS", "statusDetails": {"n": "1"}},
        )
        took.append(time.perf_counter() - began)
    return took


def _answers(fleet: Devices) -> Counter[str]:
    """How often each request topic was answered, the good device left out."""
    topics = (one.topic for one in fleet.heard if "/good/" not in one.topic)
    return Counter(
        topic.rsplit("/", 1)[0] for topic in topics if topic.endswith(("/accepted", "/rejected"))
    )


async def _prepare(pool: Pool) -> None:
    names = [f"abused-{number}" for number in range(THINGS)]
    await add_things(pool, "good", *names)
    await add_job(pool, "j1", ["good", *names])


def _all(make: Callable[[int], Abuse]) -> list[Abuse]:
    return [make(number) for number in range(EACH)]


async def test_two_thousand_malformed_requests_of_twenty_kinds(
    here: Site, pool: Pool, request: pytest.FixtureRequest
) -> None:
    """Each is answered once; the process lives and keeps its memory; a well-behaved device goes on meanwhile."""
    await _prepare(pool)
    broker = await here.start()
    messages = [one for make in kinds(THINGS).values() for one in _all(make)]
    assert (len(kinds(THINGS)), len(messages)) == (20, 2000)
    async with devices(here.device_port) as fleet, Abuser(here.device_port) as abuser:
        before = await _megabytes(broker)
        stop = asyncio.Event()
        good = asyncio.create_task(_work(fleet, stop))
        await abuser.send(iter(messages))

        expected = Counter(one.topic for one in messages)

        def all_answered() -> bool:
            missing = expected - _answers(fleet)
            assert not missing, missing.most_common(5)
            return True

        await eventually(all_answered)
        stop.set()
        took = await good
        assert _answers(fleet) == expected
        after = await _megabytes(broker)
    request.node.user_properties.append(("good_device_median_ms", statistics.median(took) * 1000))
    request.node.user_properties.append(("good_device_slowest_ms", max(took) * 1000))
    request.node.user_properties.append(("megabytes", f"{before:.0f} -> {after:.0f}"))
    assert broker.exit_code is None
    assert after - before < 150
    assert not broker.lines("request_failed")
    assert not broker.lines("batch_failed")
    assert not broker.lines("command_failed")
    assert await counts_equal_rows(pool)


async def test_each_kind_alone_stops_nobody(here: Site, pool: Pool) -> None:
    """After a message of each kind, whichever it is, the next good request is answered."""
    await _prepare(pool)
    broker = await here.start()
    async with devices(here.device_port) as fleet, Abuser(here.device_port) as abuser:
        for make in kinds(THINGS).values():
            await abuser.send(iter([make(0)]))
            await fleet.accepted("$aws/things/good/jobs/get")
    assert broker.exit_code is None


async def test_ten_megabytes_end_with_the_mqtt_server(here: Site, pool: Pool) -> None:
    """A request of 10 MB closes the connection of who sent it; the broker never sees it."""
    await _prepare(pool)
    broker = await here.start()
    async with devices(here.device_port) as fleet:
        before = await _megabytes(broker)
        assert all([await send_too_large(here.device_port) for _ in range(20)])
        await fleet.accepted("$aws/things/good/jobs/get")
        assert not _answers(fleet)
        assert await _megabytes(broker) - before < 20
    assert broker.exit_code is None


async def test_a_flood_without_acknowledgements(
    here: Site, pool: Pool, request: pytest.FixtureRequest
) -> None:
    """QoS 0 as fast as it goes, half of it nonsense: no more is held than allowed, and a good device is served."""
    await _prepare(pool)
    broker = await here.start(settings={"JOBBROKER_RECEIVE_MAXIMUM": "100"})
    async with devices(here.device_port) as fleet, Abuser(here.device_port) as abuser:
        before = await _megabytes(broker)
        stop = asyncio.Event()
        good = asyncio.create_task(_work(fleet, stop))

        def flood() -> Iterator[Abuse]:
            for number in range(FLOOD):
                topic = f"$aws/things/abused-{number % THINGS}/jobs/get"
                yield Abuse(topic, b"{}" if number % 2 else b"\xff" * 2000, qos=0)

        await abuser.send(flood())
        # QoS 0 may be lost on the way; whatever did arrive is answered, and the good device with it.
        await fleet.accepted("$aws/things/good/jobs/get")
        stop.set()
        took = await good
        await eventually(lambda: _answers(fleet).total() > 0)
        after = await _megabytes(broker)
    request.node.user_properties.append(("good_device_slowest_ms", max(took) * 1000))
    request.node.user_properties.append(("megabytes", f"{before:.0f} -> {after:.0f}"))
    assert after - before < 150
    assert broker.exit_code is None
