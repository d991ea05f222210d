"""The link against a real Mosquitto: sessions, redelivery, limits, restarts, TLS."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.mqtt.address import Address
from broker.mqtt.connection import ConnectSettings, ConnectTLSError, connect
from broker.mqtt.link import (
    Connected,
    ConnectFailed,
    Denied,
    Inbound,
    Link,
    LinkEvent,
    LinkSettings,
    Lost,
    Outbound,
    PublishDenied,
)
from tests.conftest import StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.ports import reserved_port
from tests.servers import MosquittoServer

E = TypeVar("E", bound=LinkEvent)

_OPEN = """\
per_listener_settings false
allow_anonymous {anonymous}
set_tcp_nodelay true
max_queued_messages 1000000
max_inflight_messages {receive_max}
listener {port} 127.0.0.1
"""
_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_REQUESTS = "$share/jobbroker/+/$aws/things/+/jobs/get"


class Probe:
    """A link under test, with what it told about itself."""

    def __init__(self, settings: LinkSettings, filters: Sequence[str]) -> None:
        self.events: list[LinkEvent] = []
        self.link = Link(settings, filters, on_event=self.events.append)
        self._runner = asyncio.create_task(self.link.run())

    def told(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def receive(self, count: int) -> list[Inbound]:
        """Receive so many messages; more are a failure."""
        taken: list[Inbound] = []
        async with asyncio.timeout(PATIENCE):
            while len(taken) < count:
                taken += await self.link.receive()
        assert len(taken) == count
        return taken

    async def publish(self, *topics: str, qos: int = 1) -> list[Denied]:
        """Publish messages that carry their number, and wait until they are acknowledged."""
        messages = [Outbound(topic, str(n).encode(), qos) for n, topic in enumerate(topics)]
        async with asyncio.timeout(PATIENCE):
            return await self.link.publish(messages)

    async def crash(self) -> None:
        """Cut the connection as a dead process would, and stop for good."""
        connection = self.link._connection
        assert connection is not None
        self.link._stop.set()
        connection.abort()
        await self._runner

    async def close(self, *, end_session: bool = False) -> None:
        """Close in order."""
        await self.link.close(end_session=end_session)
        await self._runner


def _settings(port: int, client_id: str = "slot-0") -> LinkSettings:
    return LinkSettings(
        Address("127.0.0.1", port), client_id, backoff_base=0.02, backoff_cap=0.2, timeout=5
    )


@asynccontextmanager
async def _link(
    settings: LinkSettings, filters: Sequence[str] = (), *, crash: bool = False
) -> AsyncIterator[Probe]:
    probe = Probe(settings, filters)
    try:
        async with asyncio.timeout(PATIENCE):
            await probe.link.connected()
        yield probe
    finally:
        await (probe.crash() if crash else probe.close())


async def _server(
    start: StartMosquitto,
    *,
    receive_max: int = 1000,
    extra: str = "",
    listener: str = "",
    anonymous: bool = True,
    files: Mapping[str, str] | None = None,
) -> tuple[MosquittoServer, int]:
    port = reserved_port()
    base = _OPEN.format(port=port, receive_max=receive_max, anonymous=str(anonymous).lower())
    config = extra + base + listener
    return await start(config, files or {}), port


def _payloads(messages: Sequence[Inbound]) -> list[int]:
    return [int(message.payload) for message in messages]


async def test_unacknowledged_requests_come_back_with_dup(mosquitto_server: StartMosquitto) -> None:
    """A process that dies before PUBACK gets its requests again, marked, and the queued ones."""
    _, port = await _server(mosquitto_server)
    topic = "default/$aws/things/d1/jobs/get"
    async with _link(_settings(port, "device")) as device:
        async with _link(_settings(port), [_REQUESTS], crash=True) as first:
            assert first.told(Connected)[-1].session_present is False
            await device.publish(*[topic] * 5)
            taken = await first.receive(5)
            # Out of order, as batches finish: the rest stays with the session.
            first.link.acknowledge([taken[3], taken[1]])
            await device.publish("default/$aws/things/d2/jobs/get")
            await first.receive(1)
        async with _link(_settings(port), [_REQUESTS]) as second:
            assert second.link.session_present is True
            again = await second.receive(4)
            assert [(m.topic, int(m.payload), m.duplicate) for m in again] == [
                (topic, 0, True),
                (topic, 2, True),
                (topic, 4, True),
                ("default/$aws/things/d2/jobs/get", 0, True),
            ]
            second.link.acknowledge(again)
        async with _link(_settings(port), [_REQUESTS]) as third:
            await device.publish(topic)
            assert [m.duplicate for m in await third.receive(1)] == [False]


async def test_messages_of_an_earlier_connection_are_not_acknowledged(
    mosquitto_server: StartMosquitto,
) -> None:
    """Acknowledging after a reconnect what came before it confirms nothing by mistake."""
    _, port = await _server(mosquitto_server)
    async with (
        _link(_settings(port, "device")) as device,
        _link(_settings(port), ["requests/+"]) as probe,
    ):
        await device.publish("requests/1", "requests/2")
        old = await probe.receive(2)
        assert probe.link._connection is not None
        probe.link._connection.abort()
        new = await probe.receive(2)
        assert [m.duplicate for m in new] == [True, True]
        probe.link.acknowledge(old)
        probe.link._connection.abort()
        assert [m.topic for m in await probe.receive(2)] == ["requests/1", "requests/2"]
        assert new[0].epoch == old[0].epoch + 1
        assert probe.link.unacknowledged == 2


async def test_session_of_a_dead_member_can_be_drained(mosquitto_server: StartMosquitto) -> None:
    """Unsubscribed, a session still hands over what it has, and its share goes to the others."""
    _, port = await _server(mosquitto_server)
    topic = "default/$aws/things/d1/jobs/get"
    async with _link(_settings(port, "device")) as device:
        async with _link(_settings(port), [_REQUESTS], crash=True):
            pass
        await device.publish(topic, topic)
        async with (
            _link(_settings(port, "slot-1"), [_REQUESTS]) as living,
            _link(_settings(port), []) as drain,
        ):
            await drain.link.unsubscribe([_REQUESTS])
            collected = await drain.receive(2)
            await device.publish(topic, topic, topic)
            assert _payloads(await living.receive(3)) == [0, 1, 2]
            assert (drain.link.received, drain.link.unacknowledged) == (2, 2)
            drain.link.acknowledge(collected)
            assert drain.link.unacknowledged == 0
            await drain.close(end_session=True)


async def test_ended_session_leaves_nothing_behind(mosquitto_server: StartMosquitto) -> None:
    """`close(end_session=True)` gives the session up: what comes later is not kept for it."""
    _, port = await _server(mosquitto_server)
    async with _link(_settings(port, "device")) as device:
        async with _link(_settings(port), ["requests/+"]) as first:
            await first.close(end_session=True)
        await device.publish("requests/1")
        async with _link(_settings(port), ["requests/+"]) as second:
            assert second.link.session_present is False
            await device.publish("requests/2")
            assert [m.topic for m in await second.receive(1)] == ["requests/2"]


async def test_unacknowledged_publishes_are_sent_again(mosquitto_server: StartMosquitto) -> None:
    """Publishes cut off with their connection arrive all, in order, over the next one."""
    _, port = await _server(mosquitto_server, receive_max=20)
    async with (
        _link(_settings(port, "listener"), ["replies"]) as listener,
        _link(_settings(port)) as probe,
    ):
        future = probe.link.publish([Outbound("replies", str(n).encode()) for n in range(200)])
        assert probe.link._connection is not None
        probe.link._connection.abort()
        async with asyncio.timeout(PATIENCE):
            assert await future == []
        seen: list[int] = []
        while 199 not in seen:
            batch = await listener.link.receive()
            listener.link.acknowledge(batch)
            seen += _payloads(batch)
        assert sorted(set(seen)) == list(range(200))
        assert list(dict.fromkeys(seen)) == list(range(200))
        assert probe.told(Lost)[0].reason == "aborted by us"


async def test_receive_maximum_of_the_server_is_honoured(mosquitto_server: StartMosquitto) -> None:
    """With a Receive Maximum of 3, Mosquitto never finds more in flight, which it would end."""
    _, port = await _server(mosquitto_server, receive_max=3)
    async with (
        _link(_settings(port, "listener"), ["replies"]) as listener,
        _link(_settings(port)) as probe,
    ):
        assert probe.told(Connected)[0].receive_max == 3
        future = probe.link.publish([Outbound("replies", str(n).encode()) for n in range(500)])
        assert len(probe.link._outgoing._in_flight) == 3
        seen: list[int] = []
        while len(seen) < 500:
            batch = await listener.link.receive()
            listener.link.acknowledge(batch)
            seen += _payloads(batch)
        async with asyncio.timeout(PATIENCE):
            assert await future == []
        assert seen == list(range(500))
        assert probe.told(Lost) == []


async def test_denied_publishes_are_reported_by_topic(mosquitto_server: StartMosquitto) -> None:
    """The server's ACL refusals come back by topic, in the result and as events."""
    extra = "acl_file {directory}/acl\n"
    files = {"acl": "topic readwrite allowed/#\n"}
    _, port = await _server(mosquitto_server, extra=extra, files=files)
    async with _link(_settings(port)) as probe:
        denied = await probe.publish("allowed/1", "forbidden/1", "allowed/2", "forbidden/2")
        assert [each.topic for each in denied] == ["forbidden/1", "forbidden/2"]
        assert {each.reason for each in denied} == {"NOT_AUTHORIZED"}
        assert [event.topic for event in probe.told(PublishDenied)] == [
            "forbidden/1",
            "forbidden/2",
        ]
        assert probe.told(Lost) == []


