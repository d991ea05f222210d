"""Both planes over a real PostgreSQL: batches of requests and runs of commands, and what is stored of them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from broker.embedded.postgres import connected
from handlers import chunks, executions, outbox
from handlers.chunks import Progress
from handlers.database import Pool, create_pool, tenant_transaction
from handlers.desk import CHANGING, Ask
from handlers.documents import Documents
from handlers.migrate import migrate
from handlers.operator_plane import Actor, execute
from schema.errors import Code
from schema.rights import Role
from schema.topics import DeviceTopic, Operation, OperatorTopic
from tests.factories import TENANT, add_job, add_things, counts_equal_rows
from tests.fuzz import commands, requests
from tests.fuzz.oracle import (
    ACCEPTED,
    check_details,
    check_device_answer,
    check_message,
    check_notification,
    strict_json,
)
from tests.servers import LocalPostgres

DeviceExample = list[tuple[str, str, str, bytes, bool]]
OperatorExample = list[tuple[str, str, str, bytes, bool]]

_THINGS: Final = ("t0", "t1", "t2", "T:4_-")
_WHO: Final = st.sampled_from((*_THINGS, *_THINGS, "nobody"))
_JOBS: Final = st.sampled_from(("now", "now", "now", "later", "none"))
_OPERATIONS: Final = st.sampled_from((*Operation, Operation.UPDATE, Operation.START_NEXT))


@cache
def _either(
    valid: st.SearchStrategy[bytes], all_kinds: st.SearchStrategy[tuple[bytes, bool]]
) -> st.SearchStrategy[bytes]:
    """Payloads of which more than half are valid, so that there is something to damage."""
    return st.one_of(valid, all_kinds.map(lambda drawn: drawn[0]))


@st.composite
def _request(draw: st.DrawFn) -> tuple[str, str, str, bytes, bool]:
    operation = draw(_OPERATIONS)
    job = draw(_JOBS) if operation in {Operation.DESCRIBE, Operation.UPDATE} else ""
    payload = draw(_either(requests.VALID_PAYLOADS[operation], requests.PAYLOADS[operation]))
    return draw(_WHO), str(operation), job, payload, draw(st.booleans())


@st.composite
def _command(draw: st.DrawFn) -> tuple[str, str, str, bytes, bool]:
    verb = draw(_VERBS)
    payload = draw(_either(commands.VALID_PAYLOADS[verb], commands.PAYLOADS[verb]))
    job = draw(_JOB_IDS) if verb.startswith("jobs/") else ""
    thing = draw(_WHO) if verb == "jobs/executions/cancel" else ""
    return verb.partition(",")[0], job, thing, payload, draw(st.booleans())


_JOB_IDS: Final = st.sampled_from(commands.JOBS)
_VERBS: Final = st.sampled_from(tuple(commands.PAYLOADS))


def device_examples() -> st.SearchStrategy[DeviceExample]:
    """A batch: thing, operation, job (`now` and `later` are jobs it has), payload, DUP."""
    return st.lists(_request(), min_size=1, max_size=12)


def operator_examples() -> st.SearchStrategy[OperatorExample]:
    """A run of commands: verb, job, thing, payload, DUP."""
    return st.lists(_command(), min_size=1, max_size=6)


@dataclass(slots=True)
class Planes:
    """A tenant's two planes, and the jobs its things have just now."""

    pool: Pool
    documents: Documents = field(default_factory=Documents)
    progress: Progress = field(default_factory=Progress)
    jobs: int = 0

    async def answer(self, example: DeviceExample) -> list[str]:
        """One batch of requests: each is answered once, what is rejected leaves no trace, the counts are right."""
        if await self._value("SELECT count(*) FROM executions WHERE status = 'QUEUED'") < len(
            _THINGS
        ):
            self.jobs += 2
            for number in (self.jobs - 1, self.jobs):
                await add_job(self.pool, f"f{number}", _THINGS, timeout_minutes=number % 3 or None)
        named = {"now": f"f{self.jobs - 1}", "later": f"f{self.jobs}", "none": "no-such-job"}
        asks = [
            Ask(
                DeviceTopic(TENANT, thing, Operation(kind), named.get(job, job)), payload, duplicate
            )
            for thing, kind, job, payload, duplicate in example
        ]
        before = await self._versions()
        done = await executions.answer(self.pool, self.documents, TENANT, asks, slot=None)
        assert len(done.replies) == len(asks)
        for reply in done.replies:
            body = check_device_answer(reply.payload, accepted=reply.accepted)
            assert body.get("code") == reply.code
        changed = await self._versions() - before
        changing = [
            ask
            for ask, reply in zip(asks, done.replies, strict=True)
            if reply.accepted and ask.topic.operation in CHANGING
        ]
        assert 0 <= changed <= len(changing), f"{changed} changes by {len(changing)} requests"
        await self._check_told(done.told)
        await self._check_stored()
        return [ACCEPTED if one.code is None else str(one.code) for one in done.replies]

    async def command(self, example: OperatorExample) -> list[str]:
        """Commands one after another, background work between them; each is answered, and refusals have codes."""
        results = []
        for verb, job, thing, payload, duplicate in example:
            topic = OperatorTopic(TENANT, "ann", verb, job, thing)
            actor = Actor(TENANT, "ann", Role.OWNER)
            before = await self._value("SELECT count(*) FROM audit_log")
            answer = await execute(self.pool, actor, topic, payload, slot=None, duplicate=duplicate)
            body = strict_json(json.dumps(answer.body).encode())
            code = ACCEPTED if answer.accepted else body["code"]
            if not answer.accepted:
                assert code in set(Code) - {Code.INTERNAL_ERROR}
                check_message(body["message"])
                assert before == await self._value("SELECT count(*) FROM audit_log")
            await self._check_told(answer.told)
            results.append(code)
        for _ in range(100):
            done = await chunks.run_once(self.pool, slot=None, progress=self.progress)
            assert not done.failures, done.failures
            await self._check_told(done.told)
            if not done.more and not done.chunks:
                break
        await self._check_stored()
        return results

    async def _value(self, query: str) -> int:
        async with self.pool.acquire() as connection, tenant_transaction(connection, TENANT):
            found = await connection.fetchval(query)
        return int(found or 0)

    async def _versions(self) -> int:
        return await self._value("SELECT sum(version_number) FROM executions")

    async def _check_told(self, told: Any) -> None:  # noqa: ANN401 - tuples and lists of Told alike
        said = await outbox.say(self.pool, self.documents, TENANT, told, slot=0)
        for topic, payload in said.messages:
            assert "\n" not in topic
            if "/events/" in topic:
                strict_json(payload)
            else:
                check_notification(payload)
        # As they were written, so they must be read again by another process.
        async with self.pool.acquire() as connection, tenant_transaction(connection, TENANT):
            rows = await connection.fetch("DELETE FROM outbox RETURNING *")
        written = {row["outbox_id"]: row for row in rows}
        for one in told:
            row = written[one.outbox_id]
            assert tuple(row["notify"]) == one.notify
            assert tuple(row["notify_next"]) == one.notify_next
            assert tuple(zip(row["topics"], row["payloads"], strict=True)) == one.messages

    async def _check_stored(self) -> None:
        assert await counts_equal_rows(self.pool)
        async with self.pool.acquire() as connection, tenant_transaction(connection, TENANT):
            rows = await connection.fetch(
                "SELECT DISTINCT status_details FROM executions WHERE last_updated_at > now() - interval '5 s'"
            )
        for row in rows:
            check_details(row["status_details"])


