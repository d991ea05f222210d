"""Rollouts in stages on a real PostgreSQL: who is in which, gates driven by devices' reports, by hand, and by two."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from handlers import gates, reach
from handlers.database import Pool, create_pool, tenant_transaction
from schema.rights import Role
from schema.stages import Stage, sizes
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows, is_waited_for, stages_equal_rows
from tests.helpers import eventually
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job, operations

FLEET = tuple(f"t{number:02}" for number in range(20))
THREE: tuple[dict[str, object], ...] = ({"percentage": 5}, {"percentage": 25}, {})


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of twenty things in a group."""
    desk = Desk(pool)
    await add_things(pool, *FLEET)
    await desk.accepted("groups/create", {"thingGroupName": "all"})
    await desk.accepted("groups/add", {"thingGroupName": "all", "thingNames": list(FLEET)})
    return desk


async def create(desk: Desk, *stages: object, **more: object) -> dict[str, Any]:
    """A job j for the group in these stages, as far as it begins by itself."""
    command = aws_job(group="all", jobId="j", stages=list(stages or THREE), **more)
    made = await desk.accepted("jobs/create", command)
    await settle(desk)
    return made


async def settle(desk: Desk) -> list[str]:
    """Look at gates and roll out until nothing is left to do; returns the job operations told, in order."""
    said: list[str] = []
    while True:
        looked = await gates.run_once(desk.pool, slot=None)
        worked = await desk.work()
        said += [*operations(looked.told), *worked]
        if not looked.told and not looked.more and not worked and not await due(desk):
            return said


async def due(desk: Desk) -> bool:
    """Whether a gate is to be looked at now."""
    rows = await desk.rows(
        "SELECT 1 FROM job_stages WHERE due_at <= now() UNION SELECT 1 FROM jobs WHERE look_at_gates"
    )
    return bool(rows)


async def queued(desk: Desk) -> list[str]:
    """Who has a QUEUED execution."""
    rows = await desk.rows("SELECT thing_name FROM executions WHERE status = 'QUEUED' ORDER BY 1")
    return [row["thing_name"] for row in rows]


async def end(desk: Desk, names: Iterable[str], status: str = "SUCCEEDED") -> None:
    """Devices end their executions of j, all at once."""
    plane = Plane(desk.pool)
    asks = [plane.ask(f"{name}/jobs/j/update", {"status": status}) for name in names]
    answers, _ = await plane.batch(*asks)
    assert all(accepted for accepted, _ in answers), answers


async def shown(desk: Desk) -> list[dict[str, Any]]:
    """The stages as jobs/get has them."""
    found: list[dict[str, Any]] = (await desk.accepted("jobs/j/get"))["stages"]
    return found


async def told(desk: Desk, operation: str) -> list[str]:
    """The payloads of a job event in the outbox."""
    rows = await desk.rows(
        "SELECT p.payload FROM outbox, unnest(topics, payloads) AS p (topic, payload) "
        "WHERE p.topic = $1 ORDER BY outbox_id",
        f"$aws/events/job/j/{operation}",
    )
    return [row["payload"] for row in rows]


async def test_three_stages_go_one_after_the_other(desk: Desk) -> None:
    """1, 4 and 15 of 20 are told, each when all before succeeded; the job is COMPLETED with the last of them."""
    made = await create(desk)
    assert (made["status"], made["execution_count"]) == ("IN_PROGRESS", 20)
    for number, size in enumerate((1, 4, 15), 1):
        names = await queued(desk)
        assert len(names) == size
        seen = await shown(desk)
        assert [one["state"] for one in seen] == ["PASSED"] * (number - 1) + ["RUNNING"] + [
            "WAITING"
        ] * (3 - number)
        assert [one["numberOfThings"] for one in seen] == [1, 4, 15]
        assert seen[number - 1]["numberOfQueuedThings"] == size
        assert (await desk.job("j"))["status"] == "IN_PROGRESS"
        await end(desk, names)
        said = await settle(desk)
    assert said == []
    assert (await desk.job("j"))["status"] == "COMPLETED"
    starts = await told(desk, "stage_started")
    assert [f'"stage":{number},' in starts[number - 1] for number in (1, 2, 3)] == [True] * 3
    assert await counts_equal_rows(desk.pool)
    assert await stages_equal_rows(desk.pool)


