"""Things, groups and operators from the operator's side, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from handlers import credentials
from handlers.database import Pool, connect, tenant_transaction
from handlers.things import create_things
from schema.errors import Rejected
from schema.rights import Role
from tests.conftest import Database
from tests.factories import add_tenant, add_things, counts_equal_rows
from tests.helpers import PATIENCE, eventually
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job, operations


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner."""
    return Desk(pool)


async def live_credentials(desk: Desk, name: str) -> int:
    """How many credentials somebody has that are not revoked."""
    return len(
        await desk.rows("SELECT FROM credentials WHERE principal = $1 AND revoked_at IS NULL", name)
    )


async def test_a_thing_is_created_with_a_token_shown_once(desk: Desk) -> None:
    """The token is in the first answer only, proves the thing, and is stored nowhere in the clear."""
    body = {"thingName": "t1", "attributes": {"site": "north"}, "issueToken": True}
    made = await desk.accepted("things/create", {**body, "clientToken": "c"})
    assert made["thingArn"] == "arn:aws:iot:us-east-1:000000000000:thing/t1"
    token = made["token"]
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        assert await credentials.verify_token(connection, "default", "t1", token)
    again = await desk.accepted("things/create", {**body, "clientToken": "c"})
    assert again["thingId"] == made["thingId"]
    assert "token" not in again
    assert "token" not in await desk.accepted("things/create", body)
    assert await live_credentials(desk, "t1") == 1
    for table in ("operator_requests", "audit_log"):
        [row] = await desk.rows(f"SELECT string_agg(t::text, '') AS said FROM {table} t")
        assert token not in row["said"], table


async def test_an_identical_thing_is_answered_again_another_is_refused(desk: Desk) -> None:
    """AWS: CreateThing succeeds for the same configuration and is refused for a different one."""
    body = {
        "thingName": "t1",
        "thingTypeName": "pump",
        "attributePayload": {"attributes": {"a": "1"}},
    }
    first = await desk.accepted("things/create", body)
    assert (await desk.accepted("things/create", body))["thingId"] == first["thingId"]
    found = await desk.rejected("things/create", {"thingName": "t1"})
    assert found["code"] == "ResourceAlreadyExists"
    assert len(await desk.rows("SELECT FROM audit_log")) == 1


async def test_a_name_with_a_colon_gets_no_token(desk: Desk) -> None:
    """Mosquitto's password file cannot hold such a name: refused in words, and the thing is not made."""
    found = await desk.rejected("things/create", {"thingName": "a:b", "issueToken": True})
    assert found["code"] == "InvalidRequest"
    assert "certificate" in found["message"]
    assert await desk.rows("SELECT FROM principals") == []
    await desk.accepted("things/create", {"thingName": "a:b"})


async def test_things_and_operators_share_their_names(desk: Desk) -> None:
    """A name taken by the other kind is refused either way, and nothing is half done."""
    await desk.accepted("operators/create", {"operatorName": "pat", "role": "viewer"})
    await desk.accepted("things/create", {"thingName": "sam"})
    found = await desk.rejected("things/create", {"thingName": "pat"})
    assert found["code"] == "ResourceAlreadyExists"
    assert "'pat' is the name of an operator" in found["message"]
    found = await desk.rejected("operators/create", {"operatorName": "sam", "role": "viewer"})
    assert "'sam' is the name of a thing" in found["message"]
    async with desk.pool.acquire() as connection:
        with pytest.raises(Rejected, match="'pat'"):
            async with tenant_transaction(connection, "default"):
                await create_things(connection, "default", ["new", "pat"])
    assert len(await desk.rows("SELECT FROM principals")) == 2


async def test_things_are_listed_in_pages_and_by_attribute(desk: Desk) -> None:
    """Pages by name; filters by type, name prefix, attribute value and its prefix."""
    for n in range(5):
        body = {
            "thingName": f"t{n}",
            "attributes": {"site": f"north-{n % 2}"} if n else {},
            "thingTypeName": "pump" if n > 2 else None,
        }
        await desk.accepted("things/create", body)
    first = await desk.accepted("things/list", {"maxResults": 3})
    rest = await desk.accepted("things/list", {"nextToken": first["nextToken"]})
    assert [one["thingName"] for one in first["things"] + rest["things"]] == [
        "t0",
        "t1",
        "t2",
        "t3",
        "t4",
    ]

    async def names(**query: object) -> list[str]:
        found = await desk.accepted("things/list", query)
        return [one["thingName"] for one in found["things"]]

    assert await names(thingTypeName="pump") == ["t3", "t4"]
    assert await names(namePrefixFilter="t4") == ["t4"]
    assert await names(attributeName="site") == ["t1", "t2", "t3", "t4"]
    assert await names(attributeName="site", attributeValue="north-1") == ["t1", "t3"]
    prefixed = {"attributeName": "site", "attributeValue": "nor", "usePrefixAttributeValue": True}
    assert await names(**prefixed) == ["t1", "t2", "t3", "t4"]


