"""Twenty kinds of requests that no device should send, and a client that sends them anyway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.helpers import PATIENCE

LARGEST: Final = 262_000  # bytes; the MQTT server takes no more
_NESTED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Abuse:
    """One message. Answered at its topic + /accepted or /rejected, unless `answers` is 0: then it is logged."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    properties: dict[str, object] = field(default_factory=dict)
    answers: int = 1


def kinds(things: int) -> dict[str, Callable[[int], Abuse]]:
    """Makers of the n-th message of each kind; those to real things go to `abused-0` and so on."""

    def at(number: int, rest: str = "j1/update") -> str:
        return f"$aws/things/abused-{number % things}/jobs/{rest}"

    def said(number: int, **more: object) -> bytes:
        return json.dumps({"status": "IN_PROGRESS", "n": number, **more}).encode()

    def raw(*payloads: bytes, rest: str = "j1/update") -> Callable[[int], Abuse]:
        return lambda n: Abuse(at(n, rest), payloads[n % len(payloads)])

    def wrong(**fields: list[object]) -> Callable[[int], Abuse]:
        [(name, values)] = fields.items()
        return lambda n: Abuse(at(n), said(n, **{name: values[n % len(values)]}))

    return {
        "not UTF-8": raw(
            b"\xff\xfe\x00", b'{"status":"\xc3\x28"}', b'{"clientToken":"\xed\xa0\x80"}'
        ),
        "deep JSON": raw(
            b"[" * _NESTED,
            b'{"a":' * (_NESTED // 5) + b"1" + b"}" * (_NESTED // 5),
            b'{"statusDetails":' + b"[" * _NESTED + b"]" * _NESTED + b"}",
        ),
        "not JSON": raw(
            b"{", b"{'status':'FAILED'}", b"\x00", b'{"status":"FAILED"} x', b"\xef\xbb\xbf{}"
        ),
        "wrong types": lambda n: Abuse(
            at(n),
            [
                said(n, status=7),
                said(n, status=["FAILED"]),
                said(n, statusDetails="x"),
                said(n, statusDetails={"a": {"b": 1}}),
                said(n, clientToken={"a": 1}),
                said(n, includeJobDocument="perhaps"),
                said(n, stepTimeoutInMinutes="soon"),
            ][n % 7],
        ),
        "no object": raw(b"[]", b"null", b"7", b'"x"', b"true", b"[[]]"),
        "as large as may be": lambda n: Abuse(
            at(n), said(n, statusDetails={"a": "x" * (LARGEST - 99)})
        ),
        "control characters": wrong(
            statusDetails=[{"a": "\u0000"}, {"a\n": "b"}, {"a": "\u0007\u202e"}, {"a": "\\N\nx"}]
        ),
        "lone surrogates": raw(
            b'{"status":"IN_PROGRESS","statusDetails":{"a":"\\ud800"}}',
            b'{"status":"IN_PROGRESS","clientToken":"\\udfff"}',
            b'{"status":"\\ud83d"}',
        ),
        "unknown fields": wrong(bogus=[1, None, {"deep": [1] * 99}, "x" * 9999]),
        "huge numbers": lambda n: Abuse(
            at(n),
            [
                b'{"status":"IN_PROGRESS","expectedVersion":' + b"9" * 5000 + b"}",
                b'{"status":"IN_PROGRESS","executionNumber":1e999}',
                b'{"status":"IN_PROGRESS","stepTimeoutInMinutes":-' + b"8" * 40 + b"}",
                b'{"status":"IN_PROGRESS","expectedVersion":"' + b"7" * 300 + b'"}',
                b'{"status":"IN_PROGRESS","executionNumber":9223372036854775808}',
            ][n % 5],
        ),
        "duplicate keys": raw(
            b'{"status":"FAILEDX","status":"SUCCEEDEDX"}',
            b'{"clientToken":"a","clientToken":7,"status":"IN_PROGRESS"}',
        ),
        "NaN and Infinity": raw(
            b'{"expectedVersion":NaN}', b'{"executionNumber":-Infinity}', b"NaN"
        ),
        "overlong tokens": wrong(clientToken=["t" * 1025, "\u00e4" * 1024, "t" * 100_000]),
        "overlong names": lambda n: Abuse(
            f"$aws/things/{'n' * (129 + n * 300)}/jobs/{'j' * 65}/{('get', 'update')[n % 2]}", b"{}"
        ),
        "wrong topics": lambda n: Abuse(
            [
                "$aws/things/bad name/jobs/get",
                "$aws/things/b\u00e4d/jobs/start-next",
                "$aws/things/abused-0/jobs/$next/update",
                "$aws/things/abused-0/jobs/j 1/get",
                "$aws/things/abused-0/jobs/get/get",
                "operators/nobody/things/fly",
                "operators/no body/jobs/list",
            ][n % 7],
            b'{"clientToken":"w"}',
        ),
        "empty levels": lambda n: Abuse(
            ["$aws/things//jobs/get", "$aws/things//jobs//update", "operators//jobs/list"][n % 3],
            b"",
        ),
        "response topics": lambda n: Abuse(
            at(n, "get") if n % 2 else "operators/nobody/jobs/list",
            b"{}",
            properties={
                "ResponseTopic": [
                    "$aws/things/abused-0/jobs/notify",
                    "operators/ann/jobs/create",
                    "a",
                ][n % 3],
                "CorrelationData": bytes(range(256)),
            },
        ),
        "QoS 2": lambda n: Abuse(at(n), said(n, status="DONE"), qos=2),
        "retained": lambda n: Abuse(at(n), said(n, status="KEPT"), retain=True),
        "no operator's commands": lambda n: Abuse(
            f"operators/nobody/{('jobs/create', 'jobs/x/delete', 'things/create', 'groups/add')[n % 4]}",
            [b'{"targets":[],"document":"' + b"x" * 40_000 + b'"}', b"\xff", b"[" * 9999, b"{}"][
                n % 4
            ],
        ),
    }


class Abuser:
    """A client of paho's that sends whatever it is given; use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client = Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, clean_session=None
        )
        self._client.max_inflight_messages_set(50)
        self._connected = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        """Connect."""

        def connected(
            _c: Client, _u: object, _f: ConnectFlags, _r: ReasonCode, _p: Properties | None
        ) -> None:
            self._loop.call_soon_threadsafe(self._connected.set)

        self._client.on_connect = connected
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self._port)
        self._client.loop_start()
        await asyncio.wait_for(self._connected.wait(), PATIENCE)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def send(self, abuses: Iterator[Abuse]) -> None:
        """Send all of them, and wait until the MQTT server has them."""

        def send_all() -> None:
            sent: list[MQTTMessageInfo] = []
            for one in abuses:
                properties = Properties(PacketTypes.PUBLISH)
                for name, value in one.properties.items():
                    setattr(properties, name, value)
                sent.append(
                    self._client.publish(one.topic, one.payload, one.qos, one.retain, properties)
                )
            for info in sent:
                info.wait_for_publish(60)

        await asyncio.to_thread(send_all)


async def send_too_large(port: int, size: int = 10_000_000) -> bool:
    """Publish so many bytes by hand; returns whether the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03big")
    assert (await reader.readexactly(4))[3] == 0
    topic = b"$aws/things/abused-0/jobs/get"
    body = len(topic).to_bytes(2, "big") + topic + bytes(size)
    left, header = len(body), bytearray(b"\x30")
    while left:
        left, digit = divmod(left, 128)
        header.append(digit | (0x80 if left else 0))
    try:
        writer.write(bytes(header) + body)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), PATIENCE) == b""
    except OSError:
        return True
    finally:
        writer.close()
