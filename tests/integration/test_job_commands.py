"""Jobs from the operator's side, on a real PostgreSQL: create, read, cancel, delete, and what is refused."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import asyncpg
import pytest

from handlers import outbox
from handlers.chunks import Progress
from handlers.context import Outside
from handlers.database import Pool
from handlers.documents import Documents
from schema.rights import Role
from tests.factories import add_tenant, add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job, operations


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner."""
    return Desk(pool)


async def test_a_job_in_aws_words(desk: Desk) -> None:
    """AWS's jobs/create makes one execution a thing; things are told, and the answer has AWS's members."""
    await add_things(desk.pool, "t1", "t2")
    answer = await desk.send(
        "jobs/create",
        aws_job("t1", "t2", jobId="j1", description="both", clientToken="c"),
    )
    assert answer.accepted, answer.body
    assert answer.body == {
        "jobId": "j1",
        "jobArn": "arn:aws:iot:us-east-1:000000000000:job/j1",
        "description": "both",
        "job_id": "j1",
        "status": "IN_PROGRESS",
        "execution_count": 2,
        "timestamp": answer.body["timestamp"],
        "clientToken": "c",
    }
    [told] = answer.told
    assert (told.notify, told.notify_next) == (("t1", "t2"), ("t1", "t2"))
    assert await desk.counts("j1") == {"Queued": 2}
    assert (await Plane(desk.pool).accepted("t1/jobs/start-next"))["execution"]["jobDocument"] == {
        "operation": "reboot"
    }


async def test_a_new_jobs_document_is_told_without_being_read(
    desk: Desk, admin: asyncpg.Connection
) -> None:
    """The process that creates a job has its document at hand; another one reads what the table has."""
    await add_things(desk.pool, "t1")
    documents = Documents()
    creator = replace(desk, outside=Outside(documents=documents))
    answer = await creator.send("jobs/create", aws_job("t1", jobId="j", document={"do": "reboot"}))
    await admin.execute("UPDATE jobs SET document = '{}'")
    for known, told in ((documents, {"do": "reboot"}), (Documents(), {})):
        said = await outbox.say(desk.pool, known, "default", answer.told, slot=0)
        [payload] = [one for topic, one in said.messages if topic.endswith("/notify-next")]
        assert json.loads(payload)["execution"]["jobDocument"] == told


async def test_a_job_in_the_seeds_words(desk: Desk) -> None:
    """The seeds' jobs/create answers in the seeds' words, and jobs/get shows them again."""
    await add_things(desk.pool, "t1")
    body = {
        "document_type": "reboot",
        "document_params": {"delay_s": 5},
        "target_device_id": "t1",
        "expires_in_hours": 1,
    }
    made = await desk.accepted("jobs/create", body)
    assert (made["status"], made["execution_count"]) == ("IN_PROGRESS", 1)
    shown = await desk.accepted(f"jobs/{made['job_id']}/get")
    assert (shown["document_type"], shown["document_params"]) == ("reboot", {"delay_s": 5})
    assert shown["expires_at"] == pytest.approx(made["timestamp"] + 3600, abs=2)
    assert shown["status"] == "IN_PROGRESS"
    assert [(one["device_id"], one["status"]) for one in shown["executions"]] == [("t1", "QUEUED")]
    assert json.loads(shown["document"]) == {"type": "reboot", "params": {"delay_s": 5}}
    assert shown["job"]["targets"] == ["arn:aws:iot:us-east-1:000000000000:thing/t1"]


async def test_a_group_reaches_its_child_groups_and_each_thing_once(desk: Desk) -> None:
    """A snapshot has the things of a group and of all groups below it, and one execution for a thing named twice."""
    await add_things(desk.pool, "top", "mid", "leaf", "both", "other")
    for name, parent in (("g", None), ("g1", "g"), ("g2", "g1"), ("beside", None)):
        await desk.accepted("groups/create", {"thingGroupName": name, "parentGroupName": parent})
    for group, thing in (
        ("g", "top"),
        ("g1", "mid"),
        ("g2", "leaf"),
        ("g", "both"),
        ("g2", "both"),
        ("beside", "other"),
    ):
        await desk.accepted("groups/add", {"thingGroupName": group, "thingName": thing})
    made = await desk.accepted("jobs/create", aws_job("leaf", "leaf", group="g", jobId="j"))
    assert made["execution_count"] == 4
    shown = await desk.accepted("jobs/j/get")
    assert [one["thingName"] for one in shown["executions"]] == ["both", "leaf", "mid", "top"]
    assert len(shown["job"]["targets"]) == 2


