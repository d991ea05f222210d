"""Holds on a real PostgreSQL: paused jobs and schedules, what devices see of them, priority and exclusive jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers import schedules
from handlers.database import Pool
from handlers.schedules import Kept
from tests.factories import add_job, add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of two things in a group."""
    desk = Desk(pool)
    await add_things(pool, "a", "b")
    await desk.accepted("groups/create", {"thingGroupName": "both"})
    await desk.accepted("groups/add", {"thingGroupName": "both", "thingNames": ["a", "b"]})
    return desk


@pytest.fixture
def plane(pool: Pool) -> Plane:
    """The device plane."""
    return Plane(pool)


async def create(desk: Desk, *things: str, job: str = "j", **more: object) -> dict[str, Any]:
    """A job for things, or for both."""
    command = aws_job(*things, group=None if things else "both", jobId=job, **more)
    made = await desk.accepted("jobs/create", command)
    await desk.work()
    return made


async def queued(plane: Plane, thing: str) -> list[str]:
    """What a device is shown as QUEUED."""
    shown = await plane.accepted(f"{thing}/jobs/get")
    return [one["jobId"] for one in shown["queuedJobs"]]


async def show(desk: Desk, job: str = "j") -> dict[str, Any]:
    """A job as operators see it."""
    found: dict[str, Any] = (await desk.accepted(f"jobs/{job}/get"))["job"]
    return found


def at(moment: datetime) -> str:
    """A time as schedulingConfig has it."""
    return f"{moment:%Y-%m-%d %H:%M}"


def in_hours(hours: float) -> str:
    """A time from now."""
    return at(datetime.now(UTC) + timedelta(hours=hours))


