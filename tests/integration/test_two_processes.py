"""Two processes that run all services at once on one database: nothing is done twice, and the pace is one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from handlers import chunks, gates, outbox, retention, schedules, slots, timeouts
from handlers.chunks import Progress
from handlers.database import Pool, connect, create_pool
from handlers.documents import Documents
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows, stages_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job
from tests.integration.stepped_clock import SteppedClock

MANY = tuple(f"m{number:04d}" for number in range(1200))
THINGS = tuple(f"t{number:03d}" for number in range(60))
RATE = 1200
STEP = 0.4
RETRY = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}
ABORT = {
    "criteriaList": [
        {
            "failureType": "FAILED",
            "action": "CANCEL",
            "thresholdPercentage": 50,
            "minNumberOfExecutedThings": 4,
        }
    ]
}


class Process:
    """One process's services; what it tells is kept by message."""

    def __init__(self, pool: Pool, slot: int) -> None:
        """Take a pool and a slot of its own."""
        self.pool, self.slot = pool, slot
        self.told: Counter[tuple[str, ...]] = Counter()
        self.progress, self.documents = Progress(), Documents()

    async def run_all(self) -> None:
        """Have each service run once, all of them at once."""
        await asyncio.gather(
            self.run_busy(),
            gates.run_once(self.pool, slot=self.slot),
            timeouts.run_once(self.pool, slot=self.slot, most=7),
            schedules.run_once(self.pool),
            retention.run_once(self.pool, older_than=timedelta(days=1), slot=self.slot),
        )

    async def run_busy(self) -> None:
        """Those alone that have something to do at each step of a rollout."""
        await asyncio.gather(self._chunks(), self._outbox())

    async def _chunks(self) -> None:
        done = await chunks.run_once(self.pool, slot=self.slot, progress=self.progress)
        assert not done.failures, done.failures

    async def _outbox(self) -> None:
        """As the sender, to an MQTT server that acknowledges at once: what it says is counted by what it is about."""
        await outbox.claim(self.pool, slot=self.slot, most=3)
        rows = await outbox.load(self.pool, slot=self.slot, after=0)
        said = await outbox.say(self.pool, self.documents, "default", rows, slot=self.slot)
        for topic, payload in said.messages:
            if topic.startswith("$aws/events/"):
                body = json.loads(payload)
                about = (body.get("thingArn", ""), str(body.get("executionNumber", "")))
                self.told[topic, *about, str(body.get("stage", ""))] += 1
        await outbox.forget(self.pool, rows, slot=self.slot)


class Site:
    """Two processes, an operator, devices and the clock."""

    def __init__(self, clock: SteppedClock, pools: list[Pool], admin: asyncpg.Connection) -> None:
        """Take the clock, and a pool for the others besides one for each process."""
        self.clock, self.admin = clock, admin
        self.desk, self.plane = Desk(pools[0]), Plane(pools[0])
        self.processes = [Process(one, slot) for slot, one in enumerate(pools[1:], start=1)]

    async def run(self, *, busy: bool = False) -> None:
        """All services of both, or those that are busy."""
        await asyncio.gather(*(one.run_busy() if busy else one.run_all() for one in self.processes))

    async def until_idle(self) -> None:
        """All services of both, until nothing is owed at this time."""
        for _ in range(300):
            await self.run()
            if not await self.admin.fetchval(_OWED):
                return
        raise AssertionError(await self.admin.fetch("SELECT * FROM jobs"))

    async def report(self, job: str, status: str, *things: str) -> None:
        """Devices report, as the latest executions of a job's things are."""
        asks = [self.plane.ask(f"{name}/jobs/{job}/update", {"status": status}) for name in things]
        answers, _ = await self.plane.batch(*asks)
        assert all(accepted for accepted, _ in answers), answers

    async def told_of(self, job: str, status: str = "QUEUED") -> list[str]:
        """The things with an execution of a job in a status."""
        rows = await self.admin.fetch(
            "SELECT thing_name FROM executions WHERE job_id = $1 AND status = $2 ORDER BY 1",
            job,
            status,
        )
        return [row[0] for row in rows]


