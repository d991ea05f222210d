"""jobs/update on a real PostgreSQL: what changes of a job under way, and what devices then see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.database import Pool
from tests.factories import add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of four things in a group."""
    desk = Desk(pool)
    names = ["a", "b", "c", "d"]
    await add_things(pool, *names)
    await desk.accepted("groups/create", {"thingGroupName": "all"})
    await desk.accepted("groups/add", {"thingGroupName": "all", "thingNames": names})
    return desk


@pytest.fixture
def plane(pool: Pool) -> Plane:
    """The device plane."""
    return Plane(pool)


async def create(desk: Desk, **more: object) -> None:
    """The job j for all four."""
    await desk.accepted("jobs/create", aws_job(group="all", jobId="j", **more))
    await desk.work()


async def test_what_is_named_changes_and_the_rest_stays(desk: Desk) -> None:
    """An update replaces the configurations that it names and no others, and is in the audit log."""
    await create(desk, description="old", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}

    await desk.accepted("jobs/j/update", {"jobExecutionsRetryConfig": retry})
    kept = await desk.job("j")
    await desk.accepted("jobs/j/update", {"description": "new", "timeoutConfig": {}})
    job = await desk.job("j")

    assert (kept["description"], kept["timeoutConfig"]) == (
        "old",
        {"inProgressTimeoutInMinutes": 5},
    )
    assert job["jobExecutionsRetryConfig"] == retry
    assert (job["description"], job["timeoutConfig"]) == ("new", {})
    log = (await desk.accepted("audit/list"))["lines"]
    assert log[0]["action"] == "jobs/update"
    assert log[0]["details"] == {"description": "new", "timeoutConfig": {}}


async def test_a_new_timeout_is_for_who_starts_later(desk: Desk, plane: Plane) -> None:
    """Who is at work keeps its timer, who starts after the update has the new one."""
    await create(desk)
    await plane.accepted("a/jobs/start-next")

    await desk.accepted("jobs/j/update", {"timeoutConfig": {"inProgressTimeoutInMinutes": 7}})

    await plane.accepted("b/jobs/start-next")
    early = await plane.accepted("a/jobs/j/get")
    late = await plane.accepted("b/jobs/j/get")
    assert "approximateSecondsBeforeTimedOut" not in early["execution"]
    assert 410 < late["execution"]["approximateSecondsBeforeTimedOut"] <= 420


async def test_retries_are_for_who_fails_later(desk: Desk, plane: Plane) -> None:
    """Retries given to a job under way try again what fails from then on."""
    await create(desk)
    await plane.accepted("a/jobs/j/update", {"status": "FAILED"})

    await desk.accepted(
        "jobs/j/update",
        {
            "jobExecutionsRetryConfig": {
                "criteriaList": [{"failureType": "ALL", "numberOfRetries": 1}]
            }
        },
    )
    await plane.accepted("b/jobs/j/update", {"status": "FAILED"})

    assert await desk.counts("j") == {"Failed": 1, "Queued": 3}
    assert (await plane.accepted("b/jobs/j/get"))["execution"]["executionNumber"] == 2
    assert await counts_equal_rows(desk.pool)


async def test_a_changed_rate_does_not_burst(desk: Desk) -> None:
    """A job at one a minute that is given two a minute has not more than that at once; without a rate, all."""
    await create(desk, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    first = await desk.counts("j")

    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 2}})
    await desk.work()
    second = await desk.counts("j")
    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {}})
    await desk.work()

    assert first == {"Queued": 1}
    assert second["Queued"] <= 2
    assert await desk.counts("j") == {"Queued": 4}
    assert not await desk.rows("SELECT FROM rollout_paces")
    assert (await desk.job("j"))["jobExecutionsRolloutConfig"] == {}


async def test_a_rate_may_be_given_to_a_job_without_one(desk: Desk) -> None:
    """A job that waits for its start and is given a rate meanwhile keeps to it."""
    later = datetime.now(UTC) + timedelta(days=30)
    schedule = {"startTime": later.strftime("%Y-%m-%d %H:%M")}
    await desk.accepted("jobs/create", aws_job(group="all", jobId="j", schedulingConfig=schedule))
    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}})
    await desk.rows(
        "UPDATE jobs SET holds = '{}', status = 'IN_PROGRESS', pending_work = 'ROLLOUT'"
    )
    await desk.work()
    assert await desk.counts("j") == {"Queued": 1}


async def test_an_abort_criterion_that_is_met_aborts_at_once(desk: Desk, plane: Plane) -> None:
    """An abortConfig given to a job is looked at when it comes, and again at what ends later."""
    await create(desk)
    await plane.accepted("a/jobs/j/update", {"status": "FAILED"})

    def abort(least: int) -> dict[str, Any]:
        criterion = {
            "failureType": "FAILED",
            "action": "CANCEL",
            "thresholdPercentage": 50,
            "minNumberOfExecutedThings": least,
        }
        return {"abortConfig": {"criteriaList": [criterion]}}

    await desk.accepted("jobs/j/update", abort(2))
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    await desk.accepted("jobs/j/update", abort(1))
    await desk.work()

    assert (await desk.job("j"))["status"] == "CANCELED"
    assert await desk.counts("j") == {"Failed": 1, "Canceled": 3}
    assert await counts_equal_rows(desk.pool)


async def test_an_abort_criterion_holds_for_what_fails_later(desk: Desk, plane: Plane) -> None:
    """The counters of a job that had no abortConfig are watched once it has one."""
    await create(desk)
    criterion = {
        "failureType": "FAILED",
        "action": "CANCEL",
        "thresholdPercentage": 50,
        "minNumberOfExecutedThings": 1,
    }
    await desk.accepted("jobs/j/update", {"abortConfig": {"criteriaList": [criterion]}})
    await plane.accepted("a/jobs/j/update", {"status": "FAILED"})
    await desk.work()
    assert (await desk.job("j"))["status"] == "CANCELED"


async def test_a_job_that_is_over_is_not_updated(desk: Desk) -> None:
    """A canceled job, and one that is not there, are refused; nothing changes."""
    await create(desk)
    await desk.accepted("jobs/j/cancel")
    await desk.work()
    over = await desk.rejected("jobs/j/update", {"description": "x"})
    none = await desk.rejected("jobs/k/update", {"description": "x"})
    assert (over["code"], none["code"]) == ("InvalidStateTransition", "ResourceNotFound")
    assert "description" not in await desk.job("j")
    assert (await desk.rejected("jobs/j/update", {}))["code"] == "InvalidRequest"


async def test_updates_of_one_job_at_once_all_hold(desk: Desk, plane: Plane) -> None:
    """Operators who change a job while its devices report neither lose a change nor lock each other out."""
    await create(desk)
    changes = [
        {"description": "x"},
        {"timeoutConfig": {"inProgressTimeoutInMinutes": 3}},
        {"jobExecutionsRolloutConfig": {"maximumPerMinute": 9}},
    ]
    await asyncio.gather(
        *(desk.accepted("jobs/j/update", one) for one in changes),
        *(plane.accepted(f"{thing}/jobs/j/update", {"status": "SUCCEEDED"}) for thing in "abc"),
    )
    job = await desk.job("j")
    assert (job["description"], job["timeoutConfig"]["inProgressTimeoutInMinutes"]) == ("x", 3)
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 9}
    assert await desk.counts("j") == {"Succeeded": 3, "Queued": 1}