async def test_what_was_configured_is_shown_and_can_be_kept_as_a_template(desk: Desk) -> None:
    """`stages` of the job is what was sent; a template of the job has it, and jobs made of that have stages."""
    await create(desk, {"percentage": 50, "soakMinutes": 5}, {})
    sent = (await desk.job("j"))["stages"]
    assert [one.get("percentage") for one in sent] == [50, None]
    arn = "arn:aws:iot:us-east-1:000000000000:job"
    await desk.accepted(
        "templates/create", {"jobTemplateId": "t", "description": "d", "jobArn": f"{arn}/j"}
    )
    command = aws_job(group="all", jobId="k", jobTemplateArn=f"{arn}template/t")
    del command["document"]
    await desk.accepted("jobs/create", command)
    assert (await desk.job("k"))["stages"] == sent
    assert [one["numberOfThings"] for one in (await desk.accepted("jobs/k/get"))["stages"]] == [
        10,
        10,
    ]


async def test_kinds_of_size_hold_what_the_rules_say(desk: Desk) -> None:
    """A group with its child, a number, a share, an attribute and the rest: as schema.stages fills them."""
    await desk.accepted("groups/create", {"thingGroupName": "canaries"})
    await desk.accepted("groups/create", {"thingGroupName": "nest", "parentGroupName": "canaries"})
    for group, names in (("canaries", FLEET[3:5]), ("nest", (*FLEET[9:10], FLEET[3]))):
        await desk.accepted("groups/add", {"thingGroupName": group, "thingNames": list(names)})
    for name in FLEET[10:18]:
        payload = {"attributes": {"model": "a"}}
        await desk.accepted("things/update", {"thingName": name, "attributePayload": payload})
    stages: list[dict[str, object]] = [
        {"thingGroupName": "canaries"},
        {"numberOfThings": 5},
        {"percentage": 50},
        {"attribute": {"name": "model", "value": "a"}},
        {},
    ]
    await create(desk, *stages)
    rows = await desk.rows("SELECT stage, unnest(thing_names) AS thing FROM rollout_chunks")
    members: dict[int, set[str]] = {number: set() for number in range(1, 6)}
    for row in rows:
        members[row["stage"]].add(row["thing"])
    members[1] |= set(await queued(desk))
    assert members[1] == {FLEET[3], FLEET[4], FLEET[9]}
    assert members[4] == set(FLEET[10:18]) - members[2] - members[3]
    matched = (3, None, None, len(members[4]), None)
    expected = sizes(tuple(Stage.model_validate(one) for one in stages), 20, matched)
    assert [len(members[number]) for number in range(1, 6)] == expected
    assert set.union(*members.values()) == set(FLEET)
    assert await stages_equal_rows(desk.pool)


async def test_a_stage_is_drawn_by_chance(desk: Desk) -> None:
    """Not by name, another for another job, and the same when the job is made again."""
    drawn = []
    for job in ("a", "b", "a"):
        command = aws_job(group="all", jobId=job, stages=[{"numberOfThings": 10}, {}])
        await desk.accepted("jobs/create", command)
        rows = await desk.rows(
            "SELECT thing_names FROM rollout_chunks WHERE job_id = $1 AND stage = 1", job
        )
        drawn.append([name for row in rows for name in row["thing_names"]])
        await desk.rows("DELETE FROM jobs WHERE job_id = $1", job)
    assert drawn[0] == drawn[2]
    assert sorted(drawn[0]) != sorted(drawn[1])
    assert sorted(drawn[0]) != list(FLEET[:10])


async def test_a_group_that_is_not_there_is_refused(desk: Desk) -> None:
    """By its place; nothing is made."""
    command = aws_job(group="all", jobId="j", stages=[{"thingGroupName": "none"}, {}])
    refused = await desk.rejected("jobs/create", command)
    assert refused["message"] == "stages[0].thingGroupName: group 'none' does not exist"
    assert await desk.rows("SELECT 1 FROM jobs") == []


