"""Runs that take devices, applications and organizations out of The Things Stack, against a faithful one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

import pytest

from broker.simulator.things_stack import Kind, Options, masks, seeding
from broker.simulator.things_stack.state import Host
from broker.things_stack.transport import Call
from handlers import retention, run_ledger
from handlers.database import Connection, Pool
from handlers.run_ledger import Changes, RunLostError
from handlers.stack_connections import place_of
from handlers.store import Told
from schema.things_stack_runs import DEPROVISION_VERSION, JOBS_VERSION
from tests.conftest import Database
from tests.integration.run_site import ORGANIZATION, Killed, Site, run_site

CRITICAL = {"purge_device", "verify_dev_eui", "purge_application", "purge_organization"}


async def statuses(site: Site, run_id: str, name: str) -> list[str]:
    """The statuses of a run's steps of one name, in order."""
    return [one["status"] for one in await site.steps(run_id) if one["step_name"] == name]


async def is_cleared(site: Site) -> bool:
    """Whether our connection has no credentials any more."""
    rows = await site.desk.rows("SELECT main_key_sealed FROM ttn_connections")
    return rows[0]["main_key_sealed"] is None


def killing(nth: int) -> Callable[[Call], None]:
    """Raise ahead of the n-th HTTP call."""
    left = nth

    def before(_: Call) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return before


async def test_a_fleet_over_three_pages_is_released(pool: Pool, database: Database) -> None:
    """250 devices on three clusters: each verified in all four registries; all is purged by an admin's key."""
    async with run_site(
        pool, database, devices=250, admin=True, hosts=("eu1", "nam1", "au1")
    ) as site:
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["success"], run["error"]) == ("SUCCEEDED", True, None)
        euis = sorted(seeding.eui_of(number) for number in range(1, 251))
        summary = run["summary"]
        assert sorted(summary.pop("released_euis")) == euis
        reasons = summary.pop("reasons")
        assert summary == {
            "devices_found": 250,
            "devices_deleted_ok": 250,
            "devices_purged_ok": 250,
            "euis_verified_ok": 250,
            "failed_euis": [],
            "app_purged": True,
            "org_purged": True,
            "db_cleared": True,
            "devices_left": 0,
            "failed_devices": [],
            "problems": {},
        }
        assert set(reasons) == {"delete_join_settings"}
        assert site.held() == set()
        steps = await site.steps(run_id)
        pages = [json.loads(one["meta"]) for one in steps if one["step_name"] == "list_devices"]
        assert [one["count"] for one in pages[:3]] == [100, 100, 50]
        assert {one["status"] for one in steps if one["step_name"] in CRITICAL} == {"OK"}
        assert site.server.stack.find("application", site.application, deleted=True) is None
        assert await is_cleared(site)


async def test_what_is_told_of_a_run(pool: Pool, database: Database) -> None:
    """Progress in the asker's room and as events; the end has the seed's answer, in the room alone."""
    async with run_site(pool, database, devices=3) as site:
        await site.connect()
        answer = await site.desk.accepted("ttn/deprovision", {"clientToken": "c1"})
        again = await site.desk.accepted("ttn/deprovision", {"clientToken": "c1"})
        run_id = answer["job_id"]
        assert again["job_id"] == run_id
        refused = await site.desk.rejected("ttn/deprovision", {})
        assert (refused["code"], run_id in refused["message"]) == ("ResourceAlreadyExists", True)
        await site.work()
        room = [body for topic, body in site.told if topic == f"operators/ann/ttn/runs/{run_id}"]
        events = [one for one in site.told if one[0].startswith("$aws/events/ttnRun/")]
        assert len(events) == len(room)
        assert [body["operation"] for body in room[::-1]][:1] == ["finished"]
        assert room[0]["operation"] == "started"
        assert {"LIST", "DEVICES", "APPLICATION"} <= {body["phase"] for body in room}
        end = room[-1]
        assert {name: end[name] for name in ("success", "job_id", "status", "version")} == {
            "success": True,
            "job_id": run_id,
            "status": "SUCCEEDED",
            "version": DEPROVISION_VERSION,
        }
        assert end["request_id"] == answer["request_id"]
        assert (
            end["released_euis"]
            == end["summary"]["released_euis"]
            == [seeding.eui_of(number) for number in (1, 2, 3)]
        )
        assert end["summary"]["app_purged"] is False
        assert end["summary"]["reasons"]["purge_application"] == "not_permitted"
        assert "summary" not in events[-1][1]


