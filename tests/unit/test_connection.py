"""One connection to an MQTT server: faults, keep-alive, writes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import pytest

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    PINGREQ,
    ConnAckPacket,
    ConnAckReasonCode,
    ConnectPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    Packet,
    PingReqPacket,
    PingRespPacket,
    PublishPacket,
    encode_puback,
    encode_publish,
    read_packets,
)
from broker.mqtt.connection import (
    ConnectError,
    Connection,
    ConnectRefusedError,
    ConnectSettings,
    ConnectTimeoutError,
    ConnectTLSError,
    connect,
)
from tests.helpers import PATIENCE
from tests.unit.fake_mqtt import Peer, fake_server


class Seen:
    """What a connection told its user, in order of arrival."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[list[Packet]] = asyncio.Queue()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.order: list[str] = []

    def on_packets(self, packets: list[Packet]) -> None:
        """Keep a batch."""
        self.order.append("packets")
        self.batches.put_nowait(packets)

    def on_connack(self, _connection: Connection, _connack: ConnAckPacket) -> None:
        """Note that the connection is up."""
        self.order.append("connack")


async def _open(
    address: Address, *, keep_alive: int = 0, max_packet_size: int = 1000, timeout: float = 5
) -> tuple[Connection, Seen]:
    seen = Seen()
    settings = ConnectSettings(
        "c", keep_alive=keep_alive, max_packet_size=max_packet_size, timeout=timeout
    )
    connection, _ = await connect(
        address,
        settings,
        on_packets=seen.on_packets,
        on_lost=seen.lost.set_result,
        on_connack=seen.on_connack,
    )
    return connection, seen


async def test_refusal_is_raised_by_name() -> None:
    """A CONNACK that refuses is raised with the reason code's name and the server's words."""

    async def script(peer: Peer) -> None:
        code = ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD
        await peer.accept(ConnAckPacket(reason_code=code, reason_str="no such user"))

    async with fake_server(script) as address:
        with pytest.raises(ConnectRefusedError, match="no such user") as caught:
            await _open(address)
    assert caught.value.reason == "BAD_USER_NAME_OR_PASSWORD"


async def test_silent_server_is_a_timeout() -> None:
    """Without CONNACK in time connecting fails, and the connection is cut."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with fake_server(script) as address:
        with pytest.raises(ConnectTimeoutError, match=r"within 0\.1 s"):
            await _open(address, timeout=0.1)


async def test_nobody_listening_is_told() -> None:
    """A closed port is an error that names the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", probe.getsockname()[1])
        with pytest.raises(ConnectError, match=f"{address} cannot be reached"):
            await _open(address)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "lost before CONNACK: closed by the MQTT server"),
        (b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 100, "malformed packet"),
        (b"\x20\x03\x00\x01\x00", "malformed packet"),
        (PINGREQ, "PingReqPacket before CONNACK"),
    ],
)
async def test_wrong_answer_to_connect_is_told(answer: bytes, message: str) -> None:
    """A server that answers CONNECT with anything but CONNACK is an error that says with what."""

    async def script(peer: Peer) -> None:
        await peer.expect(ConnectPacket)
        peer.send(answer)

    async with fake_server(script) as address:
        with pytest.raises(ConnectError, match=message):
            await _open(address)


async def test_tls_to_a_plain_server_is_a_tls_error() -> None:
    """TLS with a server that speaks none is told apart from other failures."""

    async def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with fake_server(script) as address:
        with pytest.raises(ConnectTLSError, match="TLS failed"):
            await _open(Address(address.host, address.port, tls=True))


async def test_what_follows_connack_at_once_comes_after_it() -> None:
    """Messages of a resumed session in the same segment as CONNACK come after `on_connack`."""

    async def script(peer: Peer) -> None:
        await peer.accept(ConnAckPacket(session_present=True))
        peer.send(encode_publish("a", b"1"))
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address)
        (packet,) = await seen.batches.get()
        connection.close()
        assert await seen.lost == "closed by us"
    assert isinstance(packet, PublishPacket)
    assert seen.order == ["connack", "packets"]


