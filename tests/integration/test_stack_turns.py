"""Work at The Things Stack takes turns: one organization's, that breaks or waits, keeps no other from its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from broker.simulator.things_stack.seeding import JOIN_EUI
from broker.things_stack import opening, provision_steps, worker
from broker.things_stack.device_registration import DeviceRegistration
from broker.things_stack.driver import Driver
from broker.things_stack.provision_work import Work
from broker.things_stack.run_locks import RunLocks
from handlers import run_ledger
from handlers.database import Pool
from schema.things_stack_connection import ProvisioningStep
from schema.things_stack_runs import Phase
from tests.conftest import Database
from tests.integration.run_site import run_site
from tests.integration.stack_site import Site, stack_site

OTHERS = [str(UUID(int=number)) for number in range(1, 6)]
MINE = str(UUID(int=9))


class BrokenError(Exception):
    """An error of ours."""


@pytest.fixture
async def site(pool: Pool, database: Database) -> AsyncIterator[Site]:
    """A server, and nothing provisioned."""
    async with stack_site(pool, database) as made:
        yield made


def device(number: int) -> dict[str, object]:
    """One to register."""
    return {
        "device_id": f"pump-{number}",
        "dev_eui": f"70B3D57ED3{number:06X}",
        "join_eui": JOIN_EUI,
        "app_key": "00112233445566778899AABBCCDDEEFF",
        "frequency_plan_id": "EU_863_870_TTN",
    }


async def waits(site: Site, table: str, where: str) -> float:
    """In how many seconds a row is tried again."""
    rows = await site.desk.rows(
        f"SELECT extract(epoch FROM next_try_at - clock_timestamp())::float AS seconds FROM {table} WHERE {where}"
    )
    seconds: float = rows[0]["seconds"]
    return seconds


async def test_provisioning_that_waits_for_locks_keeps_nobody_waiting(
    site: Site, database: Database
) -> None:
    """Five organizations that another process works on come first: the sixth has its turn all the same."""
    for organization in [*OTHERS, MINE]:
        await site.bring(organization_id=organization)
        await site.desk.accepted("ttn/provision", {"organization_id": organization})
    locks = RunLocks(database.url)
    async with AsyncExitStack() as held:
        for organization in OTHERS:
            name = f"organization default {organization}"
            assert await held.enter_async_context(locks.holding((name,)))
        await site.provisioner.run_once()
        status = await site.desk.accepted("ttn/status", {"organization_id": MINE})
        assert status["provisioning_status"] == "ready"
    await locks.close()


async def test_provisioning_that_breaks_waits_longer_each_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours with one organization: the others are done, it says so, and goes on once that is mended."""
    broken: list[str] = [OTHERS[0]]
    auth_info = provision_steps.STEPS[ProvisioningStep.AUTH_INFO]

    async def breaking(work: Work) -> None:
        if str(work.found.organization_id) in broken:
            raise BrokenError
        await auth_info(work)

    steps = {**provision_steps.STEPS, ProvisioningStep.AUTH_INFO: breaking}
    monkeypatch.setattr("broker.things_stack.provisioning.STEPS", steps)
    for organization in (OTHERS[0], MINE):
        await site.bring(organization_id=organization)
        await site.desk.accepted("ttn/provision", {"organization_id": organization})
    await site.provisioner.run_once()
    mine = await site.desk.accepted("ttn/status", {"organization_id": MINE})
    assert mine["provisioning_status"] == "ready"
    row = f"organization_id = '{OTHERS[0]}'"
    first = await waits(site, "ttn_connections", row)
    await site.desk.rows("UPDATE ttn_connections SET next_try_at = now() WHERE next_try_at > now()")
    await site.provisioner.run_once()
    second = await waits(site, "ttn_connections", row)
    assert 0 < first <= 30 < second <= 60
    told = await site.desk.accepted("ttn/status", {"organization_id": OTHERS[0]})
    assert told["provisioning_error"] == "an error of ours (BrokenError); see the log"
    broken.clear()
    assert (await site.settled(organization_id=OTHERS[0]))["provisioning_status"] == "ready"


async def test_a_batch_that_breaks_waits_longer_each_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines stay; another organization's batch is done; mended, it goes on."""
    for organization in (OTHERS[0], MINE):
        await site.bring(organization_id=organization)
        await site.provisioned(organization_id=organization)
    made: dict[str, Any] = {}
    for number, organization in enumerate((OTHERS[0], MINE)):
        wanted = {"organization_id": organization, "devices": [device(number)]}
        made[organization] = await site.desk.accepted("ttn/devices/register", wanted)
    carry_out = DeviceRegistration.carry_out

    async def breaking(work: DeviceRegistration) -> None:
        if work.device_id == "pump-0":
            raise BrokenError
        await carry_out(work)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceRegistration, "carry_out", breaking)
        await site.batches.run_once()
        mine = {"batch_id": made[MINE]["batch_id"]}
        assert (await site.desk.accepted("ttn/devices/batch", mine))["status"] == "SUCCEEDED"
        row = f"batch_id = '{made[OTHERS[0]]['batch_id']}'"
        first = await waits(site, "ttn_device_batches", row)
        await site.desk.rows("UPDATE ttn_device_batches SET next_try_at = now()")
        await site.batches.run_once()
        second = await waits(site, "ttn_device_batches", row)
        assert 0 < first <= 30 < second <= 60
        told = await site.desk.accepted(
            "ttn/devices/batch", {"batch_id": made[OTHERS[0]]["batch_id"]}
        )
        assert told["error"] == "an error of ours (BrokenError); see the log"
    done = await site.batch_done(made[OTHERS[0]]["batch_id"])
    assert (done["status"], "error" in done) == ("SUCCEEDED", False)


async def test_a_run_that_breaks_waits_longer_each_time(
    pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays as it is, is tried again later and later, and goes through once that is mended."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        run_id = await site.deprovision()

        async def breaking(driver: Driver) -> None:
            await opening.list_devices(driver)
            raise BrokenError

        pauses: list[float] = []
        with monkeypatch.context() as patched:
            patched.setitem(worker._PHASES, Phase.LIST, breaking)
            patched.setitem(worker._PHASES, Phase.DEVICES, breaking)
            for _ in range(3):
                await site.work()
                rows = await site.desk.rows(
                    "SELECT extract(epoch FROM next_try_at - clock_timestamp())::float AS seconds"
                    " FROM ttn_deprovision_runs"
                )
                pauses.append(rows[0]["seconds"])
                await site.desk.rows("UPDATE ttn_deprovision_runs SET next_try_at = now()")
        assert 0 < pauses[0] <= 30
        assert pauses[2] > pauses[1] > 25
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"


async def test_the_first_of_each_organization_comes_first(
    pool: Pool, database: Database, admin: asyncpg.Connection
) -> None:
    """Sixty runs of one, then one of another: it is among the first looked at."""
    async with run_site(pool, database) as site:
        for number, count in ((1, 60), (2, 1)):
            await admin.execute(
                "INSERT INTO ttn_deprovision_runs"
                " (tenant_id, organization_id, ttn_application_id, device_id, next_try_at, created_at)"
                " SELECT 'default', $1, 'app', 'd' || n, now() - interval '1 hour', now() - interval '2 hours'"
                " FROM generate_series(1, $2) AS n",
                UUID(int=number),
                count,
            )
        found = [one for _, one in await run_ledger.due(pool, most=50)]
        rows = await site.desk.rows(
            "SELECT id FROM ttn_deprovision_runs WHERE organization_id = $1", UUID(int=2)
        )
        assert rows[0]["id"] in found[:2]
        assert len(found) == 50