async def test_a_stuck_device_makes_a_run_partial(pool: Pool, database: Database) -> None:
    """Its EUI is in failed_euis, the application and our connection are kept; resumed, the run goes through."""
    async with run_site(pool, database, devices=4) as site:
        await site.connect()
        path = f"/ns/applications/{site.application}/devices/sensor-0002"
        site.server.faults.next("DELETE", path, Kind.INTERNAL, times=None)
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        stuck = seeding.eui_of(2)
        assert (run["status"], run["success"]) == ("PARTIAL", False)
        assert run["failed_euis"] == [stuck]
        assert run["summary"]["problems"].keys() == {"sensor-0002"}
        assert run["summary"]["db_cleared"] is False
        assert not await is_cleared(site)
        assert site.held() == {stuck}
        assert site.server.stack.find("application", site.application) is not None
        assert await statuses(site, run_id, "delete_application") == ["SKIPPED"]
        site.server.faults.stop()
        set_status = "UPDATE ttn_connections SET provisioning_status = $1"
        await site.desk.rows(set_status, "provisioning")
        refused = await site.desk.rejected(f"ttn/runs/{run_id}/resume")
        assert (refused["code"], "provisioning is under way" in refused["message"]) == (
            "InvalidStateTransition",
            True,
        )
        await site.desk.rows(set_status, "ready")
        assert (await site.desk.accepted(f"ttn/runs/{run_id}/resume"))["attempt"] == 2
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["failed_euis"], site.held()) == ("SUCCEEDED", [], set())
        assert stuck in run["released_euis"]
        assert len(run["released_euis"]) == 4
        assert (await site.desk.rejected(f"ttn/runs/{run_id}/resume"))["code"] == (
            "InvalidStateTransition"
        )


async def test_the_id_of_a_deleted_application_is_given_up(pool: Pool, database: Database) -> None:
    """Not purged, it stays taken at the server: it is remembered, and our connection has none any more."""
    async with run_site(pool, database) as site:
        await site.connect()
        await site.deprovision()
        await site.work()
        (row,) = await site.desk.rows(
            "SELECT abandoned_ids, ttn_application_id, provisioning_status FROM ttn_connections"
        )
        assert row == {
            "abandoned_ids": [site.application],
            "ttn_application_id": None,
            "provisioning_status": "idle",
        }


async def test_force_clears_our_record_of_what_is_left(pool: Pool, database: Database) -> None:
    """A PARTIAL run with force: the connection is cleared, and the answer still says what is left."""
    async with run_site(pool, database, devices=2) as site:
        await site.connect()
        path = f"/as/applications/{site.application}/devices/sensor-0001"
        site.server.faults.next("DELETE", path, Kind.INTERNAL, times=None)
        run_id = await site.deprovision(force=True)
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["summary"]["db_cleared"]) == ("PARTIAL", True)
        assert await is_cleared(site)


@pytest.mark.parametrize("key", ["revoked", "malformed"])
async def test_a_key_that_is_refused_marks_nothing_gone(
    pool: Pool, database: Database, key: str
) -> None:
    """401, or 400 for no key at all: FAILED, nothing was deleted, nothing is reported as released."""
    async with run_site(pool, database, devices=2) as site:
        await site.connect("NNSXS.nonsense" if key == "malformed" else None)
        if key == "revoked":
            owner = site.tenant.user
            for key_id in [*owner.keys]:
                site.server.stack.remove_key(owner, key_id)
        before = site.held()
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["released_euis"]) == ("FAILED", [])
        assert run["error"].startswith("the key is refused: 40")
        assert site.held() == before
        steps = await site.steps(run_id)
        assert [(one["step_name"], one["status"]) for one in steps] == [
            ("auth_info", "ERROR"),
            ("clear_local_db", "SKIPPED"),
        ]
        assert not await is_cleared(site)


async def test_a_key_revoked_in_the_middle_ends_the_run(pool: Pool, database: Database) -> None:
    """What was verified before stays released; what was not is failed, whatever 401 came of it."""
    async with run_site(pool, database, devices=20) as site:
        await site.connect()
        owner = site.tenant.user

        def revoke() -> None:
            for key_id in [*owner.keys]:
                site.server.stack.remove_key(owner, key_id)

        path = f"/applications/{site.application}/devices/sensor-0005"
        site.server.faults.next("DELETE", path, Kind.THEN, action=revoke)
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert run["status"] in ("PARTIAL", "FAILED")
        assert run["error"].startswith("the key is refused: 401")
        assert not set(run["released_euis"]) & site.held()
        assert set(run["failed_euis"]) >= site.held()


async def test_a_device_without_addresses_is_looked_for_everywhere(
    pool: Pool, database: Database
) -> None:
    """Where nobody recorded a host, a wrong cluster's "no such device" is not believed: all are asked."""
    async with run_site(pool, database) as site:
        key = (site.application, "lost-1")
        seeding.device(site.server.stack, key, seeding.eui_of(1), host="au1", addresses=False)
        await site.connect(region="nam1")
        run_id = await site.deprovision()
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert site.held() == set()


async def test_a_wrong_record_of_where_a_device_is_frees_nothing(
    pool: Pool, database: Database
) -> None:
    """The recorded cluster says "no such device" as well as the right one would: the others are asked, too."""
    async with run_site(pool, database) as site:
        key = (site.application, "moved-1")
        entry = seeding.device(site.server.stack, key, seeding.eui_of(1), host="nam1")
        eu1 = site.server.hosts["eu1"].address
        entry |= dict.fromkeys(masks.SERVER_ADDRESSES, eu1)
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert await site.released(run_id) == {seeding.eui_of(1)}
        assert site.held() == set()


