"""Dynamic groups: who is in one follows from its query, whatever changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.database import Pool, tenant_transaction
from schema.thing_matching import Thing, matches
from schema.thing_query import parse
from tests.factories import add_things
from tests.integration.operator_desk import Desk


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner's room."""
    return Desk(pool)


async def members(desk: Desk, group: str) -> list[str]:
    """A group's things, as groups/members has them."""
    found: list[str] = (await desk.accepted("groups/members", {"thingGroupName": group}))["things"]
    return found


async def make(desk: Desk, name: str, **attributes: str) -> None:
    """A thing of these attributes."""
    await desk.accepted("things/create", {"thingName": name, "attributes": attributes})


async def ask(desk: Desk, group: str, query: str) -> None:
    """A dynamic group of this query."""
    await desk.accepted("groups/create", {"thingGroupName": group, "queryString": query})


async def test_a_group_has_the_things_its_query_is_true_of(desk: Desk) -> None:
    """AWS: CreateDynamicThingGroup; things that exist are in it at once, later ones when they are created."""
    await make(desk, "p1", model="x1")
    await make(desk, "p2", model="y")
    made = await desk.accepted(
        "groups/create", {"thingGroupName": "x", "queryString": "attributes.model:x*"}
    )
    assert made["queryString"] == "attributes.model:x*"
    assert (made["indexName"], made["queryVersion"]) == ("AWS_Things", "2017-09-30")
    assert await members(desk, "x") == ["p1"]
    await make(desk, "p3", model="X9")
    assert await members(desk, "x") == ["p1", "p3"]
    await desk.accepted("things/delete", {"thingName": "p1"})
    assert await members(desk, "x") == ["p3"]
    shown = await desk.accepted("groups/get", {"thingGroupName": "x"})
    assert (shown["queryString"], shown["status"], shown["version"]) == (
        "attributes.model:x*",
        "ACTIVE",
        1,
    )
    [listed] = (await desk.accepted("groups/list"))["thingGroups"]
    assert listed["queryString"] == "attributes.model:x*"
    thing = await desk.accepted("things/get", {"thingName": "p3"})
    assert [one["groupName"] for one in thing["thingGroups"]] == ["x"]


async def test_a_changed_attribute_moves_the_thing(desk: Desk) -> None:
    """AWS: UpdateThing, with merge and without; an empty value removes an attribute."""
    await make(desk, "p", model="x", site="north")
    await ask(desk, "x", "attributes.model:x")
    await ask(desk, "bare", "NOT attributes.model:*")

    async def update(merge: bool, **attributes: str) -> dict[str, object]:
        payload = {"attributes": attributes, "merge": merge}
        await desk.accepted("things/update", {"thingName": "p", "attributePayload": payload})
        found: dict[str, object] = await desk.accepted("things/get", {"thingName": "p"})
        return found

    found = await update(merge=True, model="y")
    assert found["attributes"] == {"model": "y", "site": "north"}
    assert (await members(desk, "x"), await members(desk, "bare")) == ([], [])
    found = await update(merge=True, model="", rack="1")
    assert found["attributes"] == {"rack": "1", "site": "north"}
    assert (await members(desk, "x"), await members(desk, "bare")) == ([], ["p"])
    found = await update(merge=False, model="x")
    assert found["attributes"] == {"model": "x"}
    assert (await members(desk, "x"), await members(desk, "bare")) == (["p"], [])
    assert found["version"] == 4


async def test_an_update_of_a_thing_keeps_to_its_version(desk: Desk) -> None:
    """AWS: expectedVersion; what changes nothing keeps the version, so that a redelivered update is accepted."""
    await make(desk, "p")
    update = {"thingName": "p", "thingTypeName": "pump", "expectedVersion": 1}
    assert (await desk.accepted("things/update", update))["version"] == 2
    assert (await desk.accepted("things/update", update, duplicate=True))["version"] == 2
    assert (await desk.rejected("things/update", update))["code"] == "VersionMismatch"
    assert (await desk.accepted("things/get", {"thingName": "p"}))["thingTypeName"] == "pump"
    await desk.accepted("things/update", {"thingName": "p", "removeThingType": True})
    assert "thingTypeName" not in await desk.accepted("things/get", {"thingName": "p"})
    missing = await desk.rejected("things/update", {"thingName": "q", "removeThingType": True})
    assert missing["code"] == "ResourceNotFound"
    many = {f"a{n}": "1" for n in range(30)}
    more = {f"b{n}": "1" for n in range(30)}
    payload = {"attributes": many, "merge": True}
    await desk.accepted("things/update", {"thingName": "p", "attributePayload": payload})
    payload = {"attributes": more, "merge": True}
    refused = await desk.rejected("things/update", {"thingName": "p", "attributePayload": payload})
    assert refused["message"].startswith("attributePayload: makes 60 attributes, at most 50")


