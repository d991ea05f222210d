"""CONTINUOUS jobs: who joins their targets has an execution, who leaves all of them loses the live one."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers import gates, membership, reach
from handlers.database import Pool, tenant_transaction
from handlers.group_members import add_members
from handlers.things import create_things
from tests.factories import add_things, counts_equal_rows, is_waited_for
from tests.helpers import eventually
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

HOME = "arn:aws:iot:us-east-1:000000000000"


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner with a tree of two groups and another beside it."""
    desk = Desk(pool)
    for group, parent in (("top", None), ("below", "top"), ("beside", None)):
        await desk.accepted(
            "groups/create",
            {"thingGroupName": group, **({"parentGroupName": parent} if parent else {})},
        )
    return desk


async def follow(desk: Desk, *things: str, group: str | None = None, job: str = "j") -> None:
    """A CONTINUOUS job, rolled out."""
    command = aws_job(*things, group=group, jobId=job, targetSelection="CONTINUOUS")
    made = await desk.accepted("jobs/create", command)
    assert made["status"] == "IN_PROGRESS"
    await desk.work()


async def join(desk: Desk, group: str, *things: str) -> None:
    """Things are put into a group."""
    await desk.accepted("groups/add", {"thingGroupName": group, "thingNames": [*things]})


async def leave(desk: Desk, group: str, *things: str) -> None:
    """Things are taken out of a group."""
    await desk.accepted("groups/remove", {"thingGroupName": group, "thingNames": [*things]})


async def executions(desk: Desk, job: str = "j") -> list[tuple[str, int, str]]:
    """A job's executions: thing, number, status."""
    found = (await desk.accepted(f"jobs/{job}/get"))["executions"]
    return [(one["thingName"], one["executionNumber"], one["status"]) for one in found]


async def report(
    desk: Desk, thing: str, status: str, job: str = "j"
) -> tuple[bool, dict[str, Any]]:
    """A device's update."""
    answers, _ = await (plane := Plane(desk.pool)).batch(
        plane.ask(f"{thing}/jobs/{job}/update", {"status": status})
    )
    found: tuple[bool, dict[str, Any]] = answers[0]
    return found


async def test_things_that_join_later_have_an_execution(desk: Desk) -> None:
    """AWS: CONTINUOUS; into the group itself or one inside it, and a job without things waits for the first."""
    await add_things(desk.pool, "a", "b", "c")
    await follow(desk, group="top")
    assert await executions(desk) == []
    await join(desk, "top", "a")
    await join(desk, "below", "b", "a")
    await join(desk, "beside", "c")
    assert await executions(desk) == []
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED"), ("b", 1, "QUEUED")]
    for thing in ("a", "b"):
        assert (await report(desk, thing, "SUCCEEDED"))[0]
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    await join(desk, "top", "c")
    await desk.work()
    assert (await executions(desk))[2] == ("c", 1, "QUEUED")
    assert await desk.rows("SELECT FROM rollout_chunks") == []


async def test_who_leaves_every_target_is_removed(desk: Desk) -> None:
    """AWS: REMOVED, QUEUED and IN_PROGRESS alike; as long as one target reaches the thing, it stays."""
    await add_things(desk.pool, "a", "b")
    await join(desk, "top", "a")
    await join(desk, "below", "a", "b")
    await follow(desk, group="top")
    await report(desk, "a", "IN_PROGRESS")
    await leave(desk, "top", "a")
    assert await executions(desk) == [("a", 1, "IN_PROGRESS"), ("b", 1, "QUEUED")]
    answer = await desk.send("groups/remove", {"thingGroupName": "below", "thingNames": ["a", "b"]})
    assert answer.accepted
    assert [told.notify for told in answer.told] == [("a", "b")]
    assert [told.notify_next for told in answer.told] == [("a", "b")]
    assert await executions(desk) == [("a", 1, "REMOVED"), ("b", 1, "REMOVED")]
    accepted, body = await report(desk, "a", "SUCCEEDED")
    assert (accepted, body["code"]) == (False, "InvalidStateTransition")
    assert await desk.counts("j") == {"Removed": 2}
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"


async def test_who_comes_back_begins_anew(desk: Desk) -> None:
    """AWS: re-joining makes another execution, with the next number, whatever became of the one before."""
    await add_things(desk.pool, "a", "b")
    await join(desk, "top", "a", "b")
    await follow(desk, group="top")
    await report(desk, "a", "SUCCEEDED")
    await leave(desk, "top", "a", "b")
    await join(desk, "top", "a", "b")
    await desk.work()
    assert await executions(desk) == [
        ("a", 1, "SUCCEEDED"),
        ("a", 2, "QUEUED"),
        ("b", 1, "REMOVED"),
        ("b", 2, "QUEUED"),
    ]
    await join(desk, "below", "a")
    await desk.work()
    assert len(await executions(desk)) == 4


