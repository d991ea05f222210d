"""The design that the product was first asked for in, to be measured beside ours.

Seed 003's update of an execution: one request, one look, one write; its tables are seed 004's, with
their row security and the application's role. It has no clientTokens, versions kept by counters, or
outbox: it does less than we do. One thing is loosened: seed 003 refuses IN_PROGRESS after
IN_PROGRESS, which is the request that is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from handlers.database import Connection, Pool, tenant_transaction

_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "QUEUED": frozenset({"IN_PROGRESS"}),
    "IN_PROGRESS": frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"}),
}
_TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED"})

_TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS seed;
CREATE TABLE IF NOT EXISTS seed.jobs (
    job_id text NOT NULL,
    tenant_id text NOT NULL,
    status text NOT NULL DEFAULT 'IN_PROGRESS'
        CHECK (status IN ('IN_PROGRESS', 'COMPLETED', 'CANCELED', 'DELETION_IN_PROGRESS')),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, job_id)
);
CREATE TABLE IF NOT EXISTS seed.job_executions (
    job_id text NOT NULL,
    tenant_id text NOT NULL,
    device_id text NOT NULL,
    status text NOT NULL DEFAULT 'QUEUED'
        CHECK (status IN ('QUEUED', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'REJECTED')),
    status_details jsonb,
    execution_number bigint NOT NULL DEFAULT 1,
    queued_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    last_updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, job_id, device_id),
    FOREIGN KEY (tenant_id, job_id) REFERENCES seed.jobs (tenant_id, job_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS idx_job_executions_device_queued
    ON seed.job_executions (tenant_id, device_id, status) WHERE status IN ('QUEUED', 'IN_PROGRESS');
CREATE INDEX IF NOT EXISTS idx_job_executions_job_id ON seed.job_executions (tenant_id, job_id);
ALTER TABLE seed.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE seed.job_executions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS isolation ON seed.jobs;
CREATE POLICY isolation ON seed.jobs USING (tenant_id = current_setting('app.tenant_id', true));
DROP POLICY IF EXISTS isolation ON seed.job_executions;
CREATE POLICY isolation ON seed.job_executions
    USING (tenant_id = current_setting('app.tenant_id', true));
GRANT USAGE ON SCHEMA seed TO jobbroker_serve;
GRANT SELECT, INSERT, UPDATE, DELETE ON seed.jobs, seed.job_executions TO jobbroker_serve;
"""


async def prepare(admin: Connection, tenant: str, job: str, devices: Sequence[str]) -> None:
    """Make the seeds' tables with one job for these devices; `admin` owns the database."""
    await admin.execute(_TABLES)
    await admin.execute("TRUNCATE seed.jobs CASCADE")
    await admin.execute("INSERT INTO seed.jobs (job_id, tenant_id) VALUES ($1, $2)", job, tenant)
    await admin.execute(
        "INSERT INTO seed.job_executions (job_id, tenant_id, device_id)"
        " SELECT $1, $2, device FROM unnest($3::text[]) AS device",
        job,
        tenant,
        list(devices),
    )
    await admin.execute("ANALYZE seed.jobs, seed.job_executions")


async def update_execution(
    pool: Pool,
    tenant: str,
    device: str,
    job: str,
    *,
    status: str,
    details: Mapping[str, str] | None,
) -> tuple[str, dict[str, object]]:
    """Do what seed 003's endpoint does, in one transaction; returns `ok` or a fault, and the answer."""
    async with pool.acquire() as raw, tenant_transaction(raw, tenant) as connection:
        execution = await connection.fetchrow(
            "SELECT status, execution_number FROM seed.job_executions"
            " WHERE tenant_id = $1 AND job_id = $2 AND device_id = $3",
            tenant,
            job,
            device,
        )
        if execution is None:
            return "not found", {"code": "Job execution not found"}
        if status not in _ALLOWED.get(execution["status"], ()):
            return "refused", {"code": f"Cannot go from {execution['status']} to {status}"}
        started = ", started_at = now()" if status == "IN_PROGRESS" else ""
        await connection.execute(
            "UPDATE seed.job_executions SET status = $1, status_details = $2,"  # noqa: S608 - seed 003 builds it so, from two fixed texts
            f" execution_number = execution_number + 1, last_updated_at = now(){started}"
            " WHERE tenant_id = $3 AND job_id = $4 AND device_id = $5",
            status,
            json.dumps(details),
            tenant,
            job,
            device,
        )
        if status in _TERMINAL:
            await _complete_if_over(connection, tenant, job)
    return "ok", {"job_id": job, "device_id": device, "status": status}


async def _complete_if_over(connection: Connection, tenant: str, job: str) -> None:
    remaining = await connection.fetchval(
        "SELECT count(*) FROM seed.job_executions WHERE tenant_id = $1 AND job_id = $2"
        " AND status NOT IN ('SUCCEEDED', 'FAILED', 'TIMED_OUT', 'REJECTED')",
        tenant,
        job,
    )
    if remaining == 0:
        await connection.execute(
            "UPDATE seed.jobs SET status = 'COMPLETED', updated_at = now()"
            " WHERE tenant_id = $1 AND job_id = $2",
            tenant,
            job,
        )
