"""Timers on a real PostgreSQL: what is due fires, once, whoever looks (AWS: "Jobs timeout configurations")."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg
import pytest

from handlers import timeouts
from handlers.database import Pool
from schema.pending import WINDOW
from tests.factories import add_job, add_things, counts_equal_rows
from tests.integration.device_plane import Plane

THINGS = tuple(f"t{number:02d}" for number in range(30))


@pytest.fixture
async def plane(pool: Pool) -> Plane:
    """Things, each with j1 (a timer of 20 minutes) IN_PROGRESS and j2 behind it."""
    await add_things(pool, *THINGS)
    await add_job(pool, "j1", THINGS, timeout_minutes=20)
    await add_job(pool, "j2", THINGS)
    plane = Plane(pool)
    for thing in THINGS:
        await plane.accepted(f"{thing}/jobs/start-next")
    return plane


async def _make_due(admin: asyncpg.Connection, *things: str, column: str) -> None:
    """Let time pass: a deadline of these things' running executions is a second ago."""
    await admin.execute(
        f"UPDATE executions SET {column} = now() - interval '1 second', "
        "timeout_at = now() - interval '1 second' "
        "WHERE status = 'IN_PROGRESS' AND thing_name = ANY ($1)",
        list(things),
    )


async def _rows(admin: asyncpg.Connection, status: str) -> dict[str, int]:
    rows = await admin.fetch(
        "SELECT thing_name, version_number FROM executions WHERE status = $1", status
    )
    return {row["thing_name"]: row["version_number"] for row in rows}


@pytest.mark.parametrize("column", ["in_progress_deadline", "step_deadline"])
async def test_only_what_is_due_fires(plane: Plane, admin: asyncpg.Connection, column: str) -> None:
    """Either timer ends its execution, one version on, and is told; a timer that still runs does not."""
    for thing in THINGS:
        await plane.accepted(
            f"{thing}/jobs/j1/update", {"status": "IN_PROGRESS", "stepTimeoutInMinutes": 5}
        )
    await _make_due(admin, "t03", "t07", column=column)
    swept = await timeouts.run_once(plane.pool, slot=None)

    assert await _rows(admin, "TIMED_OUT") == {"t03": 4, "t07": 4}
    assert len(await _rows(admin, "IN_PROGRESS")) == len(THINGS) - 2
    assert {name for told in swept.told for name in told.notify_next} == {"t03", "t07"}
    assert (await plane.accepted("t03/jobs/$next/get"))["execution"]["jobId"] == "j2"
    assert await counts_equal_rows(plane.pool)


async def test_two_processes_fire_each_timer_once(plane: Plane, admin: asyncpg.Connection) -> None:
    """Passes at once in two processes: each execution ends once, and each thing is told once."""
    await _make_due(admin, *THINGS, column="in_progress_deadline")
    passes = await asyncio.gather(
        *(timeouts.run_once(plane.pool, slot=None, most=7) for _ in range(10))
    )
    while (last := await timeouts.run_once(plane.pool, slot=None, most=7)).told:
        passes.append(last)

    told = Counter(name for one in passes for row in one.told for name in row.notify_next)
    assert told == dict.fromkeys(THINGS, 1)
    assert await _rows(admin, "TIMED_OUT") == dict.fromkeys(THINGS, 3)
    assert await counts_equal_rows(plane.pool)


async def test_a_timer_against_the_devices_report(plane: Plane, admin: asyncpg.Connection) -> None:
    """A report and a timer at the same moment: one of them ends the execution, and the version moves once."""
    await _make_due(admin, *THINGS, column="in_progress_deadline")
    reports = [
        plane.batch(plane.ask(f"{thing}/jobs/j1/update", {"status": "SUCCEEDED"}))
        for thing in THINGS
    ]
    timing_out = asyncio.create_task(timeouts.run_once(plane.pool, slot=None))
    answers = await asyncio.gather(*reports)
    await timing_out

    accepted = [replies[0][0] for replies, _ in answers]
    ended, timed_out = await _rows(admin, "SUCCEEDED"), await _rows(admin, "TIMED_OUT")
    assert {*ended.values(), *timed_out.values()} == {3}
    assert {thing for thing, good in zip(THINGS, accepted, strict=True) if good} == set(ended)
    assert set(ended) | set(timed_out) == set(THINGS)
    assert await counts_equal_rows(plane.pool)


async def test_a_timer_beyond_the_loaded_part_of_the_queue(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """A thing with more under way than is ever loaded of its queue: its last execution times out as well."""
    await add_things(pool, "busy")
    plane = Plane(pool)
    jobs = [f"j{number:02d}" for number in range(WINDOW + 3)]
    for job in jobs:
        await add_job(pool, job, ["busy"], timeout_minutes=20)
        await plane.accepted(f"busy/jobs/{job}/update", {"status": "IN_PROGRESS"})
    await admin.execute(
        "UPDATE executions SET in_progress_deadline = now() - interval '1 second', "
        "timeout_at = now() - interval '1 second' WHERE job_id = $1",
        jobs[-1],
    )
    swept = await timeouts.run_once(pool, slot=None)

    assert await _rows(admin, "TIMED_OUT") == {"busy": 3}
    assert [(told.notify, told.notify_next) for told in swept.told] == [(("busy",), ())]
    assert not swept.more
    assert await counts_equal_rows(pool)