async def reach(desk: Desk, hours: float) -> None:
    """Have the job's schedule be so many hours older, and look at it."""
    await desk.rows(
        "UPDATE jobs SET scheduling_config = regexp_replace(scheduling_config, "
        "'(\"(?:start|end)Time\":\")(\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d)', '\\1' || '@\\2@', 'g')"
    )
    rows = await desk.rows(
        "SELECT job_id, scheduling_config FROM jobs WHERE scheduling_config LIKE '%@%'"
    )
    for row in rows:
        parts = row["scheduling_config"].split("@")
        for number in range(1, len(parts), 2):
            moment = datetime.strptime(parts[number], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
            parts[number] = at(moment - timedelta(hours=hours))
        await desk.rows(
            "UPDATE jobs SET scheduling_config = $2, schedule_due_at = schedule_due_at - $3::interval "
            "WHERE job_id = $1",
            row["job_id"],
            "".join(parts),
            timedelta(hours=hours),
        )
    assert await schedules.run_once(desk.pool) == Kept(more=False)
    await desk.work()


async def test_a_paused_job_is_not_shown_and_comes_back(desk: Desk, plane: Plane) -> None:
    """Who has not begun sees nothing of it and is told so; resumed, it is there again; nothing about it changed."""
    await create(desk)
    assert (await desk.accepted("jobs/j/pause"))["paused"] is True
    assert await queued(plane, "a") == []
    assert "execution" not in await plane.accepted("a/jobs/start-next")
    assert "execution" not in await plane.accepted("a/jobs/$next/get")
    assert sorted(await told(desk)) == ["a", "b"]
    found = await show(desk)
    assert (found["status"], found["paused"], found["holds"]) == ("IN_PROGRESS", True, ["PAUSE"])
    await desk.accepted("jobs/j/resume")
    assert sorted(await told(desk)) == ["a", "b"]
    started = (await plane.accepted("a/jobs/start-next"))["execution"]
    assert (started["jobId"], started["versionNumber"]) == ("j", 2)
    assert "paused" not in await show(desk)


async def told(desk: Desk) -> list[str]:
    """Whom the walk over the job tells."""
    await desk.rows("DELETE FROM outbox")
    await desk.work()
    rows = await desk.rows("SELECT notify, notify_next FROM outbox WHERE notify <> '{}'")
    assert all(row["notify"] == row["notify_next"] for row in rows)
    return [name for row in rows for name in row["notify"]]


async def test_what_leaves_while_it_is_being_hidden_is_told(desk: Desk) -> None:
    """Canceled after the pause and before anybody was told of that: the thing hears that it is not first any more."""
    await create(desk, "a")
    await desk.accepted("jobs/j/pause")
    answer = await desk.send("jobs/j/executions/a/cancel")
    assert [(one.notify, one.notify_next) for one in answer.told] == [(("a",), ("a",))]


async def test_a_device_at_work_goes_on_in_a_paused_job(desk: Desk, plane: Plane) -> None:
    """What is IN_PROGRESS is shown and ends; a QUEUED one is not started by its id, but may have ended."""
    await create(desk)
    await plane.accepted("a/jobs/start-next")
    await desk.accepted("jobs/j/pause")
    assert (await plane.accepted("a/jobs/start-next"))["execution"]["status"] == "IN_PROGRESS"
    await plane.accepted("a/jobs/j/update", {"status": "SUCCEEDED"})
    refused = await plane.rejected("b/jobs/j/update", {"status": "IN_PROGRESS"})
    assert (refused["code"], refused["executionState"]["status"]) == (
        "InvalidStateTransition",
        "QUEUED",
    )
    assert "paused" in refused["message"]
    assert (await plane.accepted("b/jobs/j/get"))["execution"]["status"] == "QUEUED"
    await plane.accepted("b/jobs/j/update", {"status": "REJECTED"})
    assert (await show(desk))["status"] == "COMPLETED"
    assert await counts_equal_rows(desk.pool)


async def test_what_is_hidden_holds_up_nothing_behind_it(desk: Desk, plane: Plane) -> None:
    """However many paused jobs a thing has, the next one that is not paused is first."""
    for number in range(40):
        await create(desk, "a", job=f"p{number}")
        await desk.accepted(f"jobs/p{number}/pause")
    await create(desk, "a", job="last")
    assert await queued(plane, "a") == ["last"]
    assert (await plane.accepted("a/jobs/start-next"))["execution"]["jobId"] == "last"


async def test_a_paused_rollout_stands_still(desk: Desk, plane: Plane) -> None:
    """Nobody new is told while it is paused, and no work is found; cancelled in its sleep, it ends."""
    await add_things(desk.pool, "c")
    config = {"maximumPerMinute": 1}
    await desk.accepted(
        "jobs/create", aws_job(group="both", jobId="j", jobExecutionsRolloutConfig=config)
    )
    await desk.accepted("jobs/j/pause")
    await desk.work()
    assert await desk.rows("SELECT 1 FROM executions") == []
    await desk.accepted("jobs/j/cancel")
    await desk.work()
    assert (await show(desk))["status"] == "CANCELED"
    assert await desk.rows("SELECT 1 FROM rollout_chunks") == []


async def test_pausing_is_accepted_again_and_refused_when_over(desk: Desk) -> None:
    """Twice is the same answer; a job that is over, or is not there, says so."""
    await create(desk)
    for verb, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        assert (await desk.accepted(f"jobs/j/{verb}"))["paused"] is paused
    await desk.accepted("jobs/j/cancel")
    assert (await desk.rejected("jobs/j/pause"))["code"] == "InvalidStateTransition"
    assert (await desk.rejected("jobs/none/resume"))["code"] == "ResourceNotFound"


async def test_a_paused_job_expires(desk: Desk, plane: Plane) -> None:
    """Whom it kept back is not told any more, who is QUEUED times out, and the job is over."""
    await desk.accepted(
        "jobs/create",
        {"job_id": "j", "document_type": "x", "target_group_id": "both", "expires_in_hours": 1},
    )
    await desk.accepted("jobs/j/pause")
    await desk.work()
    await desk.rows("UPDATE jobs SET expires_at = now() - interval '1 second'")
    await desk.work()
    found = await show(desk)
    assert (found["status"], found["jobProcessDetails"]["numberOfTimedOutThings"]) == (
        "COMPLETED",
        2,
    )


async def test_a_scheduled_job_begins_at_its_time(desk: Desk, plane: Plane) -> None:
    """SCHEDULED and without executions before; whom it is for was settled when it was created."""
    made = await create(desk, schedulingConfig={"startTime": in_hours(2)})
    assert made["status"] == "SCHEDULED"
    await add_things(desk.pool, "late")
    await desk.accepted("groups/add", {"thingGroupName": "both", "thingNames": ["late"]})
    await reach(desk, 1)
    assert (await show(desk))["status"] == "SCHEDULED"
    assert await queued(plane, "a") == []
    await reach(desk, 1.1)
    assert await queued(plane, "a") == ["j"]
    assert await queued(plane, "late") == []
    assert (await show(desk))["status"] == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("behavior", "a", "b", "status"),
    [
        ("STOP_ROLLOUT", "IN_PROGRESS", "QUEUED", "IN_PROGRESS"),
        ("CANCEL", "IN_PROGRESS", "CANCELED", "IN_PROGRESS"),
        ("FORCE_CANCEL", "CANCELED", "CANCELED", "COMPLETED"),
    ],
)
async def test_what_the_end_does(
    desk: Desk, plane: Plane, behavior: str, a: str, b: str, status: str
) -> None:
    """AWS: endBehavior; nobody joins any more, and the job completes with its last execution."""
    config = {"endTime": in_hours(1), "endBehavior": behavior}
    await create(desk, targetSelection="CONTINUOUS", schedulingConfig=config)
    await plane.accepted("a/jobs/start-next")
    await reach(desk, 1.1)
    found = (await desk.accepted("jobs/j/get"))["executions"]
    assert [(one["thingName"], one["status"]) for one in found] == [("a", a), ("b", b)]
    assert (await show(desk))["status"] == status
    await add_things(desk.pool, "late")
    await desk.accepted("groups/add", {"thingGroupName": "both", "thingNames": ["late"]})
    await desk.work()
    assert await queued(plane, "late") == []
    if status == "IN_PROGRESS":
        for thing, was in (("a", a), ("b", b)):
            if was != "CANCELED":
                await plane.accepted(f"{thing}/jobs/j/update", {"status": "SUCCEEDED"})
        assert (await show(desk))["status"] == "COMPLETED"
    assert await counts_equal_rows(desk.pool)


