"""Tenants are walls: every tenant table, found in the catalog so that a new one cannot be forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from broker.embedded.postgres import connected
from handlers.database import Connection, Pool, connect, tenant_transaction
from schema.rights import Role
from tests.conftest import Database
from tests.factories import add_tenant
from tests.integration.operator_desk import Desk, aws_job

# What belongs to no tenant, each for a reason.
SHARED = {
    "schema_migrations",  # the database's own structure
    "leases",  # processes, which serve all tenants
}
TABLES = """
    SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS tenant
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY c.relname
"""


async def tenant_tables(admin: Connection) -> list[str]:
    """Every table, view or whatever else shows rows, but for the few that belong to no tenant."""
    return [row["name"] for row in await admin.fetch(TABLES) if row["name"] not in SHARED]


@pytest.fixture
async def filled(pool: Pool, admin: Connection) -> Pool:
    """A tenant with a row in every tenant table, and another tenant beside it."""
    await add_tenant(pool, "acme")
    desk = Desk(pool)
    await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
    await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingName": "t1"})
    await desk.accepted("jobs/create", aws_job("t1", jobId="j", clientToken="c"))
    await desk.accepted(
        "templates/create", {"jobTemplateId": "t", "description": "d", "document": "{}"}
    )
    staged = {"stages": [{"numberOfThings": 1}, {}], "approvalConfig": {"requiredApprovals": 1}}
    await desk.accepted("jobs/create", {**aws_job("t1", jobId="k"), **staged})
    manager = replace(desk, name="may", role=Role.MANAGER)
    await manager.accepted("jobs/k/approve")
    # A rollout in the middle, which a small job has no time for.
    await admin.execute("INSERT INTO rollout_chunks VALUES ('default', 'j', 0, '{t1}')")
    await admin.execute("INSERT INTO rollout_paces VALUES ('default', 'j', 1, now(), now())")
    # And what a process that sends would have noted.
    await admin.execute(
        "INSERT INTO told_lately (tenant_id, owner_slot, things) VALUES ('default', 0, '{t1}')"
    )
    await admin.execute(
        "INSERT INTO told_executions (tenant_id, job_id, executions) VALUES ('default', 'j', '{t1/1}')"
    )
    # And a failure that was sent again.
    await admin.execute("INSERT INTO retried_failures VALUES ('default', 'j', 't1', 1, 'k')")
    # And for somebody who follows over HTTP.
    await admin.execute("INSERT INTO event_streams VALUES ('default', now(), 0)")
    await admin.execute(
        "INSERT INTO recent_events (tenant_id, topics, payloads) VALUES ('default', '{t}', '{p}')"
    )
    # And what belongs to The Things Stack.
    await admin.execute(
        "INSERT INTO ttn_connections (tenant_id, organization_id, identity_host, network_host,"
        " application_host, join_host, mark) VALUES ('default', gen_random_uuid(), 'a', 'a', 'a', 'a',"
        " '0123456789ab')"
    )
    await admin.execute(
        "INSERT INTO ttn_devices (tenant_id, organization_id, application_id, device_id, state)"
        " SELECT tenant_id, organization_id, 'app', 'd', 'registered' FROM ttn_connections"
    )
    await admin.execute(
        "INSERT INTO ttn_device_batches (tenant_id, batch_id, organization_id, application_id, action,"
        " requested_by) SELECT tenant_id, gen_random_uuid(), organization_id, 'app', 'remove', 'ann'"
        " FROM ttn_connections"
    )
    await admin.execute(
        "INSERT INTO ttn_batch_lines (tenant_id, batch_id, line, device_id)"
        " SELECT tenant_id, batch_id, 1, 'd' FROM ttn_device_batches"
    )
    await admin.execute(
        "INSERT INTO ttn_deprovision_runs (tenant_id, organization_id)"
        " SELECT tenant_id, organization_id FROM ttn_connections"
    )
    for table, columns, values in (
        ("ttn_deprovision_run_steps", "run_id, step_name", "id, 'list_devices'"),
        ("ttn_run_devices", "run_id, device_id", "id, 'd'"),
        (
            "ttn_deprovision_jobs",
            "run_id, organization_id, ttn_application_id, ttn_device_id",
            "id, organization_id, 'app', 'd'",
        ),
    ):
        await admin.execute(
            f"INSERT INTO {table} (tenant_id, {columns})"
            f" SELECT tenant_id, {values} FROM ttn_deprovision_runs"
        )
    await admin.execute(
        "INSERT INTO refusals (tenant_id, at, slot, topic, code, message)"
        " VALUES ('default', now(), 0, 't', 'c', 'm')"
    )
    for table in await tenant_tables(admin):
        rows = await admin.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = 'default'")
        assert rows > 0, f"the test needs a row in the new table {table}"
    return pool


@pytest.fixture(params=["none", "forgotten", "another"])
async def outsider(
    request: pytest.FixtureRequest, filled: Pool, database: Database
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of the application outside the tenant: never told one, told one before, or told another."""
    connection = await connect(database.url)
    if request.param == "forgotten":
        async with tenant_transaction(connection, "default"):
            assert await connection.fetchval("SELECT count(*) FROM jobs") == 2
    if request.param == "another":
        await connection.execute("SET app.tenant_id = 'acme'")
    yield connection
    await connection.close()


