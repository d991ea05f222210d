"""Devices into and out of the four registries, in batches: verified, undone, resumed, told line by line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from broker.simulator.things_stack import Kind, Options, masks
from broker.simulator.things_stack.seeding import JOIN_EUI, application, device
from broker.simulator.things_stack.state import REGISTRIES
from broker.things_stack.run_locks import RunLocks
from handlers import batch_ledger
from handlers.database import Pool
from tests.conftest import Database
from tests.integration.stack_site import KEY, Killed, Killing, Site, stack_site

ROOT_KEY = "0011223344556677DEADBEEFDEADBEEF"


@pytest.fixture
async def site(pool: Pool, database: Database) -> AsyncIterator[Site]:
    """A server with a provisioned application."""
    async with stack_site(pool, database) as made:
        await made.bring()
        assert (await made.provisioned())["provisioning_status"] == "ready"
        yield made


def devices(count: int, first: int = 1, **more: object) -> list[dict[str, object]]:
    """Devices `pump-1` and so on."""
    return [
        {
            "device_id": f"pump-{n}",
            "dev_eui": f"70B3D57ED1{n:06X}",
            "join_eui": JOIN_EUI,
            "app_key": ROOT_KEY,
            "frequency_plan_id": "EU_863_870_TTN",
            **more,
        }
        for n in range(first, first + count)
    ]


def app(site: Site) -> str:
    """The application that was provisioned."""
    found = [one for one in site.server.stack.of_kind("application") if one.id.startswith("jb-")]
    return found[-1].id


def holders(site: Site, device_id: str) -> list[str]:
    """Which registries have a device, on any host."""
    key, stack = (app(site), device_id), site.server.stack
    found = ["is"] if key in stack.identity_devices.devices else []
    return found + [
        name
        for name in REGISTRIES
        for host in stack.hosts.values()
        if key in host.registries[name].devices
    ]


def errors(batch: dict[str, Any]) -> dict[str, str]:
    """Lines that failed, by device."""
    return {one["device_id"]: one["error"] for one in batch["results"] if one["status"] == "ERROR"}


async def test_a_fleet_goes_in_and_out_again(site: Site, admin: asyncpg.Connection) -> None:
    """All four registries have each device with its keys, afterwards none; our record has the hosts, and no key."""
    done = await site.batch("register", {"devices": devices(30, nwk_key=ROOT_KEY[::-1])})
    assert (done["status"], done["lines_ok"], errors(done)) == ("SUCCEEDED", 30, {})
    assert all(holders(site, f"pump-{n}") == ["is", "ns", "as", "js"] for n in range(1, 31))
    host = site.server.identity
    joined = host.registries["js"].devices[(app(site), "pump-7")]
    assert joined["root_keys"]["app_key"]["key"] == ROOT_KEY
    network = host.registries["ns"].devices[(app(site), "pump-7")]
    assert (network["supports_join"], network["frequency_plan_id"]) == (True, "EU_863_870_TTN")
    assert site.server.record.most_at_once <= 4
    _told(site, done)
    listed = await site.desk.accepted("ttn/devices/list", {"limit": 2})
    assert listed["devices"][0]["network_host"] == host.address
    assert set(listed["devices"][0]["registered_in"]) == {"is", "js", "ns", "as"}
    kept = "SELECT count(*) FROM ttn_batch_lines WHERE app_key_sealed IS NOT NULL OR nwk_key_sealed IS NOT NULL"
    assert await admin.fetchval(kept) == 0
    gone = await site.batch("remove", {"device_ids": [f"pump-{n}" for n in range(1, 31)]})
    assert (gone["status"], gone["lines_ok"], errors(gone)) == ("SUCCEEDED", 30, {})
    assert all(holders(site, f"pump-{n}") == [] for n in range(1, 31))
    states = await site.desk.rows("SELECT DISTINCT state, registered_in FROM ttn_devices")
    assert states == [{"state": "removed", "registered_in": []}]


def _told(site: Site, done: dict[str, Any]) -> None:
    """In the asker's room and as events alike: that it began, how far it was, how it ended."""
    room = f"operators/ann/ttn/devices/batches/{done['batch_id']}"
    heard = [body for topic, body in site.told if topic == room]
    events = [one for one in site.told if one[0].startswith("$aws/events/ttnBatch/")]
    assert [body for _, body in events] == heard
    assert [one["operation"] for one in heard] == ["started", "progress", "finished"]
    assert [one["lines_ok"] for one in heard] == [0, 25, 30]
    end = {name: heard[-1][name] for name in ("status", "lines", "lines_left", "action")}
    assert end == {"status": "SUCCEEDED", "lines": 30, "lines_left": 0, "action": "register"}
    assert events[-1][0] == f"$aws/events/ttnBatch/{done['batch_id']}/finished"


