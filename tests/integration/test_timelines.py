"""An execution's timeline, on a real PostgreSQL: what is kept of each change, and when its thing was told of it."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from handlers import outbox
from handlers.database import Pool
from tests.factories import add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner."""
    return Desk(pool)


async def seen(desk: Desk, number: int | None = None, job: str = "j1") -> dict[str, Any]:
    """The execution on t1 as jobs/executions/get shows it."""
    asked = {} if number is None else {"executionNumber": number}
    found: dict[str, Any] = (await desk.accepted(f"jobs/{job}/executions/t1/get", asked))[
        "execution"
    ]
    return found


async def acknowledge(pool: Pool) -> None:
    """What the sender does when the MQTT server has acknowledged all that is in the outbox."""
    while (await outbox.claim(pool, slot=3)).rows:
        pass
    await outbox.forget(pool, await outbox.load(pool, slot=3, after=0, most=1000), slot=3)


def what(execution: dict[str, Any]) -> list[str]:
    """What the entries of a timeline are."""
    return [entry["what"] for entry in execution["timeline"]]


async def test_a_whole_life(pool: Pool, desk: Desk) -> None:
    """Queued, told, started, each report with what changed, ended; in order of time, and with versions."""
    await add_things(pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1"))
    assert what(await seen(desk)) == ["QUEUED"]
    assert "notifySentAt" not in await seen(desk)
    await acknowledge(pool)
    told = await seen(desk)
    assert what(told) == ["QUEUED", "NOTIFY_SENT"]
    assert told["notifySentAt"] >= told["queuedAt"]
    plane = Plane(pool)
    await plane.accepted("t1/jobs/start-next")
    path = "t1/jobs/j1/update"
    # Two of one batch are two entries.
    await plane.batch(
        *(
            plane.ask(
                path, {"status": "IN_PROGRESS", "statusDetails": {"percent": str(n), "f": "é"}}
            )
            for n in (1, 2)
        )
    )
    await plane.accepted(path, {"status": "SUCCEEDED"})
    found = await seen(desk)
    assert what(found)[2:] == ["IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED"]
    assert [entry.get("versionNumber") for entry in found["timeline"]] == [None, None, 2, 3, 4, 5]
    assert [entry.get("statusDetails") for entry in found["timeline"]][3:5] == [
        {"percent": "1", "f": "é"},
        {"percent": "2"},
    ]
    at = [entry["at"] for entry in found["timeline"]]
    assert at == sorted(at)


async def test_each_attempt_has_its_own(pool: Pool, desk: Desk) -> None:
    """A retry has been told of when the notifications about it were acknowledged; the one before stays to be seen."""
    await add_things(pool, "t1")
    again = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1", jobExecutionsRetryConfig=again))
    await acknowledge(pool)
    await Plane(pool).accepted("t1/jobs/j1/update", {"status": "FAILED"})
    assert what(await seen(desk, 1)) == ["QUEUED", "NOTIFY_SENT", "FAILED"]
    assert what(await seen(desk)) == ["QUEUED"]
    await acknowledge(pool)
    assert what(await seen(desk, 2)) == ["QUEUED", "NOTIFY_SENT"]
    assert what(await seen(desk, 1)) == ["QUEUED", "NOTIFY_SENT", "FAILED"]


async def test_of_a_hidden_execution_nobody_was_told(pool: Pool, desk: Desk) -> None:
    """A retry while the job is paused is told of when it goes on."""
    await add_things(pool, "t1")
    again = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1", jobExecutionsRetryConfig=again))
    await Plane(pool).accepted("t1/jobs/start-next")
    await desk.accepted("jobs/j1/pause")
    await desk.work()
    await Plane(pool).accepted("t1/jobs/j1/update", {"status": "FAILED"})
    await acknowledge(pool)
    assert "notifySentAt" not in await seen(desk, 2)
    await desk.accepted("jobs/j1/resume")
    await desk.work()
    await acknowledge(pool)
    assert what(await seen(desk, 2)) == ["QUEUED", "NOTIFY_SENT"]


async def test_a_talkative_device_is_bounded(
    pool: Pool, desk: Desk, admin: asyncpg.Connection
) -> None:
    """Of hundreds of reports the last ones are kept, whole; the row stays small."""
    await add_things(pool, "t1")
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1"))
    plane = Plane(pool)
    for batch in range(30):
        said = [
            {"status": "IN_PROGRESS", "statusDetails": {"n": f"{batch} {n}", "of": "ü" * 20}}
            for n in range(8)
        ]
        await plane.batch(*(plane.ask("t1/jobs/j1/update", one) for one in said))
    size = await admin.fetchval("SELECT max(octet_length(timeline)) FROM executions")
    assert size <= 1600
    entries = (await seen(desk))["timeline"]
    assert [one["versionNumber"] for one in entries[1:]] == list(range(243 - len(entries), 242))
    assert entries[-1]["statusDetails"] == {"n": "29 7"}
    assert len(entries) > 8


async def test_what_was_told_goes_with_its_job(pool: Pool, desk: Desk) -> None:
    """No row is left when the job is deleted; one that is deleted before the acknowledgement leaves none either."""
    await add_things(pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j1"))
    await acknowledge(pool)
    assert len(await desk.rows("SELECT FROM told_executions")) == 1
    await desk.accepted("jobs/create", aws_job("t1", jobId="j2"))
    for job in ("j1", "j2"):
        await desk.accepted(f"jobs/{job}/delete", {"force": True})
    await desk.work()
    await acknowledge(pool)
    assert await desk.rows("SELECT FROM told_executions") == []
    assert await desk.rows("SELECT FROM outbox") == []
