"""What a process says of itself and of the database: /readyz, and the figures for /metrics over all tenants."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from broker.http.watching import Watching
from broker.metrics import Metrics
from handlers.database import Connection, Pool, create_pool
from handlers.watching import Figures, figures
from tests.conftest import Database
from tests.integration.http_door import http_door
from tests.integration.operator_desk import Desk, aws_job

RUN = """
INSERT INTO ttn_deprovision_runs (tenant_id, organization_id, ttn_application_id, status, created_at)
VALUES ($1, gen_random_uuid(), $2, $3, now() - $4::interval)
"""


async def test_who_is_not_ready_says_what_is_lacking(database: Database) -> None:
    """503 with each part that is; what only needs the process goes on, and no figure of the database is made up."""
    pool = await create_pool(database.url, size=2)
    lacking: dict[str, str] = {}
    watching = Watching(pool, Metrics(), gauges={}, lacks=lambda: dict(lacking))
    async with http_door(watching.routes()) as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        lacking["mqtt"] = "not connected to the MQTT server"
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["lacking"]) == (503, lacking)
        assert "jobbroker_database_up 1.0" in (await http.get("/metrics")).text
        await pool.close()
        said = (await http.get("/readyz")).json()["lacking"]
        assert said == {**lacking, "database": "does not answer (InterfaceError)"}
        assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_figures_that_take_long_are_read_rarely(pool: Pool) -> None:
    """After five seconds, or after twenty times what reading them took, whichever is longer."""
    now, takes, readings = 1000.0, 0.0, 0

    async def read(pool: Pool) -> Figures:
        nonlocal now, readings
        now, readings = now + takes, readings + 1
        return await figures(pool)

    watching = Watching(pool, Metrics(), gauges={}, lacks=dict, read=read, clock=lambda: now)
    async with http_door(watching.routes()) as http:

        async def looked(after: float) -> int:
            nonlocal now
            now += after
            assert "jobbroker_database_up 1.0" in (await http.get("/metrics")).text
            return readings

        assert [await looked(after) for after in (0.0, 4.9, 0.2)] == [1, 1, 2]
        takes = 0.8
        assert [await looked(after) for after in (5.1, 15.0, 0.3)] == [3, 3, 4]


async def test_a_database_that_lets_nobody_in_is_lacking(database: Database) -> None:
    """Not only one that is away: who asks hears that we are not ready, and gets the figures that need no database."""
    nowhere = f"{database.url}_that_is_not_there"
    async with asyncpg.create_pool(nowhere, min_size=0, max_size=1) as pool:
        watching = Watching(pool, Metrics(), gauges={}, lacks=dict)
        async with http_door(watching.routes()) as http:
            said = (await http.get("/readyz")).json()
            assert said["lacking"] == {"database": "does not answer (InvalidCatalogNameError)"}
            figures_alone = await http.get("/metrics")
            assert figures_alone.status_code == 200
            assert "jobbroker_database_up 0.0" in figures_alone.text


async def test_nothing_waits_where_nothing_was_ever_done(pool: Pool) -> None:
    """All timers are there, none is late; a tenant without anything has no rows."""
    found = await figures(pool)
    assert found.late == dict.fromkeys(
        ("timeouts", "expiries", "rollouts", "schedules", "gates"), 0.0
    )
    assert not found.runs
    assert not found.run_age


async def test_schedules_and_gates_that_nobody_looks_at_are_late(
    pool: Pool, admin: Connection
) -> None:
    """From when they were due, whichever of startTime, endTime, a window or a gate's time it is."""
    desk = Desk(pool)
    await desk.accepted("things/create", {"thingName": "t1"})
    stages = [{"numberOfThings": 1}, {}]
    await desk.accepted("jobs/create", aws_job("t1", jobId="j1", stages=stages))
    await admin.execute("UPDATE jobs SET schedule_due_at = now() - interval '90 s'")
    await admin.execute("UPDATE job_stages SET due_at = '-infinity'")
    late = (await figures(pool)).late
    assert 90 <= late["schedules"] < 900
    assert late["gates"] == 0.0, "counts have changed: nobody knows since when"
    await admin.execute("UPDATE job_stages SET due_at = now() - interval '2000 s' WHERE stage = 1")
    assert 2000 <= (await figures(pool)).late["gates"] < 9000


async def test_a_run_that_does_not_end_is_seen_by_its_age(pool: Pool, admin: Connection) -> None:
    """By tenant: the oldest that is QUEUED or RUNNING, not those that ended; and all of them by status."""
    for number, (status, hours) in enumerate(
        [("RUNNING", 3), ("QUEUED", 1), ("FAILED", 9), ("FAILED", 8)]
    ):
        await admin.execute(RUN, "default", f"app-{number}", status, timedelta(hours=hours))
    found = await figures(pool)
    assert 3 * 3600 <= found.run_age["default"] < 4 * 3600
    assert {status: count for (_, status), count in found.runs.items()} == {
        "QUEUED": 1,
        "RUNNING": 1,
        "SUCCEEDED": 0,
        "FAILED": 2,
        "PARTIAL": 0,
    }
