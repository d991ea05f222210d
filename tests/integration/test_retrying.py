"""Failed executions that are tried again, on a real PostgreSQL (AWS: job executions retry; reference 5.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers import chunks, ending_work, job_work, store, timeouts
from handlers.chunks import Progress
from handlers.database import Connection, Pool, create_pool, tenant_transaction
from handlers.job_work import Job
from handlers.retrying import Retries, retry
from schema import lifecycle
from schema.changes import Change
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

THINGS = ("t0", "t1", "t2", "t3")
Step = tuple[str, str]


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """Some things, and an operator."""
    await add_things(pool, *THINGS)
    return Desk(pool)


def retries(**kinds: int) -> dict[str, object]:
    """A jobExecutionsRetryConfig on the wire."""
    return {
        "criteriaList": [
            {"failureType": kind, "numberOfRetries": number} for kind, number in kinds.items()
        ]
    }


async def create(
    desk: Desk,
    config: Mapping[str, object],
    *things: str,
    job: str = "j",
    **more: Any,  # noqa: ANN401 - whatever jobs/create takes
) -> None:
    """A job with retries on some things."""
    command = aws_job(*things, jobId=job, jobExecutionsRetryConfig=config, **more)
    await desk.accepted("jobs/create", command)


async def history(desk: Desk, job: str = "j") -> list[tuple[str, int, str]]:
    """Every execution of a job as jobs/get lists them: thing, number, status."""
    listed = (await desk.accepted(f"jobs/{job}/get"))["executions"]
    return [(one["thingName"], one["executionNumber"], one["status"]) for one in listed]


async def test_a_failure_is_tried_again_until_none_is_left(desk: Desk) -> None:
    """Each failure ends one execution and queues the next; the last one's end completes the job. History stays."""
    await create(desk, retries(FAILED=1), "t0", "t1")
    plane = Plane(desk.pool)
    await plane.accepted("t1/jobs/j/update", {"status": "SUCCEEDED"})
    told = await plane.told("t0/jobs/j/update", {"status": "FAILED"})
    assert told == ["notify", "notify-next"]
    assert await desk.counts("j") == {"Queued": 1, "Succeeded": 1}
    started = (await plane.accepted("t0/jobs/start-next"))["execution"]
    assert (started["executionNumber"], started["versionNumber"]) == (2, 2)
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert (await desk.job("j"))["status"] == "COMPLETED"
    assert await desk.counts("j") == {"Failed": 1, "Succeeded": 1}
    assert await history(desk) == [
        ("t0", 1, "FAILED"),
        ("t0", 2, "FAILED"),
        ("t1", 1, "SUCCEEDED"),
    ]
    rows = await desk.rows("SELECT topics FROM outbox ORDER BY outbox_id")
    about_t0 = [topic.rsplit("/", 1)[1] for row in rows[2:] for topic in row["topics"]]
    assert about_t0 == ["failed", "queued", "in_progress", "failed", "completed"]


async def test_a_device_may_name_the_execution_by_its_number(desk: Desk) -> None:
    """What is said of the failed one by its number is refused: it is over; by the retry's number it is taken."""
    await create(desk, retries(ALL=2), "t0")
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    late = {"status": "IN_PROGRESS", "executionNumber": 1}
    assert (await plane.rejected("t0/jobs/j/update", late))["code"] == "InvalidStateTransition"
    await plane.accepted("t0/jobs/j/update", {"status": "SUCCEEDED", "executionNumber": 2})
    assert await history(desk) == [("t0", 1, "FAILED"), ("t0", 2, "SUCCEEDED")]