async def test_messages_the_server_would_not_survive_do_no_harm(
    mosquitto_server: StartMosquitto,
) -> None:
    """Wildcard topics and oversized packets are denied by us, and the connection stays."""
    _, port = await _server(mosquitto_server, extra="max_packet_size 1000\n")
    async with _link(_settings(port), ["ok"]) as probe:
        future = probe.link.publish(
            [
                Outbound("a/#", b""),
                Outbound("big", b"x" * 1000),
                Outbound("c\u0001", b""),
                Outbound("/" * 201, b""),
                Outbound("ok", b"0"),
            ]
        )
        async with asyncio.timeout(PATIENCE):
            assert len(await future) == 4
        assert [m.topic for m in await probe.receive(1)] == ["ok"]
        assert probe.told(Lost) == []


async def test_oversized_by_message_size_limit_is_denied(mosquitto_server: StartMosquitto) -> None:
    """Mosquitto's answer to message_size_limit, a code unknown to PUBACK, denies the one message."""
    _, port = await _server(mosquitto_server, extra="message_size_limit 100\n")
    async with _link(_settings(port)) as probe:
        async with asyncio.timeout(PATIENCE):
            denied = await probe.link.publish([Outbound("a", b"x" * 200), Outbound("a", b"")])
        assert [each.reason for each in denied] == ["UNSPECIFIED_ERROR: reason code 0x95"]
        assert probe.told(Lost) == []


