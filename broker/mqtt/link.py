"""The broker's link to the MQTT server: one persistent session, kept connected, batch by batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from broker.mqtt.codec import (
    LARGEST_PACKET,
    ConnAckPacket,
    DisconnectReasonCode,
    Packet,
    PubAckPacket,
    PublishPacket,
    SubAckPacket,
    SubAckReasonCode,
    UnsubAckPacket,
    encode_subscribe,
    encode_unsubscribe,
    refusal,
)
from broker.mqtt.connection import ConnectError, Connection, connect
from broker.mqtt.handshake import LinkSettings
from broker.mqtt.incoming import Incoming
from broker.mqtt.messages import (
    Connected,
    ConnectFailed,
    Denied,
    Inbound,
    LinkClosedError,
    LinkEvent,
    Lost,
    Outbound,
    PublishDenied,
    RetryIn,
    SubscriptionRefused,
)
from broker.mqtt.outgoing import Outgoing

__all__ = [
    "ConnectFailed",
    "Connected",
    "Denied",
    "Inbound",
    "Link",
    "LinkClosedError",
    "LinkEvent",
    "LinkSettings",
    "Lost",
    "Outbound",
    "PublishDenied",
    "RetryIn",
    "SubscriptionRefused",
]


class Link:
    """A session with the MQTT server that outlives its connections.

    `run` keeps it connected and subscribed to `filters` (QoS 1); messages are received,
    published and acknowledged in lists. `on_event` is told what happens, in the event loop, and
    `on_unheard` the topic of each message that the server had nobody to give to.
    Raises ValueError on settings that CONNECT cannot carry.

    Neither memory nor the server's window grows with a slow reader: at most `receive_max`
    messages are unacknowledged, and with twice as many untaken the socket is not read.
    """

    def __init__(
        self,
        settings: LinkSettings,
        filters: Sequence[str],
        *,
        on_event: Callable[[LinkEvent], None],
        on_unheard: Callable[[str], None] = lambda _topic: None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._greeting = settings.connect_settings()
        self._filters = list(filters)
        self._on_event = on_event
        self._uniform = uniform
        self._outgoing = Outgoing(lambda denied: on_event(_denied_event(denied)), on_unheard)
        self._incoming = Incoming(2 * settings.receive_max)
        self._connection: Connection | None = None
        self._connack: ConnAckPacket | None = None
        self._subscribe_id = 0
        self._subscribe_timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._idle = asyncio.Event()
        self._stop = asyncio.Event()
        self._dialing: asyncio.Task[object] | None = None
        self._unsubscribed: asyncio.Future[None] | None = None
        self._idle.set()
        self._greeting.packet()  # what can never be sent is an error here, not one of each attempt

    # What users call

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up and its subscriptions are answered."""
        return self._ready.is_set() and not self._stop.is_set()

    @property
    def largest_packet(self) -> int:
        """How many bytes a packet may have that we send, as the server said on the last connection."""
        said = None if self._connack is None else self._connack.max_packet_size
        return said or LARGEST_PACKET

    @property
    def session_present(self) -> bool | None:
        """Whether the server still had our session on the last connection; None before it."""
        return None if self._connack is None else self._connack.session_present

    @property
    def backlog(self) -> int:
        """How many published messages are queued or unacknowledged."""
        return len(self._outgoing)

    @property
    def unacknowledged(self) -> int:
        """How many QoS 1 messages of this connection were taken and not yet acknowledged."""
        return self._incoming.unacknowledged

    @property
    def received(self) -> int:
        """How many messages were taken so far, over all connections."""
        return self._incoming.taken

    async def run(self) -> None:
        """Connect, subscribe, and connect again whenever needed, until `close` or cancelled.

        Refusals, wrong credentials among them, are told to `on_event` and tried again: the server
        may learn better. To be called once.
        """
        loop = asyncio.get_running_loop()
        attempt = 0
        try:
            while not self._stop.is_set():
                started = loop.time()
                await self._stay_connected()
                lasted = loop.time() - started
                attempt = 0 if lasted >= self._settings.backoff_cap else attempt + 1
                await self._back_off(attempt)
        finally:
            await self._hang_up(session_expiry=None)

    async def receive(self) -> list[Inbound]:
        """Return all that arrived since the last call, in order, waiting for at least one.

        Cancelling it loses nothing. Raises LinkClosedError.
        """
        taken = await self._incoming.take()
        if self._connection is not None:
            self._connection.resume_reading()
        return taken

    def publish(self, messages: Sequence[Outbound]) -> asyncio.Future[list[Denied]]:
        """Queue messages at once, in order, and write what may go out now in one piece.

        The future is done when the server has acknowledged every QoS 1 message, over as many
        connections as that takes, and every QoS 0 message was written. It holds the refused ones;
        it fails with LinkClosedError when the link is closed before. The queue has no bound of
        its own: wait for the future before publishing much more.

        Raises LinkClosedError.
        """
        if self._stop.is_set():
            raise LinkClosedError("the link to the MQTT server is closed")
        self._idle.clear()
        future = self._outgoing.add(messages)
        self._pump()
        return future

    def acknowledge(self, messages: Sequence[Inbound]) -> None:
        """Send PUBACK for received messages, each at most once, in one write.

        Those of an earlier connection are left out: a resumed session sends them again with DUP,
        and their packet ids may mean other messages by now. Any order will do: Mosquitto takes
        PUBACKs as they come, although MQTT 5, 4.6 wants them in the order of the messages.
        """
        if self._connection is None:
            return
        pubacks = self._incoming.pubacks(messages)
        if pubacks:
            self._connection.send(pubacks)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """End subscriptions of the session, whoever made them; what it has collected still comes.

        Raises ConnectionError when the connection is lost before the server has answered.
        """
        if self._connection is None:
            raise ConnectionError("not connected to the MQTT server")
        self._unsubscribed = asyncio.get_running_loop().create_future()
        packet_id = self._outgoing.next_packet_id()
        self._connection.send(encode_unsubscribe(packet_id, list(filters)))
        await self._unsubscribed

    async def connected(self) -> None:
        """Wait until a connection is up and its subscriptions are answered.

        Raises LinkClosedError.
        """
        await self._ready.wait()
        if self._stop.is_set():
            raise LinkClosedError("the link to the MQTT server is closed")

    async def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing published is unacknowledged; tell if so."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return not len(self._outgoing)

    async def close(self, *, end_session: bool = False) -> None:
        """Disconnect and let `run` return; what was not acknowledged fails with LinkClosedError.

        It returns when the server has taken in all that was sent, PUBACKs above all, or after 2 s.

        The session stays with the server for its expiry, so that another process can go on with
        it. `end_session` ends it now, if the link is connected: what the server holds for it and
        its subscriptions are gone.
        """
        await self._hang_up(session_expiry=0 if end_session else None)

    # The life of a connection

    async def _stay_connected(self) -> None:
        self._gone.clear()
        self._dialing = asyncio.create_task(
            connect(
                self._settings.address,
                self._greeting,
                on_packets=self._on_packets,
                on_lost=self._on_lost,
                on_connack=self._on_connack,
                on_writable=self._pump,
            )
        )
        try:
            await self._dialing
        except ConnectError as error:
            self._on_event(ConnectFailed(str(error)))
            return
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            return
        finally:
            self._dialing = None
        await self._gone.wait()

    async def _back_off(self, attempt: int) -> None:
        if self._stop.is_set():
            return
        settings = self._settings
        # Doubling stops at 2**30 so that a long outage cannot overflow the float.
        ceiling = min(settings.backoff_cap, settings.backoff_base * 2 ** min(attempt, 30))
        seconds = self._uniform(0, ceiling)
        self._on_event(RetryIn(seconds))
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _on_connack(self, connection: Connection, connack: ConnAckPacket) -> None:
        self._connection = connection
        self._connack = connack
        self._incoming.connected(session_present=connack.session_present)
        self._outgoing.connected(
            session_present=connack.session_present,
            receive_max=connack.receive_max,
            max_packet_size=connack.max_packet_size,
        )
        self._subscribe(connection)
        self._pump()

    def _subscribe(self, connection: Connection) -> None:
        if not self._filters:
            self._on_ready()
            return
        self._subscribe_id = self._outgoing.next_packet_id()
        connection.send(encode_subscribe(self._subscribe_id, self._filters))
        timeout = self._settings.timeout
        self._subscribe_timer = asyncio.get_running_loop().call_later(
            timeout, connection.abort, f"no SUBACK within {timeout:g} s"
        )

    def _on_lost(self, reason: str) -> None:
        self._connection = None
        self._ready.clear()
        self._stop_subscribe_timer()
        if self._unsubscribed is not None and not self._unsubscribed.done():
            self._unsubscribed.set_exception(ConnectionError(reason))
        self._outgoing.disconnected()
        if not self._stop.is_set():
            self._on_event(Lost(reason))
        self._gone.set()

    def _on_packets(self, packets: list[Packet]) -> None:
        fault = None
        for packet in packets:
            fault = self._on_packet(packet)
            if fault is not None:
                break
        connection = self._connection
        if connection is None:
            return
        if self._incoming.is_full:
            connection.pause_reading()
        self._pump()
        if fault is not None:
            connection.close(fault, code=DisconnectReasonCode.PROTOCOL_ERROR)

    def _on_packet(self, packet: Packet) -> str | None:
        """Take one packet in; returns what is wrong with it when it breaks the protocol."""
        if isinstance(packet, PublishPacket):
            return self._incoming.add(packet)
        if isinstance(packet, PubAckPacket):
            self._outgoing.acknowledged(packet)
        elif isinstance(packet, SubAckPacket):
            self._on_suback(packet)
        elif isinstance(packet, UnsubAckPacket):
            self._on_unsuback()
        else:
            return f"protocol error: unexpected {type(packet).__name__}"
        return None

    def _on_suback(self, packet: SubAckPacket) -> None:
        if packet.packet_id != self._subscribe_id:
            return
        self._stop_subscribe_timer()
        for name, code in zip(self._filters, packet.reason_codes, strict=False):
            reason = refusal(code, packet.reason_str)
            if code == SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE:
                reason = "granted, but with QoS 0 alone"
            if reason is not None:
                self._on_event(SubscriptionRefused(name, reason))
        self._on_ready()

    def _on_unsuback(self) -> None:
        if self._unsubscribed is not None and not self._unsubscribed.done():
            self._unsubscribed.set_result(None)

    def _on_ready(self) -> None:
        connack = self._connack
        if connack is None or self._stop.is_set():
            return
        self._ready.set()
        self._on_event(
            Connected(
                session_present=connack.session_present,
                receive_max=connack.receive_max,
                max_packet_size=connack.max_packet_size,
                shared_subscriptions=connack.shared_subscription_available,
            )
        )

    # Inside

    def _pump(self) -> None:
        connection = self._connection
        if connection is not None and connection.is_open:
            frames = self._outgoing.frames()
            while connection.writable and (frame := next(frames, None)) is not None:
                connection.send(frame)
        if not len(self._outgoing):
            self._idle.set()

    def _stop_subscribe_timer(self) -> None:
        if self._subscribe_timer is not None:
            self._subscribe_timer.cancel()
            self._subscribe_timer = None

    async def _hang_up(self, *, session_expiry: int | None) -> None:
        self._stop.set()
        if self._dialing is not None:
            self._dialing.cancel()
        self._incoming.close()
        self._outgoing.close()
        self._ready.set()
        self._idle.set()
        connection = self._connection
        if connection is not None:
            connection.close(session_expiry=session_expiry)
            await connection.wait_closed()


def _denied_event(denied: Denied) -> PublishDenied:
    return PublishDenied(denied.topic, denied.reason)