async def test_who_has_left_before_the_turn_has_none(desk: Desk) -> None:
    """A thing that joins, leaves and joins again before its chunk's turn has one execution; one that left, none."""
    await add_things(desk.pool, "a", "b")
    await follow(desk, group="top")
    await join(desk, "top", "a", "b")
    await leave(desk, "top", "a", "b")
    await join(desk, "below", "a")
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED")]


async def test_a_changed_attribute_moves_a_thing_into_a_job(desk: Desk) -> None:
    """Through a dynamic group, by things/create, things/update, groups/update and groups/delete."""
    await follow_dynamic(desk)
    await desk.accepted("things/create", {"thingName": "a", "attributes": {"model": "x1"}})
    await desk.accepted("things/create", {"thingName": "b", "attributes": {"model": "y"}})
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED")]
    for thing, model in (("a", "y"), ("b", "x")):
        payload = {"attributes": {"model": model}}
        await desk.accepted("things/update", {"thingName": thing, "attributePayload": payload})
    await desk.work()
    assert await executions(desk) == [("a", 1, "REMOVED"), ("b", 1, "QUEUED")]
    change = {"thingGroupName": "dynamic", "queryString": "attributes.model:y"}
    await desk.accepted("groups/update", change)
    await desk.work()
    assert await executions(desk) == [("a", 1, "REMOVED"), ("a", 2, "QUEUED"), ("b", 1, "REMOVED")]
    await desk.accepted("groups/delete", {"thingGroupName": "dynamic"})
    assert (await executions(desk))[1] == ("a", 2, "REMOVED")


async def follow_dynamic(desk: Desk) -> None:
    """A job for those whose model begins with x."""
    query = {"thingGroupName": "dynamic", "queryString": "attributes.model:x*"}
    await desk.accepted("groups/create", query)
    await follow(desk, group="dynamic")


async def test_a_thing_as_target_may_go_and_come(desk: Desk) -> None:
    """Deleted, its execution is REMOVED; made again under the name, it is reached again."""
    await add_things(desk.pool, "a")
    await follow(desk, "a")
    await desk.accepted("things/delete", {"thingName": "a"})
    assert await executions(desk) == [("a", 1, "REMOVED")]
    await desk.accepted("things/create", {"thingName": "a"})
    await desk.work()
    assert await executions(desk) == [("a", 1, "REMOVED"), ("a", 2, "QUEUED")]


