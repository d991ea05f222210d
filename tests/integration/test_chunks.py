"""Background work on jobs: in chunks, by any number of processes, killed in the middle, each thing done once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import pytest

from handlers import chunks, rollouts, store
from handlers.chunks import Progress
from handlers.database import Connection, Pool, create_pool, tenant_transaction
from handlers.group_members import add_members
from handlers.things import create_things
from tests.conftest import Database
from tests.factories import add_things, counts_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

NUMBER = 2500
_ALL = {"document_type": "update", "target_all": True, "job_id": "j"}


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of 2,500 things, which is two chunks and a half."""
    names = [f"t{n:05}" for n in range(NUMBER)]
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        assert await create_things(connection, "default", names) == NUMBER
    return Desk(pool)


async def count(desk: Desk, table: str) -> int:
    """How many rows a table has."""
    [row] = await desk.rows(f"SELECT count(*) AS rows FROM {table}")
    return int(row["rows"])


async def notified(desk: Desk) -> list[str]:
    """Every thing that the outbox's rows tell of a new first execution."""
    rows = await desk.rows("SELECT notify_next FROM outbox")
    return sorted(name for row in rows for name in row["notify_next"])


async def test_a_large_job_answers_at_once_and_rolls_out_in_chunks(desk: Desk) -> None:
    """The creating transaction freezes the snapshot; executions and notifications come chunk by chunk."""
    made = await desk.accepted("jobs/create", _ALL)
    assert (made["status"], made["execution_count"]) == ("IN_PROGRESS", NUMBER)
    assert await count(desk, "executions") == 0
    job = await desk.job("j")
    assert job["isConcurrent"] is True
    assert job["jobProcessDetails"]["processingTargets"] == job["targets"]
    done = await chunks.work_on_job(desk.pool, "default", "j", slot=None, progress=desk.progress)
    assert done is not None
    assert [len(told.notify_next) for told in done.told] == [1000]
    assert await desk.work() == []
    assert await desk.counts("j") == {"Queued": NUMBER}
    assert len(set(await notified(desk))) == len(await notified(desk)) == NUMBER
    assert (await desk.job("j"))["isConcurrent"] is False
    assert await count(desk, "rollout_chunks") == 0


async def test_a_kill_between_and_inside_chunks_loses_and_repeats_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies inside a chunk leaves it whole for the next one; what it had committed stays."""
    await desk.accepted("jobs/create", _ALL)
    await chunks.work_on_job(desk.pool, "default", "j", slot=None, progress=Progress())

    async def killed(*_: object, **__: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as dying:
        dying.setattr(store, "save", killed)
        with pytest.raises(ConnectionResetError):
            await chunks.run_once(desk.pool, slot=None, progress=Progress())
    assert await desk.counts("j") == {"Queued": 1000}
    await desk.work()
    assert await desk.counts("j") == {"Queued": NUMBER}
    assert len(await notified(desk)) == NUMBER
    assert await counts_equal_rows(desk.pool)


async def test_a_backend_killed_in_a_chunk_gives_the_job_back(
    desk: Desk, database: Database
) -> None:
    """The advisory lock goes with the connection: another process goes on at once."""
    await desk.accepted("jobs/create", _ALL)
    other = await create_pool(database.url, size=1)
    try:
        async with other.acquire() as holder, tenant_transaction(holder, "default"):
            assert await holder.fetchval(rollouts._SQL["try_job_work"], "default", "j")
            idle = await chunks.run_once(desk.pool, slot=None, progress=Progress())
            assert (idle.chunks, idle.more) == (0, False)
        done = await chunks.run_once(desk.pool, slot=None, progress=Progress())
        assert done.chunks == 1
    finally:
        await other.close()


async def test_two_processes_at_once_do_nothing_twice(desk: Desk, database: Database) -> None:
    """Two processes that work at the same time roll out, cancel and delete each execution once."""
    await desk.accepted("jobs/create", _ALL)
    other = await create_pool(database.url, size=2)
    twin = Desk(other)
    try:
        await asyncio.gather(desk.work(), twin.work())
        await desk.work()
        assert await desk.counts("j") == {"Queued": NUMBER}
        assert len(await notified(desk)) == NUMBER
        await desk.accepted("jobs/j/cancel")
        ended = [*await asyncio.gather(desk.work(), twin.work()), await desk.work()]
        assert [event for one in ended for event in one] == ["canceled"]
        assert await desk.counts("j") == {"Canceled": NUMBER}
        versions = await desk.rows("SELECT DISTINCT version_number AS version FROM executions")
        assert versions == [{"version": 2}]
        await desk.accepted("jobs/j/delete")
        gone = [*await asyncio.gather(desk.work(), twin.work()), await desk.work()]
        assert [event for one in gone for event in one] == ["deleted"]
        assert await count(desk, "executions") == await count(desk, "jobs") == 0
    finally:
        await other.close()


async def test_devices_that_finish_before_the_rollout_does(desk: Desk) -> None:
    """The job completes once, with the rollout's end, when every device of it was quicker."""
    names = [f"t{n:05}" for n in range(NUMBER)]
    await desk.accepted("jobs/create", _ALL)
    device = Plane(desk.pool)
    done: list[str] = []
    for _ in range(3):
        worked = await chunks.work_on_job(
            desk.pool, "default", "j", slot=None, progress=desk.progress
        )
        assert worked is not None
        rows = await desk.rows("SELECT thing_name FROM executions WHERE status = 'QUEUED'")
        queued = sorted(row["thing_name"] for row in rows)
        for start in range(0, len(queued), 250):
            asks = [
                device.ask(f"{name}/jobs/j/update", {"status": "SUCCEEDED"})
                for name in queued[start : start + 250]
            ]
            answers, _ = await device.batch(*asks)
            assert all(accepted for accepted, _ in answers)
        done += queued
        status = (await desk.job("j"))["status"]
        assert status == ("COMPLETED" if len(done) == NUMBER else "IN_PROGRESS")
    assert sorted(done) == names
    events = await desk.rows("SELECT topics FROM outbox")
    said = [
        topic for row in events for topic in row["topics"] if topic.startswith("$aws/events/job/")
    ]
    assert said == ["$aws/events/job/j/completed"]


