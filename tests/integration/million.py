"""A million executions of one tenant, and what PostgreSQL may believe of them when its statistics are old."""

from __future__ import annotations

import asyncpg

# Tables that grow with the fleet or with time: none may be read whole by anything that is not about all of it.
GROWING = (
    "principals",
    "things",
    "credentials",
    "thing_group_members",
    "jobs",
    "job_targets",
    "executions",
    "job_counts",
    "job_stages",
    "outbox",
    "operator_requests",
    "audit_log",
)
BUSY = 1000  # things with an execution of each of the ordinary jobs
JOBS = 900
BIG = 100_000  # things of the one big job, the busy ones among them
IDLE = 1000  # things without any execution
REQUESTS = 20_000  # answers and audit lines that are kept
BACKLOG = 2000  # outbox rows of a dead process
OLD = 5000  # jobs that ended long ago and have no executions any more

# $1 first and $2 last number; the names are of one length, so that their order is that of the numbers.
_THINGS = """
INSERT INTO principals (tenant_id, name, kind)
SELECT 'default', 't' || lpad(n::text, 6, '0'), 'thing' FROM generate_series($1::int, $2::int) n;
INSERT INTO things (tenant_id, thing_name)
SELECT 'default', 't' || lpad(n::text, 6, '0') FROM generate_series($1::int, $2::int) n;
INSERT INTO credentials (tenant_id, principal, kind, token_sha256, mosquitto_hash)
SELECT 'default', 't' || lpad(n::text, 6, '0'), 'token', sha256(n::text::bytea), 'x'
FROM generate_series($1::int, $2::int) n WHERE n < 10 OR n % 10 = 0;
INSERT INTO thing_group_members (tenant_id, group_name, thing_name)
SELECT 'default', 'tenth', 't' || lpad(n::text, 6, '0') FROM generate_series($1::int, $2::int) n WHERE n % 10 = 0
"""
_JOBS = """
INSERT INTO jobs (tenant_id, job_id, document, dialect, status, completed_at, total_targets, request_sha256)
SELECT 'default', $3 || lpad(n::text, 4, '0'), '{"operation":"test"}', 'aws',
       CASE WHEN $4 THEN 'COMPLETED' ELSE 'IN_PROGRESS' END, CASE WHEN $4 THEN now() END, 1, sha256('x')
FROM generate_series($1::int, $2::int) n;
INSERT INTO job_counts (tenant_id, job_id)
SELECT 'default', $3 || lpad(n::text, 4, '0') FROM generate_series($1::int, $2::int) n;
INSERT INTO job_stages (tenant_id, job_id, stage, config)
SELECT 'default', $3 || lpad(n::text, 4, '0'), stage, '{}'
FROM generate_series($1::int, $2::int) n, generate_series(1, 3) stage WHERE $4;
INSERT INTO job_targets (tenant_id, job_id, position, target_kind, target_name, target_arn)
SELECT 'default', $3 || lpad(n::text, 4, '0'), 0, 'thing', 't000000', 'arn:aws:iot:us-east-1:000000000000:thing/t000000'
FROM generate_series($1::int, $2::int) n
"""
# One in a hundred is QUEUED, of the big job every other one ($5: of how many one is).
_EXECUTIONS = """
INSERT INTO executions (tenant_id, thing_name, job_id, status, version_number, status_details, queued_at, started_at,
                        last_updated_at, recent)
SELECT 'default', 't' || lpad(t::text, 6, '0'), CASE WHEN j = 0 THEN 'big0000' ELSE 'j' || lpad(j::text, 4, '0') END,
       CASE WHEN (j + t) % $5::int = 0 THEN 'QUEUED' ELSE 'SUCCEEDED' END, 3, '{"progress":"100"}',
       now() - interval '2 days' + j * interval '1 minute', now() - interval '1 day', now() - interval '1 day',
       sha256('x')
FROM generate_series($1::int, $2::int) j, generate_series($3::int, $4::int) t
"""
_OUTBOX = """
INSERT INTO outbox (tenant_id, owner_slot, topics, payloads)
SELECT 'default', 60, ARRAY['$aws/events/x'], ARRAY['{}'] FROM generate_series($1::int, $2::int)
"""
_KEPT = """
INSERT INTO operator_requests (tenant_id, operator_name, client_token, request_sha256, reply)
SELECT 'default', 'ann', 'token-' || n, sha256('x'), '{}' FROM generate_series($1::int, $2::int) n;
INSERT INTO audit_log (tenant_id, actor, role, action, subject)
SELECT 'default', 'ann', 'owner', 'jobs/create', 'job/j' || n % 1000 FROM generate_series($1::int, $2::int) n
"""
_COUNT = """
UPDATE job_counts c SET queued = e.queued, succeeded = e.succeeded
FROM (SELECT job_id, count(*) FILTER (WHERE status = 'QUEUED') AS queued,
             count(*) FILTER (WHERE status = 'SUCCEEDED') AS succeeded FROM executions GROUP BY 1) e
WHERE c.tenant_id = 'default' AND c.job_id = e.job_id
"""