async def test_unread_messages_hold_the_socket(mosquitto_server: StartMosquitto) -> None:
    """With nobody receiving, memory stays bounded, the connection alive, and nothing is lost."""
    _, port = await _server(mosquitto_server)
    small = replace(_settings(port), receive_max=10, keep_alive=1)
    async with (
        _link(_settings(port, "device")) as device,
        _link(small, ["flood"]) as probe,
    ):
        await device.publish(*["flood"] * 2000, qos=0)
        connection = probe.link._connection
        assert connection is not None
        await eventually(lambda: not connection._reading)
        held = len(probe.link._incoming._inbox)
        assert 20 < held < 2000
        await device.publish("elsewhere")
        assert len(probe.link._incoming._inbox) == held
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 2000:
                seen += _payloads(await probe.link.receive())
        assert seen == list(range(2000))
        assert probe.told(Lost) == []


async def test_our_receive_maximum_bounds_unacknowledged_requests(
    mosquitto_server: StartMosquitto,
) -> None:
    """The server sends no more than `receive_max` requests until some are acknowledged."""
    _, port = await _server(mosquitto_server)
    async with (
        _link(_settings(port, "device")) as device,
        _link(replace(_settings(port), receive_max=10), ["requests"]) as probe,
    ):
        await device.publish(*["requests"] * 25)
        seen: list[int] = []
        for window in (10, 10, 5):
            taken = await probe.receive(window)
            seen += _payloads(taken)
            probe.link.acknowledge(taken)
        assert seen == list(range(25))


async def test_restarted_server_gets_everything(mosquitto_server: StartMosquitto) -> None:
    """After a kill of the server the link is back by itself; what was published meanwhile goes."""
    server, port = await _server(mosquitto_server)
    async with _link(_settings(port), ["a"]) as probe:
        await server.kill()
        await eventually(lambda: probe.told(ConnectFailed))
        assert not probe.link.is_connected
        future = probe.link.publish([Outbound("a", b"1")])
        await server.start()
        async with asyncio.timeout(PATIENCE):
            assert await future == []
            await probe.link.connected()
        assert probe.told(Connected)[-1].session_present is False
        assert await probe.link.drain(PATIENCE)
        assert _payloads(await probe.receive(1)) == [1]


async def test_session_survives_an_orderly_restart(mosquitto_server: StartMosquitto) -> None:
    """A Mosquitto that saved its state resumes the session: requests are sent again."""
    extra = "persistence true\npersistence_location {directory}/\n"
    server, port = await _server(mosquitto_server, extra=extra)
    async with _link(_settings(port), ["a"]) as probe:
        await probe.publish("a")
        (first,) = await probe.receive(1)
        await server.stop()
        await eventually(lambda: probe.told(Lost))
        await server.start()
        (again,) = await probe.receive(1)
        assert (again.topic, again.payload) == (first.topic, first.payload)
        assert again.duplicate
        assert probe.link.session_present is True


