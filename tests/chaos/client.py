"""One MQTT client of the load: it keeps its session, comes back after each loss, and asks until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    ConnAckPacket,
    Packet,
    PublishPacket,
    SubAckPacket,
    encode_puback,
    encode_publish,
    encode_subscribe,
)
from broker.mqtt.connection import ConnectError, Connection, connect
from broker.mqtt.handshake import ConnectSettings
from tests.chaos.ledger import Ledger
from tests.helpers import elapse

RETRY_SECONDS: Final = 2.0
_KEEP_ALIVE: Final = 10
_SESSION_SECONDS: Final = 3600
_CONNECT_SECONDS: Final = 5.0
_BACK_OFF: Final = (0.1, 1.0)
_AWAKE, _NAP = (0.5, 3.0), (0.5, 4.0)
Body = dict[str, Any]


class Answer:
    """What came back first: accepted or not, the body, and how often it was asked for."""

    __slots__ = ("accepted", "body", "times_sent")

    def __init__(self, body: Body, *, accepted: bool, times_sent: int) -> None:
        self.accepted = accepted
        self.body = body
        self.times_sent = times_sent


class Client:
    """A thing's or an operator's, who keeps one session for good.

    `on_message` gets what is no answer; `on_subscribed` follows a new session; `may_nap` lets it sleep for seconds.

    Tokens begin with the name and a dot, which is how an answer finds its request again.
    """

    def __init__(
        self,
        name: str,
        password: str,
        filters: list[str],
        ledger: Ledger,
        *,
        on_message: Callable[[str, Body], None],
        on_subscribed: Callable[[], Coroutine[None, None, None]] | None = None,
        may_nap: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.ledger = ledger
        self._filters = filters
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._may_nap = may_nap
        self._settings = ConnectSettings(
            name,
            username=name,
            password=password,
            clean_start=False,
            session_expiry=_SESSION_SECONDS,
            keep_alive=_KEEP_ALIVE,
            timeout=_CONNECT_SECONDS,
        )
        self._connection: Connection | None = None
        self._lost = asyncio.Event()
        self._ready = asyncio.Event()
        self._subscribed = False
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._random = random.Random(name)  # noqa: S311 - back-off, no secret
        self.connections = 0

    async def run(self, address: Address) -> None:
        """Stay connected until cancelled."""
        while True:
            self._lost.clear()
            try:
                connection, _ = await connect(
                    address,
                    self._settings,
                    on_packets=self._take,
                    on_lost=lambda _reason: self._lost.set(),
                    on_connack=self._open,
                )
            except ConnectError:
                await elapse(self._random.uniform(*_BACK_OFF))
                continue
            self.connections += 1
            away = _BACK_OFF
            try:
                if await self._grows_tired():
                    away = _NAP
                    connection.close()
                    await connection.wait_closed()
            finally:
                self._ready.clear()
                self._connection = None
                connection.abort()
            await elapse(self._random.uniform(*away))

    async def _grows_tired(self) -> bool:
        """Wait until the connection is lost, or until it is time for a nap; returns whether it is."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), self._random.uniform(*_AWAKE))
                return False
            if self._may_nap():
                return True

    async def ready(self) -> None:
        """Wait until connected and subscribed."""
        await self._ready.wait()

    def token(self) -> str:
        """Return a clientToken that was never used."""
        self._last += 1
        return f"{self.name}.{self._last}"

    async def ask(self, topic: str, body: Body, *, token: str = "") -> Answer:
        """Send a request and return its first answer; the same bytes again, as long as there is none.

        token: of `token`, when the body has it as well.
        """
        token = token or self.token()
        payload = json.dumps({**body, "clientToken": token}, separators=(",", ":")).encode()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        while True:
            await self._ready.wait()
            self.ledger.sending(token, self.name, topic)
            self._publish(topic, payload)
            await asyncio.wait({future}, timeout=RETRY_SECONDS)
            if future.done():
                return future.result()

    def _publish(self, topic: str, payload: bytes) -> None:
        connection = self._connection
        if connection is not None:
            packet_id = connection.next_packet_id()
            connection.send(encode_publish(topic, payload, qos=1, packet_id=packet_id))

    def _open(self, connection: Connection, connack: ConnAckPacket) -> None:
        self._connection = connection
        if connack.session_present and self._subscribed:
            self._ready.set()
            return
        self._subscribed = False
        connection.send(encode_subscribe(connection.next_packet_id(), self._filters))

    def _take(self, packets: list[Packet]) -> None:
        connection = self._connection
        if connection is None:
            return
        for packet in packets:
            if isinstance(packet, PublishPacket):
                self._hear(packet.topic, packet.payload)
                if packet.packet_id is not None:
                    connection.send(encode_puback(packet.packet_id))
            elif isinstance(packet, SubAckPacket):
                self._subscribed = True
                self._ready.set()
                if self._on_subscribed is not None:
                    self._begin(self._on_subscribed())

    def _begin(self, asking: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hear(self, topic: str, payload: bytes) -> None:
        body: Body = json.loads(payload)
        accepted = topic.endswith("/accepted")
        if not accepted and not topic.endswith("/rejected"):
            self._on_message(topic, body)
            return
        token = body.get("clientToken", "")
        asked = self.ledger.answered(token, accepted=accepted)
        future = self._waiting.pop(token, None)
        if asked is not None and future is not None and not future.done():
            future.set_result(Answer(body, accepted=accepted, times_sent=asked.times_sent))