_OWED = """
SELECT (SELECT count(*) FROM sweep_job_work()) + (SELECT count(*) FROM sweep_expired_jobs())
     + (SELECT count(*) FROM sweep_job_tells()) + (SELECT count(*) FROM sweep_schedules(9))
     + (SELECT count(*) FROM sweep_gates(9)) + (SELECT count(*) FROM sweep_timeouts(9)) + (SELECT count(*) FROM outbox)
     + (SELECT count(*) FROM jobs WHERE job_id = 'old')
"""


async def _create_all(site: Site) -> None:
    """Jobs that each service has something to do for."""
    desk, now = site.desk, await site.clock.now()

    async def create(job: str, *things: str, **more: Any) -> None:  # noqa: ANN401 - of jobs/create
        await desk.accepted("jobs/create", aws_job(*things, jobId=job, **more))

    await desk.accepted("groups/create", {"thingGroupName": "many"})
    for part in (MANY[:600], MANY[600:]):
        await desk.accepted("groups/add", {"thingGroupName": "many", "thingNames": [*part]})
    query = {"thingGroupName": "new", "queryString": "attributes.is:new"}
    await desk.accepted("groups/create", query)
    rate = {"jobExecutionsRolloutConfig": {"maximumPerMinute": RATE}}
    await create("paced", group="many", **rate)
    timed = {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}, "jobExecutionsRetryConfig": RETRY}
    await create("timed", *THINGS, **timed)
    for job in ("canceled", "deleted", "old"):
        await create(job, *THINGS)
    await create("aborted", *THINGS[:10], abortConfig=ABORT)
    stages = [{"numberOfThings": 10, "soakMinutes": 1}, {"numberOfThings": 30}, {}]
    await create("staged", *THINGS, stages=stages)
    await create("later", *THINGS, schedulingConfig={"startTime": _in(now, minutes=32)})
    ends = {"endTime": _in(now, minutes=32), "endBehavior": "CANCEL"}
    await create("ending", *THINGS, schedulingConfig=ends)
    await create("following", group="new", targetSelection="CONTINUOUS")
    expiring = {"document_type": "x", "target_group_id": "many", "expires_in_hours": 1}
    await desk.accepted("jobs/create", {"job_id": "expired", **expiring})
    await site.report("timed", "IN_PROGRESS", *THINGS)
    await site.admin.execute(
        "UPDATE jobs SET status = 'CANCELED', completed_at = now() - interval '2 days' WHERE job_id = 'old'"
    )


def _in(now: datetime, **later: float) -> str:
    return f"{now + timedelta(**later):%Y-%m-%d %H:%M}"


async def _live(site: Site) -> None:
    """An hour and a half: a minute of it at a rate, step by step, while operators and devices do this and that."""
    desk, steps = site.desk, round(64 / STEP)
    doing = {
        8: desk.accepted("jobs/canceled/cancel"),
        12: desk.accepted("jobs/deleted/delete", {"force": True}),
        16: site.report("aborted", "FAILED", *THINGS[:4]),
        **{20 + number: _turn(site, THINGS[number], "new") for number in range(20)},
        **{50 + number: _turn(site, THINGS[number], "") for number in range(10)},
    }
    for step in range(steps):
        await asyncio.gather(site.run(busy=step % 4 != 0), *filter(None, [doing.pop(step, None)]))
        await site.clock.move(seconds=STEP)
    assert not doing
    for _ in range(3):  # each stage succeeds, and what it soaks for passes
        await site.report("staged", "SUCCEEDED", *await site.told_of("staged"))
        await site.until_idle()
        await site.clock.move(minutes=1)
        await site.until_idle()
    await site.clock.move(minutes=30)
    await site.until_idle()
    await site.clock.move(hours=1)
    await site.until_idle()


async def _turn(site: Site, thing: str, value: str) -> None:
    """A thing comes into the dynamic group, or leaves it."""
    attributes = {"attributes": {"is": value}, "merge": True}
    await site.desk.accepted("things/update", {"thingName": thing, "attributePayload": attributes})