async def test_who_joins_later_is_not_in_the_snapshot(desk: Desk) -> None:
    """A group's member of later has no execution (AWS: SNAPSHOT)."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingName": "t1"})
    seed = {"document_type": "x", "target_group_id": "g", "job_id": "j"}
    assert (await desk.accepted("jobs/create", seed))["execution_count"] == 1
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingName": "t2"})
    assert await desk.counts("j") == {"Queued": 1}


async def test_target_all_stays_in_the_tenant(desk: Desk) -> None:
    """target_all reaches every thing of the tenant and none of another."""
    await add_tenant(desk.pool, "acme")
    await add_things(desk.pool, "a1", tenant="acme")
    await add_things(desk.pool, "t1", "t2", "t3")
    made = await desk.accepted("jobs/create", {"document_type": "x", "target_all": True})
    assert made["execution_count"] == 3
    assert (await Desk(desk.pool, tenant="acme").accepted("jobs/list"))["jobs"] == []


async def test_an_empty_snapshot_completes_at_once(desk: Desk) -> None:
    """A job for a group without things is COMPLETED in the creating transaction, with its event."""
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    answer = await desk.send("jobs/create", aws_job(group="g", jobId="j"))
    assert (answer.body["status"], answer.body["execution_count"]) == ("COMPLETED", 0)
    assert operations(answer.told) == ["completed"]
    assert (await desk.job("j"))["completedAt"] == answer.body["timestamp"]


async def test_targets_that_do_not_exist_are_named(desk: Desk) -> None:
    """Unknown things and groups are refused by name, and nothing is created."""
    await add_things(desk.pool, "t1")
    found = await desk.rejected("jobs/create", aws_job("t1", "t9", group="g9", jobId="j"))
    assert found["code"] == "ResourceNotFound"
    assert "thing 't9', thinggroup 'g9'" in found["message"]
    assert await desk.rows("SELECT FROM jobs") == []


async def test_the_same_id_and_content_is_answered_again(desk: Desk) -> None:
    """A repeated create makes nothing new; other content under the same id is refused."""
    await add_things(desk.pool, "t1")
    first = await desk.accepted("jobs/create", aws_job("t1", jobId="j"))
    again = await desk.accepted("jobs/create", aws_job("t1", jobId="j"), duplicate=True)
    assert {**again, "timestamp": 0} == {**first, "timestamp": 0}
    assert await desk.counts("j") == {"Queued": 1}
    found = await desk.rejected("jobs/create", aws_job("t1", jobId="j", description="other"))
    assert found["code"] == "ResourceAlreadyExists"
    assert len(await desk.rows("SELECT FROM audit_log")) == 1


async def test_a_redelivered_create_without_any_mark_makes_no_second_job(desk: Desk) -> None:
    """Neither id nor clientToken: a redelivery is the operator's job of that content, a new command a new job."""
    await add_things(desk.pool, "t1")
    first = await desk.accepted("jobs/create", aws_job("t1"))
    again = await desk.accepted("jobs/create", aws_job("t1"), duplicate=True)
    assert again["jobId"] == first["jobId"]
    other = await desk.accepted("jobs/create", aws_job("t1"))
    assert other["jobId"] != first["jobId"]
    bobs = await Desk(desk.pool, name="bob").accepted("jobs/create", aws_job("t1"), duplicate=True)
    assert bobs["jobId"] not in (first["jobId"], other["jobId"])
    await desk.rows("UPDATE jobs SET created_at = now() - interval '16 minutes'")
    later = await desk.accepted("jobs/create", aws_job("t1"), duplicate=True)
    assert later["jobId"] not in (first["jobId"], other["jobId"], bobs["jobId"])


async def test_the_same_client_token_finds_its_first_answer(desk: Desk) -> None:
    """One job for one clientToken, also without an id; it refuses another command; each operator has their own."""
    await add_things(desk.pool, "t1")
    first = await desk.accepted("jobs/create", aws_job("t1", clientToken="c"))
    again = await desk.accepted("jobs/create", aws_job("t1", clientToken="c"))
    assert again["jobId"] == first["jobId"]
    found = await desk.rejected("jobs/create", aws_job("t1", clientToken="c", description="other"))
    assert (found["code"], found["clientToken"]) == ("InvalidRequest", "c")
    assert "used before" in found["message"]
    other = await Desk(desk.pool, name="bob").accepted(
        "jobs/create", aws_job("t1", clientToken="c")
    )
    assert other["jobId"] != first["jobId"]


