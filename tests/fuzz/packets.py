"""An MQTT server that sends what it should not, into the whole client below the socket: codec, connection, link."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from hypothesis import strategies as st

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    UnsubAckPacket,
    UnsubAckReasonCode,
    read_packets,
)
from broker.mqtt.connection import Connection
from broker.mqtt.handshake import LinkSettings
from broker.mqtt.link import Link, LinkEvent, Lost, Outbound
from schema.topics import TopicMode, parse
from tests.fuzz import odd
from tests.fuzz.oracle import check_message

Example = tuple[bytes, bool, int]

_LARGEST: Final = 2048
_TOPIC: Final = "default/$aws/things/t1/jobs/get"


def _publish(qos: QoS, packet_id: int | None, **more: Any) -> bytes:  # noqa: ANN401 - the packet's own members
    return PublishPacket(
        _TOPIC, b'{"clientToken":"t"}', qos=qos, packet_id=packet_id, **more
    ).write()


_SUBACK: Final = SubAckPacket(1, [SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * 2).write()
_PACKETS: Final = (
    PingRespPacket().write(),
    _publish(QoS.AT_LEAST_ONCE, 1),
    _publish(QoS.AT_LEAST_ONCE, 65_535, duplicate=True, response_topic="operators/ann/x"),
    _publish(QoS.AT_MOST_ONCE, None, correlation_data=b"\xff\0", user_properties=[("a", "b")]),
    _publish(QoS.AT_LEAST_ONCE, 2, content_type="x" * 200, message_expiry_interval=1),
    _publish(QoS.EXACTLY_ONCE, 3),
    _publish(QoS.AT_MOST_ONCE, None, topic_alias=1),
    PublishPacket("", b"", topic_alias=1).write(),
    PublishPacket("default/a/b", b"\0" * 1900).write(),
    _SUBACK,
    SubAckPacket(1, []).write(),
    SubAckPacket(1, [SubAckReasonCode.NOT_AUTHORIZED], reason_str="no").write(),
    SubAckPacket(7, [SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE]).write(),
    *(PubAckPacket(number).write() for number in (1, 2, 3, 9)),
    PubAckPacket(2, reason_code=PubAckReasonCode.QUOTA_EXCEEDED, reason_str="full").write(),
    b"\x40\x03\x00\x02\x95",
    UnsubAckPacket(2, [UnsubAckReasonCode.SUCCESS]).write(),
    ConnAckPacket().write(),
    PingReqPacket().write(),
    DisconnectPacket(
        reason_code=DisconnectReasonCode.SERVER_SHUTTING_DOWN, reason_str="bye"
    ).write(),
    b"\xf0\x00",  # AUTH, which was never agreed on
    b"\x30\xff\xff\xff\x7f",  # 256 MiB are said to follow
    b"\x20\x80\x80\x80\x80\x01",
    b"\x00\x00",
)
_GREETINGS: Final = (
    ConnAckPacket().write(),
    ConnAckPacket(session_present=True).write(),
    ConnAckPacket(receive_max=1, max_packet_size=20, server_keep_alive=1).write(),
    ConnAckPacket(reason_code=ConnAckReasonCode.NOT_AUTHORIZED, reason_str="who?").write(),
    ConnAckPacket(server_keep_alive=0, reason_str="x" * 300).write(),
    b"\x20\x06\x00\x00\x03\x21\x00\x00",  # Receive Maximum 0, which MQTT 5, 3.2.2.3.3 forbids
    b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00",  # Maximum Packet Size 0, likewise
    b"",
)
_STREAMS: Final = st.tuples(
    st.sampled_from((*_GREETINGS[:2] * 3, *_GREETINGS)),
    st.sampled_from((_SUBACK, _SUBACK, b"")),
    st.lists(st.sampled_from(_PACKETS), max_size=6),
).map(lambda parts: parts[0] + parts[1] + b"".join(parts[2]))
_FEW_AT_ONCE: Final = st.sampled_from((1, 3, 64, 65_536))
_MORE_AT_ONCE: Final = st.sampled_from((100, 1000, 65_536))
_WHOLE: Final = st.sampled_from((True, False, False))


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """What a server sends, whether it ends the connection after it, and how many bytes come at once."""
    stream = draw(_STREAMS)
    if not draw(_WHOLE):
        stream = draw(odd.mutated(stream))
    return stream, draw(st.booleans()), draw(_FEW_AT_ONCE if len(stream) < 200 else _MORE_AT_ONCE)


class _Transport:
    """A socket whose other end is the example."""

    def __init__(self) -> None:
        self.closing = False
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def get_extra_info(self, _name: str) -> None:
        return None

    def pause_reading(self) -> None:
        """Nothing: the bytes that were read already come all the same."""

    resume_reading = write_eof = pause_reading

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    close = abort


def check(example: Example) -> list[str]:
    """Run one connection in a loop of its own; see `opened` for many."""
    with opened() as again:
        return again(example)


@contextmanager
def opened() -> Iterator[Callable[[Example], list[str]]]:
    """A loop for many connections. What the codec's library says of its panics on stderr is left out."""
    with asyncio.Runner() as runner, _quiet_codec():
        yield lambda example: runner.run(_converse(example))


