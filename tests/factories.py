"""Rows that tests start from, made so that every invariant holds: counts equal executions, chunks equal targets."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handlers import store
from handlers.database import Connection, Pool, tenant_transaction
from schema import lifecycle
from schema.changes import Change

TENANT = "default"


async def add_tenant(pool: Pool, tenant: str) -> None:
    """Another tenant beside `default`."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        await connection.execute("INSERT INTO tenants (tenant_id) VALUES ($1)", tenant)


async def add_things(pool: Pool, *names: str, tenant: str = TENANT) -> None:
    """Registered things without credentials."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        await connection.execute(
            "INSERT INTO principals SELECT $1, name, 'thing' FROM unnest($2::text[]) AS name",
            tenant,
            list(names),
        )
        await connection.execute(
            "INSERT INTO things (tenant_id, thing_name) SELECT $1, name FROM unnest($2::text[]) AS name",
            tenant,
            list(names),
        )


async def add_job(
    pool: Pool,
    job_id: str,
    things: Sequence[str],
    *,
    tenant: str = TENANT,
    document: object = None,
    timeout_minutes: int | None = None,
    expires_in_seconds: float | None = None,
) -> None:
    """An AWS-style job that is rolled out: one QUEUED execution on each of the things."""
    text = json.dumps({"operation": "test", "job": job_id} if document is None else document)
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        await connection.execute(
            "INSERT INTO jobs (tenant_id, job_id, document, dialect, total_targets, request_sha256, created_by, "
            "in_progress_timeout_minutes, expires_at) "
            "VALUES ($1, $2, $3, 'aws', $4, sha256('x'), 'test', $5, now() + $6 * interval '1 second')",
            tenant,
            job_id,
            text,
            len(things),
            timeout_minutes,
            expires_in_seconds,
        )
        await connection.execute(
            "INSERT INTO job_counts (tenant_id, job_id) VALUES ($1, $2)", tenant, job_id
        )
        for position, name in enumerate(things):
            await connection.execute(
                "INSERT INTO job_targets VALUES ($1, $2, $3, 'thing', $4, $5)",
                tenant,
                job_id,
                position,
                name,
                f"arn:aws:iot:us-east-1:000000000000:thing/{name}",
            )
        _, now = await store.lock_things(connection, tenant, things)
        queues = await store.load_queues(connection, tenant, things)
        await store.save(
            connection,
            tenant,
            [Change(None, lifecycle.queued(name, job_id, now)) for name in things],
            queues={name: [one.execution for one in queue] for name, queue in queues.items()},
            now=now,
            slot=None,
        )


async def counts_equal_rows(pool: Pool, *, tenant: str = TENANT) -> bool:
    """Whether every job's counters are what the statuses of its things' latest executions add up to."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        wrong = await connection.fetch(
            """
            SELECT job_id, queued, in_progress, succeeded, failed, timed_out, rejected, removed, canceled
            FROM job_counts
            EXCEPT
            SELECT c.job_id, count(*) FILTER (WHERE status = 'QUEUED'), count(*) FILTER (WHERE status = 'IN_PROGRESS'),
                   count(*) FILTER (WHERE status = 'SUCCEEDED'), count(*) FILTER (WHERE status = 'FAILED'),
                   count(*) FILTER (WHERE status = 'TIMED_OUT'), count(*) FILTER (WHERE status = 'REJECTED'),
                   count(*) FILTER (WHERE status = 'REMOVED'), count(*) FILTER (WHERE status = 'CANCELED')
            FROM job_counts c
            LEFT JOIN (
                SELECT DISTINCT ON (tenant_id, job_id, thing_name) tenant_id, job_id, status
                FROM executions ORDER BY tenant_id, job_id, thing_name, execution_number DESC
            ) e USING (tenant_id, job_id)
            GROUP BY c.job_id
            """
        )
        return not wrong


async def stages_equal_rows(pool: Pool, *, tenant: str = TENANT) -> bool:
    """Whether every stage's numbers are what its waiting names and its things' latest executions add up to."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        wrong = await connection.fetch(
            """
            SELECT job_id, stage, waiting, queued, in_progress, succeeded, failed, timed_out, rejected, removed,
                   canceled
            FROM job_stages
            EXCEPT
            SELECT s.job_id, s.stage,
                   (SELECT coalesce(sum(cardinality(c.thing_names)), 0) FROM rollout_chunks c
                    WHERE c.job_id = s.job_id AND c.stage = s.stage AND NOT c.is_retry),
                   count(*) FILTER (WHERE status = 'QUEUED'), count(*) FILTER (WHERE status = 'IN_PROGRESS'),
                   count(*) FILTER (WHERE status = 'SUCCEEDED'), count(*) FILTER (WHERE status = 'FAILED'),
                   count(*) FILTER (WHERE status = 'TIMED_OUT'), count(*) FILTER (WHERE status = 'REJECTED'),
                   count(*) FILTER (WHERE status = 'REMOVED'), count(*) FILTER (WHERE status = 'CANCELED')
            FROM job_stages s
            LEFT JOIN (
                SELECT DISTINCT ON (job_id, thing_name) job_id, stage, status
                FROM executions ORDER BY job_id, thing_name, execution_number DESC
            ) e USING (job_id, stage)
            GROUP BY s.job_id, s.stage
            """
        )
        return not wrong


async def add_operator(pool: Pool, name: str, role: str, *, tenant: str = TENANT) -> None:
    """An operator without credentials."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        await connection.execute(
            "INSERT INTO principals (tenant_id, name, kind) VALUES ($1, $2, 'operator')",
            tenant,
            name,
        )
        await connection.execute(
            "INSERT INTO operators (tenant_id, operator_name, role) VALUES ($1, $2, $3)",
            tenant,
            name,
            role,
        )


async def is_waited_for(connection: Connection) -> bool:
    """Whether a transaction waits for the one of this connection."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    )
    return found