async def test_the_same_create_many_times_at_once_makes_one_job(desk: Desk) -> None:
    """Eight processes with the same clientToken, and eight with the same id, end with one job each."""
    await add_things(desk.pool, "t1")
    sent = [desk.accepted("jobs/create", aws_job("t1", clientToken="c")) for _ in range(8)]
    assert len({answer["jobId"] for answer in await asyncio.gather(*sent)}) == 1
    sent = [desk.accepted("jobs/create", aws_job("t1", jobId="j")) for _ in range(8)]
    await asyncio.gather(*sent)
    assert len(await desk.rows("SELECT FROM jobs")) == 2
    assert await desk.counts("j") == {"Queued": 1}
    assert await counts_equal_rows(desk.pool)


@pytest.mark.parametrize(
    ("role", "verb", "needed"),
    [
        (Role.VIEWER, "jobs/create", "manager"),
        (Role.VIEWER, "jobs/j/cancel", "manager"),
        (Role.MANAGER, "things/create", "admin"),
        (Role.MANAGER, "operators/list", None),
    ],
)
async def test_refusals_say_which_role_is_needed(
    pool: Pool, role: Role, verb: str, needed: str | None
) -> None:
    """A role that is too low is Unauthorized, before the payload is looked at; nothing is written down."""
    desk = Desk(pool, role)
    if needed is None:
        await desk.accepted(verb)
        return
    found = await desk.rejected(verb, {"clientToken": "c", "nonsense": 1})
    assert (found["code"], found["clientToken"]) == ("Unauthorized", "c")
    assert f"needs the role {needed}" in found["message"]
    assert await desk.rows("SELECT FROM audit_log") == []


async def test_an_operators_role_is_looked_up_by_name(desk: Desk) -> None:
    """Without a given role the operators table decides; who is not in it may do nothing."""
    await desk.accepted("operators/create", {"operatorName": "vera", "role": "viewer"})
    vera = Desk(desk.pool, role=None, name="vera")
    await vera.accepted("jobs/list")
    assert (await vera.rejected("things/create", {"thingName": "t"}))["code"] == "Unauthorized"
    nobody = Desk(desk.pool, role=None, name="nobody")
    found = await nobody.rejected("jobs/list", {"clientToken": "c"})
    assert found["code"] == "Unauthorized"
    assert "'nobody' is no operator" in found["message"]
    assert found["timestamp"] > 0


async def test_an_unknown_tenant_is_not_found(pool: Pool) -> None:
    """A tenant that does not exist is refused with a timestamp, and is not made."""
    found = await Desk(pool, tenant="nowhere").rejected("jobs/list")
    assert found["code"] == "ResourceNotFound"
    assert found["timestamp"] > 0


async def test_a_refusal_echoes_the_token_and_changes_nothing(desk: Desk) -> None:
    """A wrong field beside a good clientToken: the token comes back, nothing is stored."""
    found = await desk.rejected("jobs/create", {"clientToken": "c", "targets": 7})
    assert (found["code"], found["clientToken"]) == ("InvalidRequest", "c")
    found = await desk.rejected("jobs/create", b"\xff")
    assert found["code"] == "InvalidJson"
    assert await desk.rows("SELECT FROM operator_requests") == []


async def test_jobs_are_listed_newest_first_in_pages(desk: Desk) -> None:
    """Pages follow each other without a gap, by status if asked; a forged token is refused."""
    await add_things(desk.pool, "t1")
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    for n in range(5):
        await desk.accepted("jobs/create", aws_job("t1", jobId=f"j{n}"))
    await desk.accepted("jobs/create", aws_job(group="g", jobId="empty"))
    seen, token = [], None
    while True:
        page = await desk.accepted("jobs/list", {"maxResults": 2, "nextToken": token})
        seen += [job["jobId"] for job in page["jobs"]]
        token = page.get("nextToken")
        if token is None:
            break
    assert seen == ["empty", "j4", "j3", "j2", "j1", "j0"]
    done = await desk.accepted("jobs/list", {"status": "COMPLETED"})
    assert [job["jobId"] for job in done["jobs"]] == ["empty"]
    assert (await desk.rejected("jobs/list", {"nextToken": "x"}))["code"] == "InvalidRequest"