async def test_a_schedule_that_cannot_be_read_holds_up_no_other(desk: Desk, plane: Plane) -> None:
    """It is told of as a failure and stays due; the other job begins."""
    config = {"startTime": in_hours(2)}
    await create(desk, schedulingConfig=config)
    await desk.accepted("jobs/create", aws_job("a", jobId="broken", schedulingConfig=config))
    past = "UPDATE jobs SET scheduling_config = $1, schedule_due_at = now() - $2::interval WHERE job_id = $3"
    await desk.rows(past, '{"x":1}', timedelta(hours=1), "broken")
    await desk.rows(past, json.dumps({"startTime": at(datetime.now(UTC))}), timedelta(), "j")
    kept = await schedules.run_once(desk.pool)
    assert [(one.job_id, one.work) for one in kept.failures] == [("broken", "SCHEDULE")]
    await desk.work()
    assert await queued(plane, "b") == ["j"]


async def test_a_window_shows_and_hides(desk: Desk, plane: Plane) -> None:
    """Outside its windows a job is SCHEDULED, who has not begun sees nothing; inside, it is as any other."""
    now = datetime.now(UTC)
    window = now + timedelta(hours=2)
    config = {
        "maintenanceWindows": [
            {"startTime": f"cron({window.minute} {window.hour} * * ? *)", "durationInMinutes": 60}
        ]
    }
    made = await create(desk, targetSelection="CONTINUOUS", schedulingConfig=config)
    assert made["status"] == "SCHEDULED"
    assert len((await show(desk))["scheduledJobRollouts"]) == 7
    await shift_window(desk, now - timedelta(minutes=5))
    assert await queued(plane, "a") == ["j"]
    assert (await show(desk))["status"] == "IN_PROGRESS"
    await plane.accepted("a/jobs/start-next")
    await shift_window(desk, now - timedelta(hours=2))
    found = await show(desk)
    assert (found["status"], found["holds"]) == ("SCHEDULED", ["WINDOW"])
    assert await queued(plane, "b") == []
    await plane.accepted("a/jobs/j/update", {"status": "SUCCEEDED"})
    assert await counts_equal_rows(desk.pool)
    # The next window opens: whom the end of the first has hidden something from is told, and nobody else.
    await desk.rows("DELETE FROM outbox")
    await shift_window(desk, now - timedelta(minutes=10))
    told = await desk.rows("SELECT notify, notify_next FROM outbox WHERE notify <> '{}'")
    assert [(row["notify"], row["notify_next"]) for row in told] == [(["b"], ["b"])]
    assert await queued(plane, "b") == ["j"]
    started = (await plane.accepted("b/jobs/start-next"))["execution"]
    assert (started["jobId"], started["executionNumber"]) == ("j", 1)