async def test_every_table_is_of_a_tenant_and_forces_it(admin: Connection) -> None:
    """Each table but the few listed has tenant_id and row-level security enabled and forced."""
    found = await admin.fetch(TABLES)
    assert {row["name"] for row in found} >= SHARED
    open_doors = [
        row["name"]
        for row in found
        if row["name"] not in SHARED and not (row["tenant"] and row["forced"])
    ]
    assert open_doors == []


async def test_an_outsider_sees_no_row(
    outsider: asyncpg.Connection[asyncpg.Record], admin: Connection
) -> None:
    """Without app.tenant_id, and with another tenant's, every table shows 0 of the tenant's rows."""
    for table in await tenant_tables(admin):
        seen = await outsider.fetchval(
            f"SELECT count(*) FROM {table} WHERE tenant_id IS DISTINCT FROM 'acme'"
        )
        assert seen == 0, table


async def _written_columns(admin: Connection, table: str) -> str:
    """A table's columns without those that PostgreSQL makes of others."""
    rows = await admin.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 "
        "AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        table,
    )
    return ", ".join(row["attname"] for row in rows)


async def test_an_outsider_writes_no_row(
    outsider: asyncpg.Connection[asyncpg.Record], admin: Connection
) -> None:
    """Every table refuses a row of the tenant's; updates and deletes find nothing; truncating is not allowed."""
    for table in await tenant_tables(admin):
        before = await admin.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")
        row = await admin.fetchval(f"SELECT to_jsonb(t) FROM {table} t WHERE tenant_id = 'default'")
        columns = await _written_columns(admin, table)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await outsider.execute(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE "
                f"SELECT {columns} FROM jsonb_populate_record(NULL::{table}, $1)",
                row,
            )
        update = f"UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = 'default'"
        assert await outsider.execute(update) == "UPDATE 0", table
        assert await outsider.execute(f"DELETE FROM {table} WHERE tenant_id = 'default'") == (
            "DELETE 0"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await outsider.execute(f"TRUNCATE {table}")
        assert await admin.fetch(f"SELECT t::text FROM {table} t ORDER BY 1") == before, table


async def test_a_row_cannot_be_handed_to_another_tenant(filled: Pool) -> None:
    """Inside a tenant, a row cannot be moved into another one."""
    async with filled.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with tenant_transaction(connection, "default"):
                await connection.execute("UPDATE audit_log SET tenant_id = 'acme'")


async def test_the_serving_role_can_bypass_nothing(admin: Connection) -> None:
    """What the application acts as owns no table, is no superuser and bypasses no policy."""
    roles = await admin.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'jobbroker%' AND rolname <> 'jobbroker_login' "
        "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin)"
    )
    assert roles == []
    owned = await admin.fetch(
        "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) LIKE 'jobbroker%' AND relkind = 'r'"
    )
    assert owned == []
    member = await admin.fetchval(
        "SELECT pg_has_role('jobbroker_serve', 'jobbroker_sweep', 'MEMBER')"
    )
    assert member is False


async def test_sweeps_give_keys_only(filled: Pool, admin: Connection) -> None:
    """What sees all tenants returns keys, states and ages, nothing that a tenant has said."""
    allowed = {
        "tenant_id",
        "job_id",
        "thing_name",
        "pending_work",
        "owner_slot",
        "oldest",
        "depth",
        "most",
        "slot",
        # a token's sha256 goes in, whose it is comes out
        *("digest", "principal", "principal_kind", "credential_id", "last_used_at"),
        *("low", "high"),  # between which the sha256 of an access key's token is
        *("followed_until", "all_live"),
        *("queued", "in_progress", "succeeded", "failed", "timed_out", "rejected", "removed"),
        *("organization_id", "batch_id", "id"),
        *("canceled", "timeouts", "expiries", "rollouts", "schedules", "gates"),
        *("status", "runs"),  # of runs at The Things Stack: how many are in each
    }
    functions = await admin.fetch(
        "SELECT proname, coalesce(proargnames, '{}') AS names FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert functions
    for function in functions:
        assert set(function["names"]) <= allowed, function["proname"]


async def test_a_tenants_name_cannot_smuggle_sql(database: Database) -> None:
    """A tenant id that is none is refused before it comes near a statement."""
    async with connected(database.url) as connection:
        with pytest.raises(ValueError, match="tenant_id"):
            async with tenant_transaction(connection, "x'; RESET ROLE; --"):
                pass