async def test_a_jobs_executions_come_in_pages_by_status(desk: Desk) -> None:
    """jobs/get pages its executions by thing and filters them by status."""
    names = [f"t{n}" for n in range(5)]
    await add_things(desk.pool, *names)
    await desk.accepted("jobs/create", aws_job(*names, jobId="j"))
    await Plane(desk.pool).accepted("t3/jobs/start-next", {"statusDetails": {"step": "1"}})
    first = await desk.accepted("jobs/j/get", {"maxResults": 3})
    rest = await desk.accepted("jobs/j/get", {"maxResults": 3, "nextToken": first["nextToken"]})
    assert [one["thingName"] for one in first["executions"] + rest["executions"]] == names
    assert "nextToken" not in rest
    started = await desk.accepted("jobs/j/get", {"status": "IN_PROGRESS", "includeDocument": False})
    [one] = started["executions"]
    assert (one["thingName"], one["versionNumber"], one["statusDetails"]) == (
        "t3",
        2,
        {"step": "1"},
    )
    assert "document" not in started
    assert (await desk.rejected("jobs/k/get"))["code"] == "ResourceNotFound"


async def test_cancel_leaves_what_is_in_progress(desk: Desk) -> None:
    """Cancel takes QUEUED executions back; one that is IN_PROGRESS may finish; both events are told once."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j"))
    device = Plane(desk.pool)
    await device.accepted("t1/jobs/start-next")
    answer = await desk.send("jobs/j/cancel", {"reasonCode": "OOPS", "comment": "wrong file"})
    assert answer.accepted, answer.body
    assert operations(answer.told) == ["cancellation_in_progress"]
    assert (await desk.job("j"))["status"] == "CANCELED"
    assert "execution" not in await device.accepted("t2/jobs/start-next")
    assert await desk.work() == ["canceled"]
    job = await desk.job("j")
    assert (job["reasonCode"], job["comment"], job["isConcurrent"]) == ("OOPS", "wrong file", False)
    assert await desk.counts("j") == {"Canceled": 1, "InProgress": 1}
    await device.accepted("t1/jobs/j/update", {"status": "SUCCEEDED"})
    assert await desk.counts("j") == {"Canceled": 1, "Succeeded": 1}
    assert (await desk.job("j"))["status"] == "CANCELED"
    assert await desk.work() == []


async def test_cancel_with_force_takes_everything(desk: Desk) -> None:
    """With force an IN_PROGRESS execution becomes CANCELED too, and its device is told so on its next update."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j"))
    device = Plane(desk.pool)
    await device.accepted("t1/jobs/start-next")
    await desk.accepted("jobs/j/cancel", {"force": True})
    await desk.work()
    assert await desk.counts("j") == {"Canceled": 2}
    shown = await desk.accepted("jobs/j/get")
    assert shown["job"]["forceCanceled"] is True
    assert [one.get("forceCanceled") for one in shown["executions"]] == [True, None]
    found = await device.rejected("t1/jobs/j/update", {"status": "SUCCEEDED"})
    assert (found["code"], found["executionState"]["status"]) == (
        "InvalidStateTransition",
        "CANCELED",
    )


async def test_cancel_is_done_once(desk: Desk) -> None:
    """A second cancel is refused with the state; a redelivered one is accepted and does nothing."""
    await add_things(desk.pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="j"))
    await desk.accepted("jobs/j/cancel")
    found = await desk.rejected("jobs/j/cancel")
    assert found["code"] == "InvalidStateTransition"
    assert "CANCELED" in found["message"]
    answer = await desk.send("jobs/j/cancel", duplicate=True)
    assert (answer.accepted, answer.told) == (True, ())
    assert (await desk.rejected("jobs/k/cancel"))["code"] == "ResourceNotFound"