async def test_half_packets_are_joined() -> None:
    """A packet that comes byte by byte is delivered once, whole."""
    frame = encode_publish("topic", b"payload")
    halves: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.accept()
        while part := await halves.get():
            peer.send(part)
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address)
        for index in range(len(frame)):
            halves.put_nowait(frame[index : index + 1])
        packets = await seen.batches.get()
        halves.put_nowait(b"")
        connection.close()
        await connection.wait_closed()
    assert [type(packet) for packet in packets] == [PublishPacket]
    assert seen.batches.empty()


async def test_malformed_packet_ends_the_connection_with_the_reason() -> None:
    """Good packets before it are delivered; the server is told MALFORMED_PACKET."""
    last_words: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(encode_publish("a", b"1") + b"\x00\x00")
        last_words.set_result(await peer.gone())

    async with fake_server(script) as address:
        _, seen = await _open(address)
        assert (await seen.lost).startswith("malformed packet")
        assert len(seen.batches.get_nowait()) == 1
        packet = read_packets(await last_words, 1000).packets[0]
    assert isinstance(packet, DisconnectPacket)
    assert packet.reason_code == DisconnectReasonCode.MALFORMED_PACKET


async def test_oversized_packet_ends_the_connection() -> None:
    """A packet over our maximum is not gathered in memory."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(encode_publish("a", b"x" * 100_000)[:50])
        await peer.gone()

    async with fake_server(script) as address:
        _, seen = await _open(address)
        assert "our maximum is 1000" in await seen.lost


async def test_server_s_disconnect_is_the_reason() -> None:
    """The reason in the server's DISCONNECT is what `on_lost` tells."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        code = DisconnectReasonCode.SESSION_TAKEN_OVER
        peer.send(DisconnectPacket(reason_code=code).write())
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address)
        assert await seen.lost == "the MQTT server disconnected us: SESSION_TAKEN_OVER"
    assert not connection.is_open
    assert seen.batches.empty()


async def test_missing_pingresp_ends_the_connection() -> None:
    """A server that no longer answers is noticed by its missing PINGRESP."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PingReqPacket)
        await peer.gone()

    async with fake_server(script) as address:
        _, seen = await _open(address, keep_alive=1)
        assert await seen.lost == "keep-alive: no PINGRESP within 0.5 s"


async def test_answered_pings_keep_the_connection() -> None:
    """PINGREQ goes out in time, by the server's keep-alive if it names one; the user sees none."""
    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(ConnAckPacket(server_keep_alive=1))
        for _ in range(2):
            await peer.expect(PingReqPacket)
            peer.send(PingRespPacket().write())
        answered.set()
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address, keep_alive=1000)
        await asyncio.wait_for(answered.wait(), PATIENCE)
        assert connection.is_open
        assert seen.batches.empty()
        connection.close()
        await connection.wait_closed()


async def test_paused_reading_is_not_taken_for_a_dead_server() -> None:
    """While we do not read, a PINGRESP cannot be missed; after it, messages come through."""
    pings = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(3):
            await peer.expect(PingReqPacket)
            peer.send(PingRespPacket().write())
        peer.send(encode_publish("a", b"1"))
        pings.set()
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address, keep_alive=1)
        connection.pause_reading()
        await asyncio.wait_for(pings.wait(), PATIENCE)
        assert seen.batches.empty()
        connection.resume_reading()
        assert [type(packet) for packet in await seen.batches.get()] == [PublishPacket]
        connection.close()
        await connection.wait_closed()