async def test_a_failure_delivered_again_does_not_fail_the_retry(desk: Desk) -> None:
    """The MQTT server repeats the report after a crash: it was of the execution before. A new one like it counts."""
    await create(desk, retries(FAILED=2), "t0")
    plane, failed = Plane(desk.pool), {"status": "FAILED", "clientToken": "same"}
    await plane.accepted("t0/jobs/j/update", failed)
    await plane.accepted("t0/jobs/j/update", failed, duplicate=True)
    assert await history(desk) == [("t0", 1, "FAILED"), ("t0", 2, "QUEUED")]
    await plane.accepted("t0/jobs/start-next")
    await plane.accepted("t0/jobs/j/update", failed, duplicate=True)
    assert await history(desk) == [("t0", 1, "FAILED"), ("t0", 2, "IN_PROGRESS")]
    await plane.accepted("t0/jobs/j/update", failed)
    assert await history(desk) == [("t0", 1, "FAILED"), ("t0", 2, "FAILED"), ("t0", 3, "QUEUED")]


async def test_a_timer_is_tried_again(desk: Desk) -> None:
    """TIMED_OUT by a timer queues the next execution in the same pass; REJECTED does not."""
    timer = {"inProgressTimeoutInMinutes": 5}
    await create(desk, retries(TIMED_OUT=1), "t0", "t1", timeoutConfig=timer)
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/start-next")
    await plane.accepted("t1/jobs/j/update", {"status": "REJECTED"})
    await desk.rows(
        "UPDATE executions SET in_progress_deadline = now(), timeout_at = now() "
        "WHERE status = 'IN_PROGRESS'"
    )
    [told] = (await timeouts.run_once(desk.pool, slot=None)).told
    assert (told.notify, told.notify_next) == (("t0",), ("t0",))
    assert await desk.counts("j") == {"Queued": 1, "Rejected": 1}
    assert await counts_equal_rows(desk.pool)


async def test_retries_come_before_aborts(desk: Desk) -> None:
    """A failure that is tried again does not count towards an abort; one that is final does."""
    criterion = {
        "failureType": "FAILED",
        "action": "CANCEL",
        "thresholdPercentage": 100,
        "minNumberOfExecutedThings": 1,
    }
    config = {"criteriaList": [criterion]}
    await create(desk, retries(FAILED=1), "t0", "t1", abortConfig=config)
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert (await desk.job("j"))["status"] == "IN_PROGRESS"
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert (await desk.job("j"))["status"] == "CANCELED"
    assert await desk.work() == ["canceled"]
    assert await desk.counts("j") == {"Failed": 1, "Canceled": 1}


async def test_what_ends_a_canceled_job_is_not_tried_again(desk: Desk) -> None:
    """A device that works on after the cancel may fail; nothing is queued for it."""
    await create(desk, retries(FAILED=3), "t0")
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/start-next")
    await desk.accepted("jobs/j/cancel")
    await desk.work()
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert await history(desk) == [("t0", 1, "FAILED")]


