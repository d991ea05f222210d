"""How the installation does: what was refused, who serves, how large the database is; to whom it is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from broker.refusals import Refusals
from handlers import slots
from handlers.database import Pool
from schema.limits import REFUSALS_KEPT
from schema.rights import Role
from tests.factories import add_tenant, add_things
from tests.integration.operator_desk import Desk, aws_job

NOW = datetime(2026, 11, 28, tzinfo=UTC)
NO_JOB = json.dumps({"code": "ResourceNotFound", "message": "no job 'j9'"}).encode()


async def test_refused_requests_are_kept_for_their_tenant(pool: Pool) -> None:
    """The newest come first, from every process; another tenant's admin sees none, and a tenant unknown keeps none."""
    await add_tenant(pool, "acme")
    for slot in (0, 1):
        noted = Refusals(pool, slot=slot)
        for tenant in ("default", "nowhere"):
            noted.note(tenant, f"t/{slot}", NO_JOB, at=NOW, left_out=slot)
        await noted.run_once()
        await noted.run_once()
    found = (await Desk(pool).accepted("system/get"))["refused"]
    assert [(one["topic"], one["slot"], one.get("leftOut")) for one in found] == [
        ("t/1", 1, 1),
        ("t/0", 0, None),
    ]
    assert found[0]["message"] == "no job 'j9'"
    assert found[0]["at"] == int(NOW.timestamp())
    assert (await Desk(pool, tenant="acme").accepted("system/get"))["refused"] == []


async def test_a_flood_of_refusals_stays_small(pool: Pool) -> None:
    """In memory and in the table no more are kept than are shown; how many more there were is told."""
    noted = Refusals(pool, slot=0)
    for round_ in range(2):
        for number in range(REFUSALS_KEPT + 30):
            noted.note("default", f"{round_}/{number}", NO_JOB, at=NOW, left_out=0)
        await noted.run_once()
    found = (await Desk(pool).accepted("system/get"))["refused"]
    assert len(found) == REFUSALS_KEPT
    assert {one["topic"].partition("/")[0] for one in found} == {"1"}
    assert found[0]["leftOut"] == 30


async def test_processes_and_database_are_shown_to_the_default_tenant(pool: Pool) -> None:
    """Its admins see who holds a slot, and sizes; another tenant's admins their own figures and no more."""
    await add_tenant(pool, "acme")
    await add_things(pool, "t1")
    desk = Desk(pool)
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1"))
    await desk.work()
    async with pool.acquire() as connection:
        taken = await slots.take_slot(connection, "host:1", {})
        assert taken
        found = await desk.accepted("system/get")
        (slot,) = found["slots"]
        assert (slot["slot"], slot["holder"], slot["held"]) == (taken.number, "host:1", True)
        await connection.execute("SELECT pg_advisory_unlock_all()")
    (slot,) = (await desk.accepted("system/get"))["slots"]
    assert not slot["held"]
    assert found["executions"]["QUEUED"] == 1
    assert found["database"]["bytes"] > 1_000_000
    assert {"name", "live", "dead", "bytes", "indexBytes"} <= found["database"]["tables"][0].keys()
    other = await Desk(pool, tenant="acme").accepted("system/get")
    assert other["executions"]["QUEUED"] == 0
    assert "slots" not in other
    assert "database" not in other
    refused = await Desk(pool, role=Role.MANAGER).rejected("system/get")
    assert refused["code"] == "Unauthorized"