async def test_a_host_that_may_not_see_the_key_is_not_reported_released(
    pool: Pool, database: Database
) -> None:
    """A device says that it is on a host that is not on the list: it is not called, and the device not released."""
    async with run_site(pool, database, devices=1) as site:
        document = next(iter(site.server.stack.identity_devices.devices.values()))
        document["network_server_address"] = "ns.evil.example"
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["released_euis"]) == ("FAILED", [])
        problem = run["summary"]["problems"]["sensor-0001"]
        assert "JOBBROKER_THINGS_STACK_HOSTS" in problem


async def test_devices_that_come_during_the_run_are_taken_out_too(
    pool: Pool, database: Database
) -> None:
    """Registered after the list, before the application goes: found by listing once more."""
    async with run_site(pool, database, devices=2) as site:
        await site.connect()
        late = (site.application, "late-1")

        def register() -> None:
            seeding.device(site.server.stack, late, seeding.eui_of(99))

        site.server.faults.next(
            "GET",
            f"/as/webhooks/{site.application}",
            Kind.THEN,
            action=register,
        )
        run_id = await site.deprovision()
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert seeding.eui_of(99) in await site.released(run_id)
        assert site.held() == set()


async def test_a_device_that_comes_just_before_the_end(pool: Pool, database: Database) -> None:
    """The list was empty and the server still refuses: listed again, some times, and then it is said."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        come = 0

        def register(call: Call) -> None:
            nonlocal come
            if call.method == "DELETE" and call.path == f"/applications/{site.application}":
                come += 1
                key = (site.application, f"late-{come}")
                seeding.device(site.server.stack, key, seeding.eui_of(100 + come))

        run_id = await site.deprovision()
        await site.work(site.worker(before=register))
        run = await site.run(run_id)
        assert (run["status"], run["error"]) == (
            "PARTIAL",
            "delete_application: 400 application_has_devices",
        )
        assert not set(run["released_euis"]) & site.held()
        assert come == 4
        await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        assert ((await site.run(run_id))["status"], site.held()) == ("SUCCEEDED", set())


async def test_registries_that_do_not_agree_on_a_join_eui(pool: Pool, database: Database) -> None:
    """Deletes and the proof go by the device's id, so the JoinEUI does not matter."""
    async with run_site(pool, database) as site:
        key = (site.application, "odd-1")
        seeding.device(site.server.stack, key, seeding.eui_of(1), registries=("is", "ns", "as"))
        seeding.device(
            site.server.stack,
            key,
            seeding.eui_of(1),
            join_eui="0000000000000009",
            registries=("js",),
        )
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert site.held() == set()


async def test_partly_registered_devices_and_leftovers(pool: Pool, database: Database) -> None:
    """In the identity server only, without EUIs, and in regional registries only but on our record: all go."""
    async with run_site(pool, database) as site:
        stack, application = site.server.stack, site.application
        seeding.device(stack, (application, "half-1"), seeding.eui_of(1), registries=("is",))
        seeding.device(stack, (application, "abp-1"), None, registries=("is", "ns", "as"))
        left = (application, "left-1")
        seeding.device(stack, left, seeding.eui_of(3), host="nam1", registries=("ns", "as", "js"))
        await site.connect()
        await site.record("left-1", seeding.eui_of(3), "nam1")
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert run["status"] == "SUCCEEDED"
        assert set(run["released_euis"]) == {seeding.eui_of(1), seeding.eui_of(3)}
        assert (run["summary"]["devices_found"], site.held()) == (3, set())
        skipped = [
            json.loads(one["meta"])["reason"]
            for one in await site.steps(run_id)
            if one["step_name"] == "verify_dev_eui" and one["status"] == "SKIPPED"
        ]
        assert skipped == ["no_dev_eui"]
        rows = await site.desk.rows("SELECT state FROM ttn_devices")
        assert [row["state"] for row in rows] == ["removed"]


async def test_leftovers_of_a_deleted_application(pool: Pool, database: Database) -> None:
    """Soft-deleted: restored, cleaned and deleted again. Without a way back, nothing is reported as released."""
    async with run_site(pool, database) as site:
        left = (site.application, "left-1")
        seeding.device(site.server.stack, left, seeding.eui_of(1), registries=("ns", "as", "js"))
        await site.connect()
        await site.record("left-1", seeding.eui_of(1))
        application = site.server.stack.get("application", site.application)
        application.deleted_at = site.server.stack.clock.now()
        site.server.faults.next("POST", "/applications/*/restore", Kind.NO_RIGHTS)
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["failed_euis"]) == ("FAILED", [seeding.eui_of(1)])
        await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert await statuses(site, run_id, "restore_application") == ["ERROR", "OK"]
        assert site.held() == set()
        assert site.server.stack.find("application", site.application) is None