@contextmanager
def _quiet_codec() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not UnicodeDecodeError:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


async def _converse(example: Example) -> list[str]:
    stream, hangs_up, step = example
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    events: list[LinkEvent] = []
    settings = LinkSettings(
        Address("localhost", 1), "fuzz", max_packet_size=_LARGEST, receive_max=8
    )
    link = Link(settings, ["default/a", "default/b"], on_event=events.append)
    transport = _Transport()
    connection = _connected(link, settings, transport)
    link.publish(
        [Outbound("default/x", b"1"), Outbound("default/y", b"2" * 100), Outbound("z", b"", 0)]
    )
    for at in range(0, len(stream), step):
        connection.data_received(stream[at : at + step])
        # A fault is told at once, so no more is kept than a packet may have and what came with it.
        assert len(connection._buffer) <= _LARGEST + step
        if transport.closing:
            break
    await asyncio.sleep(0)
    reason = await _end(connection, transport, hangs_up=hangs_up)
    await _check_taken(link)
    losses = [one for one in events if isinstance(one, Lost)]
    assert len(losses) == (1 if connection._established else 0), events
    await link.close()
    assert not failures, failures
    _check_split(stream)
    return [reason]


def _connected(link: Link, settings: LinkSettings, transport: _Transport) -> Connection:
    connection = Connection(
        settings.connect_settings(),
        on_packets=link._on_packets,
        on_lost=link._on_lost,
        on_connack=link._on_connack,
        on_writable=link._pump,
    )
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    return connection


async def _end(connection: Connection, transport: _Transport, *, hangs_up: bool) -> str:
    """End the connection from one side; returns whose doing it was."""
    whose = "ended for a fault" if transport.closing else "ended by us"
    if not transport.closing and hangs_up:
        whose = "ended by the server"
    elif not transport.closing:
        connection.close()
    connection.connection_lost(None)
    await connection.wait_closed()
    assert connection._reason
    check_message(ascii(connection._reason))
    if connection._connack.done():
        connection._connack.exception()
    assert not connection.is_open
    return whose


async def _check_taken(link: Link) -> None:
    if link._incoming._inbox:
        for message in await link.receive():
            assert len(message.payload) + len(message.topic) <= _LARGEST
            parse(message.topic, TopicMode.MOUNTED)
            link.acknowledge([message])


def _check_split(stream: bytes) -> None:
    """Whole packets are the same however they came in."""
    at_once = read_packets(stream, _LARGEST)
    half = read_packets(stream[: len(stream) // 2], _LARGEST)
    assert half.used <= at_once.used
    assert len(half.packets) <= len(at_once.packets)
    assert list(map(type, half.packets)) == list(map(type, at_once.packets[: len(half.packets)]))
