"""Two processes at the same things at the same time: one order for each thing, and no deadlock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg

from handlers.database import Pool, create_pool
from handlers.executions import answer
from tests.conftest import Database
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import eventually
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

THINGS = tuple(f"t{number:02d}" for number in range(20))
PASSES, PROCESSES = 12, 4


async def test_batches_of_the_same_things_in_any_order(
    pool: Pool, database: Database, admin: asyncpg.Connection
) -> None:
    """Batches that name the same things in different orders: no deadlock, and one version for each accepted update."""
    await add_things(pool, *THINGS)
    for job in ("j1", "j2"):
        await add_job(pool, job, THINGS)
    accepted: Counter[tuple[str, str]] = Counter()

    async def process(number: int) -> None:
        mine = await create_pool(database.url, size=2)
        plane, dice = Plane(mine), random.Random(number)  # noqa: S311 - a repeatable shuffle, no secret
        try:
            for step in range(PASSES):
                asked = [(thing, job) for thing in THINGS for job in ("j1", "j2")]
                dice.shuffle(asked)
                progress = {"status": "IN_PROGRESS", "statusDetails": {str(number): str(step)}}
                asks = [plane.ask(f"{thing}/jobs/{job}/update", progress) for thing, job in asked]
                done = await answer(mine, plane.documents, "default", asks, slot=None)
                accepted.update(
                    one for one, reply in zip(asked, done.replies, strict=True) if reply.accepted
                )
        finally:
            await mine.close()

    await asyncio.gather(*(process(number) for number in range(PROCESSES)))

    assert accepted == {
        (thing, job): PASSES * PROCESSES for thing in THINGS for job in ("j1", "j2")
    }
    rows = await admin.fetch("SELECT thing_name, job_id, version_number FROM executions")
    for row in rows:
        assert row["version_number"] == 1 + accepted[row["thing_name"], row["job_id"]]
    assert await counts_equal_rows(pool)


async def test_expected_versions_let_one_of_two_through(pool: Pool) -> None:
    """Two processes update the same executions from the same version: exactly one of each pair is accepted."""
    await add_things(pool, *THINGS)
    await add_job(pool, "j1", THINGS)
    planes = [Plane(pool), Plane(pool)]

    async def process(number: int) -> list[bool]:
        order = THINGS if number else THINGS[::-1]
        said = {"status": "IN_PROGRESS", "expectedVersion": 1, "statusDetails": {"by": str(number)}}
        asks = [planes[number].ask(f"{thing}/jobs/j1/update", said) for thing in order]
        replies, _ = await planes[number].batch(*asks)
        by_thing = dict(zip(order, replies, strict=True))
        return [by_thing[thing][0] for thing in THINGS]

    first, second = await asyncio.gather(process(0), process(1))

    assert [a != b for a, b in zip(first, second, strict=True)] == [True] * len(THINGS)
    for thing, by_first in zip(THINGS, first, strict=True):
        execution = (await planes[0].accepted(f"{thing}/jobs/j1/get"))["execution"]
        assert execution["versionNumber"] == 2
        assert execution["statusDetails"] == {"by": "0" if by_first else "1"}


async def test_a_new_job_against_the_end_of_the_old_one(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """A job is rolled out while devices end their last one: each thing is told of each change of what is first."""
    await add_things(pool, *THINGS)
    await add_job(pool, "old", THINGS)
    await admin.execute("DELETE FROM outbox")
    plane, desk = Plane(pool), Desk(pool)
    ends = [
        answer(
            pool,
            plane.documents,
            "default",
            [plane.ask(f"{thing}/jobs/old/update", {"status": "SUCCEEDED"})],
            slot=None,
        )
        for thing in THINGS
    ]
    half = len(ends) // 2
    await asyncio.gather(
        *ends[:half], desk.accepted("jobs/create", aws_job(*THINGS, jobId="new")), *ends[half:]
    )

    told = Counter(
        name
        for row in await admin.fetch("SELECT notify_next FROM outbox")
        for name in row["notify_next"]
    )
    came_first = await admin.fetch(
        "SELECT old.thing_name, new.queued_at < old.last_updated_at AS new_came_first "
        "FROM executions old JOIN executions new USING (tenant_id, thing_name) "
        "WHERE old.job_id = 'old' AND new.job_id = 'new'"
    )
    # old -> new is one change of what is first; old -> nothing -> new is two.
    assert told == {row["thing_name"]: 1 if row["new_came_first"] else 2 for row in came_first}
    assert len(came_first) == len(THINGS)
    assert await counts_equal_rows(pool)


async def test_a_command_that_two_processes_carry_out_at_once_has_one_answer(
    pool: Pool, database: Database, admin: asyncpg.Connection
) -> None:
    """Sent again for want of an answer, it comes to two processes: the later one says what the first one did."""
    await add_things(pool, "t1")
    await add_job(pool, "j1", ["t1"])
    other = await create_pool(database.url, size=1)
    command = {"force": True, "clientToken": "once"}
    blocked = (
        "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
    )
    async with admin.transaction():
        # Both look for an earlier answer, find none, and wait for the thing.
        await admin.execute("SELECT FROM things WHERE thing_name = 't1' FOR UPDATE")
        asked = [
            asyncio.create_task(Desk(one).send("jobs/j1/executions/t1/cancel", command))
            for one in (pool, other)
        ]
        watching = await asyncpg.connect(database.admin_url)
        await eventually(lambda: watching.fetchval(blocked, database.name))
        await watching.close()
    first, second = await asyncio.gather(*asked)
    await other.close()

    assert first.accepted, first.body
    assert second.accepted, second.body
    assert first.body["executionState"] == second.body["executionState"]
    assert await admin.fetchval("SELECT version_number FROM executions") == 2