@pytest.mark.parametrize("purged", [False, True])
async def test_an_application_that_was_brought_back_unheard_goes_too(
    pool: Pool, database: Database, *, purged: bool
) -> None:
    """The answer to restoring it, or to making it again, is lost: it is there, and is not taken for gone."""
    async with run_site(pool, database) as site:
        stack = site.server.stack
        left = (site.application, "left-1")
        seeding.device(stack, left, seeding.eui_of(1), registries=("ns", "as", "js"))
        await site.connect()
        await site.record("left-1", seeding.eui_of(1))
        application = stack.get("application", site.application)
        path = "/applications/*/restore"
        if purged:
            stack.purge(application)
            path = "/organizations/*/applications"
        else:
            application.deleted_at = stack.clock.now()
        site.server.faults.next("POST", path, Kind.DROP_AFTER)
        run_id = await site.deprovision(application_id=site.application)
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert await statuses(site, run_id, "delete_application") == ["OK"]
        assert site.held() == set()
        assert stack.find("application", site.application) is None


async def test_leftovers_of_an_application_that_is_gone_for_good(
    pool: Pool, database: Database
) -> None:
    """Purged, so its id is free: made again for as long as it takes to reach them."""
    async with run_site(pool, database) as site:
        stack = site.server.stack
        left = (site.application, "left-1")
        seeding.device(stack, left, seeding.eui_of(1), registries=("ns", "as", "js"))
        await site.connect()
        await site.record("left-1", seeding.eui_of(1))
        stack.purge(stack.get("application", site.application))
        run_id = await site.deprovision(application_id=site.application)
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert await statuses(site, run_id, "recreate_application") == ["OK"]
        assert site.held() == set()
        assert stack.find("application", site.application) is None


async def test_a_remembered_refusal_is_waited_out(pool: Pool, database: Database) -> None:
    """403 from a regional host while the application is there: a later round takes the device out."""
    async with run_site(pool, database, devices=3) as site:
        path = f"/ns/applications/{site.application}/devices/sensor-0002"
        site.server.faults.next("DELETE", path, Kind.NO_RIGHTS, times=2)
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        failed = [
            one["http_status"]
            for one in await site.steps(run_id)
            if (one["step_name"], one["status"]) == ("delete_device_ns", "ERROR")
        ]
        assert failed == [403, 403]


async def test_claimed_devices_are_given_back(pool: Pool, database: Database) -> None:
    """Before the identity server forgets the device; a claim that stays keeps the EUI from counting as released."""
    options = Options(claimable_join_euis=frozenset({seeding.JOIN_EUI}))
    async with run_site(pool, database, devices=2, options=options) as site:
        stack = site.server.stack
        for number, key in enumerate(site.tenant.devices, start=1):
            stack.claims[key] = {"join_eui": seeding.JOIN_EUI, "dev_eui": seeding.eui_of(number)}
        await site.connect()
        path = f"/edcs/claim/{site.application}/devices/sensor-0001"
        site.server.faults.next("DELETE", path, Kind.INTERNAL, times=None)
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert run["released_euis"] == [seeding.eui_of(2)]
        assert run["failed_euis"] == [seeding.eui_of(1)]
        assert "claim" in run["summary"]["problems"]["sensor-0001"]
        assert stack.identity_devices.devices.keys() == {site.tenant.devices[0]}
        site.server.faults.stop()
        await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert stack.claims == {}


