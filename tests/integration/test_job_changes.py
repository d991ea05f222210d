"""What operators change about jobs that are there, and about single executions, tags and events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from handlers.database import Pool
from tests.factories import add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

HOME = "arn:aws:iot:us-east-1:000000000000"


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of three things."""
    await add_things(pool, "a", "b", "c")
    return Desk(pool)


@pytest.fixture
def plane(pool: Pool) -> Plane:
    """The device plane."""
    return Plane(pool)


async def create(desk: Desk, *things: str, job: str = "j", **more: object) -> None:
    """A job, rolled out as far as it goes now."""
    await desk.accepted("jobs/create", {**aws_job(*(things or "abc"), jobId=job), **more})
    await desk.work()


async def show(desk: Desk, job: str = "j") -> dict[str, Any]:
    """A job as operators see it."""
    found: dict[str, Any] = (await desk.accepted(f"jobs/{job}/get"))["job"]
    return found


async def statuses(desk: Desk, job: str = "j") -> list[tuple[str, int, str]]:
    """A job's executions."""
    found = (await desk.accepted(f"jobs/{job}/get"))["executions"]
    return [(one["thingName"], one["executionNumber"], one["status"]) for one in found]


async def test_a_rate_is_put_on_and_taken_away(desk: Desk) -> None:
    """At one a minute only the first has it; without a rate all have it at once."""
    rate = {"maximumPerMinute": 1}
    await create(desk, jobExecutionsRolloutConfig=rate)
    assert len(await statuses(desk)) == 1
    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {}})
    await desk.work()
    assert len(await statuses(desk)) == 3
    assert (await show(desk))["jobExecutionsRolloutConfig"] == {}
    assert await desk.rows("SELECT 1 FROM rollout_paces") == []


async def test_a_faster_rate_holds_at_once_and_does_not_burst(desk: Desk) -> None:
    """The next thing does not wait for the slow rate's minute, and nothing is made up for."""
    await create(desk, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1000}})
    await desk.rows(
        "UPDATE rollout_paces SET credited_at = credited_at - $1::interval", timedelta(seconds=0.1)
    )
    await desk.work()
    assert 2 <= len(await statuses(desk)) <= 3


async def test_an_abort_criterion_that_is_met_aborts_at_once(desk: Desk, plane: Plane) -> None:
    """It is looked at when it is set, not when the next thing fails."""
    await create(desk)
    await plane.accepted("a/jobs/j/update", {"status": "FAILED"})
    criterion = {
        "failureType": "FAILED",
        "action": "CANCEL",
        "thresholdPercentage": 10,
        "minNumberOfExecutedThings": 1,
    }
    await desk.accepted("jobs/j/update", {"abortConfig": {"criteriaList": [criterion]}})
    await desk.work()
    assert (await show(desk))["status"] == "CANCELED"
    assert [status for _, _, status in await statuses(desk)] == ["FAILED", "CANCELED", "CANCELED"]
    assert await counts_equal_rows(desk.pool)


async def test_retries_and_timeouts_hold_from_now_on(desk: Desk, plane: Plane) -> None:
    """Who fails later is tried again; who starts later has the timer, who started before has none."""
    await create(desk)
    await plane.accepted("a/jobs/start-next")
    await plane.accepted("b/jobs/j/update", {"status": "FAILED"})
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    await desk.accepted(
        "jobs/j/update",
        {
            "jobExecutionsRetryConfig": retry,
            "timeoutConfig": {"inProgressTimeoutInMinutes": 5},
            "description": "new words",
        },
    )
    await plane.accepted("c/jobs/j/update", {"status": "FAILED"})
    await plane.accepted("c/jobs/start-next")
    found = {one["thingName"]: one for one in (await desk.accepted("jobs/j/get"))["executions"]}
    assert await statuses(desk) == [
        ("a", 1, "IN_PROGRESS"),
        ("b", 1, "FAILED"),
        ("c", 1, "FAILED"),
        ("c", 2, "IN_PROGRESS"),
    ]
    assert found["c"]["retryAttempt"] == 1
    timers = await desk.rows(
        "SELECT thing_name FROM executions WHERE timeout_at IS NOT NULL ORDER BY 1"
    )
    assert [row["thing_name"] for row in timers] == ["c"]
    assert (await show(desk))["description"] == "new words"