async def test_a_cancel_beside_a_retry_leaves_nothing_queued(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job canceled to the end between deciding on a retry and counting it: the batch is decided again, without."""
    await create(desk, retries(FAILED=3), "t0")
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/start-next")
    other = Desk(await create_pool(database.url, size=2))
    times = 0

    async def late(
        connection: Connection, tenant_id: str, ended: Sequence[Change], *, now: datetime
    ) -> Retries:
        nonlocal times
        times += 1
        made = await retry(connection, tenant_id, ended, now=now)
        if times == 1:
            await other.accepted("jobs/j/cancel")
            await other.work()
        return made

    try:
        with monkeypatch.context() as slow:
            slow.setattr(store, "retry", late)
            await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    finally:
        await other.pool.close()
    assert times == 2
    assert await history(desk) == [("t0", 1, "FAILED")]
    assert await counts_equal_rows(desk.pool)


async def test_a_cancel_waits_for_a_retry_that_it_had_not_seen(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that commits after the cancel's chunk has passed is found before the cancel is called finished."""
    await create(desk, retries(FAILED=3), "t0")
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/start-next")
    other = await create_pool(database.url, size=2)
    real = job_work.lock_counts

    async def late(job: Job) -> tuple[datetime, int]:
        with monkeypatch.context() as as_it_was:
            as_it_was.setattr(ending_work, "lock_counts", real)
            await desk.rows("UPDATE jobs SET status = 'IN_PROGRESS'")
            await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
            await desk.rows("UPDATE jobs SET status = 'CANCELED'")
        return await real(job)

    await desk.accepted("jobs/j/cancel")
    try:
        with monkeypatch.context() as slow:
            slow.setattr(ending_work, "lock_counts", late)
            done = await chunks.run_once(other, slot=None, progress=Progress())
        assert (done.failures, done.more) == ((), True)
    finally:
        await other.close()
    assert await desk.work() == ["canceled"]
    assert await history(desk) == [("t0", 1, "FAILED"), ("t0", 2, "CANCELED")]


async def test_a_job_with_a_history_is_deleted(desk: Desk) -> None:
    """Deleting counts each thing off once, whatever number of executions it had."""
    await create(desk, retries(FAILED=2), *THINGS)
    plane = Plane(desk.pool)
    for thing in THINGS[:2]:
        for _ in range(2):
            await plane.accepted(f"{thing}/jobs/j/update", {"status": "FAILED"})
    assert await desk.counts("j") == {"Queued": 4}
    await desk.accepted("jobs/j/delete", {"force": True})
    assert await desk.work() == ["deleted"]
    assert await desk.rows("SELECT FROM executions") == []


async def test_a_thing_that_comes_back_counts_once_and_begins_anew(desk: Desk) -> None:
    """An execution that follows a REMOVED one takes its count back, and the retries before it are forgotten."""
    await create(desk, retries(FAILED=1), "t0", "t1")
    plane = Plane(desk.pool)
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    await _remove_and_return(desk, "t0")
    assert await desk.counts("j") == {"Queued": 2}
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert await history(desk) == [
        ("t0", 1, "FAILED"),
        ("t0", 2, "REMOVED"),
        ("t0", 3, "FAILED"),
        ("t0", 4, "QUEUED"),
        ("t1", 1, "QUEUED"),
    ]
    assert await counts_equal_rows(desk.pool)


async def _remove_and_return(desk: Desk, thing: str) -> None:
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        _, now = await store.lock_things(connection, "default", [thing])
        [one] = (await store.load_queues(connection, "default", [thing]))[thing]
        live = one.execution
        again = lifecycle.queued(thing, "j", now, execution_number=live.execution_number + 1)
        for change, queue in (
            (Change(live, lifecycle.remove(live, now)), [live]),
            (Change(None, again), []),
        ):
            await store.save(
                connection, "default", [change], queues={thing: queue}, now=now, slot=None
            )


steps = st.lists(
    st.tuples(
        st.sampled_from(THINGS),
        st.sampled_from(["FAILED", "SUCCEEDED", "REJECTED", "IN_PROGRESS", "timer"]),
    ),
    max_size=25,
)


def _drawn() -> list[tuple[list[Step], dict[str, int]]]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    cases: list[tuple[list[Step], dict[str, int]]] = []

    @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
    @given(steps, st.integers(0, 2), st.integers(0, 2))
    def draw(some: list[Step], failed: int, timed_out: int) -> None:
        cases.append((some, {"FAILED": failed, "TIMED_OUT": timed_out}))

    draw()
    return cases


async def test_counters_equal_rows_under_retries(desk: Desk) -> None:
    """After every step of any story the counters are the latest executions', and a job is over when nothing lives."""
    plane = Plane(desk.pool)
    stories = _drawn()
    assert len(stories) >= 10
    for number, (story, config) in enumerate(stories):
        job = f"j{number}"
        timer = {"inProgressTimeoutInMinutes": 5}
        await create(desk, retries(**config), *THINGS, job=job, timeoutConfig=timer)
        for thing, what in story:
            if what == "timer":
                await desk.rows(
                    "UPDATE executions SET in_progress_deadline = now(), timeout_at = now() "
                    "WHERE status = 'IN_PROGRESS' AND thing_name = $1",
                    thing,
                )
                await timeouts.run_once(desk.pool, slot=None)
            else:
                await plane.batch(plane.ask(f"{thing}/jobs/{job}/update", {"status": what}))
            assert await counts_equal_rows(desk.pool)
            live = await desk.rows(
                "SELECT thing_name FROM executions "
                "WHERE job_id = $1 AND status IN ('QUEUED', 'IN_PROGRESS')",
                job,
            )
            names = [row["thing_name"] for row in live]
            assert len(names) == len(set(names))
            assert ((await desk.job(job))["status"] == "COMPLETED") == (not names)
        await desk.accepted(f"jobs/{job}/delete", {"force": True})
        await desk.work()


async def test_several_processes_retry_each_failure_once(desk: Desk, database: Database) -> None:
    """The same timers fire at several processes at once: one retry each."""
    timer = {"inProgressTimeoutInMinutes": 5}
    await create(desk, retries(ALL=5), *THINGS, timeoutConfig=timer)
    for thing in THINGS:
        await Plane(desk.pool).accepted(f"{thing}/jobs/start-next")
    await desk.rows(
        "UPDATE executions SET in_progress_deadline = now(), timeout_at = now() "
        "WHERE status = 'IN_PROGRESS'"
    )
    others = [await create_pool(database.url, size=1) for _ in range(3)]
    try:
        await asyncio.gather(*(timeouts.run_once(one, slot=None) for one in others))
    finally:
        for one in others:
            await one.close()
    assert await history(desk) == [
        (thing, number, status)
        for thing in THINGS
        for number, status in ((1, "TIMED_OUT"), (2, "QUEUED"))
    ]
    assert await desk.counts("j") == {"Queued": len(THINGS)}


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT"])
async def test_who_comes_back_has_all_retries_again(desk: Desk, status: str) -> None:
    """A thing that used them up, left a CONTINUOUS job and joined it again; retryAttempt begins at 0 with it (AWS)."""
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    members = {"thingGroupName": "g", "thingNames": ["t0"]}
    await desk.accepted("groups/add", members)
    config = retries(ALL=1)
    timed = {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}}
    more: dict[str, Any] = {"targetSelection": "CONTINUOUS", "group": "g", **timed}
    await create(desk, config, **more)
    await desk.work()
    for _ in range(2):
        for _ in range(2):
            await _end(desk, status)
        await desk.accepted("groups/remove", members)
        await desk.accepted("groups/add", members)
        await desk.work()
    listed = await desk.accepted("things/executions", {"thingName": "t0"})
    found = [
        (one["executionNumber"], one["status"], one["retryAttempt"])
        for one in (each["jobExecutionSummary"] for each in listed["executionSummaries"])
    ]
    assert found == [
        (1, status, 0),
        (2, status, 1),
        (3, status, 0),
        (4, status, 1),
        (5, "QUEUED", 0),
    ]
    assert await counts_equal_rows(desk.pool)