@asynccontextmanager
async def _planes(url: str) -> AsyncIterator[Planes]:
    pool = await create_pool(url)
    try:
        async with pool.acquire() as connection, tenant_transaction(connection, TENANT):
            known = await connection.fetchval("SELECT count(*) FROM things")
            highest = await connection.fetchval("SELECT count(*) FROM jobs WHERE job_id LIKE 'f%'")
        if not known:
            await add_things(pool, *_THINGS)
        yield Planes(pool, jobs=highest)
    finally:
        await pool.close()


def opened(
    url: str, plane: str
) -> Callable[[], AbstractContextManager[Callable[[Any], list[str]]]]:
    """`answer` or `command` over a migrated database, each in a loop of its own."""

    @contextmanager
    def opening() -> Iterator[Callable[[Any], list[str]]]:
        with asyncio.Runner() as runner:
            context = _planes(url)
            planes = runner.run(context.__aenter__())
            try:
                yield lambda example: runner.run(getattr(planes, plane)(example))
            finally:
                runner.run(context.__aexit__(None, None, None))

    return opening


@contextmanager
def own_databases(*names: str) -> Iterator[list[str]]:
    """Addresses of migrated databases on a PostgreSQL of our own, which goes with them."""
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        server = LocalPostgres(Path(directory) / "postgres", durable=False)
        runner.run(_prepare(server, names))
        try:
            yield [server.url_of(name) for name in names]
        finally:
            runner.run(server.remove())


async def _prepare(server: LocalPostgres, names: tuple[str, ...]) -> None:
    await server.start()
    for name in names:
        async with connected(server.url_of("postgres")) as admin:
            await admin.execute(f'CREATE DATABASE "{name}"')
        async with connected(server.url_of(name)) as connection:
            await migrate(connection)
