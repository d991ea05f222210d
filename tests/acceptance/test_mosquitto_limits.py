"""Mosquitto's own limits, met on purpose: what is lost there, who notices, and what mends it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from broker.embedded.postgres import connected
from broker.mqtt.address import Address
from broker.mqtt.codec import encode_publish
from broker.mqtt.connection import connect
from broker.mqtt.handshake import ConnectSettings
from broker.mqtt.link import Link, LinkEvent, LinkSettings, Outbound
from handlers.database import Pool
from tests.acceptance.devices import Devices, devices
from tests.acceptance.serving import Site, site
from tests.acceptance.working import all_is_well, loaded, nothing_waits, prepare
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import PATIENCE, eventually

SiteWith = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def site_with(mosquitto_server: StartMosquitto, database: Database, tmp_path: Path) -> SiteWith:
    """Servers whose Mosquitto has these limits, by name."""

    def start(**limits: int) -> AbstractAsyncContextManager[Site]:
        return site(mosquitto_server, database, tmp_path, limits=limits)

    return start


def _updates(things: int, steps: int, *, padding: int = 1) -> dict[str, Outbound]:
    """Progress reports by clientToken, the things taking turns."""
    return {
        f"{thing}-{step}": Outbound(
            f"$aws/things/thing-{thing}/jobs/j1/update",
            json.dumps(
                {
                    "status": "IN_PROGRESS",
                    "statusDetails": {"step": str(step), "padding": "x" * padding},
                    "includeJobExecutionState": True,
                    "clientToken": f"{thing}-{step}",
                }
            ).encode(),
        )
        for step in range(steps)
        for thing in range(things)
    }


async def _one_job_each(pool: Pool, things: int) -> None:
    names = [f"thing-{number}" for number in range(things)]
    await add_things(pool, *names)
    await add_job(pool, "j1", names)


@asynccontextmanager
async def _watching(port: int, filters: list[str]) -> AsyncIterator[list[bytes]]:
    """The payloads of what is published there."""
    heard: list[bytes] = []
    link = Link(LinkSettings(Address("127.0.0.1", port), "watcher"), filters, on_event=_unheeded)

    async def listen() -> None:
        while True:
            received = await link.receive()
            heard.extend(one.payload for one in received)
            link.acknowledge(received)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.run()), group.create_task(listen())]
        yield heard
        for task in tasks:
            task.cancel()


def _unheeded(_event: LinkEvent) -> None:
    return


def _versions(fleet: Devices, thing: int) -> list[int]:
    """The versions in a thing's answers, in the order of the answers, repeated ones left out."""
    said = [
        one.body["executionState"]["versionNumber"]
        for one in fleet.topics(f"/thing-{thing}/jobs/j1/update/accepted")
    ]
    return list(dict.fromkeys(said))


async def _sent_while_away(here: Site, fleet: Devices, requests: list[Outbound]) -> None:
    """Publish with nobody serving; Mosquitto takes each of them, whatever it does with it."""
    broker = await here.start()
    assert await broker.stop() == 0
    denied = await fleet.link.publish(requests)
    assert denied == [], "the sender is told that all is well"


class TestBrokerAway:
    """Requests gather in the session of a broker that is away."""

    async def test_within_the_limit_none_is_lost(self, site_with: SiteWith, pool: Pool) -> None:
        """What gathered is answered afterwards, each request once, in each thing's order."""
        await _one_job_each(pool, 20)
        requests = _updates(20, 50)
        async with site_with(max_queued_messages=1000) as here, devices(here.device_port) as fleet:
            await _sent_while_away(here, fleet, list(requests.values()))
            assert not fleet.topics("/accepted")
            await here.start()
            await eventually(lambda: len(fleet.topics("/accepted")) == len(requests))
            for thing in range(20):
                assert _versions(fleet, thing) == list(range(2, 52))

    @pytest.mark.parametrize(
        "limit", [{"max_queued_messages": 100}, {"max_queued_bytes": 50_000}], ids=str
    )
    async def test_beyond_it_requests_vanish_until_repeated(
        self, site_with: SiteWith, pool: Pool, limit: dict[str, int]
    ) -> None:
        """The last ones get no answer and no error; repeated with their clientToken all are answered, done once."""
        await _one_job_each(pool, 50)
        requests = _updates(50, 4, padding=400)
        async with site_with(**limit) as here, devices(here.device_port) as fleet:
            await _sent_while_away(here, fleet, list(requests.values()))
            await here.start()
            # Each thing's is answered behind all that was kept of that thing.
            await asyncio.gather(
                *(fleet.accepted(f"$aws/things/thing-{number}/jobs/get") for number in range(50))
            )
            answered = {one.body["clientToken"] for one in fleet.topics("/update/accepted")}
            assert 20 <= len(answered) <= 110
            assert answered == set(list(requests)[: len(answered)]), "the first were kept"

            for token in requests.keys() - answered:
                fleet.link.publish([requests[token]])
            await eventually(lambda: len(fleet.topics("/update/accepted")) == len(requests))
            tokens = Counter(one.body["clientToken"] for one in fleet.topics("/update/accepted"))
            assert set(tokens.values()) == {1}
            for thing in range(50):
                assert _versions(fleet, thing) == [2, 3, 4, 5]
        assert await counts_equal_rows(pool)