async def test_a_changed_expiry_of_urls_is_seen_by_who_has_the_document(desk: Desk) -> None:
    """jobs/get shows it; a job that is over, an empty update and one of a job that is not there are refused."""
    await create(desk)
    await desk.accepted("jobs/j/update", {"presignedUrlConfig": {"expiresInSec": 61}})
    assert (await show(desk))["presignedUrlConfig"] == {"expiresInSec": 61}
    assert "nothing is to be updated" in (await desk.rejected("jobs/j/update", {}))["message"]
    assert (await desk.rejected("jobs/none/update", {"description": "x"}))["code"] == (
        "ResourceNotFound"
    )
    await desk.accepted("jobs/j/cancel", {"force": True})
    refused = await desk.rejected("jobs/j/update", {"description": "x"})
    assert refused["code"] == "InvalidStateTransition"


async def test_one_execution_is_deleted(desk: Desk, plane: Plane) -> None:
    """Its counters go with it, its thing is told; the job completes when it was the last that lived."""
    await create(desk, "a", "b")
    await plane.accepted("a/jobs/j/update", {"status": "SUCCEEDED"})
    await desk.accepted("jobs/j/executions/b/delete", {"executionNumber": 1})
    assert await statuses(desk) == [("a", 1, "SUCCEEDED")]
    assert (await show(desk))["status"] == "COMPLETED"
    rows = await desk.rows("SELECT notify_next FROM outbox WHERE notify <> '{}'")
    assert rows[-1]["notify_next"] == ["b"]
    await desk.accepted("jobs/j/executions/a/delete", {"executionNumber": 1})
    assert await counts_equal_rows(desk.pool)


async def test_what_is_in_progress_is_deleted_with_force_only(desk: Desk, plane: Plane) -> None:
    """Refused with the execution's state; a redelivered deletion is accepted again."""
    await create(desk, "a")
    await plane.accepted("a/jobs/start-next")
    refused = await desk.rejected("jobs/j/executions/a/delete", {"executionNumber": 1})
    assert (refused["code"], refused["executionState"]["status"]) == (
        "InvalidStateTransition",
        "IN_PROGRESS",
    )
    command = {"executionNumber": 1, "force": True}
    await desk.accepted("jobs/j/executions/a/delete", command)
    await desk.accepted("jobs/j/executions/a/delete", command, duplicate=True)
    refused = await desk.rejected("jobs/j/executions/a/delete", command)
    assert refused["code"] == "ResourceNotFound"
    assert (await plane.rejected("a/jobs/j/update", {"status": "SUCCEEDED"}))["code"] == (
        "ResourceNotFound"
    )