async def test_things_that_vanish_during_a_rollout_are_left_out(desk: Desk) -> None:
    """The last chunk's things are deleted before their turn: the rollout ends and completes the job itself."""
    await desk.accepted("jobs/create", _ALL)
    await desk.rows("DELETE FROM principals WHERE kind = 'thing'")
    assert await desk.work() == ["completed"]
    assert (await desk.job("j"))["status"] == "COMPLETED"


async def test_cancel_in_the_middle_of_a_rollout(desk: Desk) -> None:
    """What was rolled out is cancelled, what was not never is; a kill between the chunks changes nothing."""
    await desk.accepted("jobs/create", _ALL)
    await chunks.work_on_job(desk.pool, "default", "j", slot=None, progress=Progress())
    await desk.accepted("jobs/j/cancel")
    # Another process each time: nobody remembers how far the last one came.
    said = []
    while True:
        worked = await chunks.run_once(desk.pool, slot=None, progress=Progress())
        said += [topic for told in worked.told for topic, _ in told.messages if "/job/" in topic]
        if not worked.chunks:
            break
    assert said == ["$aws/events/job/j/canceled"]
    assert await desk.counts("j") == {"Canceled": 1000}
    assert await count(desk, "rollout_chunks") == 0


async def test_a_device_that_starts_just_before_it_is_cancelled_may_finish(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding an execution and locking its thing, the device starts it: it is looked at again, and left."""
    desk, device = Desk(pool), Plane(pool)
    await add_things(pool, "t1", "t2")
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j"))
    real = store.lock_things

    async def late(
        connection: Connection, tenant_id: str, names: Iterable[str]
    ) -> tuple[frozenset[str], datetime]:
        with monkeypatch.context() as as_it_was:
            as_it_was.setattr(store, "lock_things", real)
            await desk.rows("UPDATE jobs SET status = 'IN_PROGRESS'")
            await device.accepted("t1/jobs/start-next")
            await desk.rows("UPDATE jobs SET status = 'CANCELED'")
        return await real(connection, tenant_id, names)

    await desk.accepted("jobs/j/cancel")
    with monkeypatch.context() as slow:
        slow.setattr(store, "lock_things", late)
        done = await chunks.run_once(pool, slot=None, progress=Progress())
    assert done.failures == ()
    assert await desk.counts("j") == {"Canceled": 1, "InProgress": 1}


async def test_what_a_process_remembers_is_only_a_hint(desk: Desk) -> None:
    """A process that wrongly believes to have come far still reaches every execution."""
    await desk.accepted("jobs/create", _ALL)
    await desk.work()
    await desk.accepted("jobs/j/cancel")
    [row] = await desk.rows("SELECT job_uid FROM jobs")
    desk.progress.after[(row["job_uid"], "CANCEL")] = ("t02400", 1)
    assert await desk.work() == ["canceled"]
    assert await desk.counts("j") == {"Canceled": NUMBER}


async def test_an_expired_job_tells_nobody_else(desk: Desk) -> None:
    """A job that expires while it rolls out at a rate queues nobody any more, and completes."""
    await desk.accepted("jobs/create", {**_ALL, "expires_in_hours": 1})
    await desk.accepted("jobs/j/update", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 60}})
    await desk.work()
    queued = (await desk.counts("j"))["Queued"]
    assert queued < NUMBER
    await desk.rows("UPDATE jobs SET expires_at = now() - interval '1 second'")
    await desk.rows("UPDATE rollout_paces SET due_at = now() - interval '1 minute'")
    await desk.work()
    assert await desk.counts("j") == {"TimedOut": queued}
    assert (await desk.job("j"))["status"] == "COMPLETED"


async def test_expiry_times_out_what_is_queued_and_lets_the_rest_finish(desk: Desk) -> None:
    """At expires_at QUEUED executions become TIMED_OUT; an IN_PROGRESS one may finish, and completes the job."""
    await desk.accepted("jobs/create", {**_ALL, "expires_in_hours": 1})
    await desk.work()
    device = Plane(desk.pool)
    await device.accepted("t00001/jobs/start-next")
    await desk.rows("UPDATE jobs SET expires_at = now() - interval '1 second'")
    assert "execution" not in await device.accepted("t00002/jobs/start-next")
    assert await desk.work() == []
    assert await desk.counts("j") == {"TimedOut": NUMBER - 1, "InProgress": 1}
    # Done is done: the job is not looked at again while its last device works.
    assert (await chunks.run_once(desk.pool, slot=None, progress=Progress())).chunks == 0
    await device.accepted("t00001/jobs/j/update", {"status": "SUCCEEDED"})
    assert (await desk.job("j"))["status"] == "COMPLETED"
    assert await counts_equal_rows(desk.pool)


async def test_expiry_completes_a_job_that_nobody_started(pool: Pool) -> None:
    """Seed 002 step 8: the job is COMPLETED and its execution TIMED_OUT."""
    desk = Desk(pool)
    await add_things(pool, "t1")
    await desk.accepted("jobs/create", {**_ALL, "expires_in_hours": 24})
    await desk.rows("UPDATE jobs SET expires_at = now() - interval '1 minute'")
    assert await desk.work() == ["completed"]
    shown = await desk.accepted("jobs/j/get")
    assert (shown["status"], shown["executions"][0]["status"]) == ("COMPLETED", "TIMED_OUT")


async def test_one_jobs_trouble_does_not_hold_up_the_others(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose work fails for a reason of ours is reported; the next job's work is done."""
    desk = Desk(pool)
    await add_things(pool, "t1")
    for job in ("bad", "good"):
        await desk.accepted("jobs/create", aws_job("t1", jobId=job))
        await desk.accepted(f"jobs/{job}/cancel")
    real = store.job_events

    async def failing(
        connection: Connection,
        tenant_id: str,
        jobs: Sequence[str],
        *,
        operation: str,
        now: datetime,
    ) -> list[tuple[str, str]]:
        if jobs == ["bad"]:
            raise RuntimeError
        return await real(connection, tenant_id, jobs, operation=operation, now=now)

    with monkeypatch.context() as broken:
        broken.setattr(store, "job_events", failing)
        done = await chunks.run_once(pool, slot=None, progress=Progress())
    assert [(one.job_id, one.work) for one in done.failures] == [("bad", "CANCEL")]
    assert await desk.counts("good") == {"Canceled": 1}
    assert await desk.counts("bad") == {"Queued": 1}
    assert await desk.work() == ["canceled"]


async def test_many_members_join_in_one_statement(desk: Desk) -> None:
    """create_things and add_members say how many were new, and repeat without harm."""
    names = [f"t{n:05}" for n in range(NUMBER)]
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        assert await create_things(connection, "default", [*names, "new"]) == 1
        assert await add_members(connection, "default", "g", names) == NUMBER
        assert await add_members(connection, "default", "g", [*names, "new"]) == 1
    assert (await desk.accepted("jobs/create", aws_job(group="g")))["execution_count"] == NUMBER + 1
