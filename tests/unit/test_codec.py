"""Framing of MQTT packets, and the checks before a PUBLISH."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mqtt.codec import (
    PINGREQ,
    PubAckPacket,
    PublishPacket,
    encode_puback,
    encode_publish,
    encode_subscribe,
    read_packets,
    refusal,
    topic_fault,
)

_STREAM = (
    encode_publish("a/b", b"payload", qos=1, packet_id=7, correlation_data=b"c")
    + encode_puback(9)
    + encode_subscribe(3, ["a/+", "$share/g/+/b"])
    + encode_publish("a", b"")
    + PINGREQ
)

# The codec panics on strings that are not UTF-8, and leaves what Python raised about them behind.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("data", [b"\x40\x82\x00", b"\x40\x82\x00\x01", b"\x40\x03\x00"])
def test_a_puback_that_is_not_all_there_does_not_raise(data: bytes) -> None:
    """Its reason code is looked at only where there is one (found by fuzzing)."""
    assert read_packets(data, 1000).packets == []


def test_a_long_puback_with_a_code_of_mosquittos_own_is_read() -> None:
    """Its packet id and code stand behind a length of two bytes."""
    text = b"\x1f" + (150).to_bytes(2, "big") + b"x" * 150
    body = b"\x01\x02\x95" + b"\x99\x01" + text
    reading = read_packets(b"\x40" + bytes([0x80 | len(body) & 0x7F, len(body) >> 7]) + body, 1000)
    [packet] = reading.packets
    assert isinstance(packet, PubAckPacket)
    assert (packet.packet_id, packet.reason_str) == (0x0102, "reason code 0x95")
    assert reading.fault is None


@given(st.integers(0, len(_STREAM)))
def test_packets_split_anywhere_are_joined(cut: int) -> None:
    """However TCP cuts the stream, the same packets come out and nothing is lost."""
    first = read_packets(_STREAM[:cut], 1000)
    second = read_packets(_STREAM[first.used :], 1000)
    assert first.fault is None
    assert second.fault is None
    assert len(first.packets) + len(second.packets) == 5
    assert first.used + second.used == len(_STREAM)


@given(st.binary(max_size=60))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a peer sends is packets, a fault, or too few bytes to tell."""
    reading = read_packets(_STREAM + data, 1000)
    assert len(reading.packets) >= 5
    assert len(_STREAM) <= reading.used <= len(_STREAM) + len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\xf7\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x32\x07\x00\x02\xff\xfe\x00\x01\x00",
        b"\x40\x03\x00\x01\x05",
    ],
)
def test_malformed_packet_is_a_fault_after_the_good_ones(data: bytes) -> None:
    """Packets before a malformed one are delivered; the fault says that it is malformed."""
    reading = read_packets(PINGREQ + data, 1000)
    assert len(reading.packets) == 1
    assert reading.used == len(PINGREQ)
    assert reading.fault is not None
    assert reading.fault.startswith("malformed packet")


def test_oversized_packet_is_refused_by_its_header() -> None:
    """A packet beyond the maximum is a fault before its body has come."""
    frame = encode_publish("a", b"x" * 2000)
    assert read_packets(frame[:3], 1000).fault == (
        f"packet too large: {len(frame)} bytes, our maximum is 1000"
    )
    assert read_packets(frame[:3], 3000).fault is None


def test_puback_with_a_code_it_should_not_have_is_a_refusal() -> None:
    """Mosquitto's 0x95 (packet too large) in PUBACK refuses the message, not the connection."""
    reading = read_packets(b"\x40\x03\x01\x02\x95" + PINGREQ, 1000)
    packet = reading.packets[0]
    assert isinstance(packet, PubAckPacket)
    assert packet.packet_id == 0x0102
    assert refusal(packet.reason_code, packet.reason_str) == "UNSPECIFIED_ERROR: reason code 0x95"
    assert len(reading.packets) == 2


def test_publish_is_encoded_with_all_its_fields() -> None:
    """Topic, payload, QoS, packet id, DUP and correlation data reach the wire."""
    frame = encode_publish(
        "t/ü", b"p", qos=1, packet_id=65535, duplicate=True, correlation_data=b"\x00"
    )
    packet = read_packets(frame, 1000).packets[0]
    assert isinstance(packet, PublishPacket)
    assert (packet.topic, packet.payload, int(packet.qos)) == ("t/ü", b"p", 1)
    assert (packet.packet_id, packet.duplicate) == (65535, True)
    assert packet.correlation_data == b"\x00"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "a/+",
        "a/#",
        "a\x00",
        "a\x1f",
        "a\x7f",
        "a\x9f",
        "\ud800",
        "\ufdd0",
        "\uffff",
        "\U0010fffe",
        "/" * 201,
        "x" * 65_536,
        "é" * 32_768,
    ],
)
def test_topic_that_would_cost_the_connection_is_found(topic: str) -> None:
    """Topics over which a server closes the connection are refused by us."""
    assert topic_fault(topic) is not None


@pytest.mark.parametrize("topic", ["a", "$aws/things/a:b/jobs/$next/get", "é/\u2028/😀", "/" * 200])
def test_good_topic_passes(topic: str) -> None:
    """All else is a topic."""
    assert topic_fault(topic) is None
