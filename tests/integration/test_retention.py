"""What is forgotten in time, on a real PostgreSQL: nothing grows without bound."""

from __future__ import annotations

from datetime import timedelta

from handlers import chunks, outbox, retention
from handlers.database import Pool, tenant_transaction
from tests.factories import add_job, add_things
from tests.integration.device_plane import Plane


async def test_old_answers_are_forgotten_until_none_is_left(pool: Pool) -> None:
    """However fast operators send commands: a pass that finds its fill says that there is more."""
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        await connection.execute(
            "INSERT INTO operator_requests (tenant_id, operator_name, client_token, request_sha256, reply, created_at) "
            "SELECT 'default', 'ann', n, sha256('x'), '{}', now() - n * interval '20 hours' "
            "FROM generate_series(1, 6) AS n"
        )
    passes = [await outbox.forget_requests(pool, most=2) for _ in range(3)]
    assert passes == [True, True, False]
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        left = await connection.fetch("SELECT client_token FROM operator_requests")
    assert [row["client_token"] for row in left] == ["1"]


async def test_jobs_that_ended_long_ago_are_deleted_with_their_executions(pool: Pool) -> None:
    """An old finished job goes, whole and in the log; a younger one and one that still runs stay."""
    await add_things(pool, "t1")
    for job in ("old", "young", "running"):
        await add_job(pool, job, ["t1"])
    plane = Plane(pool)
    for job in ("old", "young"):
        await plane.accepted(f"t1/jobs/{job}/update", {"status": "SUCCEEDED"})
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        await connection.execute(
            "UPDATE jobs SET completed_at = completed_at - interval '40 days' WHERE job_id = 'old'"
        )
        await connection.execute(
            "UPDATE jobs SET created_at = created_at - interval '40 days', "
            "updated_at = updated_at - interval '40 days' WHERE job_id = 'running'"
        )
        await connection.execute(
            "INSERT INTO audit_log (tenant_id, at, actor, role, action, subject) "
            "VALUES ('default', now() - interval '40 days', 'ann', 'owner', 'jobs/create', 'job/old')"
        )

    told, more = await retention.run_once(pool, older_than=timedelta(days=30), slot=None)
    progress = chunks.Progress()
    while (await chunks.run_once(pool, slot=None, progress=progress)).chunks:
        pass

    assert not more
    assert [topic for one in told for topic, _ in one.messages] == [
        "$aws/events/job/old/deletion_in_progress"
    ]
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        jobs = await connection.fetch("SELECT job_id FROM jobs ORDER BY job_id")
        executions = await connection.fetch("SELECT job_id FROM executions ORDER BY job_id")
        log = await connection.fetch("SELECT actor, action, subject FROM audit_log")
    assert [row["job_id"] for row in jobs] == ["running", "young"]
    assert [row["job_id"] for row in executions] == ["running", "young"]
    assert [tuple(row) for row in log] == [("jobbroker", "jobs/delete", "job/old")]