async def test_old_runs_are_forgotten(pool: Pool, database: Database) -> None:
    """Those that ended longer ago than is kept, with their steps; one that goes on stays."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        await site.deprovision(device="sensor-0001")
        await site.work()
        live = await site.deprovision(device="sensor-0002")
        await retention.run_once(pool, older_than=timedelta(days=1), slot=None)
        assert len((await site.desk.accepted("ttn/runs/list"))["jobs"]) == 2
        await retention.run_once(pool, older_than=timedelta(0), slot=None)
        found = (await site.desk.accepted("ttn/runs/list"))["jobs"]
        assert [one["id"] for one in found] == [live]
        assert await site.desk.rows("SELECT FROM ttn_deprovision_run_steps") == []


async def test_an_organization_with_more_in_it_is_kept(pool: Pool, database: Database) -> None:
    """The server would delete it all the same: that it is empty is looked at by us."""
    async with run_site(pool, database, devices=1) as site:
        seeding.application(site.server.stack, "other-app", site.tenant.organization)
        await site.connect()
        run_id = await site.deprovision()
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], len(run["released_euis"])) == ("PARTIAL", 1)
        assert run["summary"]["reasons"]["delete_organization"] == "applications_left: other-app"
        assert site.server.stack.find("organization", site.tenant.organization.id) is not None


def fill(host: Host, application: str, count: int) -> None:
    """Give an application so many webhooks and pub/subs there, and a link with packages on two ports."""
    owner = {"application_ids": {"application_id": application}}
    for kept, word in ((host.webhooks, "webhook"), (host.pubsubs, "pub_sub")):
        kept[application] = {
            f"{word[:3]}-{number}": {"ids": {f"{word}_id": f"{word[:3]}-{number}", **owner}}
            for number in range(count)
        }
    host.links[application] = {}
    host.associations[application] = {
        port: {"ids": {"f_port": int(port), **owner}} for port in ("7", "200")
    }


async def test_state_and_keys_go_before_the_application(pool: Pool, database: Database) -> None:
    """Webhooks and pub/subs outlive it, on each of its hosts, more than a list shows: none is left, nor a key."""
    options = Options(regional_list_limit=5)
    async with run_site(pool, database, devices=2, hosts=("eu1", "nam1"), options=options) as site:
        hosts = [site.server.hosts[name] for name in ("eu1", "nam1")]
        for host in hosts:
            fill(host, site.application, 12)
        await site.connect()
        # Answered as usual, while the packages of the link stay: they are looked for.
        left = dict(hosts[1].associations[site.application])

        def put_back() -> None:
            hosts[1].associations[site.application] = dict(left)

        link = f"/as/applications/{site.application}/link"
        site.server.faults.next("DELETE", link, Kind.THEN, host="nam1", action=put_back)
        run_id = await site.deprovision(application_id=site.application)
        await site.work()
        run = await site.run(run_id)
        assert run["status"] == "SUCCEEDED", run
        for host in hosts:
            for kept in (host.webhooks, host.pubsubs, host.links, host.associations):
                assert not kept.get(site.application)
        assert not site.tenant.application.keys
        assert site.server.stack.find("organization", site.tenant.organization.id) is not None


@pytest.mark.parametrize("kind", ["webhooks", "pubsub"])
async def test_a_webhook_that_stays_keeps_the_application(
    pool: Pool, database: Database, kind: str
) -> None:
    """It cannot be deleted: without its application nobody could; the run says so, and goes through later."""
    async with run_site(pool, database, devices=1) as site:
        fill(site.server.hosts["eu1"], site.application, 2)
        await site.connect()
        path = f"/as/{kind}/{site.application}/*-1"
        site.server.faults.next("DELETE", path, Kind.INTERNAL, times=None)
        run_id = await site.deprovision(application_id=site.application)
        await site.work()
        run = await site.run(run_id)
        step = {"webhooks": "delete_webhooks", "pubsub": "delete_pubsubs"}[kind]
        assert (run["status"], run["summary"]["db_cleared"]) == ("PARTIAL", False)
        assert run["summary"]["reasons"][step] == "500 internal"
        assert site.server.stack.find("application", site.application) is not None
        site.server.faults.stop()
        await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"


async def test_an_application_can_take_itself_out(pool: Pool, database: Database) -> None:
    """With the application's own key, which ends with it: the last answer that counts is the deletion's."""
    async with run_site(pool, database, devices=2) as site:
        await site.connect(site.tenant.application_key)
        site.server.faults.next("DELETE", f"/applications/{site.application}", Kind.DROP_AFTER)
        run_id = await site.deprovision(application_id=site.application)
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], site.held()) == ("SUCCEEDED", set())
        assert site.server.stack.find("application", site.application) is None


def dying(method: str, path: str) -> Callable[[Call], None]:
    """Raise right after a call was carried out, before anybody hears of its answer."""

    def after(call: Call) -> None:
        if (call.method, call.path) == (method, path):
            raise Killed

    return after


@pytest.mark.parametrize("canceled", [False, True])
async def test_a_kill_right_after_the_own_key_went_is_gone_on_from(
    pool: Pool, database: Database, *, canceled: bool
) -> None:
    """The application is deleted with its own key, and nobody wrote it down: the next process is refused, and knows."""
    async with run_site(pool, database, devices=2) as site:
        await site.connect(site.tenant.application_key)
        run_id = await site.deprovision(application_id=site.application)
        with pytest.raises(Killed):
            await site.work(site.worker(after=dying("DELETE", f"/applications/{site.application}")))
        assert site.server.stack.find("application", site.application) is None
        if canceled:
            await site.desk.accepted(f"ttn/runs/{run_id}/cancel")
            await site.work()
            assert (await site.run(run_id))["error"] == "canceled by ann"
            await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["error"], site.held()) == ("SUCCEEDED", None, set())
        assert len(run["released_euis"]) == 2
        assert await is_cleared(site)


async def test_an_organization_can_take_itself_out(pool: Pool, database: Database) -> None:
    """With its own key, killed right after it was deleted: gone on from."""
    async with run_site(pool, database, devices=1) as site:
        organization = site.tenant.organization.id
        await site.connect(site.tenant.organization_key)
        run_id = await site.deprovision()
        with pytest.raises(Killed):
            await site.work(site.worker(after=dying("DELETE", f"/organizations/{organization}")))
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["error"]) == ("SUCCEEDED", None), run
        assert site.server.stack.find("organization", organization) is None
        assert await statuses(site, run_id, "delete_organization") == ["SKIPPED"]


@pytest.mark.parametrize("seen", ["by nobody", "by another key"])
async def test_a_key_that_was_revoked_is_not_taken_for_one_that_went(
    pool: Pool, database: Database, seen: str
) -> None:
    """Revoked ahead of the deletion, or by hand while another key still sees the application: it is not gone."""
    async with run_site(pool, database, devices=1) as site:
        application = site.tenant.application

        def revoke() -> None:
            for key_id in [*application.keys]:
                site.server.stack.remove_key(application, key_id)

        def die(call: Call) -> None:
            if (call.method, call.path) == ("DELETE", f"/applications/{site.application}"):
                revoke()
                if seen == "by another key":
                    raise Killed

        await site.connect(site.tenant.application_key)
        if seen == "by another key":
            sealed = site.ring.seal(
                site.tenant.user_key, place_of("default", ORGANIZATION, "app_api_key")
            )
            await site.desk.rows("UPDATE ttn_connections SET app_api_key_sealed = $1", sealed)
        run_id = await site.deprovision(application_id=site.application)
        if seen == "by another key":
            with pytest.raises(Killed):
                await site.work(site.worker(before=die))
        await site.work(site.worker(before=die))
        run = await site.run(run_id)
        assert run["error"].startswith("the key is refused: 401"), run
        assert site.server.stack.find("application", site.application) is not None
        assert not await is_cleared(site)


async def test_one_device_is_a_job_of_its_own(pool: Pool, database: Database) -> None:
    """The application stays with its other devices; the job says how it went."""
    async with run_site(pool, database, devices=2, hosts=("nam1",)) as site:
        await site.connect()
        run_id = await site.deprovision(device="sensor-0001")
        await site.work()
        found = await site.desk.accepted(f"ttn/runs/{run_id}/get")
        assert found["job"]["status"] == "SUCCEEDED"
        job = found["device_job"]
        assert (job["status"], job["ttn_device_id"]) == ("SUCCEEDED", "sensor-0001")
        assert (job["dev_eui"], job["attempts"]) == (seeding.eui_of(1), 1)
        assert site.held() == {seeding.eui_of(2)}
        assert not await is_cleared(site)


async def test_a_device_that_came_back_is_not_done_with(pool: Pool, database: Database) -> None:
    """Verified, canceled, registered again, resumed: it is taken out once more before it counts as released."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        run_id = await site.deprovision(device="sensor-0001")
        worker = site.worker()
        hear = worker._tell

        def until_verified(told: Iterable[Told]) -> None:
            hear(told)
            if not site.held():
                raise Killed

        worker._tell = until_verified
        with pytest.raises(Killed):
            await site.work(worker)
        await site.desk.accepted(f"ttn/runs/{run_id}/cancel")
        await site.work()
        canceled = await site.run(run_id)
        assert (canceled["status"], canceled["released_euis"]) == ("PARTIAL", [seeding.eui_of(1)])
        key = (site.application, "sensor-0001")
        seeding.device(site.server.stack, key, seeding.eui_of(1))
        await site.desk.accepted(f"ttn/runs/{run_id}/resume")
        await site.work()
        assert (await site.run(run_id))["status"] == "SUCCEEDED"
        assert site.held() == set()


