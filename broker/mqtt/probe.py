"""One look at an MQTT server, under a client id of its own so that nobody's session is disturbed."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass

from broker.mqtt.codec import (
    Packet,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    SubscribePacket,
    TopicFilter,
    encode_publish,
)
from broker.mqtt.connection import ConnectError, Connection, ConnectSettings, connect
from broker.settings import Settings
from schema.topics import DEFAULT_TENANT, mounted

_VERSION = "$SYS/broker/version"
_FORGED = "$aws/things/jobbroker-check/jobs/get"
_FIRST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What was seen. version is None when the server does not tell it; packet_bytes None is no limit."""

    shared: bool
    in_flight: int
    packet_bytes: int | None
    version: tuple[int, int, int] | None
    wrong_publish_refused: bool


async def probe(settings: Settings, *, seconds: float = 1.0) -> Probe:
    """Connect as the broker, try what it may not, and wait at most `seconds` for the version.

    What it may not is to speak as a device; where that is not refused, the broker answers it as it
    answers any unknown thing. Raises ConnectError when the server cannot be reached or refuses.
    """
    refused: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    version: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def received(packets: list[Packet]) -> None:
        for packet in packets:
            if isinstance(packet, PubAckPacket) and not refused.done():
                refused.set_result(packet.reason_code == PubAckReasonCode.NOT_AUTHORIZED)
            elif isinstance(packet, PublishPacket) and not version.done():
                version.set_result(packet.payload.decode(errors="replace"))

    def lost(reason: str) -> None:
        if not refused.done():
            refused.set_exception(ConnectError(f"MQTT server at {url.address}: {reason}"))

    url = settings.mqtt
    connection, connack = await connect(
        url.address, _greeting(settings), on_packets=received, on_lost=lost
    )
    _ask(connection, settings)
    try:
        denied = await asyncio.wait_for(refused, _FIRST_SECONDS)
        await asyncio.wait([version], timeout=seconds)
    except TimeoutError:
        raise ConnectError(f"MQTT server at {url.address} does not acknowledge") from None
    finally:
        connection.close()
        await connection.wait_closed()
    return Probe(
        shared=connack.shared_subscription_available,
        in_flight=connack.receive_max,
        packet_bytes=connack.max_packet_size,
        version=_numbers(version.result()) if version.done() else None,
        wrong_publish_refused=denied,
    )


def _greeting(settings: Settings) -> ConnectSettings:
    return ConnectSettings(
        client_id=f"jobbroker-check-{secrets.token_hex(8)}",
        username=settings.mqtt.username,
        password=settings.mqtt.password,
        tls=settings.tls_context(),
    )


def _ask(connection: Connection, settings: Settings) -> None:
    """Ask for the version, and try to speak as a device."""
    # Unlike the link's, this subscription asks for what is retained: the version is.
    wanted = TopicFilter(_VERSION, max_qos=QoS.AT_MOST_ONCE)
    connection.send(SubscribePacket(connection.next_packet_id(), [wanted]).write())
    topic = mounted(DEFAULT_TENANT, _FORGED, settings.mqtt_topics)
    packet_id = connection.next_packet_id()
    connection.send(encode_publish(topic, b"", qos=1, packet_id=packet_id))


def _numbers(text: str) -> tuple[int, int, int] | None:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