async def test_errors_pause_with_the_reason_and_a_resume_forgives(desk: Desk) -> None:
    """Two of ten failed: paused, why is stored, shown and told. Resumed, only another failure pauses it again."""
    await create(desk, {"numberOfThings": 10, "errorPercentage": 20, "successPercentage": 50}, {})
    names = await queued(desk)
    await end(desk, names[:2], "FAILED")
    assert await settle(desk) == ["paused"]
    why = "stage 1: 2 of 10 things (20.00 %) failed; errorPercentage is 20 %"
    assert (await desk.job("j"))["paused"] is True
    assert [one.get("stoppedBecause") for one in await shown(desk)] == [why, None]
    (event,) = await told(desk, "paused")
    assert f'"reason":"{why}"' in event
    assert await settle(desk) == []
    await desk.accepted("jobs/j/resume")
    assert await settle(desk) == []
    assert "paused" not in await desk.job("j")
    await end(desk, names[2:3], "REJECTED")
    assert await settle(desk) == ["paused"]
    await desk.accepted("jobs/j/resume")
    await end(desk, names[3:8])
    assert await settle(desk) == ["stage_started"]
    assert len(await queued(desk)) == 2 + 10
    assert await stages_equal_rows(desk.pool)


async def test_errors_cancel_with_the_reason(desk: Desk) -> None:
    """A CANCEL as errorAction is a cancel without force: reasonCode and comment say why, nobody waits any more."""
    await create(desk, {"numberOfThings": 5, "numberOfFailures": 2, "errorAction": "CANCEL"}, {})
    names = await queued(desk)
    await Plane(desk.pool).accepted(f"{names[4]}/jobs/start-next")
    await end(desk, names[:2], "FAILED")
    assert await settle(desk) == ["cancellation_in_progress", "canceled"]
    job = await desk.job("j")
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "STAGE_ERROR_THRESHOLD")
    assert job["comment"] == "stage 1: 2 things failed; numberOfFailures is 2"
    assert [one["numberOfThings"] for one in await shown(desk)] == [5, 0]
    await end(desk, names[4:])
    assert await settle(desk) == []
    assert await stages_equal_rows(desk.pool)


async def test_a_late_failure_of_an_earlier_stage_counts(desk: Desk) -> None:
    """The first stage's own threshold stops the job while the second runs."""
    await create(desk, {"numberOfThings": 4, "numberOfFailures": 1, "successPercentage": 75}, {})
    names = await queued(desk)
    await end(desk, names[:3])
    assert await settle(desk) == ["stage_started"]
    await end(desk, names[3:], "FAILED")
    assert await settle(desk) == ["paused"]


async def test_a_stage_soaks(desk: Desk) -> None:
    """The next stage starts so many minutes after the threshold was met, without anything else happening."""
    await create(desk, {"numberOfThings": 2, "soakMinutes": 30}, {})
    await end(desk, await queued(desk))
    assert await settle(desk) == []
    first = (await shown(desk))[0]
    assert "soaks for 30 minutes" in first["gate"]
    (row,) = await desk.rows("SELECT due_at - reached_at AS soak FROM job_stages WHERE stage = 1")
    assert row["soak"].total_seconds() == 1800
    await desk.rows(
        "UPDATE job_stages SET reached_at = reached_at - interval '30 minutes', "
        "due_at = due_at - interval '30 minutes' WHERE stage = 1"
    )
    assert await settle(desk) == ["stage_started"]


async def test_an_open_gate_may_wait_for_somebody(desk: Desk) -> None:
    """With successAction PAUSE it is paused with the reason; resumed, the next stage starts."""
    await create(desk, {"numberOfThings": 2, "successAction": "PAUSE"}, {})
    await end(desk, await queued(desk))
    assert await settle(desk) == ["paused"]
    assert "successAction is PAUSE" in (await shown(desk))[0]["stoppedBecause"]
    await desk.accepted("jobs/j/resume")
    await settle(desk)
    assert len(await queued(desk)) == 18
    assert len(await told(desk, "stage_started")) == 2


async def test_the_next_stage_by_hand(desk: Desk) -> None:
    """Whatever the gate says, also of a job that it has paused; refused when none is left."""
    await create(desk, {"numberOfThings": 2}, {"numberOfThings": 4}, {})
    await end(desk, await queued(desk), "FAILED")
    assert await settle(desk) == ["paused"]
    assert "out of reach" in (await shown(desk))[0]["stoppedBecause"]
    started = await desk.accepted("jobs/j/start-next-stage", {"comment": "known"})
    assert started["stage"] == 2
    await settle(desk)
    assert "paused" not in await desk.job("j")
    assert len(await queued(desk)) == 2
    await desk.accepted("jobs/j/start-next-stage")
    await settle(desk)
    assert len(await queued(desk)) == 18
    refused = await desk.rejected("jobs/j/start-next-stage")
    assert (refused["code"], "all 3" in refused["message"]) == ("InvalidStateTransition", True)
    await desk.accepted("jobs/create", aws_job(FLEET[0], jobId="plain"))
    refused = await desk.rejected("jobs/plain/start-next-stage")
    assert refused["message"] == "stages: the job has none"


