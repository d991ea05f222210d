"""Rollouts at a rate on a real PostgreSQL: the services obey the arithmetic of schema.rollout, by its clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from handlers import chunks
from handlers.chunks import Progress
from handlers.context import Outside
from handlers.database import Pool, create_pool, tenant_transaction
from handlers.things import create_things
from schema.rollout import per_second
from tests.conftest import Database
from tests.factories import counts_equal_rows
from tests.helpers import elapse
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

NUMBER = 1500
LATE = 2.5  # seconds that are made up for (schema.rollout)


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An operator of a group with a chunk and a half of things."""
    desk = Desk(pool)
    names = [f"t{n:05}" for n in range(NUMBER)]
    await desk.accepted("groups/create", {"thingGroupName": "all"})
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await create_things(connection, "default", names)
        await connection.execute(
            "INSERT INTO thing_group_members (tenant_id, group_name, thing_name) "
            "SELECT tenant_id, 'all', thing_name FROM things"
        )
    return desk


async def create(desk: Desk, config: object, *things: str, job: str = "j") -> None:
    """A job with a rollout configuration, for the named things or for all."""
    command = aws_job(*things, group=None if things else "all", jobId=job)
    await desk.accepted("jobs/create", {**command, "jobExecutionsRolloutConfig": config})


async def tick(desk: Desk, progress: Progress | None = None) -> float | None:
    """One run of the background work; returns when it wants the next."""
    done = await chunks.run_once(desk.pool, slot=None, progress=progress or Progress())
    assert not done.failures, done.failures
    return done.due_in


async def let_pass(desk: Desk, seconds: float) -> None:
    """Have time go by, for the pace."""
    await desk.rows(
        "UPDATE rollout_paces SET credited_at = credited_at - $1::interval, "
        "due_at = due_at - $1::interval",
        timedelta(seconds=seconds),
    )


async def test_things_are_told_one_by_one_as_they_are_due(desk: Desk) -> None:
    """One a minute: the first at once, the next a minute later; before that nothing is due and nothing is done."""
    await create(desk, {"maximumPerMinute": 1})
    assert await desk.counts("j") == {}
    due = await tick(desk)
    assert due is not None
    assert 60 <= due <= 60 / 0.95
    assert await desk.counts("j") == {"Queued": 1}
    assert await desk.rows("SELECT * FROM sweep_job_work()") == []
    again = await tick(desk)
    assert again is not None
    assert again <= due
    assert await desk.counts("j") == {"Queued": 1}
    await let_pass(desk, 63)
    await tick(desk)
    assert await desk.counts("j") == {"Queued": 2}
    job = await desk.job("j")
    assert job["isConcurrent"] is True
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 1}


async def test_a_job_without_a_rate_has_the_usual_one(desk: Desk) -> None:
    """Where the installation has one, in either words and under a ramp as well; a job's own maximum stands above it."""
    usual = Desk(desk.pool, outside=Outside(per_minute=70))
    ramp = {
        "exponentialRate": {
            "baseRatePerMinute": 50,
            "incrementFactor": 2,
            "rateIncreaseCriteria": {"numberOfNotifiedThings": 10},
        }
    }
    for job, config in (("ramp", ramp), ("own", {"maximumPerMinute": 900}), ("none", {})):
        await create(usual, config, "t00000", job=job)
    seed = {"job_id": "seed", "document_type": "x", "target_device_id": "t00000"}
    await usual.accepted("jobs/create", seed)
    found = {
        job: (await usual.job(job))["jobExecutionsRolloutConfig"]
        for job in ("ramp", "own", "none", "seed")
    }
    assert found == {
        "ramp": {**ramp, "maximumPerMinute": 70},
        "own": {"maximumPerMinute": 900},
        "none": {"maximumPerMinute": 70},
        "seed": {"maximumPerMinute": 70},
    }
    assert (await desk.accepted("jobs/preview", aws_job("t00000")))["rollout"]["byMinute"] == [
        {"minute": 0, "things": 1}
    ]
    for sent in (ramp, {}):
        await usual.accepted("jobs/own/update", {"jobExecutionsRolloutConfig": sent})
        now = (await usual.job("own"))["jobExecutionsRolloutConfig"]
        assert now == {**sent, "maximumPerMinute": 70}


async def test_a_stop_is_not_made_up_for(desk: Desk) -> None:
    """After an hour without a tick 2.5 seconds' worth are told at once, and no more."""
    await create(desk, {"maximumPerMinute": 6000})
    await tick(desk)
    await let_pass(desk, 3600)
    before = (await desk.counts("j"))["Queued"]
    await tick(desk)
    assert (await desk.counts("j"))["Queued"] - before == 1 + LATE * per_second(6000)


