"""The outbound half of an MQTT session: order, packet ids, quota, and what to send again. No IO."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from broker.mqtt.codec import (
    LARGEST_PACKET,
    NOBODY_HEARD,
    PubAckPacket,
    encode_publish,
    refusal,
    topic_fault,
)
from broker.mqtt.messages import Denied, LinkClosedError, Outbound

_PACKET_IDS = 65_535


class _Batch:
    """Messages published together, and the future that waits for the last of them."""

    __slots__ = ("denied", "future", "left")

    def __init__(self, future: asyncio.Future[list[Denied]], left: int) -> None:
        self.future = future
        self.left = left
        self.denied: list[Denied] = []

    def settle(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.denied)


class Outgoing:
    """Messages to publish, from `add` until the server's PUBACK, over any number of connections.

    With a resumed session the unacknowledged ones are sent again first, with DUP, their packet ids
    and in their order (MQTT 5, 4.4); with a lost one they become new messages ahead of the queue.
    Never more than the server's Receive Maximum are in flight (4.9).
    """

    def __init__(
        self,
        on_denied: Callable[[Denied], None],
        on_unheard: Callable[[str], None] = lambda _topic: None,
    ) -> None:
        self._on_denied = on_denied
        self._on_unheard = on_unheard
        self._queue: deque[tuple[Outbound, _Batch]] = deque()
        self._in_flight: dict[int, tuple[Outbound, _Batch]] = {}
        self._again: deque[int] = deque()
        self._credit = 0
        self._largest = LARGEST_PACKET
        self._last_id = 0

    def __len__(self) -> int:
        """Return how many messages wait to be sent or acknowledged."""
        return len(self._queue) + len(self._in_flight)

    def add(self, messages: Sequence[Outbound]) -> asyncio.Future[list[Denied]]:
        """Queue messages; the future is done when each was acknowledged, or denied."""
        future: asyncio.Future[list[Denied]] = asyncio.get_running_loop().create_future()
        if not messages:
            future.set_result([])
            return future
        batch = _Batch(future, len(messages))
        self._queue.extend((message, batch) for message in messages)
        return future

    def connected(
        self, *, session_present: bool, receive_max: int, max_packet_size: int | None
    ) -> None:
        """Start over on a new connection, with the limits its CONNACK gave."""
        self._credit = receive_max
        self._largest = max_packet_size or LARGEST_PACKET
        if session_present:
            self._again = deque(self._in_flight)
        else:
            self._again.clear()
            self._queue.extendleft(reversed(self._in_flight.values()))
            self._in_flight.clear()

    def disconnected(self) -> None:
        """Send nothing until the next `connected`."""
        self._credit = 0
        self._again.clear()

    def frames(self) -> Iterator[bytes]:
        """Yield the packets that may be sent now, in order; each counts as sent once yielded.

        QoS 0 waits behind a QoS 1 message that waits for credit, so that order is kept.
        """
        while self._again and self._credit:
            packet_id = self._again.popleft()
            if packet_id not in self._in_flight:
                continue
            message, batch = self._in_flight[packet_id]
            frame = self._encode(message, batch, packet_id, duplicate=True)
            if frame is not None:
                self._credit -= 1
                yield frame
            else:
                del self._in_flight[packet_id]
        while self._queue and not self._again:
            message, batch = self._queue[0]
            if message.qos and not self._credit:
                return
            self._queue.popleft()
            frame = self._send(message, batch)
            if frame is not None:
                yield frame

    def acknowledged(self, packet: PubAckPacket) -> None:
        """Settle the message a PUBACK is for; one for an unknown packet id changes nothing."""
        entry = self._in_flight.pop(packet.packet_id, None)
        if entry is None:
            return
        self._credit += 1
        message, batch = entry
        code = int(packet.reason_code)
        if code and (reason := refusal(packet.reason_code, packet.reason_str)) is not None:
            self._deny(message, batch, reason)
            return
        batch.settle()
        if code == NOBODY_HEARD:
            self._on_unheard(message.topic)

    def next_packet_id(self) -> int:
        """Return a packet id that no message in flight has."""
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._in_flight:
                return self._last_id

    def close(self) -> None:
        """Fail what is still waiting with LinkClosedError."""
        for _, batch in (*self._in_flight.values(), *self._queue):
            if not batch.future.done():
                batch.future.set_exception(LinkClosedError("the link to the MQTT server is closed"))
                batch.future.exception()  # whoever does not wait for it must not be warned about it
        self._in_flight.clear()
        self._queue.clear()
        self.disconnected()

    def _send(self, message: Outbound, batch: _Batch) -> bytes | None:
        packet_id = self.next_packet_id() if message.qos else None
        frame = self._encode(message, batch, packet_id)
        if frame is None:
            return None
        if packet_id is None:
            batch.settle()
        else:
            self._in_flight[packet_id] = (message, batch)
            self._credit -= 1
        return frame

    def _encode(
        self, message: Outbound, batch: _Batch, packet_id: int | None, *, duplicate: bool = False
    ) -> bytes | None:
        fault = topic_fault(message.topic)
        if fault is None:
            try:
                frame = encode_publish(
                    message.topic,
                    message.payload,
                    qos=message.qos,
                    packet_id=packet_id,
                    duplicate=duplicate,
                    correlation_data=message.correlation_data,
                    traceparent=message.traceparent,
                )
            except ValueError as error:
                fault = str(error)
            else:
                if len(frame) <= self._largest:
                    return frame
                fault = f"packet of {len(frame)} bytes, the server's maximum is {self._largest}"
        self._deny(message, batch, fault)
        return None

    def _deny(self, message: Outbound, batch: _Batch, reason: str) -> None:
        denied = Denied(message.topic, reason)
        batch.denied.append(denied)
        batch.settle()
        self._on_denied(denied)