async def test_delete_takes_a_finished_job_away(desk: Desk) -> None:
    """A live job needs force; a finished one goes with all its rows, and its id is free again."""
    await add_things(desk.pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="j"))
    found = await desk.rejected("jobs/j/delete")
    assert found["code"] == "InvalidStateTransition"
    device = Plane(desk.pool)
    await device.accepted("t1/jobs/j/update", {"status": "SUCCEEDED"})
    assert (await desk.job("j"))["status"] == "COMPLETED"
    answer = await desk.send("jobs/j/delete")
    assert operations(answer.told) == ["deletion_in_progress"]
    found = await desk.rejected("jobs/create", aws_job("t1", jobId="j"))
    assert "being deleted" in found["message"]
    assert await desk.work() == ["deleted"]
    for table in ("jobs", "executions", "job_counts", "job_targets", "rollout_chunks"):
        assert await desk.rows(f"SELECT FROM {table}") == [], table
    assert (await desk.rejected("jobs/j/get"))["code"] == "ResourceNotFound"
    assert (await desk.send("jobs/j/delete", duplicate=True)).accepted
    await desk.accepted("jobs/create", aws_job("t1", jobId="j"))


async def test_delete_with_force_takes_live_executions_and_tells_their_things(desk: Desk) -> None:
    """A forced delete of a live job frees its devices at once: no execution is offered, and they are told."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j"))
    device = Plane(desk.pool)
    await device.accepted("t1/jobs/start-next")
    await desk.accepted("jobs/j/delete", {"force": True})
    assert "execution" not in await device.accepted("t1/jobs/$next/get")
    await desk.work()
    told = await desk.rows("SELECT notify, notify_next FROM outbox ORDER BY outbox_id DESC LIMIT 2")
    assert {"notify": ["t1", "t2"], "notify_next": ["t1", "t2"]} in told
    assert (await device.rejected("t1/jobs/j/update", {"status": "FAILED"}))["code"] == (
        "ResourceNotFound"
    )


async def test_cancel_of_one_execution(desk: Desk) -> None:
    """One thing's execution is cancelled at once: version checked, IN_PROGRESS only with force, the job completes."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j"))
    path = "jobs/j/executions/t1/cancel"
    found = await desk.rejected(path, {"expectedVersion": 9})
    assert (found["code"], found["message"]) == (
        "VersionMismatch",
        "Expected version 9 but found version 1",
    )
    assert found["executionState"] == {"status": "QUEUED", "versionNumber": 1}
    await Plane(desk.pool).accepted("t1/jobs/start-next")
    found = await desk.rejected(path)
    assert found["code"] == "InvalidStateTransition"
    assert found["executionState"]["status"] == "IN_PROGRESS"
    done = await desk.accepted(
        path, {"force": True, "expectedVersion": 2, "statusDetails": {"why": "recalled"}}
    )
    assert done["executionState"] == {
        "status": "CANCELED",
        "versionNumber": 3,
        "statusDetails": {"why": "recalled"},
    }
    assert (await desk.rejected(path))["code"] == "InvalidStateTransition"
    assert (await desk.send(path, duplicate=True)).accepted
    last = await desk.send("jobs/j/executions/t2/cancel")
    assert operations(last.told) == ["completed"]
    assert (await desk.rejected("jobs/j/executions/t9/cancel"))["code"] == "ResourceNotFound"


async def test_what_changes_is_in_the_audit_log(desk: Desk) -> None:
    """Each change leaves one line of who, in which role, did what to what; reading leaves none."""
    await desk.accepted("things/create", {"thingName": "t1"})
    await desk.accepted("jobs/create", aws_job("t1", jobId="j"))
    await desk.accepted("jobs/j/get")
    await desk.accepted("jobs/j/cancel", {"comment": "no"})
    await desk.accepted("jobs/j/cancel", duplicate=True)
    lines = await desk.rows(
        "SELECT actor, role, action, subject, details FROM audit_log ORDER BY audit_id"
    )
    assert [(one["actor"], one["role"], one["action"], one["subject"]) for one in lines] == [
        ("ann", "owner", "things/create", "thing/t1"),
        ("ann", "owner", "jobs/create", "job/j"),
        ("ann", "owner", "jobs/cancel", "job/j"),
    ]
    assert json.loads(lines[2]["details"]) == {"force": False, "comment": "no"}


async def test_job_events_follow_the_tenants_switch(desk: Desk) -> None:
    """A tenant that wants no job events gets none, from commands and from background work."""
    await desk.rows("UPDATE tenants SET events = '{}'")
    await add_things(desk.pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="j"))
    answer = await desk.send("jobs/j/cancel")
    assert answer.told == ()
    assert await Desk(desk.pool, progress=Progress()).work() == []