async def test_late_ones_keep_to_the_rate(desk: Desk) -> None:
    """Beyond AWS: of three that join a job of one a minute at once, one is told now and two wait their turn."""
    await add_things(desk.pool, "a", "b", "c")
    slow = {"targetSelection": "CONTINUOUS", "jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}
    await desk.accepted("jobs/create", aws_job(group="top", jobId="j", **slow))
    await join(desk, "top", "a", "b", "c")
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED")]
    assert await desk.rows("SELECT thing_names FROM rollout_chunks") == [
        {"thing_names": ["b", "c"]}
    ]
    await leave(desk, "top", "a", "b")
    assert await executions(desk) == [("a", 1, "REMOVED")]


async def test_targets_are_added_to_a_job(desk: Desk) -> None:
    """AWS: AssociateTargetsWithJob; only who was not reached before has an execution by it, and is followed."""
    await add_things(desk.pool, "a", "b", "c")
    await join(desk, "top", "a")
    await join(desk, "beside", "a", "b")
    await follow(desk, group="top")
    command = {
        "targets": [f"{HOME}:thinggroup/beside", f"{HOME}:thinggroup/top"],
        "comment": "more",
    }
    answer = await desk.accepted("jobs/j/associate", command)
    assert answer["jobId"] == "j"
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED"), ("b", 1, "QUEUED")]
    job = await desk.job("j")
    assert job["targets"] == [f"{HOME}:thinggroup/top", f"{HOME}:thinggroup/beside"]
    assert (job["comment"], job["executionCount"]) == ("more", 2)
    await desk.accepted("jobs/j/associate", command)
    await join(desk, "beside", "c")
    await leave(desk, "beside", "b")
    await desk.work()
    assert await executions(desk) == [("a", 1, "QUEUED"), ("b", 1, "REMOVED"), ("c", 1, "QUEUED")]


async def test_not_every_job_takes_targets(desk: Desk) -> None:
    """The refusals of jobs/associate, each with what is wrong."""
    await add_things(desk.pool, "a")
    more = {"targets": [f"{HOME}:thinggroup/beside"]}
    assert (await desk.rejected("jobs/j/associate", more))["code"] == "ResourceNotFound"
    await desk.accepted("jobs/create", aws_job("a", jobId="snapshot"))
    refused = await desk.rejected("jobs/snapshot/associate", more)
    assert (refused["code"], "SNAPSHOT" in refused["message"]) == ("InvalidRequest", True)
    await follow(desk, group="top")
    missing = await desk.rejected("jobs/j/associate", {"targets": [f"{HOME}:thing/nobody"]})
    assert missing["code"] == "ResourceNotFound"
    for n in range(100):
        await desk.accepted("groups/create", {"thingGroupName": f"g{n}"})
    many = {"targets": [f"{HOME}:thinggroup/g{n}" for n in range(100)]}
    full = await desk.rejected("jobs/j/associate", many)
    assert (full["code"], "101" in full["message"]) == ("LimitExceeded", True)
    await desk.accepted("jobs/j/cancel")
    assert (await desk.rejected("jobs/j/associate", more))["code"] == "InvalidStateTransition"
    await desk.work()
    await join(desk, "top", "a")
    await desk.work()
    assert await executions(desk) == []


async def test_whole_groups_come_and_go_in_chunks(pool: Pool) -> None:
    """2,500 things by one query at once: nobody waits for all of them, neither when they come nor when they go."""
    desk, names = Desk(pool), [f"t{n:05}" for n in range(2500)]
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await create_things(connection, "default", names, attributes={"model": "x"})
    nobody = {"thingGroupName": "g", "queryString": "attributes.model:none"}
    await desk.accepted("groups/create", nobody)
    await follow(desk, group="g")
    await desk.accepted("groups/update", {**nobody, "queryString": "attributes.model:x"})
    chunks = await desk.rows("SELECT cardinality(thing_names) AS size FROM rollout_chunks")
    assert sorted(one["size"] for one in chunks) == [500, 1000, 1000]
    await desk.work()
    assert await desk.counts("j") == {"Queued": 2500}
    await desk.accepted("groups/update", nobody)
    assert await desk.counts("j") == {"Queued": 2500}
    [job] = await desk.rows("SELECT pending_work FROM jobs")
    assert job["pending_work"] == "REACH"
    await desk.work()
    assert await desk.counts("j") == {"Removed": 2500}
    [job] = await desk.rows("SELECT pending_work, reach_mark FROM jobs")
    assert (job["pending_work"], job["reach_mark"]) == (None, None)
    assert await counts_equal_rows(pool)


async def test_groups_that_go_and_come_back_meanwhile(pool: Pool) -> None:
    """What a walk over the executions has passed is looked at again when memberships change behind it."""
    desk, names = Desk(pool), [f"t{n:05}" for n in range(2500)]
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await create_things(connection, "default", names, attributes={"model": "x"})
    some = {"thingGroupName": "g", "queryString": "attributes.model:x"}
    await desk.accepted("groups/create", some)
    await follow(desk, group="g")
    await desk.accepted("groups/update", {**some, "queryString": "thingName:t0*5"})
    await desk.accepted("groups/update", some)
    await desk.work()
    assert await desk.counts("j") == {"Queued": 2500}
    await desk.accepted("groups/update", {**some, "queryString": "thingName:t0*5"})
    await desk.work()
    assert await desk.counts("j") == {"Queued": 250, "Removed": 2250}
    assert await counts_equal_rows(pool)


NAMES = ("a", "b", "c")
_NAME = st.sampled_from(NAMES)
_GROUP = st.sampled_from(("top", "below", "beside"))
_STEPS = st.one_of(
    st.tuples(st.sampled_from(("join", "leave")), _NAME, _GROUP),
    st.tuples(st.sampled_from(("join", "leave")), _NAME, _GROUP),
    st.tuples(st.just("model"), _NAME, st.sampled_from(("x", "y"))),
    st.tuples(st.sampled_from(("create", "delete")), _NAME, st.just("")),
    st.tuples(st.just("query"), st.sampled_from(("x", "y", "z")), st.just("")),
    st.tuples(
        st.just("associate"), st.sampled_from(("j", "k")), st.sampled_from(("beside", "dyn"))
    ),
    st.tuples(st.just("work"), st.just(""), st.just("")),
)


def _drawn() -> list[list[tuple[str, str, str]]]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    found: list[list[tuple[str, str, str]]] = []

    @settings(max_examples=20, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_STEPS, min_size=10, max_size=25))
    def collect(steps: list[tuple[str, str, str]]) -> None:
        found.append(steps)

    collect()
    return found


