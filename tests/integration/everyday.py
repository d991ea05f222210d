"""A day of a fleet in a minute, by the real handlers: whatever devices, operators and our services ask PostgreSQL.

It leaves everything as it was, so that it can be done again. Each step says how many things or rows it is about; a
pass over something says of how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg

from handlers import audit, chunks, credentials, gates, outbox, retention, slots, timeouts
from handlers.chunks import Progress
from handlers.database import tenant_transaction
from handlers.documents import Documents
from handlers.store import Told
from tests.integration.device_plane import Plane
from tests.integration.explained import Watched
from tests.integration.million import BACKLOG, BIG, JOBS, OLD, REQUESTS
from tests.integration.operator_desk import Desk, aws_job

TENANT = "default"
SLOT = 7
_DUE = 8  # executions whose timer fires


@dataclass(frozen=True, slots=True)
class Day:
    """things: those who work on the day's jobs. listed: how long a page of a list is."""

    watched: Watched
    admin: asyncpg.Connection
    things: Sequence[str]
    listed: int = 50

    @property
    def desk(self) -> Desk:
        """The operator's room."""
        return Desk(self.watched.pool)

    @property
    def plane(self) -> Plane:
        """The devices, with no document at hand."""
        return Plane(self.watched.pool, documents=Documents(0))