async def test_a_thing_is_shown_with_groups_and_pending_executions(desk: Desk) -> None:
    """things/get has AWS's members, the groups and what is pending, in the order it will be done."""
    await desk.accepted("things/create", {"thingName": "t1", "attributes": {"a": "1"}})
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingName": "t1"})
    for job in ("j1", "j2"):
        await desk.accepted("jobs/create", aws_job("t1", jobId=job))
    shown = await desk.accepted("things/get", {"thingName": "t1"})
    assert (shown["attributes"], shown["version"], shown["defaultClientId"]) == (
        {"a": "1"},
        1,
        "t1",
    )
    assert [group["groupName"] for group in shown["thingGroups"]] == ["g"]
    pending = [(one["jobId"], one["status"]) for one in shown["pendingExecutions"]]
    assert pending == [("j1", "QUEUED"), ("j2", "QUEUED")]
    assert "lastSeenAt" not in shown
    plane = Plane(desk.pool)
    await plane.accepted("t1/jobs/get")
    assert "lastSeenAt" not in await desk.accepted("things/get", {"thingName": "t1"})
    begun = (await plane.accepted("t1/jobs/start-next"))["execution"]["startedAt"]
    assert (await desk.accepted("things/get", {"thingName": "t1"}))["lastSeenAt"] == begun
    assert (await desk.rejected("things/get", {"thingName": "t2"}))["code"] == "ResourceNotFound"


async def test_a_deleted_thing_leaves_its_jobs_and_its_credentials(desk: Desk) -> None:
    """All its live executions become REMOVED and their jobs complete; its token ends; a redelivery is accepted."""
    await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
    await add_things(desk.pool, "t2")
    for n in range(40):
        await desk.accepted("jobs/create", aws_job("t1", jobId=f"j{n}"))
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="both"))
    found = await desk.rejected("things/delete", {"thingName": "t1", "expectedVersion": 7})
    assert found["code"] == "VersionMismatch"
    answer = await desk.send("things/delete", {"thingName": "t1"})
    assert answer.accepted, answer.body
    assert operations(answer.told) == ["completed"] * 40
    assert await desk.counts("j0") == {"Removed": 1}
    assert await desk.counts("both") == {"Removed": 1, "Queued": 1}
    assert (await desk.job("both"))["status"] == "IN_PROGRESS"
    assert await live_credentials(desk, "t1") == 0
    assert await counts_equal_rows(desk.pool)
    found = await Plane(desk.pool).rejected("t1/jobs/get")
    assert found["code"] == "ResourceNotFound"
    assert (await desk.send("things/delete", {"thingName": "t1"}, duplicate=True)).accepted
    assert (await desk.rejected("things/delete", {"thingName": "t1"}))["code"] == "ResourceNotFound"


async def test_groups_stand_at_most_seven_deep(desk: Desk) -> None:
    """An eighth level is refused with the limit; a parent that does not exist too."""
    parent = None
    for n in range(1, 8):
        body = {"thingGroupName": f"g{n}", "parentGroupName": parent}
        await desk.accepted("groups/create", body)
        parent = f"g{n}"
    found = await desk.rejected("groups/create", {"thingGroupName": "g8", "parentGroupName": "g7"})
    assert (found["code"], "at most 7 deep" in found["message"]) == ("LimitExceeded", True)
    found = await desk.rejected("groups/create", {"thingGroupName": "x", "parentGroupName": "y"})
    assert found["code"] == "ResourceNotFound"


async def test_groups_are_created_alike_or_refused(desk: Desk) -> None:
    """An identical group is answered again; one with another parent or description is refused."""
    body = {"thingGroupName": "g", "thingGroupProperties": {"thingGroupDescription": "all"}}
    first = await desk.accepted("groups/create", body)
    assert (await desk.accepted("groups/create", body))["thingGroupId"] == first["thingGroupId"]
    found = await desk.rejected("groups/create", {"thingGroupName": "g"})
    assert found["code"] == "ResourceAlreadyExists"