async def test_a_chunk_is_taken_in_parts(desk: Desk) -> None:
    """Each thing is told once, in order, though ticks end inside chunks and at their ends; then all is rolled out."""
    await create(desk, {"maximumPerMinute": 10_000})
    for _ in range(20):
        await tick(desk)
        await let_pass(desk, 1)
        if (await desk.counts("j"))["Queued"] == NUMBER:
            break
    rows = await desk.rows("SELECT thing_name FROM executions ORDER BY queued_at, thing_name")
    assert [row["thing_name"] for row in rows] == [f"t{n:05}" for n in range(NUMBER)]
    assert (await desk.job("j"))["isConcurrent"] is False
    assert await counts_equal_rows(desk.pool)


async def test_things_that_are_gone_take_nothing_from_the_rate(desk: Desk) -> None:
    """What was granted to deleted things is granted to the next ones at once."""
    await desk.accepted("things/delete", {"thingName": "t00003"})
    await create(desk, {"maximumPerMinute": 1}, "t00001", "t00002")
    await desk.accepted("things/delete", {"thingName": "t00001"})
    assert await tick(desk) == 0
    await tick(desk)
    assert await desk.counts("j") == {"Queued": 1}


async def test_a_ramp_rises_by_what_was_told_and_what_succeeded(desk: Desk) -> None:
    """The rate is of the counters as they are at each tick."""
    ramp = {
        "baseRatePerMinute": 60,
        "incrementFactor": 5,
        "rateIncreaseCriteria": {"numberOfSucceededThings": 1},
    }
    await create(desk, {"exponentialRate": ramp})
    due = await tick(desk)
    assert due is not None
    assert due > 0.9
    await Plane(desk.pool).accepted("t00000/jobs/j/update", {"status": "SUCCEEDED"})
    await let_pass(desk, 1.05)
    due = await tick(desk)
    assert due is not None
    # 300 a minute, ticks no closer than 0.2 s
    assert due < 0.25
    assert (await desk.counts("j"))["Queued"] >= 5


async def test_a_cancel_ends_a_slow_rollout_at_once(desk: Desk) -> None:
    """A cancel does not wait for the next thing's turn."""
    await create(desk, {"maximumPerMinute": 1})
    await tick(desk)
    await desk.accepted("jobs/j/cancel")
    assert await desk.work() == ["canceled"]
    assert await desk.counts("j") == {"Canceled": 1}


async def test_jobs_without_a_rate_do_not_wait_for_one(desk: Desk) -> None:
    """A slow job beside it changes nothing for a job without a rate, which leaves no pace."""
    await create(desk, {"maximumPerMinute": 1}, job="slow")
    await desk.accepted("jobs/create", aws_job(group="all", jobId="quick"))
    await desk.work()
    assert await desk.counts("quick") == {"Queued": NUMBER}
    paces = await desk.rows("SELECT job_id FROM rollout_paces")
    assert [row["job_id"] for row in paces] == ["slow"]


async def test_several_processes_keep_one_pace(desk: Desk, database: Database) -> None:
    """Three processes tick as they are told to for three seconds: the rate is that of one, nothing is done twice."""
    rate = 1200
    await create(desk, {"maximumPerMinute": rate})
    pools = [await create_pool(database.url, size=1) for _ in range(3)]

    async def serve(pool: Pool) -> None:
        mine, progress = Desk(pool), Progress()
        while True:
            due = await tick(mine, progress)
            [row] = await mine.rows(
                "SELECT max(queued_at) - min(queued_at) AS span FROM executions"
            )
            if row["span"] is not None and row["span"] > timedelta(seconds=3):
                return
            await elapse(min(1.0, due if due is not None else 0.05))

    try:
        await asyncio.gather(*map(serve, pools))
    finally:
        for one in pools:
            await one.close()
    rows = await desk.rows("SELECT queued_at FROM executions ORDER BY queued_at")
    assert_paced([row["queued_at"].timestamp() for row in rows], rate)
    assert await counts_equal_rows(desk.pool)


def assert_paced(times: list[float], rate: int) -> None:
    """No stretch has more things than the rate with what may be made up for; all of it no less than 5 % below.

    Of the last tick nobody knows how many it would have told had there been more: it ends with the one before. What a
    machine that stood still for longer than that was late is never made up for, and is no part of the whole.
    """
    speed = per_second(rate)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            most = 1 + speed * (times[last] - begin + LATE)
            assert last - first + 1 <= most + 1, (first, last)
    whole = [time for time in times if time < times[-1]]
    lost = sum(max(0.0, after - before - LATE) for before, after in pairwise(whole))
    assert len(whole) >= 0.95 * rate / 60 * (whole[-1] - whole[0] - lost)