async def test_a_dry_run_changes_nothing(pool: Pool, database: Database) -> None:
    """It reads, and says what there is."""
    async with run_site(pool, database, devices=3) as site:
        await site.connect()
        calls: list[str] = []
        run_id = await site.deprovision(dry_run=True)
        await site.work(site.worker(before=lambda call: calls.append(call.method)))
        run = await site.run(run_id)
        assert (run["status"], run["summary"]["devices_found"]) == ("SUCCEEDED", 3)
        assert run["summary"]["dry_run"] is True
        assert set(calls) == {"GET"}
        assert len(site.held()) == 3


async def test_cancel(pool: Pool, database: Database) -> None:
    """One that nobody began ends at once; one under way between two steps, and what is gone stays reported so."""
    async with run_site(pool, database, devices=20) as site:
        await site.connect()
        run_id = await site.deprovision()
        assert (await site.desk.accepted(f"ttn/runs/{run_id}/cancel"))["status"] == "FAILED"
        assert (await site.desk.rejected(f"ttn/runs/{run_id}/cancel"))["code"] == (
            "InvalidStateTransition"
        )
        run_id = await site.deprovision()
        with pytest.raises(Killed):
            await site.work(site.worker(before=killing(100)))
        waiting = await site.run(run_id)
        assert (waiting["status"], waiting["idle_seconds"] >= 0) == ("RUNNING", True)
        assert (await site.desk.accepted(f"ttn/runs/{run_id}/cancel"))["status"] == "RUNNING"
        await site.work()
        run = await site.run(run_id)
        assert (run["status"], run["error"]) == ("PARTIAL", "canceled by ann")
        assert 0 < len(run["released_euis"]) < 20
        assert not set(run["released_euis"]) & site.held()


