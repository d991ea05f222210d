"""What people look at: counts of jobs, how far a job has come, a search, who they are, a thing's credentials."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.database import Pool
from schema.rights import Role
from tests.factories import add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner's desk."""
    return Desk(pool)


async def test_jobs_are_counted_by_status(desk: Desk) -> None:
    """Every status has its count, of this tenant's jobs."""
    await add_things(desk.pool, "t1")
    for number in range(3):
        await desk.accepted("jobs/create", aws_job("t1", jobId=f"j{number}"))
    await desk.accepted("jobs/j1/cancel", {"force": True})
    found = await desk.accepted("jobs/counts")
    assert found["counts"]["IN_PROGRESS"] == 2
    assert found["counts"]["CANCELED"] == 1
    assert found["counts"]["COMPLETED"] == 0
    assert found["most"] == 10_000


async def test_progress_has_a_letter_for_each_thing(desk: Desk, pool: Pool) -> None:
    """Things are in order of name, each by its latest execution, in pages that follow on each other."""
    await add_things(desk.pool, "a", "b", "c", "d")
    await desk.accepted("jobs/create", aws_job("a", "b", "c", "d", jobId="j1"))
    await desk.work()
    plane = Plane(pool)
    await plane.batch(plane.ask("b/jobs/j1/update", {"status": "FAILED"}))
    await plane.batch(plane.ask("c/jobs/start-next"))
    whole = await desk.accepted("jobs/j1/progress", {"bucketSeconds": 60})
    assert whole["statuses"] == "QFPQ"
    assert whole["letters"]["F"] == "FAILED"
    assert (whole["firstThing"], whole["lastThing"]) == ("a", "d")
    assert sum(whole["queued"].values()) == 4
    assert sum(whole["started"].values()) == 1
    assert sum(whole["ended"].values()) == 1
    assert "nextToken" not in whole
    assert "things" not in whole
    named = await desk.accepted("jobs/j1/progress", {"includeNames": True})
    assert named["things"] == ["a", "b", "c", "d"]
    pages: list[dict[str, Any]] = []
    while not pages or "nextToken" in pages[-1]:
        after = {"nextToken": pages[-1]["nextToken"]} if pages else {}
        pages.append(await desk.accepted("jobs/j1/progress", {"mostThings": 3, **after}))
    assert [one["statuses"] for one in pages] == ["QFP", "Q"]
    assert "queued" not in pages[0]


async def test_progress_shows_the_latest_of_a_things_executions(desk: Desk, pool: Pool) -> None:
    """A thing that is tried again counts once, by its new execution, also where a page ends among its executions."""
    await add_things(desk.pool, "a", "b")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    job = aws_job("a", "b", jobId="j1", jobExecutionsRetryConfig=retry)
    await desk.accepted("jobs/create", job)
    plane = Plane(pool)
    await plane.batch(plane.ask("a/jobs/j1/update", {"status": "FAILED"}))
    await desk.work()
    whole = await desk.accepted("jobs/j1/progress", {"bucketSeconds": 60})
    assert whole["statuses"] == "QQ"
    assert sum(whole["queued"].values()) == 2
    assert whole["ended"] == {}
    first = await desk.accepted("jobs/j1/progress", {"mostThings": 1, "includeNames": True})
    assert (first["statuses"], first["things"]) == ("Q", ["a"])
    after = {"nextToken": first["nextToken"], "bucketSeconds": 60}
    second = await desk.accepted("jobs/j1/progress", {"mostThings": 2, **after})
    assert second["statuses"] == "Q"
    assert sum(second["queued"].values()) == 1


async def test_progress_of_no_job_and_of_nobody(desk: Desk) -> None:
    """A job that is not there is not found; one without things has an empty page."""
    assert (await desk.rejected("jobs/none/progress"))["code"] == "ResourceNotFound"
    await desk.accepted("groups/create", {"thingGroupName": "empty"})
    await desk.accepted("jobs/create", aws_job(group="empty", jobId="j1"))
    found = await desk.accepted("jobs/j1/progress", {"bucketSeconds": 1})
    assert found["statuses"] == ""
    assert found["queued"] == {}


async def test_jobs_are_searched_by_id_description_and_creator(desk: Desk) -> None:
    """A part of id or description in any case, or the creator's whole name; pages follow on each other."""
    await add_things(desk.pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="Firmware-1"))
    await desk.accepted("jobs/create", aws_job("t1", jobId="j2", description="New firmware"))
    await desk.accepted("jobs/create", aws_job("t1", jobId="j3", description="100% of_them"))

    async def found(**asked: object) -> list[str]:
        answer = await desk.accepted("jobs/list", asked)
        return [one["jobId"] for one in answer["jobs"]]

    assert await found(search="firmware") == ["j2", "Firmware-1"]
    assert await found(search="0% of_") == ["j3"]
    assert await found(search="%") == ["j3"]
    assert await found(search="ANN") == ["j3", "j2", "Firmware-1"]
    assert await found(search="an") == []
    assert await found(search="firmware", status="COMPLETED") == []
    first = await desk.accepted("jobs/list", {"search": "firmware", "maxResults": 1})
    assert await found(search="firmware", nextToken=first["nextToken"]) == ["Firmware-1"]