async def load_tiny(admin: asyncpg.Connection) -> None:
    """Ten things with the big job, and one job more: what a new installation is analysed with."""
    await _prepare(admin)
    await _run(admin, _THINGS, 0, 9)
    await admin.execute(
        "INSERT INTO thing_groups (tenant_id, group_name) VALUES ('default', 'tenth')"
    )
    await _run(admin, _JOBS, 0, 0, "big", False)
    await _run(admin, _EXECUTIONS, 0, 0, 0, 9, 2)
    await admin.execute(_COUNT)
    await admin.execute("ANALYZE")


async def load_million(admin: asyncpg.Connection) -> None:
    """All the rest, by plain INSERTs: plans that sessions made before stay in their caches."""
    await _run(admin, _THINGS, 10, BIG + IDLE - 1)
    await _run(admin, _JOBS, 1, JOBS, "j", False)
    await _run(admin, _JOBS, 1, OLD, "old", True)
    await _run(admin, _EXECUTIONS, 0, 0, 10, BIG - 1, 2)
    await _run(admin, _EXECUTIONS, 1, JOBS, 0, BUSY - 1, 100)
    await _run(admin, _OUTBOX, 1, BACKLOG)
    await _run(admin, _KEPT, 1, REQUESTS)
    await admin.execute(_COUNT)


async def _prepare(admin: asyncpg.Connection) -> None:
    # Foreign keys would be checked row by row, and autovacuum would analyse behind our back.
    await admin.execute("SET session_replication_role = replica")
    for table in GROWING:
        await admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


async def _run(admin: asyncpg.Connection, script: str, *arguments: object) -> None:
    for statement in script.split(";"):
        used = sum(f"${number}" in statement for number in range(1, len(arguments) + 1))
        await admin.execute(statement, *arguments[:used])


async def never_analysed(admin: asyncpg.Connection) -> None:
    """PostgreSQL knows nothing of the growing tables, as after a restore."""
    await admin.execute(
        "DELETE FROM pg_statistic WHERE starelid = ANY ($1::text[]::regclass[]::oid[])", GROWING
    )
    await admin.execute(
        "UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0 "
        "WHERE oid = ANY ($1::text[]::regclass[]::oid[])",
        GROWING,
    )
    await admin.execute(
        "UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE oid IN "
        "(SELECT indexrelid FROM pg_index WHERE indrelid = ANY ($1::text[]::regclass[]::oid[]))",
        GROWING,
    )


async def analysed_with_one_job(admin: asyncpg.Connection) -> None:
    """PostgreSQL knows the tenant as it was when the big job was its only one."""
    await never_analysed(admin)
    for table in ("executions", "jobs", "job_counts", "job_targets"):
        await admin.execute(
            f"CREATE TABLE was (LIKE {table});"
            f"INSERT INTO was SELECT * FROM {table} WHERE job_id = 'big0000';"
            "ANALYZE was;"
            f"UPDATE pg_statistic SET starelid = '{table}'::regclass WHERE starelid = 'was'::regclass;"
            "UPDATE pg_class c SET reltuples = w.reltuples, relpages = w.relpages FROM pg_class w "
            f"WHERE w.oid = 'was'::regclass AND c.oid = '{table}'::regclass;"
            "DROP TABLE was"
        )


async def analysed(admin: asyncpg.Connection) -> None:
    """PostgreSQL knows everything as it is."""
    await admin.execute("ANALYZE")