async def test_executions_are_looked_at(desk: Desk, plane: Plane) -> None:
    """One by job and thing, the latest or by number; a thing's by pages, by job and by status."""
    for job in ("j1", "j2", "j3"):
        await create(desk, "a", job=job)
    details = {"step": "2"}
    await plane.accepted("a/jobs/j2/update", {"status": "FAILED", "statusDetails": details})
    found = (await desk.accepted("jobs/j2/executions/a/get", {"executionNumber": 1}))["execution"]
    assert (found["status"], found["statusDetails"], found["versionNumber"]) == (
        "FAILED",
        details,
        2,
    )
    assert (await desk.rejected("jobs/j2/executions/a/get", {"executionNumber": 2}))["code"] == (
        "ResourceNotFound"
    )
    seen: list[str] = []
    token: dict[str, object] = {}
    while True:
        page = await desk.accepted(
            "things/executions", {"thingName": "a", "maxResults": 2, **token}
        )
        seen += [one["jobId"] for one in page["executionSummaries"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert seen == ["j1", "j2", "j3"]
    failed = await desk.accepted("things/executions", {"thingName": "a", "status": "FAILED"})
    assert [one["jobId"] for one in failed["executionSummaries"]] == ["j2"]
    one = await desk.accepted("things/executions", {"thingName": "a", "jobId": "j3"})
    assert [each["jobId"] for each in one["executionSummaries"]] == ["j3"]
    assert (await desk.rejected("things/executions", {"thingName": "nobody"}))["code"] == (
        "ResourceNotFound"
    )


async def test_tags_are_on_what_they_were_put_on(desk: Desk) -> None:
    """By creation and afterwards, of jobs, templates and groups; gone with them."""
    tag = [{"Key": "team", "Value": "pumps"}]
    await create(desk, "a", tags=tag)
    await desk.accepted("groups/create", {"thingGroupName": "g", "tags": tag})
    template = {"jobTemplateId": "t", "description": "d", "document": "{}", "tags": tag}
    await desk.accepted("templates/create", template)
    for arn in (f"{HOME}:job/j", f"{HOME}:thinggroup/g", f"{HOME}:jobtemplate/t"):
        more = [{"Key": "team", "Value": "valves"}, {"Key": "site", "Value": ""}]
        assert (await desk.accepted("tags/list", {"resourceArn": arn}))["tags"] == tag
        await desk.accepted("tags/add", {"resourceArn": arn, "tags": more})
        await desk.accepted("tags/remove", {"resourceArn": arn, "tagKeys": ["site", "other"]})
        left = (await desk.accepted("tags/list", {"resourceArn": arn}))["tags"]
        assert left == [{"Key": "team", "Value": "valves"}]
    await desk.accepted("groups/delete", {"thingGroupName": "g"})
    refused = await desk.rejected("tags/list", {"resourceArn": f"{HOME}:thinggroup/g"})
    assert refused["code"] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        ([{"Key": "aws:x", "Value": ""}], "aws:"),
        ([{"Key": "a"}, {"Key": "a"}], "twice"),
        ([{"Key": ""}], "tags.0.Key"),
        ([{"Key": f"k{n}"} for n in range(51)], "50"),
        ([{"Key": "a", "Value": "\n"}], "tags.0.Value"),
    ],
)
async def test_wrong_tags_are_refused(desk: Desk, tags: object, wrong: str) -> None:
    """With the member and the limit; the job is not made."""
    refused = await desk.rejected("jobs/create", aws_job("a", jobId="j", tags=tags))
    assert wrong in refused["message"]
    assert await desk.rows("SELECT 1 FROM jobs") == []


async def test_more_than_fifty_tags_are_one_too_many(desk: Desk) -> None:
    """Counted with those that are there."""
    await create(desk, "a", tags=[{"Key": f"k{n}"} for n in range(50)])
    arn = f"{HOME}:job/j"
    await desk.accepted("tags/add", {"resourceArn": arn, "tags": [{"Key": "k1", "Value": "x"}]})
    refused = await desk.rejected("tags/add", {"resourceArn": arn, "tags": [{"Key": "more"}]})
    assert refused["code"] == "LimitExceeded"


async def test_events_are_switched(desk: Desk, plane: Plane) -> None:
    """A switch that is off lets no event out, from the next transaction on; the others stay as they were."""
    await desk.accepted(
        "event-configurations/update",
        {"eventConfigurations": {"JOB_EXECUTION": {"Enabled": False}}},
    )
    shown = (await desk.accepted("event-configurations/get"))["eventConfigurations"]
    assert shown["JOB_EXECUTION"] == {"Enabled": False}
    assert all(one["Enabled"] for name, one in shown.items() if name != "JOB_EXECUTION")
    await create(desk, "a")
    await desk.rows("DELETE FROM outbox")
    await plane.accepted("a/jobs/j/update", {"status": "SUCCEEDED"})
    rows = await desk.rows("SELECT unnest(topics) AS topic FROM outbox")
    assert [row["topic"] for row in rows] == ["$aws/events/job/j/completed"]
    refused = await desk.rejected(
        "event-configurations/update", {"eventConfigurations": {"THING": {"Enabled": True}}}
    )
    assert "eventConfigurations" in refused["message"]
