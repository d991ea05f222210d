"""jobs/preview: what a job would come to, on a real PostgreSQL, and that nothing comes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from handlers.context import Outside
from handlers.database import Pool
from schema.rights import Role
from tests.factories import add_things
from tests.integration.operator_desk import Desk, aws_job

THINGS = [f"t{n:02}" for n in range(30)]
PARENTS = {"thingGroupName": "inner", "parentGroupName": "outer"}


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """A manager, who may create jobs."""
    return Desk(pool, Role.MANAGER)


async def _group(pool: Pool) -> None:
    owner = Desk(pool)
    await owner.accepted("groups/create", {"thingGroupName": "outer"})
    await owner.accepted("groups/create", PARENTS)
    await owner.accepted("groups/add", {"thingGroupName": "inner", "thingNames": THINGS[5:]})


async def test_a_preview_counts_things_once_and_plans_them(desk: Desk) -> None:
    """Things, a group and the groups inside it; the first twenty by name; the curve at 96 % of the rate."""
    await add_things(desk.pool, *THINGS)
    await _group(desk.pool)
    rate = {"jobExecutionsRolloutConfig": {"maximumPerMinute": 10}}
    wanted = aws_job(*THINGS[:10], group="outer", jobId="j1", **rate)
    found = await desk.accepted("jobs/preview", wanted)
    assert (found["jobId"], found["status"], found["exists"]) == ("j1", "IN_PROGRESS", False)
    assert (found["execution_count"], found["firstThings"]) == (30, THINGS[:20])
    assert [one["things"] for one in found["rollout"]["byMinute"]] == [0, 9, 19, 28, 30]
    assert found["rollout"]["toldAt"] - found["timestamp"] == pytest.approx(187.5, abs=2)
    assert found["document"] == {"thingName": "t00", "text": '{"operation":"reboot"}'}


async def test_a_preview_changes_nothing(desk: Desk, admin: asyncpg.Connection) -> None:
    """No job, no execution, nothing to tell, no line in the audit log; the job is created as if never previewed."""
    await add_things(desk.pool, "t1")
    tables = ("jobs", "executions", "rollout_chunks", "outbox", "audit_log", "operator_requests")

    async def rows() -> list[int]:
        return [await admin.fetchval(f"SELECT count(*) FROM {one}") for one in tables]

    before = await rows()
    wanted = aws_job("t1", jobId="j1", clientToken="c", targetSelection="CONTINUOUS")
    await desk.accepted("jobs/preview", wanted)
    assert await rows() == before
    assert (await desk.accepted("jobs/create", wanted))["execution_count"] == 1
    assert (await desk.accepted("jobs/preview", wanted))["exists"] is True


async def test_the_document_is_the_first_things(desk: Desk) -> None:
    """Filled as that device would be given it; attributes it has not are named; URLs are not signed for who looks."""
    owner = Desk(desk.pool)
    await owner.accepted("things/create", {"thingName": "t1", "attributes": {"site": "north"}})
    text = (
        '{"of":"${thingName}/${jobId}/${executionNumber}","at":"${thing:attributes.site}'
        '${thing:attributes.rack}","v":"${aws:iot:parameter:v}"}'
    )
    found = await desk.accepted(
        "jobs/preview", aws_job("t1", jobId="j", document=text, documentParameters={"v": "7"})
    )
    assert found["document"] == {
        "thingName": "t1",
        "text": '{"of":"t1/j/1","at":"north","v":"7"}',
        "emptyPlaceholders": ["${thing:attributes.rack}"],
    }


async def test_windows_and_the_end_are_seen(desk: Desk) -> None:
    """Which windows the rollout meets, how many are told by the end of each, and for how many none is left."""
    await add_things(desk.pool, *THINGS)
    first = datetime.now(UTC).date() + timedelta(days=2)
    second = first + timedelta(days=1)
    schedule = {
        "startTime": f"{first} 00:00",
        "endTime": f"{second} 23:00",
        "maintenanceWindows": [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 10}],
    }
    wanted = aws_job(
        *THINGS,
        targetSelection="CONTINUOUS",
        schedulingConfig=schedule,
        jobExecutionsRolloutConfig={"maximumPerMinute": 1},
    )
    found = await desk.accepted("jobs/preview", wanted)
    assert found["status"] == "SCHEDULED"
    assert found["maintenanceWindows"] == [
        {"startTime": f"{first} 02:00", "endTime": f"{first} 02:10", "things": 9},
        {"startTime": f"{second} 02:00", "endTime": f"{second} 02:10", "things": 19},
    ]
    assert found["rollout"]["notTold"] == 11
    assert "toldAt" not in found["rollout"]


async def test_stages_are_counted(desk: Desk) -> None:
    """By number, by group and the rest; who comes first is who will; an approval that is needed holds it."""
    await add_things(desk.pool, *THINGS)
    await _group(desk.pool)
    wanted = {
        **aws_job(*THINGS, jobId="staged"),
        "stages": [{"thingGroupName": "outer"}, {"numberOfThings": 28}, {}],
        "approvalConfig": {"requiredApprovals": 1},
    }
    found = await desk.accepted("jobs/preview", wanted)
    assert [one["numberOfThings"] for one in found["stages"]] == [25, 3, 2]
    assert found["holds"] == ["APPROVAL"]
    assert found["rollout"]["assumptions"][0] == "all approvals are given now"
    by_number = {**aws_job(*THINGS, jobId="drawn"), "stages": [{"numberOfThings": 5}, {}]}
    found = await desk.accepted("jobs/preview", by_number)
    await desk.accepted("jobs/create", by_number)
    [first] = await desk.rows(
        "SELECT thing_names FROM rollout_chunks WHERE job_id = 'drawn' AND stage = 1"
    )
    assert first["thing_names"] == found["firstThings"][:5]


async def test_gates_are_in_the_plan(desk: Desk) -> None:
    """A gate opens once its stage is told and has soaked; one that pauses the job is where the plan ends."""
    await add_things(desk.pool, *THINGS)
    stages: list[dict[str, object]] = [{"numberOfThings": 10, "soakMinutes": 30}, {}]
    rate = {"jobExecutionsRolloutConfig": {"maximumPerMinute": 10}}
    wanted = {**aws_job(*THINGS, jobId="gated"), **rate, "stages": stages}
    found = await desk.accepted("jobs/preview", wanted)
    first, second = found["stages"]
    asked = found["timestamp"]
    assert first["toldAt"] - asked == pytest.approx(62.5, abs=2)
    assert first["gateOpensAt"] == second["startsAt"]
    assert second["startsAt"] - first["toldAt"] == pytest.approx(1800, abs=2)
    assert second["toldAt"] == found["rollout"]["toldAt"]
    assert found["rollout"]["toldAt"] - asked == pytest.approx(1987.5, abs=2)
    assert found["rollout"]["assumptions"] == [
        "each thing succeeds as soon as it is told, so that each gate opens as early as it can"
    ]
    stages[0]["successAction"] = "PAUSE"
    found = await desk.accepted("jobs/preview", wanted)
    waits = found["rollout"]["waitsForHand"]
    assert (waits["stage"], waits["at"] - found["timestamp"]) == (1, pytest.approx(1862.5, abs=2))
    assert (found["rollout"]["notTold"], "toldAt" in found["rollout"]) == (20, False)
    assert "startsAt" not in found["stages"][1]


async def test_the_seeds_words_are_understood(desk: Desk) -> None:
    """Every thing, until the job expires."""
    await add_things(desk.pool, "t1", "t2")
    wanted = {"document_type": "reboot", "target_all": True, "expires_in_hours": 1}
    found = await desk.accepted("jobs/preview", wanted)
    assert (found["execution_count"], found["status"]) == (2, "IN_PROGRESS")
    assert found["expiresAt"] - found["timestamp"] == pytest.approx(3600, abs=2)


@pytest.mark.parametrize(
    ("changed", "code", "names"),
    [
        ({"document": {"a": ["${nonsense}"]}}, "InvalidRequest", "document.a[0]: '${nonsense}'"),
        ({"targets": ["arn:aws:iot:us-east-1:000000000000:thing/no"]}, "ResourceNotFound", "'no'"),
        ({"jobId": "taken"}, "ResourceAlreadyExists", "jobId: 'taken'"),
        ({"schedulingConfig": {"startTime": "2020-01-01 00:00"}}, "InvalidRequest", "too early"),
        ({"priority": 1001}, "InvalidRequest", "priority: 1001"),
        ({"jobTemplateArn": "x", "document": None}, "InvalidRequest", "jobTemplateArn"),
    ],
)
async def test_it_is_refused_for_what_the_creation_would_be(
    desk: Desk, changed: dict[str, object], code: str, names: str
) -> None:
    """The same code and message, word for word."""
    await add_things(desk.pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="taken", description="another"))
    wanted = {**aws_job("t1"), **changed}
    refused = await desk.rejected("jobs/preview", wanted)
    assert refused["code"] == code
    assert names in refused["message"]
    created = await desk.rejected("jobs/create", wanted)
    assert (created["code"], created["message"]) == (refused["code"], refused["message"])


async def test_a_source_is_read_for_it(pool: Pool) -> None:
    """A documentSource is read as for a creation, where hosts are allowed."""

    async def read(_url: str) -> str:
        return '{"for":"${thingName}"}'

    await add_things(pool, "t1")
    wanted = {**aws_job("t1"), "document": None, "documentSource": "https://docs.example/a.json"}
    desk = Desk(pool, outside=Outside(read_source=read))
    found = await desk.accepted("jobs/preview", wanted)
    assert found["document"]["text"] == '{"for":"t1"}'