async def test_nothing_is_registered_while_a_run_takes_it_away(site: Site) -> None:
    """A batch that was there before the run waits for its end; there is no key any more then."""
    made = await site.desk.accepted("ttn/devices/register", {"devices": devices(3)})
    application_id = app(site)
    await site.desk.accepted("ttn/deprovision")
    await site.batches.run_once()
    assert holders(site, "pump-1") == []
    found = await site.desk.accepted("ttn/devices/batch", {"batch_id": made["batch_id"]})
    assert (found["status"], found["lines_left"]) == ("QUEUED", 3)
    await site.runs_done()
    done = await site.batch_done(made["batch_id"])
    assert (done["status"], done["error"]) == ("FAILED", "the connection has no API key any more")
    assert site.server.stack.find("application", application_id) is None


async def test_it_ends_the_same_wherever_it_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any call: another process ends the line, in and out, and what is registered is what is on record."""
    kill = Killing(monkeypatch)
    for verb in ("register", "remove"):
        at = 0
        while True:
            at += 1
            name = f"pump-{at}"
            payload: dict[str, object] = {"devices": devices(1, first=at)}
            if verb == "remove":
                await site.batch("register", payload)
                payload = {"device_ids": [name]}
            made = await site.desk.accepted(f"ttn/devices/{verb}", payload)
            kill.restart(after=at)
            survived = True
            try:
                await site.batches.run_once()
            except Killed:
                survived = False
            kill.restart()
            done = await site.batch_done(made["batch_id"])
            assert (at, done["status"]) == (at, "SUCCEEDED"), done
            assert len(holders(site, name)) == (4 if verb == "register" else 0)
            if survived:
                break
        assert at > 6
        await site.batch("remove", {"device_ids": [f"pump-{n}" for n in range(1, at + 1)]})


async def test_a_bad_day_of_the_server(site: Site) -> None:
    """Lost answers, transactions that met, servers away, memories of no rights: all ends well, and twice nothing."""
    site.server.faults.at_random(seed=11, rate=0.25, most=150)
    done = await site.batch("register", {"devices": devices(20)})
    assert (done["status"], errors(done)) == ("SUCCEEDED", {})
    site.server.faults.at_random(seed=12, rate=0.25, most=150)
    gone = await site.batch("remove", {"device_ids": [f"pump-{n}" for n in range(1, 21)]})
    assert (gone["status"], errors(gone)) == ("SUCCEEDED", {})
    assert all(holders(site, f"pump-{n}") == [] for n in range(1, 21))


async def test_a_line_that_is_refused_is_undone_and_the_others_are_done(site: Site) -> None:
    """By the identity server, which says who holds the EUI, or by another registry that has a leftover."""
    stack = site.server.stack
    other = application(stack, "others-app", site.there.user)
    device(stack, (other.id, "their-1"), "70B3D57ED1000001")
    device(stack, (other.id, "orphan-2"), "70B3D57ED1000002", registries=["ns"])
    done = await site.batch("register", {"devices": devices(3)})
    assert (done["status"], done["lines_ok"], done["lines_failed"]) == ("PARTIAL", 1, 2)
    told = errors(done)
    assert "is: the EUIs are taken by others-app/their-1" in told["pump-1"]
    assert "ns: 409" in told["pump-2"]
    assert told["pump-2"].endswith("; undone")
    assert [holders(site, f"pump-{n}") for n in (1, 2)] == [[], []]
    assert len(holders(site, "pump-3")) == 4
    assert stack.identity_devices.devices.keys() >= {("others-app", "their-1")}


async def test_what_was_there_before_is_not_undone(site: Site) -> None:
    """The same EUIs under the same id count as registered; refused elsewhere, the device stays as it was."""
    stack = site.server.stack
    device(stack, (app(site), "pump-1"), "70B3D57ED1000001", registries=["is"])
    other = application(stack, "others-app", site.there.user)
    device(stack, (other.id, "orphan"), "70B3D57ED1000001", registries=["ns"])
    done = await site.batch("register", {"devices": devices(1)})
    assert "it was there before, and stays" in errors(done)["pump-1"]
    assert "is" in holders(site, "pump-1")
    site.server.identity.registries["ns"].remove((other.id, "orphan"))
    again = await site.batch("register", {"devices": devices(1)})
    assert (again["status"], len(holders(site, "pump-1"))) == ("SUCCEEDED", 4)
    other_eui = await site.batch("register", {"devices": devices(1, dev_eui="FFFFFFFFFFFFFFFF")})
    assert "which cannot be changed; remove it first" in errors(other_eui)["pump-1"]


async def test_a_device_is_taken_out_of_the_hosts_that_are_named_for_it(site: Site) -> None:
    """A wrong cluster would answer that there is none: the hosts on record, and the server's, are asked."""
    stack = site.server.stack
    device(stack, (app(site), "far-1"), "70B3D57ED1000009", host="nam1")
    done = await site.batch("remove", {"device_ids": ["far-1"]})
    assert (done["status"], errors(done)) == ("SUCCEEDED", {})
    assert holders(site, "far-1") == []
    assert site.server.record.of("DELETE", "/ns/*", host="nam1")