async def test_groups_are_listed_as_a_tree(desk: Desk) -> None:
    """All groups, those below one, and only its children."""
    for name, parent in (("a", None), ("a1", "a"), ("a11", "a1"), ("b", None)):
        await desk.accepted("groups/create", {"thingGroupName": name, "parentGroupName": parent})

    async def names(**query: object) -> list[str]:
        found = await desk.accepted("groups/list", query)
        return [one["groupName"] for one in found["thingGroups"]]

    assert await names() == ["a", "a1", "a11", "b"]
    assert await names(recursive=False) == ["a", "b"]
    assert await names(parentGroup="a") == ["a1", "a11"]
    assert await names(parentGroup="a", recursive=False) == ["a1"]
    assert await names(namePrefixFilter="a1") == ["a1", "a11"]
    assert (await desk.rejected("groups/list", {"parentGroup": "x"}))["code"] == "ResourceNotFound"


async def test_members_come_and_go(desk: Desk) -> None:
    """Added and removed members are counted once; members of child groups are listed when asked."""
    await add_things(desk.pool, "t1", "t2", "t3")
    await desk.accepted("groups/create", {"thingGroupName": "a"})
    await desk.accepted("groups/create", {"thingGroupName": "a1", "parentGroupName": "a"})
    many = {"thingGroupName": "a", "thingNames": ["t1", "t2"]}
    assert (await desk.accepted("groups/add", many))["count"] == 2
    assert (await desk.accepted("groups/add", many))["count"] == 0
    await desk.accepted("groups/add", {"thingGroupName": "a1", "thingNames": ["t2", "t3"]})
    assert (await desk.accepted("groups/members", {"thingGroupName": "a"}))["things"] == [
        "t1",
        "t2",
    ]
    page = {"thingGroupName": "a", "recursive": True, "maxResults": 2}
    first = await desk.accepted("groups/members", page)
    rest = await desk.accepted("groups/members", {**page, "nextToken": first["nextToken"]})
    assert first["things"] + rest["things"] == ["t1", "t2", "t3"]
    gone = {"thingGroupName": "a", "thingNames": ["t1", "t3"]}
    assert (await desk.accepted("groups/remove", gone))["count"] == 1
    found = await desk.rejected("groups/add", {"thingGroupName": "a", "thingNames": ["t1", "t9"]})
    assert (found["code"], "'t9'" in found["message"]) == ("ResourceNotFound", True)
    found = await desk.rejected("groups/add", {"thingGroupName": "x", "thingName": "t1"})
    assert "group 'x'" in found["message"]


async def test_a_group_with_children_stays(desk: Desk) -> None:
    """Deleting a parent is refused in words; a leaf goes and leaves its things."""
    await add_things(desk.pool, "t1")
    await desk.accepted("groups/create", {"thingGroupName": "a"})
    await desk.accepted("groups/create", {"thingGroupName": "a1", "parentGroupName": "a"})
    await desk.accepted("groups/add", {"thingGroupName": "a1", "thingName": "t1"})
    found = await desk.rejected("groups/delete", {"thingGroupName": "a", "clientToken": "c"})
    assert (found["code"], found["clientToken"]) == ("InvalidRequest", "c")
    assert "child groups" in found["message"]
    await desk.accepted("groups/delete", {"thingGroupName": "a1"})
    await desk.accepted("groups/delete", {"thingGroupName": "a"})
    assert (await desk.accepted("things/get", {"thingName": "t1"}))["thingGroups"] == []
    assert (await desk.rejected("groups/delete", {"thingGroupName": "a"}))["code"] == (
        "ResourceNotFound"
    )


async def test_operators_come_with_a_token_and_go(desk: Desk) -> None:
    """An operator is made with a token shown once, listed, and removed with the token."""
    made = await desk.accepted("operators/create", {"operatorName": "bob", "role": "manager"})
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        assert await credentials.verify_token(connection, "default", "bob", made["token"])
    found = await desk.rejected("operators/create", {"operatorName": "bob", "role": "viewer"})
    assert found["code"] == "ResourceAlreadyExists"
    [listed] = (await desk.accepted("operators/list"))["operators"]
    assert (listed["operatorName"], listed["role"], listed["createdBy"]) == (
        "bob",
        "manager",
        "ann",
    )
    await desk.accepted("operators/delete", {"operatorName": "bob"})
    assert await live_credentials(desk, "bob") == 0
    assert (await desk.accepted("operators/list"))["operators"] == []
    assert (await desk.send("operators/delete", {"operatorName": "bob"}, duplicate=True)).accepted


