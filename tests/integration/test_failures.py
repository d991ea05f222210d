"""What failed over all jobs, by its reason, and sending it again as jobs that can be followed as one."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.database import Pool, tenant_transaction
from schema.rights import Role
from schema.sql import queries
from tests.factories import add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

SPACE = {"reason": "no space left"}


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner's desk."""
    return Desk(pool)


async def fail(desk: Desk, job_id: str, *things: str, **details: str) -> None:
    """Things report that they failed, with what they say of it."""
    plane = Plane(desk.pool)
    report: dict[str, Any] = {"status": "FAILED"}
    if details:
        report["statusDetails"] = details
    await plane.batch(*(plane.ask(f"{one}/jobs/{job_id}/update", report) for one in things))


async def groups(desk: Desk, **asked: object) -> list[tuple[str, str, int]]:
    """The groups of failures/list: status, reason, how many."""
    found = await desk.accepted("failures/list", asked)
    return [(one["status"], one["reason"], one["numberOfThings"]) for one in found["failures"]]


async def test_failures_are_grouped_over_jobs_by_status_and_reason(desk: Desk) -> None:
    """A thing counts by its latest execution; reasons are told apart by the member that is called so, or by all."""
    await add_things(desk.pool, "a", "b", "c", "d", "e")
    await desk.accepted("jobs/create", aws_job("a", "b", "c", "d", "e", jobId="j1"))
    await desk.accepted("jobs/create", aws_job("a", "b", jobId="j2"))
    await desk.work()
    await fail(desk, "j1", "a", "b", step="4", **SPACE)
    await fail(desk, "j1", "c", disk="sda", zone="7")
    await fail(desk, "j1", "d")
    await fail(desk, "j2", "a", **SPACE)
    found = await desk.accepted("failures/list")
    assert found["isWhole"] is True
    assert "nextToken" not in found
    first = found["failures"][0]
    assert (first["status"], first["reason"], first["numberOfThings"]) == (
        "FAILED",
        "reason: no space left",
        3,
    )
    assert first["jobs"] == [
        {"jobId": "j1", "numberOfThings": 2, "things": ["a", "b"]},
        {"jobId": "j2", "numberOfThings": 1, "things": ["a"]},
    ]
    assert await groups(desk, search="SPACE") == [("FAILED", "reason: no space left", 3)]
    assert await groups(desk, jobId="j1") == [
        ("FAILED", "reason: no space left", 2),
        ("FAILED", "disk:sda,zone:7", 1),
        ("FAILED", "no reason given", 1),
    ]
    assert await groups(desk, failureType="TIMED_OUT") == []
    await desk.accepted("jobs/j1/retry-failed")
    await desk.work()
    assert await groups(desk) == [("FAILED", "reason: no space left", 1)]


