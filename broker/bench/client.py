"""One MQTT client of the load: a thing or an operator, as cheap as it can be made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.bench.packets import Template
from broker.mqtt.address import Address
from broker.mqtt.codec import (
    ConnAckPacket,
    Packet,
    PublishPacket,
    SubAckPacket,
    encode_puback,
    encode_subscribe,
)
from broker.mqtt.connection import Connection, connect
from broker.mqtt.handshake import ConnectSettings

Hear = Callable[["Client", str, bytes], None]


class Client:
    """A connection under a name; each message that comes is acknowledged and handed to `hear`."""

    __slots__ = ("_connection", "_lost", "hear", "name", "subscribed")

    def __init__(self, name: str, *, lost: Callable[[str, str], None]) -> None:
        self.name = name
        self.hear: Hear = _nobody
        self.subscribed = asyncio.Event()
        self._connection: Connection | None = None
        self._lost = lost

    async def connect(self, address: Address, token: str, filters: list[str]) -> None:
        """Connect with name and token and subscribe with QoS 1. Raises ConnectError."""

        def open_(connection: Connection, _connack: ConnAckPacket) -> None:
            self._connection = connection
            connection.send(encode_subscribe(1, filters))

        settings = ConnectSettings(self.name, username=self.name, password=token, timeout=30.0)
        await connect(
            address,
            settings,
            on_packets=self._take,
            on_lost=lambda reason: self._lost(self.name, reason),
            on_connack=open_,
        )

    def send(self, template: Template, token: bytes) -> None:
        """Publish a request."""
        connection = self._connection
        if connection is not None:
            connection.send(template.packet(connection.next_packet_id(), token))

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()

    def _take(self, packets: list[Packet]) -> None:
        acknowledged = []
        for packet in packets:
            if isinstance(packet, PublishPacket):
                if packet.packet_id:
                    acknowledged.append(encode_puback(packet.packet_id))
                self.hear(self, packet.topic, packet.payload)
            elif isinstance(packet, SubAckPacket):
                self.subscribed.set()
        if acknowledged and self._connection is not None:
            self._connection.send(b"".join(acknowledged))


def _nobody(_client: Client, _topic: str, _payload: bytes) -> None:
    return None
