"""Jobs that are canceled by their abortConfig, on a real PostgreSQL (AWS: "Job abort"; reference 5.2)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handlers import timeouts
from handlers.database import Pool, create_pool
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job, operations

THINGS = tuple(f"t{number}" for number in range(8))


def abort(kind: str, percent: float, least: int) -> dict[str, object]:
    """One criterion on the wire."""
    return {
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": percent,
        "minNumberOfExecutedThings": least,
    }


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """Some things, and an operator."""
    await add_things(pool, *THINGS)
    return Desk(pool)


async def create(
    desk: Desk,
    *criteria: dict[str, object],
    **more: Any,  # noqa: ANN401 - whatever jobs/create takes
) -> None:
    """A job j that all things have."""
    config = {"criteriaList": list(criteria)}
    await desk.accepted("jobs/create", aws_job(*THINGS, jobId="j", abortConfig=config, **more))


async def report(desk: Desk, thing: str, status: str) -> None:
    """A device ends its execution of j."""
    await Plane(desk.pool).accepted(f"{thing}/jobs/j/update", {"status": status})


async def test_a_met_criterion_cancels_what_is_queued(desk: Desk) -> None:
    """Two of four completed ones failed: the job is CANCELED, with why; IN_PROGRESS goes on, QUEUED ends."""
    await create(desk, abort("REJECTED", 1, 1), abort("FAILED", 50, 4))
    await Plane(desk.pool).accepted("t7/jobs/start-next")
    for thing, status in zip(THINGS, ("FAILED", "SUCCEEDED", "SUCCEEDED"), strict=False):
        await report(desk, thing, status)
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    told = await Plane(desk.pool).told("t3/jobs/j/update", {"status": "FAILED"})
    assert told == ["notify", "notify-next"]
    job = await desk.job("j")
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "ABORT_CRITERIA_MET")
    assert job["comment"] == (
        "abortConfig.criteriaList[1]: 2 of 4 completed things (50.00 %) are FAILED; "
        "the threshold is 50 % of at least 4"
    )
    rows = await desk.rows("SELECT topics FROM outbox")
    assert "$aws/events/job/j/cancellation_in_progress" in [
        topic for row in rows for topic in row["topics"]
    ]
    assert "execution" not in await Plane(desk.pool).accepted("t5/jobs/start-next")
    assert await desk.work() == ["canceled"]
    assert await desk.counts("j") == {
        "Failed": 2,
        "Succeeded": 2,
        "InProgress": 1,
        "Canceled": 3,
    }
    # What goes on may end; the job stays as it is.
    await report(desk, "t7", "FAILED")
    assert (await desk.job("j"))["status"] == "CANCELED"
    assert await counts_equal_rows(desk.pool)


async def test_a_success_that_completes_the_number_may_abort(desk: Desk) -> None:
    """The criterion is looked at after each completion, not after each failure."""
    await create(desk, abort("ALL", 50, 2))
    await report(desk, "t0", "REJECTED")
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    await report(desk, "t1", "SUCCEEDED")
    assert (await desk.job("j"))["status"] == "CANCELED"


async def test_timers_abort_as_well(desk: Desk) -> None:
    """Executions that time out count; the pass that times them out tells of the abort."""
    await create(desk, abort("TIMED_OUT", 100, 2), timeoutConfig={"inProgressTimeoutInMinutes": 5})
    for thing in THINGS[:2]:
        await Plane(desk.pool).accepted(f"{thing}/jobs/start-next")
    await desk.rows(
        "UPDATE executions SET in_progress_deadline = now(), timeout_at = now() "
        "WHERE status = 'IN_PROGRESS'"
    )
    swept = await timeouts.run_once(desk.pool, slot=None)
    assert operations(swept.told) == ["cancellation_in_progress"]
    assert await desk.work() == ["canceled"]


async def test_the_last_things_failure_aborts_rather_than_completes(desk: Desk) -> None:
    """A job whose last execution meets a criterion is CANCELED with its reason, not COMPLETED."""
    await create(desk, abort("FAILED", 100, len(THINGS)))
    plane = Plane(desk.pool)
    await plane.batch(
        *(plane.ask(f"{thing}/jobs/j/update", {"status": "FAILED"}) for thing in THINGS)
    )
    assert await desk.work() == ["canceled"]
    assert (await desk.job("j"))["reasonCode"] == "ABORT_CRITERIA_MET"


async def test_several_processes_abort_once(desk: Desk, database: Database) -> None:
    """Devices of one job fail at several processes at once: one abort is told, and all that is queued ends."""
    await create(desk, abort("FAILED", 10, 1))
    pools = [await create_pool(database.url, size=1) for _ in range(3)]
    try:
        await asyncio.gather(
            *(
                report(Desk(pools[number % 3]), thing, "FAILED")
                for number, thing in enumerate(THINGS[:3])
            ),
            return_exceptions=True,  # after the abort an update of what is QUEUED is refused
        )
    finally:
        for one in pools:
            await one.close()
    rows = await desk.rows("SELECT topics FROM outbox")
    topics = [topic for row in rows for topic in row["topics"]]
    assert topics.count("$aws/events/job/j/cancellation_in_progress") == 1
    assert await desk.work() == ["canceled"]
    assert "Queued" not in await desk.counts("j")


async def test_jobs_without_criteria_are_never_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked about aborts when no job of a batch has an abortConfig."""
    asked: list[object] = []

    async def abort_jobs(*_: object, **__: object) -> list[str]:
        asked.append(None)
        return []

    monkeypatch.setattr("handlers.store.abort_jobs", abort_jobs)
    await desk.accepted("jobs/create", aws_job(*THINGS, jobId="plain"))
    await Plane(desk.pool).accepted("t0/jobs/plain/update", {"status": "FAILED"})
    assert not asked
    await create(desk, abort("FAILED", 100, 8))
    await Plane(desk.pool).accepted("t1/jobs/j/update", {"status": "IN_PROGRESS"})
    assert not asked
    await report(desk, "t1", "FAILED")
    assert asked
