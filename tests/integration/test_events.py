"""AWS's events of jobs and executions (reference 6): each leaves, says what AWS's says, and can be switched off."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from handlers import timeouts
from handlers.database import Pool
from tests.factories import add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

THINGS = ("t0", "t1", "t2", "t3")
OF_JOBS = {"completed", "canceled", "deleted", "cancellation_in_progress", "deletion_in_progress"}
OF_EXECUTIONS = {
    "succeeded",
    "failed",
    "rejected",
    "canceled",
    "timed_out",
    "removed",
    "deleted",
}
BEYOND_AWS = {"queued", "in_progress"}


async def _live(pool: Pool, admin: asyncpg.Connection, mark: str) -> None:
    """All that AWS tells of, once: a job that ends, one that is canceled, one deleted, and one that a thing leaves."""
    desk, plane = Desk(pool), Plane(pool)
    ends, canceled, deleted, left = (f"{mark}-{one}" for one in "acdr")
    timed = {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}}
    await desk.accepted("jobs/create", {**aws_job(*THINGS, jobId=ends), **timed})
    for thing, status in zip(
        THINGS, ("SUCCEEDED", "FAILED", "REJECTED", "IN_PROGRESS"), strict=True
    ):
        await plane.accepted(f"{thing}/jobs/{ends}/update", {"status": status})
    await admin.execute(
        "UPDATE executions SET timeout_at = now(), in_progress_deadline = now() "
        "WHERE timeout_at IS NOT NULL"
    )
    await timeouts.run_once(pool, slot=None)
    for job, verb in ((canceled, "cancel"), (deleted, "delete")):
        await desk.accepted("jobs/create", aws_job("t0", jobId=job))
        await desk.accepted(f"jobs/{job}/{verb}", {"force": True})
    await desk.accepted("groups/create", {"thingGroupName": mark})
    await desk.accepted("groups/add", {"thingGroupName": mark, "thingName": "t0"})
    follows = {**aws_job(group=mark, jobId=left), "targetSelection": "CONTINUOUS"}
    await desk.accepted("jobs/create", follows)
    await desk.work()
    await desk.accepted("groups/remove", {"thingGroupName": mark, "thingName": "t0"})


async def _left(admin: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """Topics below $aws/events/ and payloads of what is in the outbox; it is empty then."""
    rows = await admin.fetch("DELETE FROM outbox RETURNING topics, payloads")
    return [
        (topic.removeprefix("$aws/events/"), json.loads(payload))
        for row in rows
        for topic, payload in zip(row["topics"], row["payloads"], strict=True)
    ]


async def test_every_event_of_aws_leaves_unless_it_is_switched_off(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """Those of jobs and those of executions, with AWS's members; without the switches none at all."""
    await add_things(pool, *THINGS)
    await _live(pool, admin, "on")
    events = await _left(admin)
    said = {
        kind: {topic.split("/")[2] for topic, _ in events if topic.startswith(f"{kind}/")}
        for kind in ("job", "jobExecution")
    }
    assert said == {"job": OF_JOBS, "jobExecution": OF_EXECUTIONS | BEYOND_AWS}
    for topic, body in events:
        kind, job, operation = topic.split("/")
        assert (body["jobId"], body["operation"]) == (job, operation)
        assert body.keys() >= {"eventId", "timestamp", "status"}
        if kind == "job":
            assert body.keys() >= {"targetSelection", "targets", "createdAt", "lastUpdatedAt"}
            assert body["status"] == operation.upper()
        else:
            assert body["thingArn"].startswith("arn:aws:iot:")
            assert body["status"] == operation.upper() or operation == "deleted"
    [completed] = [body for topic, body in events if topic.endswith("/completed")]
    assert completed["jobProcessDetails"]["numberOfTimedOutThings"] == 1
    switches = {"JOB": {"Enabled": False}, "JOB_EXECUTION": {"Enabled": False}}
    await Desk(pool).accepted("event-configurations/update", {"eventConfigurations": switches})
    await _live(pool, admin, "off")
    assert {topic.split("/")[2] for topic, _ in await _left(admin)} == BEYOND_AWS
