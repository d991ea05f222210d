"""Everything at once: devices, operators and two background workers, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import random

from handlers import chunks
from handlers.chunks import Progress
from handlers.database import Pool, tenant_transaction
from handlers.things import create_things
from tests.factories import counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

THINGS = [f"t{n:02}" for n in range(30)]
SEEDS = range(2)


async def _device(plane: Plane, name: str, chance: random.Random) -> None:
    """Start and end what there is, in batches of one, sometimes with an update that comes too late."""
    for _ in range(12):
        asks = [plane.ask(f"{name}/jobs/start-next")]
        [(accepted, body)], _ = await plane.batch(*asks)
        if not accepted or "execution" not in body:
            await asyncio.sleep(0)
            continue
        path = f"{name}/jobs/{body['execution']['jobId']}/update"
        for status in chance.choices(["IN_PROGRESS", "SUCCEEDED", "FAILED"], k=2):
            await plane.batch(plane.ask(path, {"status": status}))


async def _operator(desk: Desk, chance: random.Random) -> None:
    """Create, cancel and delete; refusals are as good as acceptances."""
    for turn in range(12):
        job = f"{desk.name}-{turn % 4}"
        match chance.randrange(6):
            case 0 | 1 | 2:
                await desk.send("jobs/create", aws_job(*chance.sample(THINGS, 12), jobId=job))
            case 3:
                await desk.send(f"jobs/{job}/cancel", {"force": chance.random() < 0.5})
            case 4:
                await desk.send(f"jobs/{job}/delete", {"force": chance.random() < 0.5})
            case _:
                # Of a job just made, since most things are not in the others or at their end.
                fresh = f"{job}-{turn}"
                await desk.send("jobs/create", aws_job(*THINGS, jobId=fresh))
                for thing in chance.sample(THINGS, 6):
                    await desk.send(f"jobs/{fresh}/executions/{thing}/cancel", {"force": True})
    # For certain, too: of a job that all things have just been given.
    for verb in ("cancel", "delete"):
        await desk.send("jobs/create", aws_job(*THINGS, jobId=f"{desk.name}-{verb}"))
        await desk.send(f"jobs/{desk.name}-{verb}/{verb}", {"force": True})


async def _worker(pool: Pool, stop: asyncio.Event) -> None:
    progress = Progress()
    while not stop.is_set():
        done = await chunks.run_once(pool, slot=None, progress=progress)
        assert done.failures == ()
        await asyncio.sleep(0)


async def test_invariants_after_a_storm(pool: Pool) -> None:
    """Counters equal rows, no work is left, every job without a live execution is over, nothing deadlocked."""
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await create_things(connection, "default", THINGS)
    for seed in SEEDS:
        chance, stop = random.Random(seed), asyncio.Event()  # noqa: S311 - a repeatable storm, no secret
        workers = [asyncio.create_task(_worker(pool, stop)) for _ in range(2)]
        await asyncio.gather(
            *(_device(Plane(pool), name, chance) for name in THINGS),
            *(_operator(Desk(pool, name=name), chance) for name in ("ann", "bob", "cem")),
        )
        stop.set()
        await asyncio.gather(*workers)
        desk = Desk(pool)
        await desk.work()
        assert await counts_equal_rows(pool)
        owed = await desk.rows(
            "SELECT job_id, status, pending_work FROM jobs WHERE pending_work IS NOT NULL"
        )
        assert owed == []
        stuck = await desk.rows(
            "SELECT job_id, status FROM jobs JOIN job_counts USING (tenant_id, job_id) "
            "WHERE status = 'IN_PROGRESS' AND queued + in_progress = 0"
        )
        assert stuck == []
        lost = await desk.rows(
            "SELECT job_id FROM jobs JOIN job_counts USING (tenant_id, job_id) "
            "WHERE status = 'CANCELED' AND queued > 0"
        )
        assert lost == []
    done = await desk.rows("SELECT DISTINCT action FROM audit_log WHERE action LIKE 'jobs/%'")
    assert len(done) == 4, "the storm did not do every kind of change"
    ended = await desk.rows("SELECT DISTINCT status FROM executions")
    assert {row["status"] for row in ended} >= {"SUCCEEDED", "FAILED", "CANCELED"}
