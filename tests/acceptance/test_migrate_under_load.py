"""Migrations while devices work at full speed: nothing refused, nothing lost, nobody held up for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded.postgres import connected
from handlers import migrate as migrate_module
from handlers.migrate import MigrationBlockedError, applied_migrations, migrate
from schema.sql import migrations
from tests.acceptance.devices import devices
from tests.acceptance.serving import Site, site
from tests.acceptance.working import all_is_well, loaded, prepare
from tests.conftest import Database, StartMosquitto

# What a version to come may do to the tables that are busiest, each step under locks that stop all others.
STEPS = {
    "9000_columns": """
        ALTER TABLE executions ADD COLUMN note text, ADD COLUMN weight integer NOT NULL DEFAULT 1;
        ALTER TABLE jobs ADD COLUMN note text;
        ALTER TABLE job_counts ADD COLUMN paused bigint NOT NULL DEFAULT 0;
        ALTER TABLE outbox ADD COLUMN note text;
        ALTER TABLE things ADD COLUMN note text;
    """,
    "9001_constraints": """
        ALTER TABLE executions ADD CONSTRAINT weight_check CHECK (weight > 0) NOT VALID;
        ALTER TABLE executions VALIDATE CONSTRAINT weight_check;
        CREATE INDEX executions_note_idx ON executions (tenant_id, note) WHERE note IS NOT NULL;
    """,
    "9002_functions": """
        CREATE OR REPLACE FUNCTION sweep_tenants() RETURNS SETOF text
            LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
            AS 'SELECT tenant_id FROM public.tenants ORDER BY tenant_id';
    """,
    "9003_columns_again": """
        ALTER TABLE executions DROP COLUMN note, DROP COLUMN weight;
        ALTER TABLE jobs DROP COLUMN note;
        ALTER TABLE job_counts DROP COLUMN paused;
        ALTER TABLE outbox DROP COLUMN note;
        ALTER TABLE things DROP COLUMN note;
    """,
}


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto and a database, and no broker yet."""
    async with site(mosquitto_server, database, tmp_path) as made:
        yield made


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate as the version to come would."""
    steps = {**migrations(), **STEPS}
    monkeypatch.setattr(migrate_module, "migrations", lambda: steps)


async def test_devices_notice_nothing(here: Site, newer: None) -> None:
    """Every request is answered once and accepted, by the processes that were there before."""
    await prepare(here.database)
    brokers = [await here.start(), await here.start()]
    async with devices(here.device_port, retry_seconds=60) as fleet:
        async with loaded(fleet) as load:
            await load.busy()
            async with connected(here.database.admin_url) as owner:
                assert await migrate(owner) == list(STEPS)
            await load.busy()
        await all_is_well(here.database, fleet, load)
        assert not fleet.retries
    assert [broker.exit_code for broker in brokers] == [None, None]
    assert not [line for broker in brokers for line in broker.lines("batch_failed")]


async def test_a_dump_in_the_way_holds_nobody_up(here: Site, newer: None) -> None:
    """While a long reader keeps a step from its lock, devices work on; when it is done, the step is as well."""
    await prepare(here.database)
    await here.start()
    url = here.database.admin_url
    async with devices(here.device_port, retry_seconds=60) as fleet:
        async with loaded(fleet) as load, connected(url) as reader, connected(url) as owner:
            await load.busy()
            dump = reader.transaction()
            await dump.start()
            await reader.fetchval("SELECT count(*) FROM executions")
            migrating = asyncio.create_task(migrate(owner))
            await load.busy(1000)
            assert not migrating.done()
            await dump.rollback()
            assert await migrating == list(STEPS)
            await load.busy()
        await all_is_well(here.database, fleet, load)


async def test_what_never_gets_its_lock_changes_nothing(database: Database, newer: None) -> None:
    """After its tries it says who is in the way; the steps are still to be done, and can be."""
    async with connected(database.admin_url) as reader, connected(database.admin_url) as owner:
        dump = reader.transaction()
        await dump.start()
        await reader.execute("SET LOCAL application_name = 'pg_dump'; SELECT 1 FROM executions")
        with pytest.raises(MigrationBlockedError, match=r"9000_columns changed nothing.*pg_dump"):
            await migrate(owner, tries=2)
        assert await applied_migrations(owner) == list(migrations())
        await dump.rollback()
        assert await migrate(owner, tries=2) == list(STEPS)
