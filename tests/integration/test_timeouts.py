"""Timers on a real PostgreSQL: what is due fires, once, whoever looks (AWS: "Jobs timeout configurations")."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime

import asyncpg
import pytest

from broker.service import every
from handlers import timeouts
from handlers.database import Pool
from schema.pending import WINDOW
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import eventually
from tests.integration.device_plane import Plane

THINGS = tuple(f"t{number:02d}" for number in range(30))
PAGES = 50  # 100,000 executions are some thousands


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


async def test_among_100_000_running_timers_those_due_fire_at_the_next_look(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """By the times that are recorded, with the loop as it is served; a look for what is due reads a few pages."""
    looks: list[tuple[datetime, datetime]] = []  # from when until when, by the database's clock
    due = [f"t{number}" for number in range(60)]
    await add_things(pool, *due)
    await add_job(pool, "j", due)
    await admin.execute(
        """
        INSERT INTO executions (tenant_id, thing_name, job_id, status, version_number, queued_at, started_at,
                                last_updated_at, in_progress_deadline, timeout_at)
        SELECT 'default', 'other' || n, 'j', 'IN_PROGRESS', 2, now(), now(), now(), at, at
        FROM generate_series(1, 100000) AS n
        CROSS JOIN LATERAL (SELECT now() + interval '1 h' + n * interval '1 s') AS d (at)
        """
    )
    await admin.execute("UPDATE job_counts SET in_progress = 100000, queued = queued")
    look = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM sweep_timeouts(500)"
    await admin.fetch(look)  # the first one in a session reads the catalog, too
    [looked] = json.loads((await admin.fetch(look))[0][0])
    assert looked["Plan"]["Shared Hit Blocks"] + looked["Plan"]["Shared Read Blocks"] < PAGES
    plane = Plane(pool)
    started = [plane.ask(f"{thing}/jobs/j/update", {"status": "IN_PROGRESS"}) for thing in due]
    replies, _ = await plane.batch(*started)
    assert all(accepted for accepted, _ in replies)
    # One every 25 ms from now on.
    rows = await admin.fetch(
        "UPDATE executions SET in_progress_deadline = at, timeout_at = at "
        "FROM (SELECT t.name, clock_timestamp() + t.n * interval '25 ms' AS at "
        "      FROM unnest($1::text[]) WITH ORDINALITY AS t (name, n)) d "
        "WHERE thing_name = d.name RETURNING thing_name, timeout_at",
        due,
    )
    deadlines = {row["thing_name"]: row["timeout_at"] for row in rows}

    async def pass_once() -> bool:
        began = await pool.fetchval("SELECT clock_timestamp()")
        swept = await timeouts.run_once(pool, slot=None)
        looks.append((began, await pool.fetchval("SELECT clock_timestamp()")))
        return swept.more

    serving = asyncio.create_task(every("timeouts", pass_once, seconds=0.5))
    try:
        await eventually(lambda: _all_timed_out(admin, len(due)))
    finally:
        serving.cancel()
    ended = await admin.fetch(
        "SELECT thing_name, last_updated_at FROM executions WHERE status = 'TIMED_OUT'"
    )
    for row in ended:
        due_at = deadlines[row["thing_name"]]
        # The first that began behind the deadline has ended it, if not the one that was under way.
        latest = next((end for began, end in looks if began > due_at), None)
        assert due_at <= row["last_updated_at"]
        assert latest is None or row["last_updated_at"] <= latest
    assert await counts_equal_rows(pool)


async def _all_timed_out(admin: asyncpg.Connection, count: int) -> bool:
    return len(await _rows(admin, "TIMED_OUT")) == count