async def test_taken_over_session_is_told_and_not_fought_for(
    mosquitto_server: StartMosquitto,
) -> None:
    """Two links with one client id: each loss names the takeover, and the waits grow."""
    _, port = await _server(mosquitto_server)
    async with _link(_settings(port)) as first:
        async with _link(_settings(port)):
            await eventually(lambda: first.told(Lost))
        reason = first.told(Lost)[0].reason
        assert reason == "the MQTT server disconnected us: SESSION_TAKEN_OVER"
        async with asyncio.timeout(PATIENCE):
            await first.link.connected()


async def test_wrong_credentials_are_reported_and_tried_again(
    mosquitto_server: StartMosquitto,
) -> None:
    """A refusal is told by name; once the server lets us in, the link is up."""
    closed = {"users": "somebody:$7$101$c2FsdA==$aGFzaA==\n"}
    server, port = await _server(
        mosquitto_server, extra="password_file {directory}/users\n", files=closed, anonymous=False
    )
    ours = replace(_settings(port), username="@jobbroker", password="of-a-test")
    probe = Probe(ours, ["a"])
    await eventually(lambda: len(probe.told(ConnectFailed)) > 1)
    assert "refused us: NOT_AUTHORIZED" in probe.told(ConnectFailed)[0].reason
    (server.config.parent / "users").write_text(_user("@jobbroker", "of-a-test"))
    await server.reload()
    async with asyncio.timeout(PATIENCE):
        await probe.link.connected()
    await probe.close()


async def test_correlation_data_and_response_topic_pass(mosquitto_server: StartMosquitto) -> None:
    """Correlation data goes out and comes in; QoS 0 comes with packet id 0."""
    _, port = await _server(mosquitto_server)
    async with _link(_settings(port), ["a"]) as probe:
        probe.link.publish([Outbound("a", b"1", 0, b"\x00\xff"), Outbound("a", b"2", 1, b"c")])
        first, second = await probe.receive(2)
        assert (first.qos, first.packet_id, first.correlation_data) == (0, 0, b"\x00\xff")
        assert (second.qos, second.correlation_data) == (1, b"c")
        assert second.response_topic is None


async def test_link_works_on_uvloop(mosquitto_server: StartMosquitto) -> None:
    """The event loop that serves in production carries the link as well."""
    _, port = await _server(mosquitto_server)

    async def round_trip() -> list[int]:
        async with _link(_settings(port), ["a"]) as probe:
            assert await probe.publish("a", "a", "a#") == [Denied("a#", "topic holds a wildcard")]
            taken = await probe.receive(2)
            probe.link.acknowledge(taken)
            return _payloads(taken)

    assert await asyncio.to_thread(uvloop.run, round_trip()) == [0, 1]


async def test_tls_with_a_private_ca(mosquitto_server: StartMosquitto) -> None:
    """TLS works with our own CA; an unknown CA and a wrong name are told as such."""
    files = _certificates()
    listener = "certfile {directory}/server.crt\nkeyfile {directory}/server.key\n"
    _, port = await _server(mosquitto_server, listener=listener, files=files)
    trusted = ssl.create_default_context(cadata=files["ca.crt"])
    address = Address("localhost", port, tls=True)
    settings = replace(_settings(port), address=address, tls=trusted)
    async with _link(settings, ["a"]) as probe:
        await probe.publish("a")
        assert _payloads(await probe.receive(1)) == [0]
    for wrong, tls, message in (
        (address, ssl.create_default_context(), "unable to get local issuer"),
        (replace(address, host="127.0.0.1"), trusted, "IP address mismatch"),
    ):
        with pytest.raises(ConnectTLSError, match=message):
            await connect(
                wrong,
                ConnectSettings("c", tls=tls),
                on_packets=lambda _: None,
                on_lost=lambda _: None,
            )


def _user(name: str, password: str) -> str:
    """Return a line of Mosquitto's password file."""
    salt = b"salt-of-test"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    encoded = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"{name}:$7$101${encoded[0]}${encoded[1]}\n"


def _certificates() -> Mapping[str, str]:
    """Make a CA and a server certificate for localhost, as PEM files by name."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = {name: name in {"key_cert_sign", "crl_sign"} for name in _KEY_USAGES}
    ca = (
        _unsigned("test CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
    server = (
        _unsigned("localhost", server_key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = server_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "ca.crt": ca.public_bytes(pem).decode(),
        "server.crt": server.public_bytes(pem).decode(),
        "server.key": private.decode(),
    }


def _unsigned(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )
