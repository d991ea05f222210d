"""MQTT 5 packets to and from bytes: framing around the `mqtt5` wheel, and what it gets wrong.

The wheel raises IndexError for bytes that are still missing and ValueError for malformed ones. It
panics (a BaseException) on strings that are not UTF-8, and knows too few PUBACK reason codes. Its
enums are no IntEnum, whatever its stub says: without order, without hash; compare their int().
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    ConnectPacket,
    DisconnectPacket,
    DisconnectReasonCode,
    Packet,
    PingReqPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubAckReasonCode,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
    UnsubscribePacket,
    read,
)

__all__ = [
    "LARGEST_PACKET",
    "NOBODY_HEARD",
    "PINGREQ",
    "ConnAckPacket",
    "ConnAckReasonCode",
    "ConnectPacket",
    "DisconnectPacket",
    "DisconnectReasonCode",
    "Packet",
    "PingReqPacket",
    "PingRespPacket",
    "PubAckPacket",
    "PubAckReasonCode",
    "PublishPacket",
    "QoS",
    "Reading",
    "SubAckPacket",
    "SubAckReasonCode",
    "SubscribePacket",
    "TopicFilter",
    "UnsubAckPacket",
    "UnsubAckReasonCode",
    "UnsubscribePacket",
    "encode_puback",
    "encode_publish",
    "encode_subscribe",
    "encode_unsubscribe",
    "read_packets",
    "refusal",
    "topic_fault",
    "traceparent_of",
]

LARGEST_PACKET = 268_435_455
"""Bytes in the largest MQTT packet body (MQTT 5, 2.1.4)."""

PINGREQ = PingReqPacket().write()
_PUBACK = struct.Struct(">BBH")
_PUBACK_TYPE = 0x40
_PUBACK_BODY = struct.Struct(">HB")
TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_QOS = (QoS.AT_MOST_ONCE, QoS.AT_LEAST_ONCE)
_MOST_SLASHES = 200
_MOST_TOPIC_BYTES = 65_535
_HIGH_BIT = 0x80
NOBODY_HEARD = 0x10
"""PUBACK's reason code "No matching subscribers" (MQTT 5, 3.4.2.1)."""
_NONCHARACTERS = "".join(
    f"{chr(plane + 0xFFFE)}-{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_FORBIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")


class Reading(NamedTuple):
    """Whole packets found, the bytes they took, and what was wrong with the next one, if it was."""

    packets: list[Packet]
    used: int
    fault: str | None


def read_packets(data: bytes, largest: int) -> Reading:
    """Read every whole packet at the start of `data`; a packet may hold `largest` bytes.

    Never raises on what a peer sent: the packets before a malformed one come with the fault.
    """
    view = memoryview(data)
    packets: list[Packet] = []
    used, end = 0, len(data)
    while used < end:
        try:
            packet, size = read(view[used:])
        except IndexError:
            return Reading(packets, used, _oversize(data, used, largest))
        except ValueError as error:
            refusal = _unknown_puback(data, used)
            if refusal is None:
                return Reading(packets, used, f"malformed packet: {error}")
            packet, size = refusal
        except BaseException as error:
            if type(error).__module__ != "pyo3_runtime":
                raise
            return Reading(packets, used, "malformed packet: a string that is not UTF-8")
        packets.append(packet)
        used += size
    return Reading(packets, used, None)


def _frame_size(data: bytes, at: int) -> int | None:
    length = 0
    for index in range(4):
        position = at + 1 + index
        if position >= len(data):
            return None
        length |= (data[position] & 0x7F) << (7 * index)
        if data[position] < _HIGH_BIT:
            return 2 + index + length
    return None


def _oversize(data: bytes, at: int, largest: int) -> str | None:
    size = _frame_size(data, at)
    if size is None or size <= largest:
        return None
    return f"packet too large: {size} bytes, our maximum is {largest}"