@pytest.mark.parametrize("said", ["nothing", "another"])
async def test_a_host_that_nobody_recorded_is_asked_as_well(site: Site, said: str) -> None:
    """No address, or that of another cluster, which says "no such device": it is looked for wherever it could be."""
    stack = site.server.stack
    entry = device(stack, (app(site), "lost-1"), "70B3D57ED1000009", host="au1", addresses=False)
    if said == "another":
        entry |= dict.fromkeys(masks.SERVER_ADDRESSES, site.server.hosts["nam1"].address)
    done = await site.batch("remove", {"device_ids": ["lost-1"]})
    assert (done["status"], errors(done)) == ("SUCCEEDED", {})
    assert holders(site, "lost-1") == []


async def test_a_host_that_cannot_be_asked_leaves_the_line_undone(site: Site) -> None:
    """It has the device, nobody recorded it, and it fails: not OK, and the line says why."""
    stack = site.server.stack
    device(stack, (app(site), "lost-1"), "70B3D57ED1000009", host="au1", addresses=False)
    site.server.faults.next("DELETE", "/ns/*/lost-1", Kind.INTERNAL, None, host="au1")
    done = await site.batch("remove", {"device_ids": ["lost-1"]})
    assert done["status"] == "FAILED"
    assert "delete_device_ns: 500" in errors(done)["lost-1"]
    assert holders(site, "lost-1") == ["is", "ns"]
    site.server.faults.stop()
    assert (await site.batch("remove", {"device_ids": ["lost-1"]}))["status"] == "SUCCEEDED"
    assert holders(site, "lost-1") == []