async def test_a_list_that_looked_at_a_part_says_so_whatever_it_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing of what was looked at fits the search, `isWhole` is false: what was not looked at may."""
    await add_things(desk.pool, "a", "b")
    await desk.accepted("jobs/create", aws_job("a", "b", jobId="j1"))
    await fail(desk, "j1", "a", "b", **SPACE)
    nothing = await desk.accepted("failures/list", {"search": "battery"})
    assert (nothing["failures"], nothing["isWhole"]) == ([], True)
    monkeypatch.setattr("handlers.failures.FAILURES_LOOKED_AT", 1)
    for search in ("battery", "space"):
        assert (await desk.accepted("failures/list", {"search": search}))["isWhole"] is False


async def test_each_failure_is_looked_at_by_its_key_however_small_the_table_is(pool: Pool) -> None:
    """Sessions keep their plans: one made while there were ten executions must be good for a million."""
    sql = queries("failures")
    asked: dict[str, tuple[object, ...]] = {
        "group_failures": (["j"], ["FAILED"], None, 100, 10),
        "find_failures": (["j"], ["FAILED"], ["reason: x"], 10),
    }
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        for name, values in asked.items():
            rows = await connection.fetch(f"EXPLAIN {sql[name]}", "default", *values)
            plan = [row[0].strip() for row in rows]
            ways = [line for line in plan if line.startswith("Index Cond")]
            assert len(ways) == 3, plan
            assert all("job_id = " in one for one in ways), plan
            assert sum("thing_name = " in one for one in ways) == 2, plan


async def test_pages_of_failures_go_from_the_newest_job_on(desk: Desk) -> None:
    """Each page has the failures of so many jobs; jobs without any take no place in it."""
    await add_things(desk.pool, "a")
    for number in range(4):
        await desk.accepted("jobs/create", aws_job("a", jobId=f"j{number}"))
        if number != 2:
            await fail(desk, f"j{number}", "a", why=str(number))
    first = await desk.accepted("failures/list", {"maxResults": 2})
    assert {one["reason"] for one in first["failures"]} == {"why: 3", "why: 1"}
    asked = {"maxResults": 2, "nextToken": first["nextToken"]}
    assert await groups(desk, **asked) == [("FAILED", "why: 0", 1)]


async def test_what_failed_of_several_jobs_is_sent_again_as_one_job(desk: Desk) -> None:
    """Jobs of one document become one job, with the settings of the newest; what was sent again is listed no more."""
    await add_things(desk.pool, "a", "b", "c")
    slow: dict[str, Any] = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 7},
        "timeoutConfig": {"inProgressTimeoutInMinutes": 9},
    }
    await desk.accepted("jobs/create", aws_job("a", "b", "c", jobId="j1"))
    await desk.accepted("jobs/create", aws_job("a", "b", jobId="j2", **slow))
    await desk.work()
    await fail(desk, "j1", "a", "b", **SPACE)
    await fail(desk, "j1", "c", why="else")
    await fail(desk, "j2", "a", **SPACE)
    asked = {
        "retryId": "again",
        "failures": [{"status": "FAILED", "reason": "reason: no space left"}],
    }
    done = await desk.accepted("failures/retry", asked)
    assert done["numberOfThings"] == 2
    assert [one["jobId"] for one in done["jobs"]] == ["again"]
    assert done["jobs"][0]["sourceJobIds"] == ["j2", "j1"]
    job = await desk.job("again")
    assert sorted(arn.rpartition("/")[2] for arn in job["targets"]) == ["a", "b"]
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 7}
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    assert job["description"] == "Again, what failed of j2, j1"
    assert await groups(desk) == [("FAILED", "why: else", 1)]
    tagged = await desk.accepted("jobs/list", {"tagKey": "retry", "tagValue": "again"})
    assert [one["jobId"] for one in tagged["jobs"]] == ["again"]
    assert (await desk.rejected("failures/retry", asked))["code"] == "ResourceNotFound"
    await desk.work()
    await fail(desk, "again", "a", why="twice")
    assert ("FAILED", "why: twice", 1) in await groups(desk)
    await desk.accepted("jobs/again/delete", {"force": True})
    await desk.work()
    assert ("FAILED", "reason: no space left", 3) in await groups(desk)


async def test_each_document_becomes_a_job_of_its_own_with_one_tag(desk: Desk) -> None:
    """Also those of the seeds' jobs, whose group is made for it; jobIds leave the other jobs' failures alone."""
    await add_things(desk.pool, "a", "b")
    seed = {"document_type": "reboot", "document_params": {"n": 1}, "target_all": True}
    await desk.accepted("jobs/create", {**seed, "job_id": "s1"})
    filled = {"op": "x", "to": "${aws:iot:parameter:v}"}
    await desk.accepted(
        "jobs/create", aws_job("a", jobId="j1", document=filled, documentParameters={"v": "7"})
    )
    await desk.accepted("jobs/create", aws_job("a", jobId="j2"))
    await desk.work()
    for job_id in ("s1", "j1", "j2"):
        await fail(desk, job_id, "a", "b" if job_id == "s1" else "a")
    asked = {
        "retryId": "r",
        "jobIds": ["s1", "j1"],
        "failures": [{"status": "FAILED", "reason": "no reason given"}],
    }
    done = await desk.accepted("failures/retry", asked)
    assert [one["sourceJobIds"] for one in done["jobs"]] == [["j1"], ["s1"]]
    again = await desk.accepted("jobs/r-1/get")
    assert again["document"] == '{"op":"x","to":"7"}'
    seeded = await desk.accepted("jobs/r-2/get")
    assert (seeded["document_type"], seeded["target_group_id"]) == ("reboot", "r-2")
    assert (await desk.accepted("groups/members", {"thingGroupName": "r-2"}))["things"] == [
        "a",
        "b",
    ]
    tagged = await desk.accepted("jobs/list", {"tagKey": "retry", "tagValue": "r"})
    assert [one["jobId"] for one in tagged["jobs"]] == ["r-2", "r-1"]
    assert await groups(desk) == [("FAILED", "no reason given", 1)]


async def test_many_things_are_sent_again_by_a_group(desk: Desk) -> None:
    """More things than a job may name are in a group of the job's name; things that are gone are left out."""
    names = [f"t{number:03}" for number in range(130)]
    await add_things(desk.pool, *names)
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingNames": names})
    await desk.accepted("jobs/create", aws_job(group="g", jobId="j1"))
    await desk.work()
    await fail(desk, "j1", *names)
    failures = [{"status": "FAILED", "reason": "no reason given"}]
    await desk.accepted("jobs/create", aws_job("t000", jobId="taken"))
    refused = await desk.rejected("failures/retry", {"retryId": "taken", "failures": failures})
    assert refused["code"] == "ResourceAlreadyExists"
    assert await groups(desk) == [("FAILED", "no reason given", 130)]
    done = await desk.accepted("failures/retry", {"retryId": "all", "failures": failures})
    assert done["numberOfThings"] == 130
    assert (await desk.job("all"))["targets"][0].endswith(":thinggroup/all")
    await desk.work()
    assert await desk.counts("all") == {"Queued": 130}


async def test_retries_are_bounded_and_for_managers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many things or documents are refused before anything is made; a viewer may look and no more."""
    await add_things(desk.pool, "a", "b")
    for job_id in ("j1", "j2"):
        await desk.accepted("jobs/create", aws_job("a", "b", jobId=job_id, document={"op": job_id}))
        await fail(desk, job_id, "a", "b")
    asked = {"failures": [{"status": "FAILED", "reason": "no reason given"}]}
    with monkeypatch.context() as patch:
        patch.setattr("handlers.failures.FAILURES_RETRIED", 3)
        refused = await desk.rejected("failures/retry", asked)
        assert refused["code"] == "LimitExceeded"
        assert "more than 3 things" in refused["message"]
    with monkeypatch.context() as patch:
        patch.setattr("handlers.failures.RETRY_JOBS", 1)
        assert (await desk.rejected("failures/retry", asked))["code"] == "LimitExceeded"
    viewer = Desk(desk.pool, Role.VIEWER, "vera")
    assert await groups(viewer) == [("FAILED", "no reason given", 4)]
    assert (await viewer.rejected("failures/retry", asked))["code"] == "Unauthorized"
    assert len((await desk.accepted("failures/retry", asked))["jobs"]) == 2