async def test_retrying_what_failed(desk: Desk) -> None:
    """Things of the wished failure get the next number, at once; what succeeds then opens the gate."""
    await create(desk, {"numberOfThings": 4}, {})
    names = await queued(desk)
    await end(desk, names[:1])
    await end(desk, names[1:3], "FAILED")
    await end(desk, names[3:], "REJECTED")
    assert await settle(desk) == ["paused"]
    answer = await desk.accepted("jobs/j/retry-failed", {"failureType": "FAILED", "stage": 1})
    assert answer["numberOfThings"] == 2
    assert (await desk.accepted("jobs/j/retry-failed", {"failureType": "FAILED"}))[
        "numberOfThings"
    ] == 0
    assert await settle(desk) == []
    assert "paused" not in await desk.job("j")
    assert await queued(desk) == names[1:3]
    rows = await desk.rows("SELECT execution_number, stage FROM executions WHERE status = 'QUEUED'")
    assert [(row["execution_number"], row["stage"]) for row in rows] == [(2, 1)] * 2
    assert await stages_equal_rows(desk.pool)
    assert await counts_equal_rows(desk.pool)
    assert (await desk.accepted("jobs/j/retry-failed"))["numberOfThings"] == 1
    await settle(desk)
    await end(desk, names[1:])
    assert await settle(desk) == ["stage_started"]
    assert await stages_equal_rows(desk.pool)
    assert await counts_equal_rows(desk.pool)


async def test_a_redelivered_report_does_not_fail_a_retry_by_wish(desk: Desk) -> None:
    """What failed the execution before, delivered again, is answered as before and changes nothing."""
    await desk.accepted("jobs/create", aws_job(*FLEET[:2], jobId="j"))
    plane, said = Plane(desk.pool), {"status": "FAILED", "clientToken": "x"}
    await plane.accepted(f"{FLEET[0]}/jobs/j/update", said)
    assert (await desk.accepted("jobs/j/retry-failed"))["numberOfThings"] == 1
    await settle(desk)
    await plane.accepted(f"{FLEET[0]}/jobs/j/update", said, duplicate=True)
    assert sorted(await queued(desk)) == sorted(FLEET[:2])


async def test_what_failed_of_a_job_that_is_over_is_tried_again_by_another(desk: Desk) -> None:
    """COMPLETED is final: its events have said so. A new job like it, without stages, is for the things that failed."""
    more = {"priority": 3, "timeoutConfig": {"inProgressTimeoutInMinutes": 9}}
    stages = [{"numberOfThings": 1, "successPercentage": 0}, {}]
    await desk.accepted("jobs/create", {**aws_job(*FLEET[:3], jobId="j"), **more, "stages": stages})
    await settle(desk)
    await end(desk, FLEET[:2], "FAILED")
    await end(desk, FLEET[2:3], "SUCCEEDED")
    before = await desk.job("j")
    assert before["status"] == "COMPLETED"
    none = await desk.accepted("jobs/j/retry-failed", {"failureType": "REJECTED"})
    assert (none["numberOfThings"], "newJobId" in none) == (0, False)
    answer = await desk.accepted("jobs/j/retry-failed")
    made = answer["newJobId"]
    assert (answer["jobId"], answer["numberOfThings"]) == ("j", 2)
    again = await desk.send("jobs/j/retry-failed", duplicate=True)
    assert again.body["newJobId"] == made
    await settle(desk)
    body = await desk.accepted(f"jobs/{made}/get")
    assert [one["thingName"] for one in body["executions"]] == list(FLEET[:2])
    job = body["job"]
    assert (job["status"], job["retryOf"], job["executionCount"]) == ("IN_PROGRESS", "j", 2)
    same = ("priority", "timeoutConfig", "targets", "description")
    assert [job.get(name) for name in same] == [before.get(name) for name in same]
    assert await desk.job("j") == before
    for name in FLEET[:2]:
        await Plane(desk.pool).accepted(f"{name}/jobs/{made}/update", {"status": "SUCCEEDED"})
    assert (await desk.job(made))["status"] == "COMPLETED"
    assert await counts_equal_rows(desk.pool)