async def test_a_claimed_device_is_given_back_by_a_batch_too(
    pool: Pool, database: Database
) -> None:
    """Before the identity server forgets it; a claim that stays keeps the line from being OK."""
    options = Options(claimable_join_euis=frozenset({JOIN_EUI}))
    async with stack_site(pool, database, options) as site:
        await site.bring()
        await site.provisioned()
        assert (await site.batch("register", {"devices": devices(1)}))["status"] == "SUCCEEDED"
        key = (app(site), "pump-1")
        site.server.stack.claims[key] = {"join_eui": JOIN_EUI, "dev_eui": "70B3D57ED1000001"}
        site.server.faults.next("DELETE", "/edcs/claim/*/pump-1", Kind.INTERNAL, times=None)
        kept = await site.batch("remove", {"device_ids": ["pump-1"]})
        assert "claim: 500" in errors(kept)["pump-1"]
        assert holders(site, "pump-1") == ["is"]
        site.server.faults.stop()
        assert (await site.batch("remove", {"device_ids": ["pump-1"]}))["status"] == "SUCCEEDED"
        assert site.server.stack.claims == {}


async def test_a_device_stays_listed_while_a_registry_keeps_it(site: Site) -> None:
    """When the network server fails, the identity server still has it, the line says so, a later batch ends it."""
    await site.batch("register", {"devices": devices(1)})
    site.server.faults.next("DELETE", "/ns/*/pump-1", Kind.INTERNAL, None)
    done = await site.batch("remove", {"device_ids": ["pump-1"]})
    assert done["status"] == "FAILED"
    assert "delete_device_ns: 500" in errors(done)["pump-1"]
    assert holders(site, "pump-1") == ["is", "ns"]
    assert "it is in: is, ns" in errors(done)["pump-1"]
    site.server.faults.stop()
    assert (await site.batch("remove", {"device_ids": ["pump-1"]}))["status"] == "SUCCEEDED"
    assert holders(site, "pump-1") == []


async def test_a_revoked_key_ends_the_batch(site: Site) -> None:
    """Nothing more is tried, each line says why, and no key of a device is kept."""
    application_ = site.server.stack.get("application", app(site))
    for key_id in list(application_.keys):
        site.server.stack.remove_key(application_, key_id)
    done = await site.batch("register", {"devices": devices(40)})
    assert (done["status"], done["lines_failed"]) == ("FAILED", 40)
    assert "does not accept the key (401" in done["error"]
    rows = await site.desk.rows("SELECT 1 FROM ttn_batch_lines WHERE app_key_sealed IS NOT NULL")
    assert rows == []


async def test_a_key_that_does_not_open_stops_its_line_alone(
    site: Site, admin: asyncpg.Connection
) -> None:
    """It fails, and is not taken for a device without a key."""
    made = await site.desk.accepted("ttn/devices/register", {"devices": devices(2)})
    await admin.execute(
        "UPDATE ttn_batch_lines SET app_key_sealed = (SELECT app_key_sealed FROM ttn_batch_lines WHERE line = 2)"
        " WHERE line = 1"
    )
    done = await site.batch_done(made["batch_id"])
    assert done["status"] == "PARTIAL"
    assert errors(done) == {
        "pump-1": "app_key: cannot be decrypted: it was altered, or belongs to another place"
    }
    assert holders(site, "pump-1") == []