async def test_pings_answered_while_we_did_not_read_are_seen_by_nobody() -> None:
    """Answers that gathered meanwhile may come in several reads; none of them is a user's packet."""
    pings, first_read = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(3):
            await peer.expect(PingReqPacket)
        peer.send(PingRespPacket().write() + encode_publish("a", b"1"))
        pings.set()
        await first_read.wait()
        peer.send(PingRespPacket().write() * 2 + encode_publish("a", b"2"))
        await peer.gone()

    async with fake_server(script) as address:
        connection, seen = await _open(address, keep_alive=1)
        connection.pause_reading()
        await asyncio.wait_for(pings.wait(), PATIENCE)
        connection.resume_reading()
        assert [type(packet) for packet in await seen.batches.get()] == [PublishPacket]
        first_read.set()
        assert [type(packet) for packet in await seen.batches.get()] == [PublishPacket]
        connection.close()
        await connection.wait_closed()


async def test_nodelay_is_set() -> None:
    """The socket does not wait for more to send."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.gone()

    async with fake_server(script) as address:
        connection, _ = await _open(address)
        assert connection._transport is not None
        raw = connection._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        connection.close()
        await connection.wait_closed()


async def test_close_waits_until_the_server_has_taken_everything() -> None:
    """A closed connection is gone only when the server has read what was sent before."""
    taken = asyncio.Event()
    last_words: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await taken.wait()
        last_words.append(await peer.gone())

    async with fake_server(script) as address:
        connection, seen = await _open(address)
        connection.pause_reading()
        connection.send(encode_puback(1))
        connection.close()
        connection.send(encode_puback(2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.wait_closed(), 0.05)
        taken.set()
        assert await seen.lost == "closed by us"
        await connection.wait_closed()
    assert last_words == [encode_puback(1) + DisconnectPacket().write()]


async def test_server_that_does_not_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing takes no longer than the time set for it, whatever the server does."""
    monkeypatch.setattr("broker.mqtt.connection._LINGER_SECONDS", 0.05)
    over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await over.wait()

    async with fake_server(script) as address:
        connection, seen = await _open(address)
        connection.close()
        assert await asyncio.wait_for(seen.lost, PATIENCE) == "closed by us"
        over.set()


class FakeTransport:
    """A transport that keeps what is written, and can call back as it is."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        self.writes.append(data)
        self.on_write()

    def get_extra_info(self, _name: str) -> None:
        """Know nothing, above all no socket."""


def _fake(on_writable: Callable[[], None] | None = None) -> tuple[Connection, FakeTransport]:
    transport = FakeTransport()
    connection = Connection(
        ConnectSettings("c"),
        on_packets=lambda _: connection.send(encode_puback(1)),
        on_lost=lambda _: None,
        on_writable=on_writable,
    )
    connection.connection_made(cast("asyncio.Transport", transport))
    transport.writes.clear()
    return connection, transport


async def test_writes_of_one_turn_are_joined() -> None:
    """All that is sent in one turn of the loop leaves in one write."""
    connection, transport = _fake()
    for packet_id in range(1, 101):
        connection.send(encode_puback(packet_id))
    assert transport.writes == []
    await asyncio.sleep(0)
    assert transport.writes == [b"".join(map(encode_puback, range(1, 101)))]


async def test_answers_to_a_read_leave_with_it() -> None:
    """What a batch of packets causes to be sent is written before the read is over, once."""
    connection, transport = _fake()
    connection.data_received(ConnAckPacket().write() + encode_publish("a", b"") * 3)
    assert transport.writes == [encode_puback(1)]


async def test_full_transport_is_told_both_ways() -> None:
    """`writable` follows the transport's buffer, and the end of the wait is told."""
    seen: list[bool] = []
    connection, transport = _fake(lambda: seen.append(connection.writable))
    transport.on_write = connection.pause_writing
    connection.send(b"x" * 70_000)
    seen.append(connection.writable)
    connection.resume_writing()
    assert seen == [False, True]


async def test_packet_ids_go_around() -> None:
    """Packet ids run from 1 to 65535 and start over; 0 is none."""
    connection, _ = _fake()
    ids = [connection.next_packet_id() for _ in range(65_536)]
    assert (ids[0], ids[-2], ids[-1]) == (1, 65_535, 1)
    assert len(set(ids)) == 65_535