async def test_a_retry_by_another_job_needs_the_same_approvals(desk: Desk) -> None:
    """As many as the job that is over did; until then it is SCHEDULED, and nobody is told."""
    other = replace(desk, name="may", role=Role.MANAGER)
    config = {"approvalConfig": {"requiredApprovals": 1}}
    await desk.accepted("jobs/create", {**aws_job(FLEET[0], jobId="j"), **config})
    await other.accepted("jobs/j/approve")
    await settle(desk)
    await end(desk, FLEET[:1], "FAILED")
    made = (await desk.accepted("jobs/j/retry-failed"))["newJobId"]
    await settle(desk)
    assert (await desk.job(made))["holds"] == ["APPROVAL"]
    await other.accepted(f"jobs/{made}/approve")
    await settle(desk)
    assert (await desk.counts(made)) == {"Queued": 1}


async def test_a_job_that_is_canceled_is_not_tried_again(desk: Desk) -> None:
    """Nor one that is not there, nor a stage that there is not; nothing is put back."""
    await desk.accepted("jobs/create", aws_job(*FLEET[:2], jobId="j"))
    await end(desk, FLEET[:1], "FAILED")
    await desk.accepted("jobs/j/cancel")
    await desk.work()
    refused = await desk.rejected("jobs/j/retry-failed")
    assert (refused["code"], "CANCELED" in refused["message"]) == ("InvalidStateTransition", True)
    assert await desk.rows("SELECT 1 FROM rollout_chunks") == []
    assert (await desk.rejected("jobs/none/retry-failed"))["code"] == "ResourceNotFound"
    await desk.accepted("jobs/create", aws_job(FLEET[0], jobId="k"))
    refused = await desk.rejected("jobs/k/retry-failed", {"stage": 2})
    assert refused["message"] == "stage: is 2, but the job has none"


async def test_a_stage_obeys_the_rate(desk: Desk) -> None:
    """Inside a stage the rollout rate holds: of four things at one a minute one is told."""
    await create(
        desk, {"numberOfThings": 4}, {}, jobExecutionsRolloutConfig={"maximumPerMinute": 1}
    )
    assert len(await queued(desk)) == 1
    assert [one["numberOfWaitingThings"] for one in await shown(desk)] == [3, 16]
    assert await stages_equal_rows(desk.pool)


async def test_late_joiners_come_into_the_stage_that_runs(desk: Desk) -> None:
    """Of a CONTINUOUS job: the gate closes again if that takes the stage below its threshold."""
    await create(
        desk, {"numberOfThings": 4, "successPercentage": 80}, {}, targetSelection="CONTINUOUS"
    )
    names = await queued(desk)
    await end(desk, names[:3])
    await add_things(desk.pool, "late")
    await desk.accepted("groups/add", {"thingGroupName": "all", "thingNames": ["late"]})
    await desk.accepted("groups/remove", {"thingGroupName": "all", "thingNames": names[:1]})
    await settle(desk)
    assert "late" in await queued(desk)
    assert (await shown(desk))[0]["numberOfThings"] == 5
    assert "3 of 5 things" in (await shown(desk))[0]["gate"]
    await end(desk, names[3:])
    assert await settle(desk) == ["stage_started"]
    await desk.accepted("groups/add", {"thingGroupName": "all", "thingNames": names[:1]})
    await settle(desk)
    rows = await desk.rows("SELECT stage FROM executions WHERE thing_name = $1", names[0])
    assert sorted(row["stage"] for row in rows) == [1, 2]
    assert await stages_equal_rows(desk.pool)
    assert await counts_equal_rows(desk.pool)


