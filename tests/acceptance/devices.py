"""Devices and an operator over one MQTT connection: they ask, retry with the same token, and keep what they hear."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.mqtt.address import Address
from broker.mqtt.link import Inbound, Link, LinkClosedError, LinkEvent, LinkSettings, Outbound
from tests.helpers import PATIENCE, eventually

_FILTERS = (
    "$aws/things/+/jobs/notify",
    "$aws/things/+/jobs/notify-next",
    "$aws/things/+/jobs/+/accepted",
    "$aws/things/+/jobs/+/rejected",
    "$aws/things/+/jobs/+/+/accepted",
    "$aws/things/+/jobs/+/+/rejected",
    "operators/+/+/+/accepted",
    "operators/+/+/+/rejected",
    "operators/+/+/+/+/accepted",
    "operators/+/+/+/+/rejected",
)


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: topic without tenant, and its JSON."""

    topic: str
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether it is the good one of the two answers."""
        return self.topic.endswith("/accepted")


@dataclass(slots=True)
class Devices:
    """Any number of things in one client; use `devices`."""

    link: Link
    retry_seconds: float
    heard: list[Heard] = field(default_factory=list)
    next_told: dict[str, dict[str, Any]] = field(default_factory=dict)
    times_told: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    _waiting: dict[str, list[asyncio.Future[Heard]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    async def listen(self) -> None:
        """Take in what comes, until the link is closed."""
        while True:
            try:
                received = await self.link.receive()
            except LinkClosedError:
                return
            for inbound in received:
                self._take(inbound)
            self.link.acknowledge(received)

    def _take(self, inbound: Inbound) -> None:
        heard = Heard(inbound.topic, json.loads(inbound.payload))
        self.heard.append(heard)
        if inbound.topic.endswith("/notify-next"):
            thing = inbound.topic.split("/")[2]
            self.next_told[thing] = heard.body.get("execution", {})
            self.times_told[thing] += 1
        for future in self._waiting.pop(heard.body.get("clientToken", ""), []):
            if not future.done():
                future.set_result(heard)

    def send(self, topic: str, body: object = None) -> None:
        """Publish a request and wait for nothing; body: JSON, bytes as they are, or None for empty."""
        payload = body if isinstance(body, bytes) else b"" if body is None else _json(body)
        self.link.publish([Outbound(topic, payload)])

    async def ask(
        self, topic: str, body: dict[str, Any] | None = None, *, timeout: float = PATIENCE
    ) -> Heard:
        """Send a request and return its answer; sent again with the same clientToken until there is one."""
        token = uuid.uuid4().hex
        payload = {"clientToken": token, **(body or {})}
        async with asyncio.timeout(timeout):
            while True:
                future: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
                self._waiting[payload["clientToken"]].append(future)
                self.send(topic, payload)
                try:
                    return await asyncio.wait_for(future, self.retry_seconds)
                except TimeoutError:
                    self.retries += 1

    async def accepted(
        self, topic: str, body: dict[str, Any] | None = None, *, timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """The body of an accepted answer."""
        heard = await self.ask(topic, body, timeout=timeout)
        assert heard.accepted, heard
        return heard.body

    async def next_of(self, thing: str) -> dict[str, Any]:
        """What `$next/get` says, without the timestamp."""
        body = await self.accepted(f"$aws/things/{thing}/jobs/$next/get")
        execution: dict[str, Any] = body.get("execution", {})
        return execution

    async def hears_of(self, thing: str, job_id: str | None) -> None:
        """Wait until the last notify-next of a thing is of this job; None is of none."""
        await eventually(
            lambda: self.times_told[thing] and self.next_told[thing].get("jobId") == job_id
        )

    def answers(self, token: str) -> list[Heard]:
        """All answers so far that echo a clientToken."""
        return [one for one in self.heard if one.body.get("clientToken") == token]

    def topics(self, ending: str) -> list[Heard]:
        """All that was heard on topics with this ending."""
        return [one for one in self.heard if one.topic.endswith(ending)]


@asynccontextmanager
async def devices(
    port: int,
    *,
    retry_seconds: float = 2.0,
    client_id: str | None = None,
    session_expiry: int = 3600,
    receive_max: int = 1000,
) -> AsyncIterator[Devices]:
    """Connect with a persistent session, as a device's that sleeps at times.

    It is ended with the connection, unless client_id is given to come back to it, within
    session_expiry seconds. At most receive_max messages are on their way to us unacknowledged.
    """
    link = Link(
        LinkSettings(
            Address("127.0.0.1", port),
            client_id or f"devices-{uuid.uuid4().hex}",
            backoff_base=0.05,
            backoff_cap=0.5,
            session_expiry=session_expiry,
            receive_max=receive_max,
        ),
        _FILTERS,
        on_event=_unheeded,
    )
    made = Devices(link, retry_seconds)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        group.create_task(made.listen())
        async with asyncio.timeout(PATIENCE):
            await link.connected()
        try:
            yield made
        finally:
            await link.close(end_session=client_id is None)


def _unheeded(_event: LinkEvent) -> None:
    return


def _json(body: object) -> bytes:
    return json.dumps(body).encode()
