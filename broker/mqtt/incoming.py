"""The inbound half of an MQTT session: what has arrived and not yet been taken. No IO."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broker.mqtt.codec import PublishPacket, encode_puback, traceparent_of
from broker.mqtt.messages import Inbound, LinkClosedError


class Incoming:
    """Messages in the order they came, numbered by the connection (epoch) that brought them.

    `taken` counts all that were handed out, `unacknowledged` those of this epoch with QoS 1 that
    were handed out and not given back to `pubacks`.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._inbox: list[Inbound] = []
        self._arrived = asyncio.Event()
        self._epoch = 0
        self._closed = False
        self.taken = 0
        self.unacknowledged = 0

    @property
    def is_full(self) -> bool:
        """Whether more than the bound waits to be taken, so that no more should be read."""
        return len(self._inbox) > self._bound

    def connected(self, *, session_present: bool) -> None:
        """Begin the next epoch; what a resumed session sends again is dropped from the inbox."""
        self._epoch += 1
        self.unacknowledged = 0
        if session_present:
            self._inbox = [message for message in self._inbox if not message.qos]

    def add(self, packet: PublishPacket) -> str | None:
        """Keep a message; returns what is wrong with it when it breaks the protocol."""
        qos = int(packet.qos)
        if qos > 1:
            return "protocol error: PUBLISH with QoS 2, which we never subscribed to"
        if not packet.topic:
            return "protocol error: PUBLISH with a topic alias, which we never allowed"
        self._inbox.append(
            Inbound(
                packet.topic,
                packet.payload,
                qos,
                packet.duplicate,
                packet.packet_id or 0,
                self._epoch,
                packet.response_topic,
                packet.correlation_data,
                traceparent_of(packet.user_properties),
            )
        )
        self._arrived.set()
        return None

    async def take(self) -> list[Inbound]:
        """Return all that waits, at least one; raises LinkClosedError once closed."""
        while not self._inbox or self._closed:
            if self._closed:
                raise LinkClosedError("the link to the MQTT server is closed")
            self._arrived.clear()
            await self._arrived.wait()
        taken, self._inbox = self._inbox, []
        self.taken += len(taken)
        self.unacknowledged += len(self._ours(taken))
        return taken

    def pubacks(self, messages: Sequence[Inbound]) -> bytes:
        """Return the PUBACKs for those of `messages` that came in this epoch with QoS 1."""
        ours = self._ours(messages)
        self.unacknowledged -= len(ours)
        return b"".join(map(encode_puback, ours))

    def close(self) -> None:
        """Let every `take` fail from now on."""
        self._closed = True
        self._arrived.set()

    def _ours(self, messages: Sequence[Inbound]) -> list[int]:
        epoch = self._epoch
        return [each.packet_id for each in messages if each.qos and each.epoch == epoch]