async def test_gates_of_a_running_job_change(desk: Desk) -> None:
    """Thresholds may; how far a stage reaches may not, and is refused by its place."""
    await create(desk, {"numberOfThings": 4}, {})
    await end(desk, (await queued(desk))[:2])
    assert await settle(desk) == []
    wrong = {"stages": [{"numberOfThings": 5}, {}]}
    assert "stages[0]: reaches further" in (await desk.rejected("jobs/j/update", wrong))["message"]
    wrong = {"stages": [{}]}
    assert "the job has 2, 1 are" in (await desk.rejected("jobs/j/update", wrong))["message"]
    gates_now = [{"numberOfThings": 4, "successPercentage": 50}, {"percentage": 100}]
    await desk.accepted("jobs/j/update", {"stages": gates_now})
    assert await settle(desk) == ["stage_started"]
    assert (await desk.job("j"))["stages"][0]["successPercentage"] == 50


async def test_a_scheduled_job_starts_no_stage_before_its_time(desk: Desk) -> None:
    """Its gates are looked at from its start on."""
    await create(desk, schedulingConfig={"startTime": "2027-11-01 00:00"})
    assert [one["state"] for one in await shown(desk)] == ["WAITING"] * 3
    refused = await desk.rejected("jobs/j/start-next-stage")
    assert "SCHEDULED" in refused["message"]


async def test_things_that_are_gone_hold_nothing_up(desk: Desk) -> None:
    """Deleted before their turn they count in no stage; deleted after it they are REMOVED, which shares leave out."""
    await create(desk, {"numberOfThings": 4}, {"numberOfThings": 8}, {})
    names = await queued(desk)
    for name in FLEET:
        if name not in names[1:]:
            await desk.accepted("things/delete", {"thingName": name})
    await end(desk, names[1:])
    await settle(desk)
    seen = await shown(desk)
    assert [one["numberOfThings"] for one in seen] == [4, 0, 0]
    assert (await desk.job("j"))["status"] == "COMPLETED"
    assert await stages_equal_rows(desk.pool)


async def test_a_job_that_cannot_be_looked_at_holds_up_no_other(desk: Desk) -> None:
    """It is told of as a failure and stays due; the other's gate opens."""
    await create(desk, {"numberOfThings": 2}, {})
    await desk.accepted("jobs/create", {**aws_job(FLEET[0], jobId="broken"), "stages": [{}]})
    await desk.rows("UPDATE job_stages SET config = '{\"x\":1}' WHERE job_id = 'broken'")
    await end(desk, await queued(desk))
    looked = await gates.run_once(desk.pool, slot=None)
    assert [one.job_id for one in looked.failures] == ["broken"]
    assert operations(looked.told) == ["stage_started"]
    assert await due(desk)


async def test_two_services_do_nothing_twice(desk: Desk, database: Database) -> None:
    """Both look at the same gates, again and again, while devices report: each stage starts once, is told once."""
    await create(desk, *({"numberOfThings": number} for number in range(1, 20)), {})
    pools = [await create_pool(database.url, size=2) for _ in range(2)]
    try:
        for _ in FLEET:
            names = await queued(desk)
            await asyncio.gather(
                end(desk, names), *(gates.run_once(one, slot=None) for one in pools * 2)
            )
            await asyncio.gather(*(gates.run_once(one, slot=None) for one in pools * 2))
            await desk.work()
    finally:
        for one in pools:
            await one.close()
    assert (await desk.job("j"))["status"] == "COMPLETED"
    starts = await told(desk, "stage_started")
    assert len(starts) == 20
    assert [f'"stage":{number},' in starts[number - 1] for number in range(1, 21)] == [True] * 20
    assert await stages_equal_rows(desk.pool)


@pytest.mark.parametrize("seed", range(3))
async def test_counters_of_stages_equal_rows_after_any_history(desk: Desk, seed: int) -> None:
    """Reports, retries of both kinds, joins, leaves, deletions, pauses, gates: the numbers are what the rows say."""
    rng = random.Random(seed)  # noqa: S311 - a history that can be had again
    await create(
        desk,
        {"numberOfThings": 5, "successPercentage": 40, "errorPercentage": 60},
        {"percentage": 60, "successPercentage": 30},
        {},
        targetSelection="CONTINUOUS",
        jobExecutionsRetryConfig={
            "criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]
        },
    )
    for _ in range(40):
        await _something(desk, rng)
        if rng.random() < 0.7:
            await settle(desk)
        assert await stages_equal_rows(desk.pool)
        assert await counts_equal_rows(desk.pool)
    await desk.accepted("jobs/j/cancel", {"force": True})
    await settle(desk)
    assert await stages_equal_rows(desk.pool)


