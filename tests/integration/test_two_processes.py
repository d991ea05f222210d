"""Two processes that run all services at once on one database: nothing is done twice, and the pace is one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg

from handlers import chunks, outbox, retention, schedules, slots, timeouts
from handlers.chunks import Progress
from handlers.database import Pool, connect, create_pool
from handlers.documents import Documents
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows
from tests.helpers import eventually
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job
from tests.integration.test_rates import assert_paced

THINGS = tuple(f"t{number:03d}" for number in range(100))
PACED, TIMED = THINGS[:50], THINGS[50:]
RATE = 1200
RETRY = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}


class Process:
    """One process's services, each in a loop of its own; what it tells is kept by message."""

    def __init__(self, pool: Pool, slot: int) -> None:
        """Take a pool and a slot of its own."""
        self.pool, self.slot = pool, slot
        self.told: Counter[tuple[str, ...]] = Counter()
        self.progress, self.documents = Progress(), Documents()

    async def serve(self) -> None:
        """Run all services until cancelled."""
        services = (self._chunks, self._timeouts, self._schedules, self._outbox, self._retention)
        await asyncio.gather(*map(_repeated, services))

    async def _chunks(self) -> None:
        done = await chunks.run_once(self.pool, slot=self.slot, progress=self.progress)
        assert not done.failures, done.failures

    async def _timeouts(self) -> None:
        await timeouts.run_once(self.pool, slot=self.slot, most=7)

    async def _schedules(self) -> None:
        await schedules.run_once(self.pool)

    async def _retention(self) -> None:
        await retention.run_once(self.pool, older_than=timedelta(days=1), slot=self.slot)

    async def _outbox(self) -> None:
        """As the sender, to an MQTT server that acknowledges at once: what it says is counted by what it is about."""
        await outbox.claim(self.pool, slot=self.slot, most=3)
        rows = await outbox.load(self.pool, slot=self.slot, after=0)
        said = await outbox.say(self.pool, self.documents, "default", rows, slot=self.slot)
        for topic, payload in said.messages:
            if topic.startswith("$aws/events/"):
                body = json.loads(payload)
                about = (body.get("thingArn", ""), str(body.get("executionNumber", "")))
                self.told[topic, *about] += 1
        await outbox.forget(self.pool, rows, slot=self.slot)


async def _repeated(run_once: Callable[[], Awaitable[None]]) -> None:
    while True:
        await run_once()
        await asyncio.sleep(0.02)


async def _create_all(desk: Desk, admin: asyncpg.Connection) -> None:
    """Jobs that each service has something to do for."""
    rate = {"jobExecutionsRolloutConfig": {"maximumPerMinute": RATE}}
    await desk.accepted("jobs/create", {**aws_job(*PACED, jobId="paced"), **rate})
    timed = {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}, "jobExecutionsRetryConfig": RETRY}
    await desk.accepted("jobs/create", {**aws_job(*TIMED, jobId="timed"), **timed})
    for job in ("canceled", "deleted", "old"):
        await desk.accepted("jobs/create", aws_job(*THINGS, jobId=job))
    await desk.accepted(
        "jobs/create", {**aws_job("t000", jobId="later"), "targetSelection": "CONTINUOUS"}
    )
    expiring = {
        "job_id": "expired",
        "document_type": "x",
        "target_all": True,
        "expires_in_hours": 1,
    }
    await desk.accepted("jobs/create", expiring)
    plane = Plane(desk.pool)
    asks = [plane.ask(f"{name}/jobs/timed/update", {"status": "IN_PROGRESS"}) for name in TIMED]
    replies, _ = await plane.batch(*asks)
    assert all(accepted for accepted, _ in replies)
    # An hour and more goes by for some.
    await admin.execute(
        "UPDATE executions SET timeout_at = now(), in_progress_deadline = now() WHERE timeout_at > now()"
    )
    await admin.execute("UPDATE jobs SET expires_at = now() WHERE expires_at IS NOT NULL")
    await admin.execute(
        "UPDATE jobs SET status = 'CANCELED', completed_at = now() - interval '2 days' WHERE job_id = 'old'"
    )
    await desk.accepted("jobs/canceled/cancel")
    await desk.accepted("jobs/deleted/delete", {"force": True})


async def test_two_processes_do_nothing_twice(
    pool: Pool, database: Database, admin: asyncpg.Connection
) -> None:
    """A rate, timers with retries, expiry, cancel, deletion, retention and the outbox: each once, by either of them."""
    await add_things(pool, *THINGS)
    desk = Desk(pool)
    await _create_all(desk, admin)
    pools = [await create_pool(database.url, size=3) for _ in range(2)]
    held = [await connect(database.url) for _ in pools]
    processes = [Process(one, slot) for slot, one in enumerate(pools, start=1)]
    for process, connection in zip(processes, held, strict=True):
        assert await slots.take(connection, process.slot)
    serving = [asyncio.create_task(process.serve()) for process in processes]

    async def done() -> bool:
        for task in serving:
            if task.done():
                task.result()
        return bool(
            await admin.fetchval("SELECT count(*) = 50 FROM executions WHERE job_id = 'paced'")
            and not await admin.fetchval(
                "SELECT count(*) FROM jobs WHERE pending_work IS NOT NULL OR job_id IN ('deleted', 'old') "
                "OR expires_at < now() AND NOT expiry_done"
            )
            and not await admin.fetchval(
                "SELECT (SELECT count(*) FROM executions WHERE timeout_at < now()) + (SELECT count(*) FROM outbox)"
            )
        )

    try:
        await eventually(done, timeout=60)
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for connection in held:
            await connection.close()
        for one in pools:
            await one.close()
    _require_once(processes)
    rows = await admin.fetch("SELECT queued_at FROM executions WHERE job_id = 'paced' ORDER BY 1")
    # Of so few, the last one may be late by more than 5 %; what is made up for after that is not in it.
    assert_paced([row["queued_at"].timestamp() for row in rows], RATE, least=0.8)
    assert await _ends(admin) == {
        ("canceled", "CANCELED", 1): 100,
        ("expired", "TIMED_OUT", 1): 100,
        ("later", "QUEUED", 1): 1,
        ("paced", "QUEUED", 1): 50,
        ("timed", "QUEUED", 2): 50,
        ("timed", "TIMED_OUT", 1): 50,
    }
    assert await counts_equal_rows(pool)


def _require_once(processes: list[Process]) -> None:
    """Each event left once, from whichever process, and both had their part."""
    told = sum((process.told for process in processes), Counter[tuple[str, ...]]())
    assert {what: count for what, count in told.items() if count > 1} == {}
    kinds = Counter(what[0].removeprefix("$aws/events/") for what in told)
    assert kinds["jobExecution/paced/queued"] == 50
    assert kinds["jobExecution/timed/timed_out"] == 50
    assert kinds["jobExecution/timed/queued"] == 2 * len(TIMED)  # at first, and again
    assert kinds["jobExecution/canceled/canceled"] == len(THINGS)
    assert kinds["jobExecution/deleted/deleted"] == len(THINGS)
    assert kinds["jobExecution/expired/timed_out"] == len(THINGS)
    assert (kinds["job/canceled/canceled"], kinds["job/deleted/deleted"]) == (1, 1)
    assert all(process.told for process in processes)


async def _ends(admin: asyncpg.Connection) -> dict[tuple[str, str, int], int]:
    rows = await admin.fetch(
        "SELECT job_id, status, execution_number, count(*) FROM executions GROUP BY 1, 2, 3"
    )
    return {tuple(row)[:3]: row["count"] for row in rows}