async def test_jobs_are_listed_by_target_tag_kind_and_time(desk: Desk) -> None:
    """Filters narrow each other, beside a search and a status; pages of them follow on each other."""
    await add_things(desk.pool, "t1", "t2")
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    tags = [{"Key": "team", "Value": "pumps"}]
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1", tags=tags))
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j2"))
    every = {"targetSelection": "CONTINUOUS", "tags": [{"Key": "team", "Value": "fans"}]}
    await desk.accepted("jobs/create", aws_job(group="g", jobId="j3", **every))

    async def found(**asked: object) -> list[str]:
        answer = await desk.accepted("jobs/list", asked)
        return [one["jobId"] for one in answer["jobs"]]

    assert await found(thingName="t1") == ["j2", "j1"]
    assert await found(thingName="t1", tagKey="team") == ["j1"]
    assert await found(thingName="nobody") == []
    assert await found(thingGroupName="g", search="J3") == ["j3"]
    assert await found(tagKey="team") == ["j3", "j1"]
    assert await found(tagKey="team", tagValue="pumps") == ["j1"]
    assert await found(targetSelection="SNAPSHOT", status="IN_PROGRESS") == ["j2", "j1"]
    begun = (await desk.job("j1"))["createdAt"]
    assert await found(createdAfter=begun - 60, createdBefore=begun + 60) == ["j3", "j2", "j1"]
    assert await found(createdAfter=begun + 60) == []
    assert await found(createdBefore=begun - 60) == []
    assert await found(createdBefore=0, createdAfter=253_402_214_400) == []
    first = await desk.accepted("jobs/list", {"thingName": "t1", "maxResults": 1})
    assert await found(thingName="t1", nextToken=first["nextToken"]) == ["j1"]
    refused = await desk.rejected("jobs/list", {"tagValue": "pumps"})
    assert "tagKey" in refused["message"]


async def test_a_search_goes_on_where_it_stopped_looking(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has looked at as many jobs as it may is short, and says where to go on."""
    monkeypatch.setattr("handlers.job_views.JOBS_SEARCHED", 2)
    await add_things(desk.pool, "t1")
    for name in ("x-1", "j2", "j3", "x-4"):
        await desk.accepted("jobs/create", aws_job("t1", jobId=name))
    found: list[list[str]] = []
    token: dict[str, object] = {}
    while True:
        page = await desk.accepted("jobs/list", {"search": "x-", **token})
        found.append([one["jobId"] for one in page["jobs"]])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [["x-4"], ["x-1"], []]


async def test_things_that_a_query_fits(desk: Desk) -> None:
    """By name in pages, those that a dynamic group of the query has; a wrong query is refused with its place."""
    for name, site in (("t1", "roof"), ("t2", "yard"), ("t3", "roof")):
        made = {"thingName": name, "attributes": {"site": site}}
        await desk.accepted("things/create", made)
    asked = {"queryString": "attributes.site:roof", "maxResults": 1}
    first = await desk.accepted("things/search", asked)
    assert first["things"] == [{"thingName": "t1"}]
    after = {"nextToken": first["nextToken"]}
    last = await desk.accepted("things/search", {**asked, **after})
    assert last["things"] == [{"thingName": "t3"}]
    assert "nextToken" not in last
    refused = await desk.rejected("things/search", {"queryString": "attributes.site:("})
    assert refused["code"] == "InvalidRequest"


async def test_who_asks_is_told_who_they_are(desk: Desk) -> None:
    """Name, role and tenant, for the least role."""
    await desk.accepted("operators/create", {"operatorName": "vera", "role": "viewer"})
    found = await Desk(desk.pool, role=None, name="vera").accepted("operators/whoami")
    assert found["operatorName"] == "vera"
    assert found["role"] == "viewer"
    assert found["tenant"] == "default"


async def test_a_things_credentials_are_issued_listed_and_revoked(desk: Desk) -> None:
    """A token is shown once, and a viewer may list but not give; what is taken away says so."""
    made = await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
    issued = await desk.accepted("credentials/issue", {"thingName": "t1", "clientToken": "c"})
    assert issued["token"] != made["token"]
    again = await desk.accepted("credentials/issue", {"thingName": "t1", "clientToken": "c"})
    assert "token" not in again
    viewer = Desk(desk.pool, role=Role.VIEWER)
    listed = (await viewer.accepted("credentials/list", {"thingName": "t1"}))["credentials"]
    assert [one["kind"] for one in listed] == ["token"]
    assert "revokedAt" not in listed[0]
    refused = await viewer.rejected("credentials/issue", {"thingName": "t1"})
    assert refused["code"] == "Unauthorized"
    gone = await desk.accepted("credentials/revoke", {"thingName": "t1", "kind": "token"})
    assert gone["revoked"] == 1
    listed = (await viewer.accepted("credentials/list", {"thingName": "t1"}))["credentials"]
    assert "revokedAt" in listed[0]
    assert (await desk.accepted("credentials/revoke", {"thingName": "t1"}))["revoked"] == 0
    lines = (await desk.accepted("audit/list", {"subject": "thing/t1"}))["lines"]
    assert [one["action"] for one in lines][:2] == ["credentials/revoke", "credentials/issue"]
    for verb in ("list", "issue", "revoke"):
        unknown = await desk.rejected(f"credentials/{verb}", {"thingName": "nobody"})
        assert unknown["code"] == "ResourceNotFound"
