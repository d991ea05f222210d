"""PUBLISH packets that are encoded once: only packet id and clientToken differ from one to the next."""

from __future__ import annotations

from typing import Final

from broker.mqtt.codec import encode_publish

TOKEN_LENGTH: Final = 8
_TOKEN: Final = b"\x7fTOKEN?\x7f"
_PACKET_ID: Final = 0x7F7E
_IN_REPLY: Final = b'"clientToken"'


class Template:
    """A QoS 1 request to `topic`, its payload without the clientToken, which is put in last.

    `payload` is a JSON object with at least one member and nothing behind it, as bytes.
    """

    __slots__ = ("_head", "_middle", "_tail")

    def __init__(self, topic: str, payload: bytes) -> None:
        whole = payload[:-1] + b',"clientToken":"' + _TOKEN + b'"}'
        packet = encode_publish(topic, whole, qos=1, packet_id=_PACKET_ID)
        at = packet.index(_PACKET_ID.to_bytes(2, "big"))
        token = packet.index(_TOKEN)
        self._head = packet[:at]
        self._middle = packet[at + 2 : token]
        self._tail = packet[token + TOKEN_LENGTH :]

    def packet(self, packet_id: int, token: bytes) -> bytes:
        """Return the packet; `token` has TOKEN_LENGTH bytes."""
        return b"".join((self._head, packet_id.to_bytes(2, "big"), self._middle, token, self._tail))


def token_of(number: int) -> bytes:
    """Return the clientToken of a request's number."""
    return b"%08x" % number


def token_in(payload: bytes) -> bytes:
    """Return the clientToken of an answer to one of our requests; empty when it has none."""
    at = payload.rfind(_IN_REPLY)
    if at < 0:
        return b""
    begin = payload.find(b'"', at + len(_IN_REPLY)) + 1
    return payload[begin : begin + TOKEN_LENGTH]


def member(payload: bytes, name: bytes) -> bytes | None:
    """Return the text of the first member of that name, or None; our own names hold no escapes."""
    mark = b'"' + name + b'":"'
    at = payload.find(mark)
    if at < 0:
        return None
    begin = at + len(mark)
    return payload[begin : payload.index(b'"', begin)]