async def test_two_processes_do_nothing_twice(
    pool: Pool, database: Database, admin: asyncpg.Connection
) -> None:
    """Rate, stages, timers, retries, abort, schedules, expiry, cancel, deletion, a dynamic group, retention, outbox."""
    await add_things(pool, *MANY, *THINGS)
    clock = await SteppedClock.take(admin, database)
    async with AsyncExitStack() as stack:
        pools = [await create_pool(database.url, size=6) for _ in range(3)]
        for one in pools:
            stack.push_async_callback(one.close)
        site = Site(clock, pools, admin)
        for process in site.processes:
            held = await connect(database.url)
            stack.push_async_callback(held.close)
            assert await slots.take(held, process.slot)
        await _create_all(site)
        await _live(site)
        _require_once(site.processes)
        assert await _ends(admin) == _EXPECTED
        assert await _statuses(admin) == _STATUSES
        rows = await admin.fetch("SELECT queued_at FROM executions WHERE job_id = 'paced'")
        _require_pace([row["queued_at"] for row in rows])
        assert await counts_equal_rows(pools[0])
        assert await stages_equal_rows(pools[0])


def _require_pace(told: list[datetime]) -> None:
    """Every minute has at most the rate, and each whole one at least 95 % of it."""
    last, minute = max(told), timedelta(minutes=1)
    assert last - min(told) > minute
    for at in sorted(set(told)):
        count = sum(at <= one < at + minute for one in told)
        assert count <= RATE
        assert count >= 0.95 * RATE or at + minute > last


def _require_once(processes: list[Process]) -> None:
    """Each event left once, from whichever process, and both had their part."""
    told = sum((process.told for process in processes), Counter[tuple[str, ...]]())
    assert {what: count for what, count in told.items() if count > 1} == {}
    kinds = Counter(what[0].removeprefix("$aws/events/") for what in told)
    few, many = len(THINGS), len(MANY)
    for kind, count in {
        "jobExecution/paced/queued": many,
        "jobExecution/timed/timed_out": few,
        "jobExecution/timed/queued": 2 * few,  # at first, and again
        "jobExecution/canceled/canceled": few,
        "jobExecution/deleted/deleted": few,
        "jobExecution/ending/canceled": few,
        "jobExecution/expired/timed_out": many,
        "jobExecution/following/queued": 20,
        "jobExecution/following/removed": 10,
        "jobExecution/later/queued": few,
        "jobExecution/staged/queued": few,
        "jobExecution/staged/succeeded": few,
        "job/staged/stage_started": 3,
        "job/staged/completed": 1,
        "job/aborted/canceled": 1,
        "job/canceled/canceled": 1,
        "job/deleted/deleted": 1,
        "job/ending/completed": 1,
        "job/expired/completed": 1,
    }.items():
        assert kinds[kind] == count, kind
    assert all(process.told for process in processes)


_EXPECTED = {
    ("aborted", "CANCELED", 1): 6,
    ("aborted", "FAILED", 1): 4,
    ("canceled", "CANCELED", 1): 60,
    ("ending", "CANCELED", 1): 60,
    ("expired", "TIMED_OUT", 1): 1200,
    ("following", "QUEUED", 1): 10,
    ("following", "REMOVED", 1): 10,
    ("later", "QUEUED", 1): 60,
    ("paced", "QUEUED", 1): 1200,
    ("staged", "SUCCEEDED", 1): 60,
    ("timed", "QUEUED", 2): 60,
    ("timed", "TIMED_OUT", 1): 60,
}
_STATUSES = {
    "aborted": "CANCELED",
    "canceled": "CANCELED",
    "ending": "COMPLETED",
    "expired": "COMPLETED",
    "following": "IN_PROGRESS",
    "later": "IN_PROGRESS",
    "paced": "IN_PROGRESS",
    "staged": "COMPLETED",
    "timed": "IN_PROGRESS",
}


async def _ends(admin: asyncpg.Connection) -> dict[tuple[str, str, int], int]:
    rows = await admin.fetch(
        "SELECT job_id, status, execution_number, count(*) FROM executions GROUP BY 1, 2, 3"
    )
    return {tuple(row)[:3]: row["count"] for row in rows}


async def _statuses(admin: asyncpg.Connection) -> dict[str, str]:
    return {row[0]: row[1] for row in await admin.fetch("SELECT job_id, status FROM jobs")}
