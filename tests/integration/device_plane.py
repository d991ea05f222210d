"""A device as the handlers see it: asks, and reads what it is answered and told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from handlers import executions, outbox
from handlers.database import Pool
from handlers.desk import Ask
from handlers.documents import Documents
from schema.topics import DeviceTopic, TopicMode, parse


@dataclass(frozen=True, slots=True)
class Plane:
    """The device plane of one tenant over a test's database."""

    pool: Pool
    tenant: str = "default"
    documents: Documents = field(default_factory=Documents)

    def ask(self, path: str, payload: object = None, *, duplicate: bool = False) -> Ask:
        """A request by its path below `$aws/things/`, such as `t1/jobs/get`."""
        topic = parse(f"{self.tenant}/$aws/things/{path}", TopicMode.MOUNTED)
        assert isinstance(topic, DeviceTopic), topic
        body = (
            payload
            if isinstance(payload, bytes)
            else b""
            if payload is None
            else json.dumps(payload).encode()
        )
        return Ask(topic, body, duplicate)

    async def batch(
        self, *asks: Ask
    ) -> tuple[list[tuple[bool, dict[str, Any]]], list[tuple[str, dict[str, Any]]]]:
        """Answers (accepted, body) in order, and what is told because of them, events left out."""
        done = await executions.answer(self.pool, self.documents, self.tenant, asks, slot=None)
        said = (
            await outbox.say(self.pool, self.documents, self.tenant, done.told, slot=0)
        ).messages
        told = [(topic, json.loads(payload)) for topic, payload in said if "/events/" not in topic]
        return [(reply.accepted, json.loads(reply.payload)) for reply in done.replies], told

    async def accepted(
        self, path: str, payload: object = None, *, duplicate: bool = False
    ) -> dict[str, Any]:
        """The body of an accepted answer."""
        [(accepted, body)], _ = await self.batch(self.ask(path, payload, duplicate=duplicate))
        assert accepted, body
        return body

    async def rejected(self, path: str, payload: object = None) -> dict[str, Any]:
        """The body of a rejected answer."""
        [(accepted, body)], _ = await self.batch(self.ask(path, payload))
        assert not accepted, body
        return body

    async def told(self, path: str, payload: object = None) -> list[str]:
        """The last levels of the topics that an accepted request's notifications go to, in order."""
        [(accepted, body)], told = await self.batch(self.ask(path, payload))
        assert accepted, body
        return [topic.rsplit("/", 1)[1] for topic, _ in told]