async def test_a_canceled_run_clears_nothing_by_force(pool: Pool, database: Database) -> None:
    """Force is for a run that comes to its end: whoever cancels keeps the credentials."""
    async with run_site(pool, database, devices=3) as site:
        await site.connect()
        run_id = await site.deprovision(force=True)
        with pytest.raises(Killed):
            await site.work(site.worker(before=killing(8)))
        await site.desk.accepted(f"ttn/runs/{run_id}/cancel")
        await site.work()
        run = await site.run(run_id)
        assert (run["error"], run["summary"]["db_cleared"]) == ("canceled by ann", False)
        assert not await is_cleared(site)


async def test_a_run_goes_on_after_a_kill_at_any_call(pool: Pool, database: Database) -> None:
    """Killed ahead of the n-th HTTP call, for every n: another process goes on, and nothing is done twice over."""
    async with run_site(pool, database) as site:
        nth = 0
        while True:
            nth += 1
            tenant = seeding.tenant(site.server.stack, f"t{nth}", devices=1, admin=True)
            organization = UUID(int=1000 + nth)
            await site.connect(organization=organization, tenant=tenant)
            run_id = await site.deprovision(organization_id=str(organization))
            was_killed = True
            try:
                await site.work(site.worker(before=killing(nth)))
                was_killed = False
            except Killed:
                await site.work()
            run = await site.run(run_id)
            assert (run["status"], run["released_euis"]) == ("SUCCEEDED", [seeding.eui_of(1)]), nth
            assert site.held() == set()
            if not was_killed:
                break
        assert nth > 20


async def test_no_false_release_under_faults(pool: Pool, database: Database) -> None:
    """Faults at random and kills: never an EUI reported that some registry holds; without faults it goes through."""
    async with run_site(pool, database, options=Options(rights_ttl=0)) as site:
        for seed in range(6):
            tenant = seeding.tenant(
                site.server.stack, f"f{seed}", devices=4, hosts=("eu1", "nam1"), admin=True
            )
            organization = UUID(int=2000 + seed)
            await site.connect(organization=organization, tenant=tenant)
            run_id = await site.deprovision(organization_id=str(organization))
            site.server.faults.at_random(seed, 0.35)
            try:
                await site.work(site.worker(before=killing(20 + 7 * seed)))
            except Killed:
                await site.work()
            run = await site.run(run_id)
            assert not set(run["released_euis"]) & site.held(), seed
            site.server.faults.stop()
            if run["status"] != "SUCCEEDED":
                await site.desk.accepted(f"ttn/runs/{run_id}/resume")
                await site.work()
                run = await site.run(run_id)
            assert (run["status"], site.held()) == ("SUCCEEDED", set()), (seed, run)


async def test_one_process_at_a_time_has_a_run(pool: Pool, database: Database) -> None:
    """While one works on it, another finds nothing to do; what an earlier taker still writes changes nothing."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        run_id = UUID(await site.deprovision())
        first = await run_ledger.claim(pool, "default", run_id, slot=None)
        second = await run_ledger.claim(pool, "default", run_id, slot=None)
        assert first is not None
        assert second is not None
        with pytest.raises(RunLostError):
            await run_ledger.save(pool, first.run, Changes(), slot=None)
        mine, other = site.worker(), site.worker()
        async with mine._locks.holding((f"application {site.application}",)) as held:
            assert held
            assert not await other.run_once()
        await mine.close()
        await site.work(other)
        assert (await site.run(str(run_id)))["status"] == "SUCCEEDED"


async def test_lists_of_runs_and_their_pages(pool: Pool, database: Database) -> None:
    """Newest first, by status and organization, page by page; steps in their order."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        ids = [await site.deprovision(device=f"device-{number}") for number in range(3)]
        await site.work()
        found = await site.desk.accepted("ttn/runs/list", {"limit": 2})
        assert (found["success"], found["version"]) == (True, JOBS_VERSION)
        rest = await site.desk.accepted("ttn/runs/list", {"next_token": found["next_token"]})
        assert [one["id"] for one in found["jobs"] + rest["jobs"]] == ids[::-1]
        assert "next_token" not in rest
        # A page of runs names no devices; one run does, and counts are in both.
        listed, whole = found["jobs"][0], await site.run(ids[2])
        named = {"released_euis", "failed_euis", "failed_devices", "problems"}
        assert not named & (listed.keys() | listed["summary"].keys())
        assert named <= whole["summary"].keys()
        assert listed["success"] is whole["success"] is True
        assert listed["summary"] == {k: v for k, v in whole["summary"].items() if k not in named}
        for status, count in {"SUCCEEDED": 3, "RUNNING,QUEUED": 0}.items():
            asked = {"status": status, "organization_id": str(ORGANIZATION)}
            assert len((await site.desk.accepted("ttn/runs/list", asked))["jobs"]) == count
        other = {"organization_id": str(UUID(int=8))}
        assert (await site.desk.accepted("ttn/runs/list", other))["jobs"] == []
        found = await site.desk.accepted("ttn/runs/list", {"job_id": ids[1], "limit": 2})
        one = await site.desk.accepted(f"ttn/runs/{ids[1]}/get", {"limit": 2})
        assert (found["job"]["id"], found["steps"]) == (ids[1], one["steps"])
        unknown = {"job_id": str(UUID(int=9))}
        assert (await site.desk.rejected("ttn/runs/list", unknown))["code"] == "ResourceNotFound"
        both = {"job_id": ids[1], "status": "RUNNING"}
        assert (await site.desk.rejected("ttn/runs/list", both))["code"] == "InvalidRequest"
        for bad in ({"status": "DONE"}, {"limit": 0}, {"organization_id": "x"}):
            assert (await site.desk.rejected("ttn/runs/list", bad))["code"] == "InvalidRequest"
        names: list[str] = []
        steps: dict[str, object] = {"limit": 3}
        while True:
            page = await site.desk.accepted(f"ttn/runs/{ids[0]}/get", steps)
            names += [one["step_name"] for one in page["steps"]]
            if "next_token" not in page:
                break
            steps = {"limit": 3, "next_token": page["next_token"]}
        assert names == [one["step_name"] for one in await site.steps(ids[0])]


