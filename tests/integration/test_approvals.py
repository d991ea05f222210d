"""Approvals on a real PostgreSQL: who may vote, what a yes and a no do, what voids them, the tenant's default."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers import gates, schedules
from handlers.database import Pool
from schema.rights import Role
from tests.factories import add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

ROLES = {"owen": Role.OWNER, "ada": Role.ADMIN, "abe": Role.ADMIN, "may": Role.MANAGER}


@pytest.fixture
async def ada(pool: Pool) -> Desk:
    """An admin, and two things."""
    await add_things(pool, "a", "b")
    return Desk(pool, Role.ADMIN, "ada")


def as_(desk: Desk, name: str) -> Desk:
    """Another operator's room."""
    return replace(desk, name=name, role=ROLES.get(name, Role.VIEWER))


async def create(desk: Desk, required: int = 1, **more: object) -> dict[str, Any]:
    """A job j for two things that needs so many approvals."""
    config = {"requiredApprovals": required}
    command = {**aws_job("a", "b", jobId="j", approvalConfig=config), **more}
    return await desk.accepted("jobs/create", command)


async def queued(desk: Desk) -> int:
    """How many things have been told, once all is done that is owed."""
    await gates.run_once(desk.pool, slot=None)
    await desk.work()
    (row,) = await desk.rows("SELECT count(*) FROM executions")
    count: int = row["count"]
    return count


async def events(desk: Desk) -> list[str]:
    """The operations of the job's events, in order."""
    rows = await desk.rows("SELECT unnest(topics) AS topic FROM outbox ORDER BY outbox_id")
    topics = [row["topic"] for row in rows if row["topic"].startswith("$aws/events/job/")]
    return [topic.rsplit("/", 1)[1] for topic in topics]


async def test_nothing_is_told_before_the_last_yes(ada: Desk) -> None:
    """SCHEDULED and held until two others said yes; then it rolls out; all of it is told, shown and written down."""
    made = await create(ada, 2)
    assert made["status"] == "SCHEDULED"
    assert await queued(ada) == 0
    assert "execution" not in await Plane(ada.pool).accepted("a/jobs/start-next")
    first = await as_(ada, "may").accepted("jobs/j/approve", {"comment": "seen"})
    assert first["approval"] == {
        "state": "PENDING",
        "approvedBy": ["may"],
        "reason": "1 of 2 approvals by may",
    }
    assert await queued(ada) == 0
    assert (await ada.job("j"))["holds"] == ["APPROVAL"]
    await as_(ada, "owen").accepted("jobs/j/approve")
    assert await queued(ada) == 2
    body = await ada.accepted("jobs/j/get")
    assert (body["job"]["status"], body["job"].get("holds")) == ("IN_PROGRESS", None)
    assert body["job"]["approvalConfig"] == {"requiredApprovals": 2}
    assert (body["approval"]["state"], body["approval"]["approvedBy"]) == (
        "APPROVED",
        ["may", "owen"],
    )
    assert [one.get("comment") for one in body["approval"]["votes"]] == ["seen", None]
    assert await events(ada) == ["approved", "approved"]
    lines = await ada.rows("SELECT actor, role, action, details FROM audit_log ORDER BY audit_id")
    assert [(one["actor"], one["role"], one["action"]) for one in lines[1:]] == [
        ("may", "manager", "jobs/approve"),
        ("owen", "owner", "jobs/approve"),
    ]
    assert json.loads(lines[1]["details"]) == {"approval": "PENDING", "comment": "seen"}


async def test_one_no_cancels(ada: Desk) -> None:
    """With the comment as the reason; who had said yes may; nobody is ever told."""
    await create(ada, 2)
    await as_(ada, "may").accepted("jobs/j/approve")
    denied = await as_(ada, "may").accepted("jobs/j/deny", {"comment": "7.1 is out"})
    assert denied["approval"]["reason"] == "denied by may: 7.1 is out"
    assert await queued(ada) == 0
    body = await ada.accepted("jobs/j/get")
    assert (body["job"]["status"], body["job"]["reasonCode"], body["job"]["comment"]) == (
        "CANCELED",
        "DENIED",
        "7.1 is out",
    )
    assert body["approval"]["state"] == "DENIED"
    assert await events(ada) == ["approved", "cancellation_in_progress", "canceled"]
    refused = await as_(ada, "owen").rejected("jobs/j/approve")
    assert (refused["code"], "it is over" in refused["message"]) == ("InvalidStateTransition", True)