@pytest.mark.parametrize(
    ("limits", "receive_maximum"),
    [({"max_inflight_messages": 3}, 1000), ({}, 2), ({"max_inflight_messages": 1}, 1)],
    ids=["Mosquitto's window", "ours", "both"],
)
async def test_small_windows_are_only_slow(
    site_with: SiteWith, database: Database, limits: dict[str, int], receive_maximum: int
) -> None:
    """However few messages may be on their way, none is lost and none is repeated."""
    await prepare(database)
    async with site_with(**limits) as here:
        await here.start(settings={"JOBBROKER_RECEIVE_MAXIMUM": str(receive_maximum)})
        async with devices(here.device_port, retry_seconds=60, receive_max=2) as fleet:
            async with loaded(fleet) as load:
                await load.busy(300)
            await all_is_well(database, fleet, load)
            assert not fleet.retries


async def test_a_burst_beyond_window_and_queue(site_with: SiteWith, pool: Pool) -> None:
    """With a queue of ten, a burst is lost in part although the broker serves; devices that repeat get through."""
    await _one_job_each(pool, 100)
    async with site_with(max_inflight_messages=5, max_queued_messages=10) as here:
        await here.start()
        async with devices(here.device_port, retry_seconds=0.5) as fleet:
            bodies = await asyncio.gather(
                *(
                    fleet.accepted(f"$aws/things/thing-{number}/jobs/start-next")
                    for number in range(100)
                )
            )
            assert {body["execution"]["versionNumber"] for body in bodies} == {2}
    assert await counts_equal_rows(pool)


class TestSleepingDevice:
    """Notifications gather in the session of a device that is away."""

    async def test_beyond_the_limit_the_last_ones_are_lost(
        self, site_with: SiteWith, pool: Pool, database: Database
    ) -> None:
        """It wakes up to old news, and learns from `$next/get` and `get` how things stand."""
        await add_things(pool, "sleeper")
        async with site_with(max_queued_messages=5) as here:
            await here.start()
            async with devices(here.device_port, client_id="sleeper"):
                pass
            for number in range(6):
                await add_job(pool, f"j{number}", ["sleeper"])
                await eventually(lambda: nothing_waits(database))
            async with devices(here.device_port) as its_other_half:
                await its_other_half.accepted(
                    "$aws/things/sleeper/jobs/j0/update", {"status": "SUCCEEDED"}
                )
            await eventually(lambda: nothing_waits(database))

            async with devices(here.device_port, client_id="sleeper") as sleeper:
                assert sleeper.link.session_present
                assert (await sleeper.next_of("sleeper"))["jobId"] == "j1"
                assert sleeper.next_told["sleeper"]["jobId"] == "j0", "what it was told is old"
                pending = await sleeper.accepted("$aws/things/sleeper/jobs/get")
                assert [one["jobId"] for one in pending["queuedJobs"]] == [
                    f"j{number}" for number in range(1, 6)
                ]

    async def test_a_session_that_expired_is_as_none(
        self, site_with: SiteWith, pool: Pool, database: Database
    ) -> None:
        """Subscriptions and notifications are gone; subscribing and asking again is all it takes."""
        await add_things(pool, "sleeper")
        async with site_with(sys_interval=1) as here:
            await here.start()
            async with devices(here.device_port, client_id="sleeper", session_expiry=1):
                pass
            expired = ["$SYS/broker/clients/expired"]
            async with _watching(here.internal_port, expired) as heard:
                await eventually(lambda: heard and int(heard[-1]) == 1)
            await add_job(pool, "j1", ["sleeper"])
            await eventually(lambda: nothing_waits(database))

            async with devices(here.device_port, client_id="sleeper") as sleeper:
                assert not sleeper.link.session_present
                assert (await sleeper.next_of("sleeper"))["jobId"] == "j1"
                assert not sleeper.next_told
                await add_job(pool, "j2", ["sleeper"])
                await eventually(lambda: sleeper.topics("/jobs/notify"))