async def test_live_executions_are_what_the_targets_reach(desk: Desk) -> None:
    """After any joins, leaves, creates, deletes, queries and targets, while nobody finishes: the reached ones."""
    checked = 0
    await desk.accepted("groups/create", {"thingGroupName": "dyn", "queryString": "nobody"})
    for steps in _drawn():
        await add_things(desk.pool, *NAMES)
        await follow(desk, group="top", job="j")
        await follow(desk, "c", group="dyn", job="k")
        for step in steps:
            await _do(desk, *step)
        checked += await _agree(desk)
        for job in ("j", "k"):
            await desk.accepted(f"jobs/{job}/delete", {"force": True})
        await desk.work()
        for name in NAMES:
            await desk.send("things/delete", {"thingName": name})
    assert checked > 5


async def _do(desk: Desk, what: str, name: str, value: str) -> None:
    match what:
        case "work":
            await desk.work()
        case "model":
            payload = {"attributes": {"model": value}}
            await desk.send("things/update", {"thingName": name, "attributePayload": payload})
        case "create" | "delete":
            await desk.send(f"things/{what}", {"thingName": name})
        case "query":
            query = f"attributes.model:{name} OR thingGroupNames:beside"
            await desk.accepted("groups/update", {"thingGroupName": "dyn", "queryString": query})
        case "associate":
            target = f"{HOME}:thinggroup/{value}"
            await desk.accepted(f"jobs/{name}/associate", {"targets": [target]})
        case _:
            verb = {"join": "add", "leave": "remove"}[what]
            await desk.send(f"groups/{verb}", {"thingGroupName": value, "thingName": name})


async def _agree(desk: Desk) -> int:
    """Compare the live executions with what the targets reach, asked group by group; returns how many there are."""
    await desk.work()
    count = 0
    for job in {row["job_id"] for row in await desk.rows("SELECT job_id FROM jobs")}:
        shown = await desk.job(job)
        assert shown["status"] == "IN_PROGRESS"
        wanted: set[str] = set()
        for arn in shown["targets"]:
            kind, name = arn.rsplit(":", 1)[1].split("/")
            if kind == "thing":
                wanted |= {name} & {
                    row["thing_name"] for row in await desk.rows("SELECT thing_name FROM things")
                }
                continue
            below = {"thingGroupName": name, "recursive": True}
            wanted |= set((await desk.accepted("groups/members", below))["things"])
        live = [one for one in await executions(desk, job) if one[2] in ("QUEUED", "IN_PROGRESS")]
        assert sorted(one[0] for one in live) == sorted(wanted), job
        count += len(live)
    assert await counts_equal_rows(desk.pool)
    return count


async def _operate(desk: Desk, rng: random.Random, names: list[str]) -> None:
    """Do one of an operator's changes of memberships."""
    some = rng.sample(names, rng.randint(1, 6))
    group = rng.choice(("g", "h"))
    match rng.randrange(7):
        case 0 | 1:
            await join(desk, group, *some)
        case 2 | 3:
            await leave(desk, group, *some)
        case 4:
            payload = {"attributes": {"model": rng.choice("xy")}}
            command = {"thingName": some[0], "attributePayload": payload}
            await desk.accepted("things/update", command)
        case 5:
            words = rng.choice(("attributes.model:x", "attributes.model:y thingGroupNames:h"))
            await desk.accepted("groups/update", {"thingGroupName": "dyn", "queryString": words})
        case _:
            target = {"targets": [f"{HOME}:thinggroup/h"]}
            await desk.accepted(f"jobs/{rng.choice('jk')}/associate", target)