@pytest.mark.parametrize(
    ("who", "code", "says"),
    [
        ("ada", "Unauthorized", "ada has created the job; it takes the role owner or manager"),
        ("abe", "Unauthorized", "your role, admin, is its creator's"),
        ("vera", "Unauthorized", "jobs/approve: needs the role manager"),
        ("may", None, ""),
        ("owen", None, ""),
    ],
)
async def test_who_may_vote(ada: Desk, who: str, code: str | None, says: str) -> None:
    """A manager or above of another role than the creator's, who is not the creator."""
    await create(ada)
    answer = await as_(ada, who).send("jobs/j/approve")
    assert answer.body.get("code") == code
    assert says in str(answer.body.get("message", ""))
    assert await queued(ada) == (0 if code else 2)


async def test_votes_that_are_refused(ada: Desk) -> None:
    """A second yes, a vote when it is decided, a job that needs none, one that is not there."""
    await create(ada, 2)
    await as_(ada, "may").accepted("jobs/j/approve")
    twice = await as_(ada, "may").rejected("jobs/j/approve")
    assert (twice["code"], twice["message"]) == (
        "ResourceAlreadyExists",
        "approval: may has approved already",
    )
    await as_(ada, "owen").accepted("jobs/j/approve")
    late = await as_(ada, "owen").rejected("jobs/j/deny")
    assert late["message"].startswith("approval: the job's is APPROVED already")
    await ada.accepted("jobs/create", aws_job("a", jobId="k"))
    assert "needs no approval" in (await as_(ada, "may").rejected("jobs/k/approve"))["message"]
    assert (await as_(ada, "may").rejected("jobs/none/deny"))["code"] == "ResourceNotFound"
    assert len(await ada.rows("SELECT 1 FROM job_votes")) == 2


async def test_a_repeated_vote_is_answered_again(ada: Desk) -> None:
    """By its clientToken, and counted once."""
    await create(ada, 2)
    said = {"clientToken": "x"}
    first = await as_(ada, "may").accepted("jobs/j/approve", said)
    again = await as_(ada, "may").accepted("jobs/j/approve", said)
    assert again["approval"] == first["approval"]
    assert len(await ada.rows("SELECT 1 FROM job_votes")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1000}},
        {"jobExecutionsRolloutConfig": {}},
        {
            "abortConfig": {
                "criteriaList": [
                    {
                        "failureType": "ALL",
                        "action": "CANCEL",
                        "thresholdPercentage": 50,
                        "minNumberOfExecutedThings": 1,
                    }
                ]
            }
        },
        {
            "jobExecutionsRetryConfig": {
                "criteriaList": [{"failureType": "ALL", "numberOfRetries": 1}]
            }
        },
    ],
)
async def test_a_change_voids_the_votes(ada: Desk, change: dict[str, object]) -> None:
    """What is approved is the job as it was: rate, brakes and retries changed, it needs all approvals anew."""
    await create(ada, 2)
    await as_(ada, "may").accepted("jobs/j/approve")
    await ada.accepted("jobs/j/update", change)
    pending = await as_(ada, "owen").accepted("jobs/j/approve")
    assert pending["approval"]["reason"] == "1 of 2 approvals by owen"
    assert await queued(ada) == 0
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) > 0


async def test_other_changes_void_nothing(ada: Desk) -> None:
    """Words and timeouts are not what is approved."""
    await create(ada)
    await as_(ada, "may").accepted("jobs/j/approve")
    await ada.accepted("jobs/j/update", {"description": "x", "timeoutConfig": {}})
    assert (await ada.accepted("jobs/j/get"))["approval"]["state"] == "APPROVED"


