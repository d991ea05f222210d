"""The link against an MQTT server that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    ConnAckPacket,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
)
from broker.mqtt.link import (
    Connected,
    ConnectFailed,
    Link,
    LinkClosedError,
    LinkEvent,
    LinkSettings,
    Lost,
    Outbound,
    RetryIn,
    SubscriptionRefused,
)
from tests.helpers import PATIENCE
from tests.unit.fake_mqtt import Peer, fake_server


class Events:
    """What a link told about itself."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[LinkEvent] = asyncio.Queue()

    async def next(self, kind: type[LinkEvent]) -> LinkEvent:
        """Return the next event of this kind, passing over others."""
        async with asyncio.timeout(PATIENCE):
            while not isinstance(event := await self.queue.get(), kind):
                pass
            return event


@asynccontextmanager
async def _running(
    address: Address, filters: Sequence[str] = ("a", "b"), *, timeout: float = 5
) -> AsyncIterator[tuple[Link, Events]]:
    events = Events()
    settings = LinkSettings(address, "slot-0", timeout=timeout)
    link = Link(settings, filters, on_event=events.queue.put_nowait, uniform=lambda low, _: low)
    runner = asyncio.create_task(link.run())
    try:
        yield link, events
    finally:
        await link.close()
        await runner


def _granted(packet: SubscribePacket) -> bytes:
    granted = [SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * len(packet.topic_filters)
    return SubAckPacket(packet.packet_id, granted).write()


async def test_refused_subscription_is_named_and_the_link_stays_up() -> None:
    """A refused filter is told by name; the others work, and it is asked again next time."""
    asked: list[list[str]] = []

    def suback(packet: SubscribePacket) -> bytes:
        asked.append([each.pattern for each in packet.topic_filters])
        codes = [SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE, SubAckReasonCode.NOT_AUTHORIZED]
        return SubAckPacket(packet.packet_id, codes).write()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.subscribe(suback)
        if len(asked) > 1:
            await peer.gone()

    async with fake_server(script) as address, _running(address) as (link, events):
        refused = await events.next(SubscriptionRefused)
        assert refused == SubscriptionRefused("b", "NOT_AUTHORIZED")
        await events.next(Connected)
        await events.next(Lost)
        await events.next(Connected)
        assert link.is_connected
    assert asked == [["a", "b"], ["a", "b"]]


async def test_qos_0_grant_is_reported() -> None:
    """A server that grants only QoS 0 would lose requests: that is told like a refusal."""

    def suback(packet: SubscribePacket) -> bytes:
        return SubAckPacket(packet.packet_id, [SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE]).write()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.subscribe(suback)
        await peer.gone()

    async with fake_server(script) as address, _running(address, ["a"]) as (_, events):
        refused = await events.next(SubscriptionRefused)
        assert refused == SubscriptionRefused("a", "granted, but with QoS 0 alone")


async def test_missing_suback_ends_the_connection() -> None:
    """A server that never answers SUBSCRIBE is left and tried again."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.gone()

    async with fake_server(script) as address, _running(address, timeout=1) as (link, events):
        assert await events.next(Lost) == Lost("no SUBACK within 1 s")
        await events.next(RetryIn)
        assert not link.is_connected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", "malformed packet"),
        (PublishPacket("a", b"", qos=QoS.EXACTLY_ONCE, packet_id=1).write(), "QoS 2"),
        (PublishPacket("", b"", topic_alias=1).write(), "topic alias"),
        (ConnAckPacket().write(), "unexpected ConnAckPacket"),
    ],
)
async def test_broken_protocol_is_told_and_healed(data: bytes, reason: str) -> None:
    """A packet that breaks the protocol ends the connection with the reason; the next one works."""
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.accept()
        await peer.subscribe(_granted)
        if connections == 1:
            peer.send(data)
        await peer.gone()

    async with fake_server(script) as address, _running(address) as (_, events):
        await events.next(Connected)
        lost = await events.next(Lost)
        assert isinstance(lost, Lost)
        assert reason in lost.reason
        await events.next(Connected)
    assert connections == 2


@pytest.mark.parametrize("answers", [True, False])
async def test_unsubscribe_waits_for_the_answer(answers: bool) -> None:
    """`unsubscribe` is over with UNSUBACK, or fails when the connection is lost before it."""
    asked: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.subscribe(_granted)
        packet = await peer.expect(UnsubscribePacket)
        asked.extend(packet.patterns)
        if answers:
            peer.send(UnsubAckPacket(packet.packet_id, [UnsubAckReasonCode.SUCCESS]).write())
            await peer.gone()

    async with fake_server(script) as address, _running(address) as (link, _):
        await link.connected()
        async with asyncio.timeout(PATIENCE):
            if answers:
                await link.unsubscribe(["a", "b"])
            else:
                with pytest.raises(ConnectionError):
                    await link.unsubscribe(["a", "b"])
    assert asked[:2] == ["a", "b"]


async def test_waits_double_up_to_the_cap_and_are_jittered() -> None:
    """Each wait in a row is drawn between 0 and twice the ceiling before, up to the cap."""
    drawn: list[tuple[float, float]] = []
    enough = asyncio.Event()

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        if len(drawn) == 6:
            enough.set()
        return 0.0

    async def script(peer: Peer) -> None:
        await peer.accept()

    async with fake_server(script) as address:
        settings = LinkSettings(address, "slot-0", backoff_base=1, backoff_cap=10)
        link = Link(settings, ["a"], on_event=lambda _: None, uniform=uniform)
        runner = asyncio.create_task(link.run())
        await asyncio.wait_for(enough.wait(), PATIENCE)
        await link.close()
        await runner
    assert drawn[:6] == [(0, 2), (0, 4), (0, 8), (0, 10), (0, 10), (0, 10)]


async def test_close_ends_everything_that_waits() -> None:
    """After `close`, what waits on the link fails with LinkClosedError, and `run` returns."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with fake_server(script) as address:
        async with _running(address) as (link, _):
            waits = [asyncio.create_task(link.receive()), asyncio.create_task(link.connected())]
            published = link.publish([Outbound("a", b"")])
            assert not await link.drain(0.01)
        outcomes = await asyncio.gather(*waits, published, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LinkClosedError] * 3
        with pytest.raises(LinkClosedError):
            link.publish([Outbound("a", b"")])


async def test_cancelled_run_says_goodbye() -> None:
    """Cancelling `run` disconnects in order and closes the link."""
    last_words: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.subscribe(_granted)
        last_words.set_result(await peer.gone())

    async with fake_server(script) as address:
        link = Link(LinkSettings(address, "slot-0"), ["a"], on_event=lambda _: None)
        runner = asyncio.create_task(link.run())
        await link.connected()
        runner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await runner
        assert await last_words == b"\xe0\x00"
        with pytest.raises(LinkClosedError):
            await link.receive()


async def test_unreachable_server_is_reported_each_time() -> None:
    """Attempts that fail are told with their reason, and go on."""
    events = Events()
    link = Link(
        LinkSettings(Address("127.0.0.1", 1), "slot-0"),
        ["a"],
        on_event=events.queue.put_nowait,
        uniform=lambda low, _: low,
    )
    runner = asyncio.create_task(link.run())
    for _ in range(3):
        failed = await events.next(ConnectFailed)
        assert isinstance(failed, ConnectFailed)
        assert "127.0.0.1:1 cannot be reached" in failed.reason
    await link.close()
    await runner


def test_settings_connect_cannot_carry_are_refused() -> None:
    """What could never be sent is an error when the link is made."""
    with pytest.raises(ValueError, match="65535"):
        Link(LinkSettings(Address("h", 1), "x" * 70_000), ["a"], on_event=lambda _: None)