async def shift_window(desk: Desk, begins: datetime) -> None:
    """The job's daily window begins at another time of day; its schedule is looked at."""
    cron = f"cron({begins.minute} {begins.hour} * * ? *)"
    await desk.rows(
        "UPDATE jobs SET schedule_due_at = now(), "
        "scheduling_config = regexp_replace(scheduling_config, 'cron[(][^)]*[)]', $1)",
        cron,
    )
    await schedules.run_once(desk.pool)
    await desk.work()


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"startTime": "soon"}, "schedulingConfig.startTime"),
        ({"startTime": in_hours(0.2)}, "too early"),
        ({"endBehavior": "CANCEL"}, "needs an endTime"),
        (
            {"maintenanceWindows": [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 5}]},
            "CONTINUOUS jobs only",
        ),
    ],
)
async def test_a_wrong_schedule_is_refused(desk: Desk, config: object, wrong: str) -> None:
    """With the field and the limit, and nothing is made."""
    command = aws_job("a", jobId="j", schedulingConfig=config)
    assert wrong in (await desk.rejected("jobs/create", command))["message"]
    assert await desk.rows("SELECT 1 FROM jobs") == []


async def test_priority_goes_before_the_time(desk: Desk, plane: Plane) -> None:
    """More goes first, less last, whoever was queued before; what is IN_PROGRESS stays in front."""
    for job, priority in (("low", -1), ("usual", 0), ("high", 7)):
        await create(desk, "a", job=job, priority=priority)
    assert await queued(plane, "a") == ["high", "usual", "low"]
    await plane.accepted("a/jobs/low/update", {"status": "IN_PROGRESS"})
    assert (await plane.accepted("a/jobs/start-next"))["execution"]["jobId"] == "low"
    assert (await show(desk, "high"))["priority"] == 7


async def test_an_exclusive_job_runs_alone(desk: Desk, plane: Plane) -> None:
    """It is not started beside another, nor another beside it, by their ids; each may go on."""
    await create(desk, "a", job="alone", exclusive=True)
    await create(desk, "a", job="one")
    await create(desk, "a", job="two")
    start = {"status": "IN_PROGRESS"}
    await plane.accepted("a/jobs/one/update", start)
    await plane.accepted("a/jobs/two/update", start)
    refused = await plane.rejected("a/jobs/alone/update", start)
    assert (refused["code"], "exclusive" in refused["message"]) == ("InvalidStateTransition", True)
    for job in ("one", "two"):
        await plane.accepted(f"a/jobs/{job}/update", {"status": "SUCCEEDED"})
    await plane.accepted("a/jobs/alone/update", start)
    await add_job(desk.pool, "three", ["a"])
    refused = await plane.rejected("a/jobs/three/update", start)
    assert "job alone" in refused["message"]
    await plane.accepted("a/jobs/alone/update", {**start, "statusDetails": {"step": "2"}})