async def test_what_cannot_be_asked_for(pool: Pool, database: Database) -> None:
    """No connection, unclear which one, a run that does not exist: each refused with its reason."""
    async with run_site(pool, database) as site:
        desk = site.desk
        assert (await desk.rejected("ttn/deprovision", {}))["code"] == "ResourceNotFound"
        unknown = {"organization_id": str(UUID(int=9))}
        assert (await desk.rejected("ttn/deprovision", unknown))["code"] == "ResourceNotFound"
        for verb in ("get", "cancel", "resume"):
            for run_id in (str(UUID(int=9)), "no-uuid"):
                refused = await desk.rejected(f"ttn/runs/{run_id}/{verb}")
                assert refused["code"] == "ResourceNotFound"
        both = {"force": True, "dry_run": True}
        assert (await desk.rejected("ttn/deprovision", both))["code"] == "InvalidRequest"


async def test_no_key_is_written_down(
    pool: Pool, database: Database, admin: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """No key in any row but where it is sealed, in no message, no answer and no log line; errors included."""
    async with run_site(pool, database, devices=3) as site:
        await site.connect()
        site.server.faults.at_random(3, 0.3)
        run_id = await site.deprovision()
        await site.work()
        answer = await site.desk.accepted(f"ttn/runs/{run_id}/get")
        told = json.dumps([site.told, answer])
        tables = await admin.fetch(
            "SELECT c.relname FROM pg_class c WHERE c.relkind = 'r'"
            " AND c.relnamespace = 'public'::regnamespace"
        )
        rows = [
            str(row["t"])
            for table in tables
            for row in await admin.fetch(f"SELECT t::text FROM {table['relname']} t")
        ]
        written = "\n".join([told, *rows, *capsys.readouterr()])
        for key in (site.tenant.user_key, site.tenant.organization_key):
            assert key not in written
            assert key.rsplit(".", 1)[1] not in written
        assert len(written) > 5000


async def test_a_key_that_does_not_decrypt_is_no_missing_key(
    pool: Pool, database: Database
) -> None:
    """The run FAILED and says so; the server is not asked anything, and the key stays, also with force."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        await site.desk.rows(
            "UPDATE ttn_connections SET main_key_sealed = set_byte(main_key_sealed, 30, 0)"
            " RETURNING organization_id"
        )
        run_id = await site.deprovision(force=True)
        await site.work()
        run = await site.run(run_id)
        assert run["status"] == "FAILED"
        assert "cannot be decrypted" in run["error"]
        assert run["summary"]["db_cleared"] is False
        kept = await site.desk.rows("SELECT main_key_sealed FROM ttn_connections")
        assert kept[0]["main_key_sealed"] is not None


async def test_runs_that_wait_for_a_lock_keep_nobody_waiting(
    pool: Pool, database: Database
) -> None:
    """Many for one organization, which another process works on: the others have their turn all the same."""
    async with run_site(pool, database, devices=1) as site:
        await site.connect()
        for number in range(6):
            await site.deprovision(device=f"device-{number}")
        tenant = seeding.tenant(site.server.stack, "beta", devices=1)
        await site.connect(organization=UUID(int=8), tenant=tenant)
        run_id = await site.deprovision(organization_id=str(UUID(int=8)))
        other = site.worker()
        async with other._locks.holding((f"organization default {ORGANIZATION}",)) as held:
            assert held
            await site.work()
            assert (await site.run(run_id))["status"] == "SUCCEEDED"
            waiting = await site.desk.accepted("ttn/runs/list", {"status": "QUEUED"})
            assert len(waiting["jobs"]) == 6
        await other.close()
        await site.work()
        assert (await site.desk.accepted("ttn/runs/list", {"status": "QUEUED"}))["jobs"] == []
