"""An operator as the handlers see it: commands something, and reads the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from handlers import chunks
from handlers.chunks import Progress
from handlers.context import Outside
from handlers.database import Pool, tenant_transaction
from handlers.operator_plane import Actor, Answer, execute
from handlers.store import Told
from schema.rights import Role
from schema.topics import OperatorTopic, TopicMode, parse


@dataclass(frozen=True, slots=True)
class Desk:
    """One operator's room over a test's database; role None looks the operator up."""

    pool: Pool
    role: Role | None = Role.OWNER
    name: str = "ann"
    tenant: str = "default"
    progress: Progress = field(default_factory=Progress)
    outside: Outside = field(default_factory=Outside)

    async def send(self, path: str, payload: object = None, *, duplicate: bool = False) -> Answer:
        """The answer to a command by its path below the operator's room, such as `jobs/create`."""
        topic = parse(f"{self.tenant}/operators/{self.name}/{path}", TopicMode.MOUNTED)
        assert isinstance(topic, OperatorTopic), topic
        body = (
            payload
            if isinstance(payload, bytes)
            else b""
            if payload is None
            else json.dumps(payload).encode()
        )
        actor = Actor(self.tenant, self.name, self.role)
        answer = await execute(
            self.pool, actor, topic, body, slot=None, duplicate=duplicate, outside=self.outside
        )
        # What an operator is sent is JSON: read it as they do.
        return Answer(answer.accepted, json.loads(json.dumps(answer.body)), answer.told)

    async def accepted(
        self, path: str, payload: object = None, *, duplicate: bool = False
    ) -> dict[str, Any]:
        """The body of an accepted answer."""
        answer = await self.send(path, payload, duplicate=duplicate)
        assert answer.accepted, answer.body
        return answer.body

    async def rejected(self, path: str, payload: object = None) -> dict[str, Any]:
        """The body of a rejected answer."""
        answer = await self.send(path, payload)
        assert not answer.accepted, answer.body
        return answer.body

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job as jobs/get shows it."""
        found: dict[str, Any] = (await self.accepted(f"jobs/{job_id}/get"))["job"]
        return found

    async def counts(self, job_id: str) -> dict[str, int]:
        """A job's counters that are not zero, by the bare status (`Queued`)."""
        details = (await self.job(job_id))["jobProcessDetails"]
        return {
            name.removeprefix("numberOf").removesuffix("Things"): count
            for name, count in details.items()
            if name.startswith("numberOf") and count
        }

    async def work(self) -> list[str]:
        """Do all the background work that is owed; returns the job operations told, in order."""
        said: list[str] = []
        while True:
            done = await chunks.run_once(self.pool, slot=None, progress=self.progress)
            assert not done.failures, done.failures
            said += operations(done.told)
            if not done.more and not done.chunks:
                return said

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of the tenant's tables, to look behind the answers."""
        async with self.pool.acquire() as connection, tenant_transaction(connection, self.tenant):
            return [dict(row) for row in await connection.fetch(query, *arguments)]


def operations(told: Iterable[Told]) -> list[str]:
    """The last levels of the job events in outbox rows."""
    return [
        topic.rsplit("/", 1)[1]
        for one in told
        for topic, _ in one.messages
        if topic.startswith("$aws/events/job/")
    ]


def aws_job(*names: str, group: str | None = None, **more: object) -> dict[str, object]:
    """A jobs/create in AWS's words for things, or a group."""
    kinds = [f"thing/{name}" for name in names]
    kinds += [] if group is None else [f"thinggroup/{group}"]
    arns = [f"arn:aws:iot:us-east-1:000000000000:{kind}" for kind in kinds]
    return {"targets": arns, "document": '{"operation":"reboot"}', **more}