async def _publish_raw(port: int, topic: str, size: int) -> str:
    """Publish without heeding the server's maximum, as small clients do; returns why the connection ended."""
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    connection, _ = await connect(
        Address("127.0.0.1", port),
        ConnectSettings("careless"),
        on_packets=lambda _packets: None,
        on_lost=lost.set_result,
        on_connack=lambda _connection, _connack: None,
    )
    connection.send(encode_publish(topic, b"x" * size, qos=1, packet_id=1))
    return await asyncio.wait_for(lost, PATIENCE)


class TestPacketSize:
    """max_packet_size, in both directions."""

    async def test_of_a_request(self, site_with: SiteWith, pool: Pool) -> None:
        """Too large a request costs its sender the connection, and nobody else anything."""
        await _one_job_each(pool, 1)
        async with site_with(max_packet_size=3000) as here, devices(here.device_port) as fleet:
            await here.start()
            topic = "$aws/things/thing-0/jobs/j1/update"
            assert "PACKET_TOO_LARGE" in await _publish_raw(here.device_port, topic, 4000)
            assert (await fleet.accepted(topic, {"status": "IN_PROGRESS"})) is not None

    async def test_of_an_answer(self, site_with: SiteWith, pool: Pool) -> None:
        """What the broker may not publish is an error in its log that says so; other answers go on."""
        await add_things(pool, "big", "small")
        await add_job(pool, "j1", ["big"], document={"text": "x" * 4000})
        await add_job(pool, "j2", ["small"])
        async with site_with(max_packet_size=3000) as here, devices(here.device_port) as fleet:
            broker = await here.start()
            fleet.send("$aws/things/big/jobs/start-next", {})
            started = await fleet.accepted("$aws/things/small/jobs/start-next")
            assert started["execution"]["jobId"] == "j2"

            def denied() -> str:
                """Why the answer was; the notification of the same document may be denied before it."""
                lines = broker.lines("mqtt_publish_denied")
                reasons = {line["topic"]: str(line["reason"]) for line in lines}
                return reasons["default/$aws/things/big/jobs/start-next/accepted"]

            assert "the server's maximum is 3000" in await eventually(denied)
            assert not [
                one for one in fleet.heard if "/big/" in one.topic and "start-next" in one.topic
            ]


async def test_mosquitto_was_down_for_long(
    site_with: SiteWith, pool: Pool, database: Database
) -> None:
    """What was told before it crashed is told again when it is back, were it a day later."""
    await add_things(pool, "sleeper")
    async with site_with() as here:
        broker = await here.start()
        async with devices(here.device_port, client_id="sleeper"):
            pass
        await here.mosquitto.stop()  # saves the sessions
        await here.mosquitto.start()
        await eventually(lambda: len(broker.lines("mqtt_connected")) == 2)
        await add_job(pool, "j1", ["sleeper"])
        await eventually(lambda: nothing_waits(database))
        await here.mosquitto.kill()
        await eventually(lambda: len(broker.lines("mqtt_lost")) == 2)
        async with connected(database.admin_url) as admin:
            await admin.execute(
                "UPDATE told_lately SET told_at = told_at - interval '1 day';"
                "UPDATE executions SET last_updated_at = last_updated_at - interval '1 day'"
            )
        await here.mosquitto.start()
        await eventually(lambda: len(broker.lines("mqtt_connected")) == 3)
        async with devices(here.device_port, client_id="sleeper") as sleeper:
            await sleeper.hears_of("sleeper", "j1")


async def test_memory_limit_locks_everybody_out(site_with: SiteWith, pool: Pool) -> None:
    """Once reached, not even the broker gets in to empty its queue: never to be set."""
    await _one_job_each(pool, 50)
    requests = _updates(50, 30, padding=800)
    async with site_with(memory_limit=1_500_000) as here, devices(here.device_port) as fleet:
        broker = await here.start()
        assert await broker.stop() == 0
        fleet.link.publish(list(requests.values()))
        await eventually(lambda: not fleet.link.is_connected)
        broker = await here.launch()
        await eventually(lambda: broker.lines("mqtt_lost") or broker.lines("mqtt_connect_failed"))