async def live(day: Day) -> None:
    """Do all of it once."""
    await _roll_out(day, "day-1")
    await _work(day, "day-1")
    await _look(day, "day-1")
    await _end(day, "day-1")
    await _roll_out(day, "day-2")
    await _take_back(day, "day-1", "day-2")
    await _follow(day, "day-4")
    await _fail(Day(day.watched, day.admin, day.things[len(day.things) // 2 :]), "braked")
    await _stage(Day(day.watched, day.admin, day.things[len(day.things) // 2 :]), "day-5")
    await _tell(day)
    await _register(day)
    await _keep_house(day)


async def _roll_out(day: Day, job: str) -> None:
    size = len(day.things)
    async with day.watched.step("groups/create and add", size):
        await day.desk.accepted("groups/create", {"thingGroupName": f"g-{job}"})
        await day.desk.accepted(
            "groups/add", {"thingGroupName": f"g-{job}", "thingNames": [*day.things]}
        )
    # With something of each thing in it: the dearest document to give.
    document = {"for": "${thingName}", "at": "${thing:attributes.site}"}
    group = f"g-{job}"
    command = aws_job(day.things[0], group=group, jobId=job, clientToken=job, document=document)
    async with day.watched.step("jobs/create", size):
        await day.desk.accepted("jobs/create", command)
    async with day.watched.step("jobs/create again"):
        await day.desk.accepted("jobs/create", command)
    await _do_work(day, "roll out")


async def _do_work(day: Day, name: str) -> None:
    async with day.watched.step(name, len(day.things)):
        progress, more = Progress(), True
        while more:
            done = await chunks.run_once(day.watched.pool, slot=SLOT, progress=progress)
            assert not done.failures, done.failures
            more = done.more


async def _ask(day: Day, name: str, path: str, payload: object = None) -> None:
    """Have all things ask the same in one batch."""
    plane = day.plane
    asks = [plane.ask(f"{thing}/jobs/{path}", payload) for thing in day.things]
    async with day.watched.step(name, len(asks)):
        answers, _ = await plane.batch(*asks)
    refused = [body for accepted, body in answers if not accepted]
    assert not refused, refused[0]


async def _work(day: Day, job: str) -> None:
    await _ask(day, "start-next", "start-next")
    await _ask(day, "start", f"{job}/update", {"status": "IN_PROGRESS"})
    for step in range(2):
        progress = {"status": "IN_PROGRESS", "statusDetails": {"step": str(step)}}
        await _ask(day, "progress", f"{job}/update", progress)
    await _ask(day, "describe next", "$next/get")
    await _ask(day, "describe", f"{job}/get")
    await _ask(day, "get", "get")


async def _look(day: Day, job: str) -> None:
    async def show(path: str, **payload: object) -> dict[str, object]:
        async with day.watched.step(path, day.listed):
            return await day.desk.accepted(path, {"maxResults": day.listed, **payload})

    first = await show("jobs/list")
    if "nextToken" in first:
        await show("jobs/list", nextToken=first["nextToken"])
    for status in ("COMPLETED", "IN_PROGRESS"):
        # When most jobs are in a status, the newest of them are looked for among all.
        async with day.watched.step("jobs/list, by status", JOBS + OLD):
            await day.desk.accepted("jobs/list", {"maxResults": day.listed, "status": status})
    for of in (job, "big0000"):
        first = await show(f"jobs/{of}/get")
        if "nextToken" in first:
            await show(f"jobs/{of}/get", nextToken=first["nextToken"])
        await show(f"jobs/{of}/get", status="SUCCEEDED")
    async with day.watched.step("jobs/counts", JOBS + OLD):
        await day.desk.accepted("jobs/counts")
    async with day.watched.step("jobs/list, search", JOBS + OLD):
        await day.desk.accepted("jobs/list", {"maxResults": day.listed, "search": "big"})
    for of in (job, "big0000"):
        async with day.watched.step("jobs/progress", day.listed):
            drawn = {"mostThings": day.listed, "bucketSeconds": 60}
            await day.desk.accepted(f"jobs/{of}/progress", drawn)
    first = await show("things/list")
    if "nextToken" in first:
        await show("things/list", nextToken=first["nextToken"])
    async with day.watched.step("things/list, search", BIG):
        await day.desk.accepted("things/list", {"namePrefixFilter": day.things[-1][:5]})
    await show("groups/list")
    await show("groups/list", namePrefixFilter="g-")
    first = await show("groups/members", thingGroupName="tenth")
    if "nextToken" in first:
        await show("groups/members", thingGroupName="tenth", nextToken=first["nextToken"])
    await show("operators/list")


async def _end(day: Day, job: str) -> None:
    *others, canceled = day.things
    async with day.watched.step("executions/cancel"):
        await day.desk.accepted(f"jobs/{job}/executions/{canceled}/cancel", {"force": True})
    await day.admin.execute(
        "UPDATE executions SET in_progress_deadline = now(), timeout_at = now() "
        "WHERE tenant_id = $1 AND job_id = $2 AND thing_name = ANY ($3)",
        TENANT,
        job,
        others[:_DUE],
    )
    async with day.watched.step("timers", _DUE):
        swept = await timeouts.run_once(day.watched.pool, slot=SLOT)
    assert len({name for told in swept.told for name in told.notify}) == len(others[:_DUE])
    still = Day(day.watched, day.admin, others[_DUE:])
    await _ask(still, "end", f"{job}/update", {"status": "SUCCEEDED"})
    # Ended ones are not in the queue: they are looked for by their names.
    plane = day.plane
    async with day.watched.step("describe ended", len(day.things)):
        await plane.batch(*(plane.ask(f"{thing}/jobs/{job}/get") for thing in day.things))


async def _take_back(day: Day, ended: str, running: str) -> None:
    async with day.watched.step("jobs/cancel"):
        await day.desk.accepted(f"jobs/{running}/cancel", {"force": True})
    await _do_work(day, "cancel")
    for job in (ended, running):
        async with day.watched.step("jobs/delete"):
            await day.desk.accepted(f"jobs/{job}/delete")
        await _do_work(day, "delete")
        async with day.watched.step("groups/remove", len(day.things)):
            await day.desk.accepted(
                "groups/remove", {"thingGroupName": f"g-{job}", "thingNames": [*day.things]}
            )
        # The foreign key's own statement may look for a small group's members among those of a large one.
        async with day.watched.step("groups/delete", BIG // 10):
            await day.desk.accepted("groups/delete", {"thingGroupName": f"g-{job}"})


async def _follow(day: Day, job: str) -> None:
    """A continuous job whose group all things join and leave, and a dynamic group that one is in for a while."""
    size, desk, group = len(day.things), day.desk, f"g-{job}"
    members = {"thingGroupName": group, "thingNames": [*day.things]}
    query = "attributes.day:now AND thingGroupNames:g-*"
    await desk.accepted("groups/create", {"thingGroupName": group})
    async with day.watched.step("groups/create, of a query", BIG):
        made = {"thingGroupName": "now", "queryString": query}
        await desk.accepted("groups/create", made)
    async with day.watched.step("jobs/create, continuous"):
        continuous = aws_job(group=group, jobId=job, targetSelection="CONTINUOUS")
        await desk.accepted("jobs/create", continuous)
        more = aws_job(day.things[0], group="now")["targets"]
        await desk.accepted(f"jobs/{job}/associate", {"targets": more})
    async with day.watched.step("groups/add, followed", size):
        await desk.accepted("groups/add", members)
    await _do_work(day, "roll out to those who joined")
    for value in ("now", ""):
        async with day.watched.step("things/update"):
            payload = {"attributes": {"day": value}, "merge": True}
            command = {"thingName": day.things[1], "attributePayload": payload}
            await desk.accepted("things/update", command)
    async with day.watched.step("groups/remove, followed", size):
        answer = await desk.send("groups/remove", members)
    assert answer.accepted
    assert [len(told.notify) for told in answer.told] == [size - 1]  # one is a target by itself
    async with day.watched.step("jobs/delete"):
        await desk.accepted(f"jobs/{job}/delete", {"force": True})
    await _do_work(day, "delete")
    async with day.watched.step("groups/delete", BIG // 10):
        for name in ("now", group):
            await desk.accepted("groups/delete", {"thingGroupName": name})


async def _fail(day: Day, job: str) -> None:
    """A job at a rate, whose failures are tried again, and which is aborted for them in the end."""
    criterion = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50}
    brakes: dict[str, Any] = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 1_000_000},
        "jobExecutionsRetryConfig": {
            "criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]
        },
        "abortConfig": {
            "criteriaList": [{**criterion, "minNumberOfExecutedThings": len(day.things)}]
        },
    }
    # Events name each of its targets.
    async with day.watched.step("jobs/create, braked", len(day.things)):
        await day.desk.accepted("jobs/create", aws_job(*day.things, jobId=job, **brakes))
    await _do_work(day, "roll out, the first")
    await day.admin.execute(
        "UPDATE rollout_paces SET credited_at = credited_at - interval '2 seconds', due_at = now()"
    )
    await _do_work(day, "roll out, at a rate")
    for attempt in ("first", "second"):
        await _ask(day, f"fail, the {attempt} time", f"{job}/update", {"status": "FAILED"})
    await _do_work(day, "abort")
    async with day.watched.step("jobs/delete, braked", len(day.things)):
        await day.desk.accepted(f"jobs/{job}/delete")
    await _do_work(day, "delete with a history")


async def _stage(day: Day, job: str) -> None:
    """A job in stages whose gates open, whose things fail."""
    size = len(day.things)
    stages = [{"numberOfThings": size // 2, "successPercentage": 0}, {}]
    async with day.watched.step("jobs/create, staged", size):
        await day.desk.accepted(
            "jobs/create", {**aws_job(*day.things, jobId=job), "stages": stages}
        )
    await _look_at_gates(day, "start the stages")
    await _do_work(day, "roll out the stages")
    await _ask(day, "fail in stages", f"{job}/update", {"status": "FAILED"})
    await _look_at_gates(day, "look at the gates")
    async with day.watched.step("jobs/get, staged", day.listed):
        await day.desk.accepted(f"jobs/{job}/get", {"maxResults": day.listed})
    async with day.watched.step("jobs/delete, staged", size):
        await day.desk.accepted(f"jobs/{job}/delete", {"force": True})
    await _do_work(day, "delete the stages")


async def _look_at_gates(day: Day, name: str) -> None:
    async with day.watched.step(name, len(day.things)):
        await gates.run_once(day.watched.pool, slot=SLOT)


async def _tell(day: Day) -> None:
    pool, documents = day.watched.pool, Documents(0)
    async with day.watched.step("outbox, claim", BACKLOG):
        await outbox.claim(pool, slot=SLOT, most=day.listed)
    after, told = 0, list[Told]()
    async with day.watched.step("outbox, load", BACKLOG):
        while rows := await outbox.load(pool, slot=SLOT, after=after, most=day.listed):
            told += rows
            after = rows[-1].outbox_id
    things = {name for one in told for name in one.notify}
    async with day.watched.step("outbox, say", len(things)):
        said = await outbox.say(pool, documents, TENANT, told, slot=0)
    async with day.watched.step("outbox, outdated", len(things)):
        await outbox.outdated(pool, TENANT, replace(said, takings=None))
    async with day.watched.step("outbox, forget", len(told)):
        await outbox.forget(pool, told, slot=SLOT)


async def _register(day: Day) -> None:
    desk, name = day.desk, "new-thing"
    async with day.watched.step("things/create"):
        await desk.accepted("things/create", {"thingName": name, "issueToken": True})
        await desk.accepted("things/get", {"thingName": name})
    async with day.watched.step("jobs/create"):
        await desk.accepted("jobs/create", aws_job(name, jobId="day-3"))
    async with (
        day.watched.step("credentials"),
        day.watched.acquire() as raw,
        tenant_transaction(raw, TENANT) as connection,
    ):
        await credentials.list_credentials(connection, TENANT, name)
        await credentials.verify_token(connection, TENANT, name, "wrong")
    async with day.watched.step("things/delete"):
        await desk.accepted("things/delete", {"thingName": name})
        await desk.accepted("jobs/day-3/delete", {"force": True})
        await chunks.run_once(day.watched.pool, slot=SLOT, progress=Progress())
    operator = {"operatorName": "bea", "role": "viewer"}
    async with day.watched.step("operators"):
        await desk.accepted("operators/create", operator)
        await desk.accepted("operators/delete", {"operatorName": "bea"})


async def _keep_house(day: Day) -> None:
    pool = day.watched.pool
    async with day.watched.step("requests, forget", REQUESTS):
        await outbox.forget_requests(pool, most=day.listed)
    async with day.watched.step("retention", JOBS + OLD):
        await retention.run_once(pool, older_than=timedelta(days=30), slot=SLOT, most=day.listed)
    async with (
        day.watched.step("audit", day.listed),
        day.watched.acquire() as raw,
        tenant_transaction(raw, TENANT) as connection,
    ):
        await audit.latest(connection, TENANT, most=day.listed)
        await audit.latest(connection, TENANT, subject="job/j1", most=day.listed)
    async with day.watched.step("slots"), day.watched.acquire() as connection:
        taken = await slots.take_slot(connection, "me", {})
        assert taken is not None
        await slots.mark_serving(connection, taken.number)
        await slots.renew(connection, taken.number, "me")
        await slots.leave(connection, taken.number)
        await slots.release(connection, taken.number, session_ended=True)
    # What operators' commands left: the day can be lived again.
    await day.admin.execute("DELETE FROM operator_requests WHERE client_token LIKE 'day-%'")


def names(numbers: Iterable[int]) -> list[str]:
    """Things by their numbers in `million`."""
    return [f"t{number:06d}" for number in numbers]