async def test_a_running_job_waits_again_after_a_change(ada: Desk) -> None:
    """Who was told goes on; nobody new is told; the job does not complete before it is approved again."""
    await create(ada, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 1
    await ada.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {}})
    assert await queued(ada) == 1
    job = await ada.job("j")
    assert (job["status"], job["holds"]) == ("SCHEDULED", ["APPROVAL"])
    (row,) = await ada.rows("SELECT thing_name FROM executions")
    plane = Plane(ada.pool)
    await plane.accepted(f"{row['thing_name']}/jobs/j/update", {"status": "SUCCEEDED"})
    assert (await ada.job("j"))["status"] == "SCHEDULED"
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2


async def test_a_job_that_is_told_completes_when_it_is_approved_again(ada: Desk) -> None:
    """Its last execution ended while it waited: the last yes completes it."""
    await create(ada)
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2
    await ada.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 5}})
    for name in ("a", "b"):
        await Plane(ada.pool).accepted(f"{name}/jobs/j/update", {"status": "SUCCEEDED"})
    assert (await ada.job("j"))["status"] == "SCHEDULED"
    await as_(ada, "may").accepted("jobs/j/approve")
    assert (await ada.job("j"))["status"] == "COMPLETED"
    assert (await events(ada))[-1] == "completed"


async def test_more_targets_void_the_votes(ada: Desk) -> None:
    """Whom it is for is what was approved, too."""
    for group in ("g", "h"):
        await ada.accepted("groups/create", {"thingGroupName": group})
    await ada.accepted("groups/add", {"thingGroupName": "h", "thingNames": ["a", "b"]})
    command = aws_job(group="g", jobId="j", targetSelection="CONTINUOUS")
    await ada.accepted("jobs/create", {**command, "approvalConfig": {"requiredApprovals": 1}})
    await as_(ada, "may").accepted("jobs/j/approve")
    await ada.accepted("jobs/j/associate", {"targets": aws_job(group="h")["targets"]})
    assert await queued(ada) == 0
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2


async def test_an_approved_job_waits_for_its_time(ada: Desk) -> None:
    """Both must let it: the schedule alone does not, and the approval alone does not."""
    start = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%d %H:%M}"
    await create(ada, schedulingConfig={"startTime": start})
    assert set((await ada.job("j"))["holds"]) == {"APPROVAL", "SCHEDULE"}
    await ada.rows(
        "UPDATE jobs SET schedule_due_at = now(), "
        "scheduling_config = replace(scheduling_config, $1, '2020-01-01 00:00')",
        start,
    )
    await schedules.run_once(ada.pool)
    job = await ada.job("j")
    assert (job["status"], job["holds"]) == ("SCHEDULED", ["APPROVAL"])
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2


async def test_the_tenants_default_is_the_least(ada: Desk) -> None:
    """For jobs of both dialects; more may be asked for, not fewer; only an admin changes it."""
    assert (await ada.accepted("approval/get"))["approvalConfig"] == {"requiredApprovals": 0}
    usual = {"approvalConfig": {"requiredApprovals": 1}}
    refused = await as_(ada, "may").rejected("approval/update", usual)
    assert refused["code"] == "Unauthorized"
    assert (await ada.accepted("approval/update", usual))["approvalConfig"] == usual[
        "approvalConfig"
    ]
    command = aws_job("a", jobId="k", approvalConfig={"requiredApprovals": 0})
    refused = await ada.rejected("jobs/create", command)
    assert refused["message"] == (
        "approvalConfig.requiredApprovals: is 0, at least 1 are needed in this tenant"
    )
    assert (await ada.accepted("jobs/create", aws_job("a", jobId="k")))["status"] == "SCHEDULED"
    seed = {"job_id": "s", "document_type": "x", "target_device_id": "b"}
    assert (await ada.accepted("jobs/create", seed))["status"] == "SCHEDULED"
    assert await queued(ada) == 0
    for job in ("k", "s"):
        await as_(ada, "may").accepted(f"jobs/{job}/approve")
    assert await queued(ada) == 2


async def test_a_staged_job_waits_for_approval(ada: Desk) -> None:
    """No stage starts before; then the first one does."""
    await create(ada, stages=[{"numberOfThings": 1}, {}])
    assert await queued(ada) == 0
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 1