def _unknown_puback(data: bytes, at: int) -> tuple[PubAckPacket, int] | None:
    # Mosquitto answers 0x95 (packet too large) beyond its message_size_limit, a code that PUBACK
    # does not have; taken for malformed, the same message would end every connection after.
    size = _frame_size(data, at)
    if data[at] != _PUBACK_TYPE or size is None or size > len(data) - at:
        return None
    body = at + 2
    while data[body - 1] >= _HIGH_BIT:
        body += 1
    if at + size - body < _PUBACK_BODY.size:
        return None
    packet_id, reason = _PUBACK_BODY.unpack_from(data, body)
    if reason < _HIGH_BIT or _is_puback_reason(reason):
        return None
    code = PubAckReasonCode.UNSPECIFIED_ERROR
    text = f"reason code 0x{reason:02X}"
    return PubAckPacket(packet_id, reason_code=code, reason_str=text), size


def _is_puback_reason(code: int) -> bool:
    try:
        PubAckReasonCode(code)
    except ValueError:
        return False
    return True


def refusal(packet_code: PubAckReasonCode | SubAckReasonCode, detail: str | None) -> str | None:
    """Return the name of a reason code that refuses, with the server's words; None if it grants."""
    if int(packet_code) < _HIGH_BIT:
        return None
    return f"{packet_code.name}: {detail}" if detail else packet_code.name


def encode_puback(packet_id: int) -> bytes:
    """Return the PUBACK that accepts a received PUBLISH, four bytes."""
    return _PUBACK.pack(_PUBACK_TYPE, 2, packet_id)


def encode_publish(
    topic: str,
    payload: bytes,
    *,
    qos: int = 0,
    packet_id: int | None = None,
    duplicate: bool = False,
    correlation_data: bytes | None = None,
    traceparent: str | None = None,
) -> bytes:
    """Return a PUBLISH with QoS 0 or 1.

    Raises ValueError on what MQTT cannot carry; see `topic_fault` for what a server refuses.
    """
    if len(payload) > LARGEST_PACKET - 2 * _MOST_TOPIC_BYTES - 16:
        raise ValueError(f"payload has {len(payload)} bytes, more than an MQTT packet holds")
    return PublishPacket(
        topic,
        payload,
        qos=_QOS[qos],
        packet_id=packet_id,
        duplicate=duplicate,
        correlation_data=correlation_data,
        user_properties=None if traceparent is None else [(TRACEPARENT, traceparent)],
    ).write()


def traceparent_of(user_properties: list[tuple[str, str]]) -> str | None:
    """The first user property `traceparent` that is one (W3C Trace Context, 3.2); None without."""
    for name, value in user_properties:
        if name == TRACEPARENT and _TRACEPARENT.fullmatch(value) is not None:
            return value
    return None


def encode_subscribe(packet_id: int, filters: list[str], *, qos: int = 1) -> bytes:
    """Return a SUBSCRIBE for `filters` at most at `qos`, without retained messages."""
    never = RetainHandling.SEND_NEVER
    wanted = [TopicFilter(each, max_qos=_QOS[qos], retain_handling=never) for each in filters]
    return SubscribePacket(packet_id, wanted).write()


def encode_unsubscribe(packet_id: int, filters: list[str]) -> bytes:
    """Return an UNSUBSCRIBE from these filters."""
    return UnsubscribePacket(packet_id, filters).write()


def topic_fault(topic: str) -> str | None:
    """Say why a server would close the connection over a PUBLISH to this topic, or return None.

    Wildcards and U+0000 are MQTT 5, 4.7; control characters, non-characters and more than 200
    slashes are what Mosquitto adds. Asking here keeps one bad name from costing the connection.
    """
    if not topic:
        return "topic is empty"
    if "+" in topic or "#" in topic:
        return "topic holds a wildcard"
    if not (topic.isascii() and topic.isprintable()) and _FORBIDDEN.search(topic):
        return "topic holds a character that MQTT forbids"
    if len(topic) > _MOST_TOPIC_BYTES // 4 and len(topic.encode()) > _MOST_TOPIC_BYTES:
        return f"topic has more than {_MOST_TOPIC_BYTES} bytes"
    if topic.count("/") > _MOST_SLASHES:
        return f"topic has more than {_MOST_SLASHES} levels"
    return None