async def test_many_who_join_and_leave_at_once_end_consistent(pool: Pool) -> None:
    """Operators, workers and devices side by side on the same things and jobs: in the end all is right."""
    desk, names = Desk(pool), [f"t{n:02}" for n in range(12)]
    await add_things(pool, *names)
    await desk.accepted("groups/create", {"thingGroupName": "dyn", "queryString": "nobody"})
    for group in ("g", "h"):
        await desk.accepted("groups/create", {"thingGroupName": group})
    await follow(desk, group="g", job="j")
    await follow(desk, "t01", group="dyn", job="k")

    async def operate(seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
        for _ in range(25):
            await _operate(Desk(pool), rng, names)

    async def work() -> None:
        room = Desk(pool)
        while operators:
            await room.work()

    async def devices() -> None:
        plane = Plane(pool)
        while operators:
            await plane.batch(*(plane.ask(f"{name}/jobs/start-next") for name in names))

    operators = {asyncio.create_task(operate(seed)) for seed in range(4)}
    others = [asyncio.create_task(one) for one in (work(), work(), devices())]
    try:
        for one in list(operators):
            await one
    finally:
        operators.clear()
        await asyncio.gather(*others)
    await _agree(desk)


async def test_members_added_without_an_operator_are_followed(desk: Desk) -> None:
    """add_members, for programs beside us, keeps everything as well."""
    await add_things(desk.pool, "a", "b")
    await follow(desk, group="top")
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        assert await add_members(connection, "default", "below", ["a", "b"]) == 2
    await desk.work()
    assert await desk.counts("j") == {"Queued": 2}


async def test_a_job_that_is_canceled_between_two_looks_is_left_by_nobody(desk: Desk) -> None:
    """What is IN_PROGRESS goes on, as a cancel without force has it: the thing is in the group as before."""
    await add_things(desk.pool, "a", "b")
    await join(desk, "top", "a", "b")
    await follow(desk, group="top")
    await report(desk, "a", "IN_PROGRESS")
    async with desk.pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            # Whoever comes into this group waits, between the look before and the look after.
            await connection.execute(
                "SELECT FROM thing_groups WHERE group_name = 'beside' FOR UPDATE"
            )
            joining = asyncio.create_task(join(desk, "beside", "a", "b"))
            await eventually(lambda: is_waited_for(connection), timeout=60)
            await desk.accepted("jobs/j/cancel")
        await joining
    await desk.work()
    assert await executions(desk) == [("a", 1, "IN_PROGRESS"), ("b", 1, "CANCELED")]


async def test_a_walk_over_a_job_that_is_canceled_meanwhile_removes_nobody(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background work that looks for who has left waits for memberships, and the job is over when it has them."""
    monkeypatch.setattr(reach, "AT_ONCE", 1)
    desk = Desk(pool)
    await add_things(pool, "a", "b", "c")
    some = {"thingGroupName": "g", "queryString": "thingName:*"}
    await desk.accepted("groups/create", some)
    await follow(desk, group="g")
    await report(desk, "a", "IN_PROGRESS")
    await desk.accepted("groups/update", {**some, "queryString": "thingName:a"})
    async with pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            await membership.hold_alone(connection, "default")
            working = asyncio.create_task(desk.work())
            await eventually(lambda: is_waited_for(connection), timeout=60)
            await desk.accepted("jobs/j/cancel")
        await working
    assert await executions(desk) == [
        ("a", 1, "IN_PROGRESS"),
        ("b", 1, "CANCELED"),
        ("c", 1, "CANCELED"),
    ]


async def test_stages_of_jobs_that_are_left_and_joined_are_held_in_order(desk: Desk) -> None:
    """By the jobs' ids, whichever is left: whoever comes to both holds them so, and two orders are a deadlock."""
    await add_things(desk.pool, "t")
    for zone, job in (("1", "z"), ("2", "a")):
        query = {"thingGroupName": f"zone{zone}", "queryString": f"attributes.zone:{zone}"}
        await desk.accepted("groups/create", query)
        staged = {"targetSelection": "CONTINUOUS", "stages": [{}]}
        await desk.accepted("jobs/create", aws_job(group=f"zone{zone}", jobId=job, **staged))
    await zoned(desk, "t", "1")
    await gates.run_once(desk.pool, slot=None)
    await desk.work()
    assert await executions(desk, "z") == [("t", 1, "QUEUED")]
    async with desk.pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            await connection.execute("SELECT FROM job_stages WHERE job_id = 'a' FOR NO KEY UPDATE")
            moving = asyncio.create_task(zoned(desk, "t", "2"))
            await eventually(lambda: is_waited_for(connection), timeout=60)
            await connection.execute(
                "SELECT FROM job_stages WHERE job_id = 'z' FOR NO KEY UPDATE NOWAIT"
            )
        await moving
    assert await executions(desk, "z") == [("t", 1, "REMOVED")]


async def zoned(desk: Desk, thing: str, zone: str) -> None:
    """A thing moves to another zone."""
    payload = {"thingName": thing, "attributePayload": {"attributes": {"zone": zone}}}
    await desk.accepted("things/update", payload)