async def test_another_query_makes_other_members(desk: Desk) -> None:
    """AWS: UpdateDynamicThingGroup; the version counts, expectedVersion holds, a static group has no query."""
    await make(desk, "p1", model="x")
    await make(desk, "p2", model="y")
    await ask(desk, "g", "attributes.model:x")
    change = {"thingGroupName": "g", "queryString": "attributes.model:y", "expectedVersion": 1}
    assert (await desk.accepted("groups/update", change))["version"] == 2
    assert await members(desk, "g") == ["p2"]
    assert (await desk.accepted("groups/update", change, duplicate=True))["version"] == 2
    assert (await desk.rejected("groups/update", change))["code"] == "VersionMismatch"
    wrong = await desk.rejected("groups/update", {"thingGroupName": "g", "queryString": "a:("})
    assert wrong["code"] == "InvalidRequest"
    assert "character" in wrong["message"]
    await desk.accepted("groups/create", {"thingGroupName": "s"})
    refused = await desk.rejected("groups/update", {"thingGroupName": "s", "queryString": "*"})
    assert "static group" in refused["message"]
    properties = {"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "1"}}}
    words = {"thingGroupName": "s", "thingGroupProperties": properties}
    await desk.accepted("groups/update", words)
    shown = await desk.accepted("groups/get", {"thingGroupName": "s"})
    assert shown["thingGroupProperties"] == properties
    assert "queryString" not in shown


async def test_a_query_sees_static_groups_only(desk: Desk) -> None:
    """A query's groups are those a thing was put into: joining one moves it, a dynamic one does not."""
    await add_things(desk.pool, "p")
    await desk.accepted("groups/create", {"thingGroupName": "static"})
    await ask(desk, "inside", "thingGroupNames:static")
    await ask(desk, "outside", "NOT thingGroupNames:static")
    await ask(desk, "second", "thingGroupNames:outside")
    await desk.accepted(
        "groups/update", {"thingGroupName": "outside", "queryString": "NOT thingGroupNames:stat?c"}
    )
    assert (await members(desk, "inside"), await members(desk, "outside")) == ([], ["p"])
    await desk.accepted("groups/add", {"thingGroupName": "static", "thingName": "p"})
    assert (await members(desk, "inside"), await members(desk, "outside")) == (["p"], [])
    await desk.accepted("groups/remove", {"thingGroupName": "static", "thingName": "p"})
    assert (await members(desk, "inside"), await members(desk, "outside")) == ([], ["p"])
    await desk.accepted("groups/add", {"thingGroupName": "static", "thingName": "p"})
    await desk.accepted("groups/delete", {"thingGroupName": "static"})
    assert (await members(desk, "inside"), await members(desk, "outside")) == ([], ["p"])
    assert await members(desk, "second") == []


async def test_nobody_puts_a_thing_into_a_dynamic_group(desk: Desk) -> None:
    """AWS: InvalidRequestException for AddThingToThingGroup; such a group has no parent and no groups inside."""
    await add_things(desk.pool, "p")
    await ask(desk, "g", "thingName:q*")
    for verb in ("add", "remove"):
        refused = await desk.rejected(f"groups/{verb}", {"thingGroupName": "g", "thingName": "p"})
        assert refused["code"] == "InvalidRequest"
        assert "'g' is a dynamic group" in refused["message"]
    below = await desk.rejected("groups/create", {"thingGroupName": "h", "parentGroupName": "g"})
    assert "dynamic group, which has no groups inside" in below["message"]
    await desk.accepted("groups/create", {"thingGroupName": "s"})
    under = await desk.rejected(
        "groups/create", {"thingGroupName": "h", "parentGroupName": "s", "queryString": "*"}
    )
    assert under["message"] == "parentGroupName: a dynamic group has no parent"
    again = await desk.rejected("groups/create", {"thingGroupName": "g", "queryString": "*"})
    assert again["code"] == "ResourceAlreadyExists"
    await desk.accepted("groups/delete", {"thingGroupName": "g"})
    assert await desk.rows("SELECT FROM thing_group_members") == []


async def test_there_are_only_so_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of dynamic groups, told with the number there are."""
    monkeypatch.setattr("handlers.membership.DYNAMIC_GROUPS", 1)
    await ask(desk, "g", "*")
    refused = await desk.rejected("groups/create", {"thingGroupName": "h", "queryString": "*"})
    assert refused["code"] == "LimitExceeded"
    assert "there are 1 dynamic groups, at most 1" in refused["message"]


QUERIES = (
    "attributes.a:1",
    "NOT attributes.a:1 AND thingGroupNames:s*",
    "NOT thingGroupNames:s1",
    "attributes.b>1 OR thingTypeName:v2",
    "thingName:t1 s2",
    "s1 OR attributes.a:*",
)
_NAME = st.sampled_from(("t1", "t2", "t3"))
_STEPS = st.one_of(
    st.tuples(st.just("create"), _NAME, st.sampled_from(("", "1", "2"))),
    st.tuples(st.just("update"), _NAME, st.sampled_from(("a=1", "a=", "b=2", "b=1", "type", "no"))),
    st.tuples(st.just("delete"), _NAME, st.just("")),
    st.tuples(st.sampled_from(("join", "leave")), _NAME, st.sampled_from(("s1", "s2"))),
    st.tuples(st.just("ask"), st.sampled_from(("d1", "d2")), st.sampled_from(QUERIES)),
)


def _drawn() -> list[list[tuple[str, str, str]]]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    found: list[list[tuple[str, str, str]]] = []

    @settings(max_examples=25, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_STEPS, min_size=10, max_size=25))
    def collect(steps: list[tuple[str, str, str]]) -> None:
        found.append(steps)

    collect()
    return found


async def test_after_any_changes_members_are_those_the_query_is_true_of(desk: Desk) -> None:
    """Things that come, change, go, join and leave, and queries that change: both dynamic groups are always right."""
    checked = 0
    for group in ("s1", "s2"):
        await desk.accepted("groups/create", {"thingGroupName": group})
    for steps in _drawn():
        for group in ("d1", "d2"):
            await ask(desk, group, "attributes.a:1")
        await add_things(desk.pool, "t1", "t2")
        for step in steps:
            await _do(desk, *step)
        checked += await _agree(desk)
        for name in ("t1", "t2", "t3"):
            await desk.send("things/delete", {"thingName": name})
        for group in ("d1", "d2"):
            await desk.accepted("groups/delete", {"thingGroupName": group})
    assert checked > 5


async def _do(desk: Desk, what: str, name: str, value: str) -> None:
    match what:
        case "create":
            await desk.send("things/create", {"thingName": name, "attributes": {"a": value}})
        case "update" if "=" in value:
            attribute, _, text = value.partition("=")
            payload = {"attributes": {attribute: text}, "merge": True}
            await desk.send("things/update", {"thingName": name, "attributePayload": payload})
        case "update":
            kind = {"thingTypeName": "v2"} if value == "type" else {"removeThingType": True}
            await desk.send("things/update", {"thingName": name, **kind})
        case "delete":
            await desk.send("things/delete", {"thingName": name})
        case "ask":
            await desk.accepted("groups/update", {"thingGroupName": name, "queryString": value})
        case _:
            verb = {"join": "add", "leave": "remove"}[what]
            await desk.send(f"groups/{verb}", {"thingGroupName": value, "thingName": name})


async def _agree(desk: Desk) -> int:
    """Compare the dynamic groups with their queries; returns how many memberships there are."""
    async with desk.pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        rows = await connection.fetch(
            "SELECT t.thing_name, t.thing_type, t.attributes, array(SELECT group_name FROM thing_group_members m"
            " WHERE m.thing_name = t.thing_name AND NOT is_dynamic) AS groups FROM things t"
        )
        asked = await connection.fetch(
            "SELECT group_name, query_string FROM thing_groups WHERE query_string IS NOT NULL"
        )
    things = [
        Thing(
            one["thing_name"],
            one["thing_type"],
            json.loads(one["attributes"]),
            frozenset(one["groups"]),
        )
        for one in rows
    ]
    count = 0
    for group, query in asked:
        wanted = sorted(one.name for one in things if matches(parse(query), one))
        assert await members(desk, group) == wanted, query
        count += len(wanted)
    return count