async def _end(desk: Desk, status: str) -> None:
    """The latest execution on t0 fails, or its time is over."""
    plane = Plane(desk.pool)
    if status == "FAILED":
        await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
        return
    await plane.accepted("t0/jobs/j/update", {"status": "IN_PROGRESS"})
    await desk.rows(
        "UPDATE executions SET timeout_at = now(), in_progress_deadline = now() WHERE timeout_at IS NOT NULL"
    )
    await timeouts.run_once(desk.pool, slot=None)


async def test_retries_made_by_hand_are_counted(desk: Desk) -> None:
    """What is retried by hand goes on with the count; a device whose request is not remembered, too."""
    await create(desk, retries(FAILED=1), "t0", "t1")
    plane = Plane(desk.pool)
    for _ in range(2):
        await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    await desk.rows("UPDATE executions SET recent = '' WHERE thing_name = 't0'")
    await desk.accepted("jobs/j/retry-failed")
    await desk.work()
    await plane.accepted("t0/jobs/j/update", {"status": "FAILED"})
    assert await history(desk) == [
        ("t0", 1, "FAILED"),
        ("t0", 2, "FAILED"),
        ("t0", 3, "FAILED"),
        ("t1", 1, "QUEUED"),
    ]
    (row,) = await desk.rows("SELECT retry_attempt FROM executions WHERE execution_number = 3")
    assert row["retry_attempt"] == 2