async def test_an_admin_hands_out_no_more_than_they_hold(desk: Desk) -> None:
    """An admin makes and removes managers and viewers; owners and admins are an owner's to make and remove."""
    await desk.accepted("operators/create", {"operatorName": "own", "role": "owner"})
    admin = Desk(desk.pool, Role.ADMIN, name="ada")
    for role in ("owner", "admin"):
        found = await admin.rejected("operators/create", {"operatorName": "x", "role": role})
        assert (found["code"], "needs the role owner" in found["message"]) == ("Unauthorized", True)
    await admin.accepted("operators/create", {"operatorName": "man", "role": "manager"})
    assert (await admin.rejected("operators/delete", {"operatorName": "own"}))["code"] == (
        "Unauthorized"
    )
    await admin.accepted("operators/delete", {"operatorName": "man"})


async def test_the_last_owner_stays(desk: Desk) -> None:
    """Two owners that remove each other at the same time cannot both succeed."""
    names = ["one", "two"]
    for _ in range(10):
        for name in names:
            await desk.send("operators/create", {"operatorName": name, "role": "owner"})
        # Both connections are open already, so that the two really meet.
        await asyncio.gather(desk.accepted("jobs/list"), desk.accepted("jobs/list"))
        answers = await asyncio.gather(
            *(desk.send("operators/delete", {"operatorName": name}) for name in names)
        )
        assert sorted(answer.accepted for answer in answers) == [False, True]
        [refused] = [answer for answer in answers if not answer.accepted]
        assert "last owner" in str(refused.body["message"])


async def test_removed_access_is_announced(desk: Desk, database: Database) -> None:
    """Whoever keeps the MQTT server's files hears of new and of removed credentials, by commit."""
    heard = asyncio.Queue[str]()
    listener = await connect(database.url)
    try:
        await listener.add_listener("jobbroker_access", lambda *_: heard.put_nowait("access"))
        await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
        await asyncio.wait_for(heard.get(), PATIENCE)
        await desk.accepted("things/delete", {"thingName": "t1"})
        await asyncio.wait_for(heard.get(), PATIENCE)
    finally:
        await listener.close()


async def test_tenants_do_not_see_each_other(desk: Desk) -> None:
    """The same names live side by side in two tenants; a token of one is nothing in the other."""
    await add_tenant(desk.pool, "acme")
    acme = Desk(desk.pool, tenant="acme")
    for one in (desk, acme):
        await one.accepted("things/create", {"thingName": "t1"})
        await one.accepted("jobs/create", aws_job("t1", jobId="j", clientToken="c"))
    await desk.accepted("jobs/j/delete", {"force": True})
    await desk.work()
    assert await acme.counts("j") == {"Queued": 1}


async def test_a_group_below_one_that_is_just_going_is_told_so(desk: Desk) -> None:
    """The parent is deleted while its child is made: the answer names the parent, not the child's children."""
    await desk.accepted("groups/create", {"thingGroupName": "parent"})
    async with desk.pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            await connection.execute("DELETE FROM thing_groups WHERE group_name = 'parent'")
            child = {"thingGroupName": "child", "parentGroupName": "parent"}
            made = asyncio.create_task(desk.rejected("groups/create", child))
            await eventually(lambda: _somebody_waits(desk))
        body = await made
    assert (body["code"], body["message"]) == (
        "ResourceNotFound",
        "group 'parent' does not exist",
    )


async def _somebody_waits(desk: Desk) -> bool:
    async with desk.pool.acquire() as connection:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"
            )
        )


async def test_of_two_who_expect_the_same_version_of_a_group_one_is_refused(desk: Desk) -> None:
    """Also when the second one had looked at it before the first one's change was there to be seen."""
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    async with desk.pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            await connection.execute("UPDATE thing_groups SET version = version + 1")
            asked = {"thingGroupName": "g", "expectedVersion": 1}
            properties = {"thingGroupDescription": "second"}
            second = asyncio.create_task(
                desk.rejected("groups/update", {**asked, "thingGroupProperties": properties})
            )
            await eventually(lambda: _somebody_waits(desk))
        body = await second
    assert body["code"] == "VersionMismatch"
    assert body["message"] == "expectedVersion: 'g' is expected at 1 but is at 2"