async def _something(desk: Desk, rng: random.Random) -> None:
    rows = await desk.rows(
        "SELECT thing_name FROM executions WHERE status IN ('QUEUED', 'IN_PROGRESS') ORDER BY 1"
    )
    live = [row["thing_name"] for row in rows]
    some = rng.sample(live, min(len(live), rng.randint(1, 4)))
    names = rng.sample(FLEET, 3)
    match rng.randint(0, 9):
        case 0 | 1 | 2:
            await end(desk, some, "SUCCEEDED")
        case 3 | 4:
            await end(desk, some, rng.choice(("FAILED", "REJECTED")))
        case 5:
            verb = rng.choice(("add", "remove"))
            members = {"thingGroupName": "all", "thingNames": names}
            await desk.accepted(f"groups/{verb}", members)
        case 6:
            await desk.send("jobs/j/start-next-stage")
        case 7:
            await desk.accepted("jobs/j/retry-failed")
        case 8:
            await desk.accepted(f"jobs/j/{rng.choice(('pause', 'resume', 'resume'))}")
        case _:
            numbers = await desk.rows("SELECT thing_name, execution_number FROM executions")
            one = rng.choice(numbers)
            payload = {"executionNumber": one["execution_number"], "force": True}
            await desk.accepted(f"jobs/j/executions/{one['thing_name']}/delete", payload)


async def test_a_look_that_decides_nothing_leaves_the_jobs_row(desk: Desk) -> None:
    """Devices read it with each request: reports in a stage whose gate stays shut write no version of it."""
    await create(desk, {"numberOfThings": 5}, {})
    names = await queued(desk)

    async def version() -> object:
        (row,) = await desk.rows("SELECT xmin::text, stage FROM jobs WHERE job_id = 'j'")
        return row

    before = await version()
    for name in names[:4]:
        await end(desk, [name])
        assert await settle(desk) == []
    assert await version() == before


@pytest.mark.parametrize("verb", ["jobs/j/associate", "groups/update"])
async def test_stages_are_held_before_their_job(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """By whoever lets many in, or in and out: devices and gates hold them so, and two orders are a deadlock."""
    monkeypatch.setattr(reach, "AT_ONCE", 1)
    await add_things(desk.pool, "late")
    dynamic = {"thingGroupName": "some", "queryString": "thingName:t0*"}
    await desk.accepted("groups/create", dynamic)
    command = aws_job(group="some", jobId="j", stages=[{}], targetSelection="CONTINUOUS")
    await desk.accepted("jobs/create", command)
    await settle(desk)
    payload: dict[str, object] = {**dynamic, "queryString": "thingName:t1* OR thingName:late"}
    if verb == "jobs/j/associate":
        payload = {"targets": ["arn:aws:iot:us-east-1:000000000000:thing/late"]}
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.execute("SELECT FROM job_stages WHERE job_id = 'j' FOR NO KEY UPDATE")
        asked = asyncio.create_task(desk.accepted(verb, payload))
        await eventually(lambda: is_waited_for(connection))
        await connection.execute("SELECT FROM jobs WHERE job_id = 'j' FOR NO KEY UPDATE")
    await asked
    assert await stages_equal_rows(desk.pool)


async def test_counters_come_before_stages_where_a_chunk_has_nobody_left(desk: Desk) -> None:
    """Devices hold them so, and two orders are a deadlock: also when the chunk's turn comes and its things are gone."""
    stages = [{"numberOfThings": 1}, {}]
    await desk.accepted("jobs/create", {**aws_job(*FLEET[:2], jobId="j"), "stages": stages})
    await gates.run_once(desk.pool, slot=None)
    [chunk] = await desk.rows("SELECT thing_names FROM rollout_chunks WHERE stage = 1")
    await desk.accepted("things/delete", {"thingName": chunk["thing_names"][0]})
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.execute("SELECT FROM job_counts WHERE job_id = 'j' FOR NO KEY UPDATE")
        working = asyncio.create_task(desk.work())
        await eventually(lambda: is_waited_for(connection), timeout=60)
        await connection.execute("SELECT FROM job_stages FOR NO KEY UPDATE NOWAIT")
    await working
    assert await stages_equal_rows(desk.pool)
