"""One connection to an MQTT 5 server: framing, joined writes, keep-alive, flow control.

Light enough for thousands in a process: no task and one timer per connection. The session that
outlives a connection is `broker.mqtt.link`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    PINGREQ,
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    Packet,
    PingRespPacket,
    read_packets,
)
from broker.mqtt.handshake import (
    ConnectError,
    ConnectRefusedError,
    ConnectSettings,
    ConnectTimeoutError,
    ConnectTLSError,
    default_tls,
    explain,
)

__all__ = [
    "ConnectError",
    "ConnectRefusedError",
    "ConnectSettings",
    "ConnectTLSError",
    "ConnectTimeoutError",
    "Connection",
    "connect",
]

_FLUSH_AT = 65_536
_LINGER_SECONDS = 2.0


OnPackets = Callable[[list[Packet]], None]
OnLost = Callable[[str], None]
OnConnack = Callable[["Connection", ConnAckPacket], None]


class Connection(asyncio.Protocol):
    """A connection that `connect` opened.

    `on_packets` gets all whole packets of one read at once, in order; CONNACK, PINGRESP and the
    server's DISCONNECT are dealt with here. `on_lost` is called once, with the reason.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_connack",
        "_established",
        "_flush_due",
        "_greeting",
        "_loop",
        "_on_connack",
        "_on_lost",
        "_on_packets",
        "_on_writable",
        "_out",
        "_out_size",
        "_packet_id",
        "_pongs_due",
        "_reading",
        "_reason",
        "_received",
        "_sent",
        "_settings",
        "_timer",
        "_transport",
        "_write_paused",
    )

    def __init__(
        self,
        settings: ConnectSettings,
        *,
        on_packets: OnPackets,
        on_lost: OnLost,
        on_connack: OnConnack | None = None,
        on_writable: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._greeting = settings.packet()
        self._on_packets = on_packets
        self._on_lost = on_lost
        self._on_connack = on_connack
        self._on_writable = on_writable
        self._connack: asyncio.Future[ConnAckPacket] = self._loop.create_future()
        self._closed: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._out_size = 0
        self._packet_id = 0
        self._reason: str | None = None
        self._flush_due = self._sent = self._received = False
        self._pongs_due = 0
        self._write_paused = False
        self._established = False
        self._reading = True

    # What users call

    @property
    def is_open(self) -> bool:
        """Whether packets can still be sent."""
        return self._transport is not None and self._reason is None

    @property
    def writable(self) -> bool:
        """False while the server reads slower than we write; `on_writable` tells the end of it."""
        return not self._write_paused

    def next_packet_id(self) -> int:
        """Return the next of 1 to 65535, around and around, for users with few in flight."""
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def send(self, data: bytes) -> None:
        """Queue encoded packets; all that is queued in one turn of the loop leaves in one write.

        Does nothing on a connection that is closing: its `on_lost` tells the caller.
        """
        if self._reason is not None:
            return
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size >= _FLUSH_AT:
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def pause_reading(self) -> None:
        """Stop reading from the socket, so that TCP holds the server back."""
        if self._reading and self.is_open and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again after `pause_reading`."""
        if not self._reading and self.is_open and self._transport is not None:
            self._reading = True
            # A PINGRESP may have waited unread: silence till now proves nothing.
            self._received = True
            self._transport.resume_reading()

    def close(
        self,
        reason: str = "closed by us",
        *,
        code: DisconnectReasonCode = DisconnectReasonCode.NORMAL_DISCONNECTION,
        session_expiry: int | None = None,
    ) -> None:
        """Send DISCONNECT and let the server close; one that does not in 2 s is cut off.

        `session_expiry` in seconds changes what CONNECT asked for; 0 ends the session. With a
        `code` that tells of a fault nothing is waited for.
        """
        if self._transport is None or self._reason is not None:
            return
        packet = DisconnectPacket(reason_code=code, session_expiry_interval=session_expiry)
        self.send(packet.write())
        self._flush()
        self.resume_reading()
        self._reason = reason
        self._restart_timer(_LINGER_SECONDS, self._transport.abort)
        if code != DisconnectReasonCode.NORMAL_DISCONNECTION:
            self._transport.close()
        # Mosquitto reads one packet a turn. Were the socket closed now, the next connection of
        # this session could overtake PUBACKs already sent, and be sent those messages again.
        elif self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self, reason: str = "aborted by us") -> None:
        """Cut the connection without a word; what was not yet written is lost."""
        if self._reason is None:
            self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone and `on_lost` was called."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            if self._transport is None:
                self._closed.set_result(None)
        await asyncio.shield(self._closed)

    async def handshake(self) -> ConnAckPacket:
        """Wait for CONNACK, whatever its reason code; raises ConnectError when it never comes."""
        return await self._connack

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set TCP_NODELAY and send CONNECT."""
        # A cast, since uvloop's transports are not asyncio.Transport by class.
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in {socket.AF_INET, socket.AF_INET6}:
            # Without it Nagle and delayed ACK cost 44 ms an exchange.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(self._greeting)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand over all whole packets, then write what came of them at once."""
        if self._reason is not None:
            return
        self._received = True
        if self._buffer:
            data = self._buffer + data
        packets, used, fault = read_packets(data, self._settings.max_packet_size)
        self._buffer = data[used:]
        if packets:
            self._deliver(packets)
        if fault is not None:
            self.close(fault, code=DisconnectReasonCode.MALFORMED_PACKET)
        if self._out:
            self._flush()

    def pause_writing(self) -> None:
        """Note that the transport's buffer is full."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Note that the transport's buffer is low again, and say so."""
        self._write_paused = False
        if self._on_writable is not None and self._reason is None:
            self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the one who waits for CONNACK, or `on_lost`, and let go of everything."""
        reason = self._reason or (str(exc) or repr(exc) if exc else "closed by the MQTT server")
        self._reason = reason
        self._transport = None
        self._out.clear()
        self._restart_timer(0, None)
        if self._established:
            self._on_lost(reason)
        elif not self._connack.done():
            kind = ConnectTLSError if isinstance(exc, ssl.SSLError) else ConnectError
            self._connack.set_exception(kind(f"connection lost before CONNACK: {reason}"))
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # Inside

    def _flush(self) -> None:
        self._flush_due = False
        if not self._out or self._transport is None:
            return
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        self._out_size = 0
        self._sent = True
        self._transport.write(data)

    def _deliver(self, packets: list[Packet]) -> None:
        if not self._established:
            self._open(packets.pop(0))
        if self._pongs_due:
            rest = [packet for packet in packets if type(packet) is not PingRespPacket]
            self._pongs_due -= min(self._pongs_due, len(packets) - len(rest))
            packets = rest
        last = packets[-1] if packets else None
        if isinstance(last, DisconnectPacket):
            packets.pop()
        if packets and self._reason is None:
            self._on_packets(packets)
        if isinstance(last, DisconnectPacket):
            detail = f": {last.reason_str}" if last.reason_str else ""
            self.abort(f"the MQTT server disconnected us: {last.reason_code.name}{detail}")

    def _open(self, packet: Packet) -> None:
        if not isinstance(packet, ConnAckPacket):
            fault = f"protocol error: {type(packet).__name__} before CONNACK"
            self.close(fault, code=DisconnectReasonCode.PROTOCOL_ERROR)
            return
        if not self._connack.done():
            self._connack.set_result(packet)
        if packet.reason_code != ConnAckReasonCode.SUCCESS:
            self.abort(packet.reason_code.name)
            return
        self._established = True
        wanted = packet.server_keep_alive
        keep_alive = self._settings.keep_alive if wanted is None else wanted
        if keep_alive:
            self._restart_timer(keep_alive / 2, lambda: self._tick(keep_alive / 2))
        if self._on_connack is not None:
            self._on_connack(self, packet)

    def _tick(self, interval: float) -> None:
        if self._pongs_due and self._reading and not self._received:
            self.abort(f"keep-alive: no PINGRESP within {interval:g} s")
            return
        if not (self._sent and self._received):
            # Counted: while we do not read, several answers gather and come in several reads.
            self._pongs_due += 1
            self.send(PINGREQ)
        self._sent = self._received = False
        self._restart_timer(interval, lambda: self._tick(interval))

    def _restart_timer(self, delay: float, action: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if action is None else self._loop.call_later(delay, action)


async def connect(
    address: Address,
    settings: ConnectSettings,
    *,
    on_packets: OnPackets,
    on_lost: OnLost,
    on_connack: OnConnack | None = None,
    on_writable: Callable[[], None] | None = None,
) -> tuple[Connection, ConnAckPacket]:
    """Connect to an MQTT server and return the connection with the server's CONNACK.

    A resumed session's messages may follow CONNACK at once: who needs to know it first gives
    `on_connack`, which is called before the first `on_packets`. `on_lost` follows each accepting
    CONNACK in the end; when there was none, only the error tells.

    Raises ConnectRefusedError, ConnectTimeoutError, ConnectTLSError, or ConnectError for all else.
    """
    connection = Connection(
        settings,
        on_packets=on_packets,
        on_lost=on_lost,
        on_connack=on_connack,
        on_writable=on_writable,
    )
    tls = (settings.tls or default_tls()) if address.tls else None
    name = address.host if address.tls else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.timeout):
            await loop.create_connection(
                lambda: connection, address.host, address.port, ssl=tls, server_hostname=name
            )
            connack = await connection.handshake()
    except (ConnectError, OSError) as error:
        connection.abort()
        raise explain(address, error, settings.timeout) from error
    except BaseException:
        connection.abort()
        raise
    if connack.reason_code != ConnAckReasonCode.SUCCESS:
        raise ConnectRefusedError(address, connack)
    return connection, connack