async def ends_now(desk: Desk) -> None:
    """The endTime, or the expiry, of the job comes."""
    (job,) = await desk.rows("SELECT scheduling_config FROM jobs")
    if job["scheduling_config"] is None:
        await desk.rows("UPDATE jobs SET expires_at = now() - interval '1 second'")
        return
    config = {**json.loads(job["scheduling_config"]), "endTime": "2020-01-01 00:00"}
    await desk.rows(
        "UPDATE jobs SET schedule_due_at = now(), scheduling_config = $1", json.dumps(config)
    )


SEED = {"job_id": "j", "document_type": "x", "target_all": True, "expires_in_hours": 1}


async def held_job(desk: Desk, kind: str) -> None:
    """A job j that waits for approval and has an end."""
    end = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%d %H:%M}"
    if kind == "aws":
        await create(desk, schedulingConfig={"endTime": end})
        return
    await desk.accepted("approval/update", {"approvalConfig": {"requiredApprovals": 1}})
    await desk.accepted("jobs/create", SEED)


@pytest.mark.parametrize(("kind", "what"), [("aws", "its endTime came"), ("seed", "it expired")])
async def test_what_is_not_approved_in_time_is_canceled(ada: Desk, kind: str, what: str) -> None:
    """At its endTime or its expiry, by itself: nobody was ever told of it. A vote that comes too late says so."""
    await held_job(ada, kind)
    await ends_now(ada)
    late = await as_(ada, "may").rejected("jobs/j/approve")
    assert late["code"] == "InvalidStateTransition"
    assert late["message"].startswith("approval: 'j' has ended at 20")
    await schedules.run_once(ada.pool)
    assert await queued(ada) == 0
    job = await ada.job("j")
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "NOT_APPROVED")
    assert job["comment"] == f"it was not approved when {what}"
    assert await events(ada) == ["cancellation_in_progress", "canceled"]
    refused = await as_(ada, "may").rejected("jobs/j/approve")
    assert refused["message"] == "status: 'j' is CANCELED; it is over"


@pytest.mark.parametrize("kind", ["aws", "seed"])
async def test_what_waits_anew_at_its_end_is_over_with_who_was_told(ada: Desk, kind: str) -> None:
    """Approved, changed, never approved again: its executions end as ever, and then it is COMPLETED."""
    await held_job(ada, kind)
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2
    await ada.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 5}})
    assert (await ada.job("j"))["holds"] == ["APPROVAL"]
    await ends_now(ada)
    await schedules.run_once(ada.pool)
    await ada.work()
    if kind == "aws":
        assert (await ada.job("j"))["status"] == "IN_PROGRESS"
        for name in ("a", "b"):
            await Plane(ada.pool).accepted(f"{name}/jobs/j/update", {"status": "SUCCEEDED"})
    job = await ada.job("j")
    assert (job["status"], job.get("holds")) == ("COMPLETED", None)
    ended = await ada.rows("SELECT DISTINCT status FROM executions")
    assert [row["status"] for row in ended] == ["SUCCEEDED" if kind == "aws" else "TIMED_OUT"]


@pytest.mark.parametrize("kind", ["aws", "seed"])
async def test_a_change_after_the_end_asks_nobody(ada: Desk, kind: str) -> None:
    """Nobody could vote any more, and nobody else is told of the job: it is over with those who are at work."""
    await held_job(ada, kind)
    await as_(ada, "may").accepted("jobs/j/approve")
    assert await queued(ada) == 2
    plane = Plane(ada.pool)
    await plane.accepted("a/jobs/j/update", {"status": "IN_PROGRESS"})
    await ends_now(ada)
    await schedules.run_once(ada.pool)
    await ada.work()
    await ada.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 5}})
    assert (await ada.job("j"))["status"] == "IN_PROGRESS"
    for name in ("a", "b") if kind == "aws" else ("a",):
        await plane.accepted(f"{name}/jobs/j/update", {"status": "SUCCEEDED"})
    assert (await ada.job("j"))["status"] == "COMPLETED"