async def test_no_key_is_anywhere_but_sealed(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in any row, answer or log line, through refusals and faults; ttn/credentials/get alone shows them."""
    # A proxy's page quotes the request, with its key: it is recorded as why a step waits.
    site.server.faults.next("GET", "/applications/*", Kind.QUOTING, 6)
    said: list[object] = [await site.desk.accepted("ttn/provision", {"gateway_key": True})]
    await site.provisioner.run_once()
    said.append(status := await site.desk.accepted("ttn/status"))
    assert "authorization: Bearer [key]" in status["provisioning_error"]
    site.server.faults.at_random(seed=5, rate=0.2, most=60)
    said.append(await site.settled())
    said.append(await site.provisioned(webhook_url="https://a.example/up", gateway_key=True))
    made = await site.desk.accepted("ttn/devices/register", {"devices": devices(5)})
    waiting = await site.everything()
    said += [made, await site.batch_done(made["batch_id"])]
    site.server.faults.stop()
    other = application(site.server.stack, "others-app", site.there.user)
    device(site.server.stack, (other.id, "orphan"), "70B3D57ED1000006", registries=["js"])
    said.append(await site.batch("register", {"devices": devices(1, first=6)}))
    said.append(await site.desk.accepted("ttn/status"))
    said.append(await site.desk.accepted("ttn/devices/list"))
    shown = await site.desk.accepted("ttn/credentials/get", {"clientToken": "reveal"})
    secrets = [
        shown[name]
        for name in ("main_api_key", "app_api_secret", "gateway_api_secret", "webhook_secret")
    ]
    secrets += [*(one.split(".")[2] for one in secrets if one.startswith("NNSXS")), ROOT_KEY, KEY]
    said.append(await site.desk.accepted("audit/list"))
    logs = capfd.readouterr()
    places = {
        "rows while a batch waits": waiting,
        "rows": await site.everything(),
        "answers": json.dumps(said),
        "log": logs.out + logs.err + caplog.text,
    }
    for where, text in places.items():
        for secret in secrets:
            assert secret not in text, where
            assert secret.encode().hex() not in text, where


async def test_what_ended_long_ago_is_forgotten(site: Site, admin: asyncpg.Connection) -> None:
    """Batches with their lines, and devices that were removed; what is registered stays on record."""
    await site.batch("register", {"devices": devices(2)})
    await site.batch("remove", {"device_ids": ["pump-1"]})
    await admin.execute("UPDATE ttn_devices SET updated_at = now() - interval '2 days'")
    await admin.execute(
        "UPDATE ttn_device_batches SET finished_at = now() - interval '2 days' WHERE action = 'register'"
    )
    # In ranges: two lines, then the batch that has none any more.
    assert await batch_ledger.forget(site.desk.pool, timedelta(days=1), most=1)
    assert len(await site.desk.rows("SELECT 1 FROM ttn_batch_lines")) == 2
    while await batch_ledger.forget(site.desk.pool, timedelta(days=1), most=1):
        pass
    assert await site.desk.rows("SELECT action FROM ttn_device_batches") == [{"action": "remove"}]
    assert len(await site.desk.rows("SELECT 1 FROM ttn_batch_lines")) == 1
    assert await site.desk.rows("SELECT device_id FROM ttn_devices") == [{"device_id": "pump-2"}]


async def test_batches_that_wait_for_a_lock_keep_nobody_waiting(
    site: Site, database: Database
) -> None:
    """Many for one organization, which another process works on: the others have their turn all the same."""
    first = (await site.desk.rows("SELECT organization_id FROM ttn_connections"))[0]
    other = str(UUID(int=8))
    await site.bring(organization_id=other)
    status = await site.provisioned(organization_id=other)
    assert status["provisioning_status"] == "ready", status
    mine = str(first["organization_id"])
    for n in range(1, 7):
        payload = {"organization_id": mine, "devices": devices(1, n)}
        await site.desk.accepted("ttn/devices/register", payload)
    locks = RunLocks(database.url)
    async with locks.holding((f"organization default {mine}",)) as held:
        assert held
        payload = {"organization_id": other, "devices": devices(1, 7)}
        made = await site.desk.accepted("ttn/devices/register", payload)
        assert (await site.batch_done(made["batch_id"]))["status"] == "SUCCEEDED"
        waiting = await site.desk.rows("SELECT status FROM ttn_device_batches")
        assert sorted(one["status"] for one in waiting) == ["QUEUED"] * 6 + ["SUCCEEDED"]
    await locks.close()
