"""An MQTT client that says what the server allowed: for tests of who may do what."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.helpers import PATIENCE


class RefusedError(Exception):
    """The server did not let the client in; the text is its reason."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where and as whom to connect: a token, or a certificate of files in `tls_directory`."""

    port: int
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    certificate: tuple[Path, Path] | None = None


class Probe:
    """One MQTT 5 client with a thread of its own, used as `async with Probe(login) as probe`."""

    def __init__(self, login: Login, *, client_id: str = "", expiry: int = 0) -> None:
        self._login = login
        self._expiry = expiry
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[int]] = {}
        self.received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.dropped = asyncio.Event()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    async def __aenter__(self) -> Self:
        """Connect; raises RefusedError when the server says no or ends the handshake."""
        login = self._login
        self._client.username_pw_set(login.username, login.password)
        if login.ca_file:
            context = ssl.create_default_context(cafile=str(login.ca_file))
            if login.certificate:
                context.load_cert_chain(*login.certificate)
            self._client.tls_set_context(context)
        wanted = Properties(PacketTypes.CONNECT)
        wanted.SessionExpiryInterval = self._expiry
        try:
            await asyncio.to_thread(
                self._client.connect,
                "127.0.0.1",
                login.port,
                clean_start=not self._expiry,
                properties=wanted,
            )
        except OSError as error:
            raise RefusedError(str(error)) from error
        self._client.loop_start()
        reason = await asyncio.wait_for(self._connected, PATIENCE)
        if reason.is_failure:
            await self._close()
            raise RefusedError(str(reason))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._close()

    async def publish(self, topic: str, payload: bytes = b"x") -> bool:
        """Publish with QoS 1; return whether the server took it."""
        info = self._client.publish(topic, payload, qos=1)
        return await self._answer(info.mid) < 0x80

    async def subscribe(self, *filters: str) -> None:
        """Subscribe with QoS 1 and wait for the server's answer, whatever it is."""
        for topic_filter in filters:
            _, mid = self._client.subscribe(topic_filter, qos=1)
            if mid is not None:
                await self._answer(mid)

    async def topics_until(self, last: str) -> list[str]:
        """Return the topics received before the one that is `last`."""
        topics: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                topic, _ = await self.received.get()
                if topic == last:
                    return topics
                topics.append(topic)

    async def _close(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def _answer(self, mid: int) -> int:
        future = self._answers.setdefault(mid, self._loop.create_future())
        code = await asyncio.wait_for(future, PATIENCE)
        del self._answers[mid]
        return code

    def _settle(self, mid: int, code: int) -> None:
        future = self._answers.setdefault(mid, self._loop.create_future())
        if not future.done():
            future.set_result(code)

    def _first(self, reason: ReasonCode) -> None:
        if not self._connected.done():
            self._connected.set_result(reason)

    def _on_connect(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._first, reason)

    def _on_disconnect(
        self, _c: Client, _u: object, _f: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self.dropped.set)
        if reason.is_failure:
            self._loop.call_soon_threadsafe(self._first, reason)

    def _on_publish(
        self, _c: Client, _u: object, mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._settle, mid, reason.value)

    def _on_subscribe(
        self, _c: Client, _u: object, mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._settle, mid, max(r.value for r in reasons))

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        taken = (message.topic, bytes(message.payload))
        self._loop.call_soon_threadsafe(self.received.put_nowait, taken)
