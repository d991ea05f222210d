"""Provisioning against a Things Stack: what it makes, goes on with, adopts, gives up; killed at any call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from broker.simulator.things_stack import Kind, Options
from broker.simulator.things_stack.seeding import application, key
from broker.simulator.things_stack.state import Host
from handlers import provision_ledger
from handlers.database import Pool
from tests.conftest import Database
from tests.integration.stack_site import Killed, Killing, Site, stack_site

HOOK = "https://fleet.example.net/up"
ALL = {"owner": "organization", "webhook_url": HOOK, "gateway_key": True}


@pytest.fixture
async def site(pool: Pool, database: Database) -> AsyncIterator[Site]:
    """A server, and somebody to ask for things there."""
    async with stack_site(pool, database) as made:
        yield made


async def test_everything_is_made_and_verified(site: Site) -> None:
    """An organization with its key, the application with its own, a webhook with the secret, a key for gateways."""
    await site.bring(organization_name="Acme pumps")
    status = await site.provisioned(**ALL)
    assert (status["provisioning_status"], status.get("provisioning_error")) == ("ready", None)
    assert status["steps_done"][-1] == "verify"
    found = await site.desk.accepted("ttn/credentials/get")
    stack = site.server.stack
    org = stack.get("organization", found["ttn_organization_id"])
    app = stack.get("application", found["ttn_application_id"])
    assert org.account in app.collaborators
    assert app.fields["name"] == "Acme pumps"
    mark = app.fields["attributes"]["jobbroker"]
    assert site.keys("application", app.id) == [f"jobbroker-{mark}-application"]
    assert site.keys("organization", org.id) == [
        f"jobbroker-{mark}-gateway",
        f"jobbroker-{mark}-organization",
    ]
    for name in (
        "main_api_key",
        "org_api_secret",
        "app_api_secret",
        "gateway_api_secret",
        "webhook_secret",
    ):
        assert found[f"{name}_status"] == "decrypted"
    webhook = site.server.identity.webhooks[app.id][status["webhook_id"]]
    assert webhook["headers"] == {"X-Webhook-Secret": found["webhook_secret"]}
    assert webhook["base_url"] == HOOK
    _told(site, status)


def _told(site: Site, status: dict[str, Any]) -> None:
    """Each step in the asker's room and as an event alike, and the end; nothing secret among it."""
    room = f"operators/ann/ttn/provisioning/{status['organization_id']}"
    heard = [body for topic, body in site.told if topic == room]
    events = [body for topic, body in site.told if topic.startswith("$aws/events/ttnProv")]
    assert events == heard
    assert [one["operation"] for one in heard][:2] == ["started", "progress"]
    assert [one["provisioning_step"] for one in heard[:-1]] == status["steps_done"]
    end = heard[-1]
    assert (end["operation"], end["provisioning_status"]) == ("finished", "ready")
    assert end["steps_done"] == status["steps_done"]
    assert "NNSXS" not in str(site.told)


async def test_it_ends_the_same_wherever_it_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any call, with the server having done it: another process ends it, and nothing is there twice."""
    kill = Killing(monkeypatch)
    at = 0
    while True:
        at += 1
        organization = str(uuid4())
        await site.bring(organization_id=organization)
        await site.desk.accepted("ttn/provision", {**ALL, "organization_id": organization})
        kill.restart(after=at)
        try:
            await site.provisioner.run_once()
            break
        except Killed:
            kill.restart()
        status = await site.settled(organization_id=organization)
        assert (at, status["provisioning_status"]) == (at, "ready"), status
        _nothing_twice(site, at)
    assert at > 20


def _nothing_twice(site: Site, made: int) -> None:
    stack = site.server.stack
    ours = [
        one
        for kind in ("organization", "application")
        for one in stack.of_kind(kind)
        if "jobbroker" in one.fields.get("attributes", {})
    ]
    assert len(ours) == 2 * made
    for one in ours:
        expected = 1 if one.kind == "application" else 2
        assert len(one.keys) == expected, (one.id, [k.name for k in one.keys.values()])


@pytest.mark.parametrize(
    "kind", [Kind.DROP_AFTER, Kind.BAD_GATEWAY, Kind.UNAVAILABLE, Kind.RATE_LIMITED]
)
async def test_a_bad_day_of_the_server(site: Site, kind: Kind) -> None:
    """Answers that are lost after the work, and servers that are away: it waits, goes on, and makes nothing twice."""
    site.server.faults.at_random(seed=7, rate=0.3, kinds=[kind], most=40)
    await site.bring()
    status = await site.provisioned(**ALL)
    assert status["provisioning_status"] == "ready", status
    _nothing_twice(site, 1)


async def test_an_application_of_the_user_without_more(site: Site) -> None:
    """What was not asked for is not made; asked for later, it is added to what there is."""
    await site.bring()
    status = await site.provisioned()
    assert status["steps_done"] == [
        *("create_application", "create_application_key"),
        *("auth_info", "verify"),
    ] or set(status["steps_done"]) == {
        "auth_info",
        "create_application",
        "create_application_key",
        "verify",
    }
    before = await site.desk.accepted("ttn/credentials/get")
    assert before["webhook_secret_status"] == "empty"
    refused = await site.desk.rejected("ttn/provision", {"owner": "organization"})
    assert refused["message"].startswith("owner: what was made belongs to the user")
    status = await site.provisioned(webhook_url=HOOK)
    assert status["provisioning_status"] == "ready"
    after = await site.desk.accepted("ttn/credentials/get")
    assert after["app_api_secret"] == before["app_api_secret"]
    assert after["webhook_secret_status"] == "decrypted"
    assert after["ttn_application_id"] == before["ttn_application_id"]


async def test_a_revoked_key_fails_at_once_and_another_goes_on(site: Site) -> None:
    """401 is final, names no secret, and nothing counts as done; with a good key the same attempt's work goes on."""
    stack = site.server.stack
    bad = key(stack, site.there.user, name="revoked")
    stack.remove_key(site.there.user, bad.split(".")[1])
    await site.bring(bad)
    status = await site.provisioned()
    assert status["provisioning_status"] == "failed"
    assert "does not accept the key (401 api_key_not_found)" in status["provisioning_error"]
    assert status["steps_done"] == []
    assert status["use_start_fresh"] is False
    await site.bring()
    assert (await site.provisioned())["provisioning_status"] == "ready"


async def test_a_key_that_may_too_little_names_what_lacks(site: Site) -> None:
    """A 403 is final; the message has the right."""
    poor = key(site.server.stack, site.there.user, ["RIGHT_USER_INFO"], name="poor")
    await site.bring(poor)
    status = await site.provisioned()
    assert status["provisioning_status"] == "failed"
    assert "not permitted (403" in status["provisioning_error"]
    assert "RIGHT_USER_APPLICATIONS_CREATE" in status["provisioning_error"]


async def test_the_id_of_a_deleted_application_is_left_for_another(
    site: Site, admin: asyncpg.Connection
) -> None:
    """A chosen id that is reserved is given up and remembered; provisioning ends under a fresh one (9, item 9)."""
    await site.bring()
    status = await site.provisioned()
    first = status["ttn_application_id"]
    site.server.stack.get("application", first).deleted_at = site.server.stack.clock.now()
    await site.desk.accepted("ttn/start-fresh")
    status = await site.provisioned()
    assert status["provisioning_status"] == "ready"
    assert status["ttn_application_id"] == f"{first}-2"
    assert await admin.fetchval("SELECT abandoned_ids FROM ttn_connections") == [first]


async def test_a_named_id_that_is_taken_asks_for_a_fresh_start(site: Site) -> None:
    """Another attempt is refused; after start-fresh an id is chosen, and the taken one is never tried again."""
    other = application(site.server.stack, "others-app", site.there.user)
    other.deleted_at = site.server.stack.clock.now() - timedelta(days=2)
    await site.bring()
    status = await site.provisioned(application_id="others-app")
    assert status["provisioning_status"] == "failed"
    assert "the id is taken for good" in status["provisioning_error"]
    assert status["use_start_fresh"] is True
    assert (await site.desk.rejected("ttn/provision"))["code"] == "InvalidStateTransition"
    fresh = await site.desk.accepted("ttn/start-fresh")
    assert fresh["abandoned_ids"] == ["others-app"]
    status = await site.provisioned()
    assert status["provisioning_status"] == "ready"
    assert status["ttn_application_id"].startswith("jb-")


async def test_start_fresh_adopts_what_is_still_ours(site: Site) -> None:
    """The application is known by its mark; its keys are replaced, and the old ones deleted."""
    await site.bring()
    before = await site.provisioned(webhook_url=HOOK)
    old = (await site.desk.accepted("ttn/credentials/get"))["app_api_secret"]
    await site.desk.accepted("ttn/start-fresh")
    after = await site.provisioned()
    assert after["ttn_application_id"] == before["ttn_application_id"]
    new = (await site.desk.accepted("ttn/credentials/get"))["app_api_secret"]
    assert new != old
    keys = site.server.stack.get("application", after["ttn_application_id"]).keys
    assert list(keys) == [new.split(".")[1]]


def _leave_behind(host: Host, application_id: str) -> list[dict[str, Any]]:
    """All that an application can leave on a regional host; where it is kept."""
    host.webhooks[application_id] = {"old": _hook(application_id, "old")}
    ids = {"pub_sub_id": "old", "application_ids": {"application_id": application_id}}
    host.pubsubs[application_id] = {"old": {"ids": ids}}
    host.associations[application_id] = {"7": {"ids": {"f_port": 7}}}
    host.links[application_id] = {"default_formatters": {}}
    host.join_settings[application_id] = {"application_server_id": "old"}
    return [host.webhooks, host.pubsubs, host.associations, host.links, host.join_settings]


@pytest.mark.parametrize("lost", [False, True])
async def test_what_is_inherited_goes(site: Site, *, lost: bool) -> None:
    """A new application would send its data where an earlier one of its id sent it; also with its own answer lost."""
    kept = _leave_behind(site.server.identity, "reborn")
    await site.bring(application_id="reborn")
    if lost:
        site.server.faults.next("POST", "/users/*/applications", Kind.DROP_AFTER)
    status = await site.provisioned(application_id="reborn")
    assert status["provisioning_status"] == "ready", status
    assert [one.get("reborn", {}) for one in kept] == [{}] * 5


async def test_what_an_adopted_application_has_stays(site: Site) -> None:
    """It was there before us, or we made it before a fresh start: nobody asked for its webhooks to go."""
    hooks = site.server.identity.webhooks
    theirs = application(site.server.stack, "theirs", site.there.user)
    hooks["theirs"] = {"kept": _hook(theirs.id, "kept")}
    await site.bring()
    adopted = await site.provisioned(application_id="theirs", webhook_url=HOOK)
    assert adopted["provisioning_status"] == "ready", adopted
    assert sorted(hooks["theirs"]) == sorted(["kept", adopted["webhook_id"]])
    organization = str(uuid4())
    await site.bring(organization_id=organization)
    first = await site.provisioned(organization_id=organization)
    ours = first["ttn_application_id"]
    hooks[ours] = {"kept": _hook(ours, "kept")}
    await site.desk.accepted("ttn/start-fresh", {"organization_id": organization})
    again = await site.provisioned(organization_id=organization)
    assert (again["provisioning_status"], again["ttn_application_id"]) == ("ready", ours)
    assert sorted(hooks[ours]) == ["kept"]


async def test_a_regional_host_that_remembers_nothing_was_there_is_waited_for(
    pool: Pool, database: Database
) -> None:
    """A 403 right after the application was made is no refusal (9, item 13)."""
    async with stack_site(pool, database, Options(rights_ttl=120)) as site:
        await site.bring()
        site.server.faults.next("PUT", "/as/webhooks/*", Kind.NO_RIGHTS, 3)
        status = await site.provisioned(webhook_url=HOOK)
        assert status["provisioning_status"] == "ready", status


async def test_a_stored_key_that_does_not_open_is_not_replaced(
    site: Site, admin: asyncpg.Connection
) -> None:
    """It is there: the attempt fails and says so; the key at the server stays; start-fresh is the way out."""
    await site.bring()
    ready = await site.provisioned()
    await admin.execute("UPDATE ttn_connections SET app_api_key_sealed = main_key_sealed")
    status = await site.provisioned()
    assert status["provisioning_status"] == "failed"
    assert "app_api_key_sealed: cannot be decrypted" in status["provisioning_error"]
    assert status["use_start_fresh"] is True
    assert len(site.keys("application", ready["ttn_application_id"])) == 1
    await site.desk.accepted("ttn/start-fresh")
    assert (await site.provisioned())["provisioning_status"] == "ready"


async def test_an_application_that_was_brought_in_is_adopted_as_it_is(site: Site) -> None:
    """Named with its own key by credentials/set: nothing is made, the key stays, and what its webhooks were too."""
    app, app_key = site.there.application.id, site.there.application_key
    await site.bring(application_id=app, app_api_key=app_key)
    status = await site.provisioned()
    assert (status["provisioning_status"], status["ttn_application_id"]) == ("ready", app), status
    found = await site.desk.accepted("ttn/credentials/get")
    assert found["app_api_secret"] == app_key
    assert site.keys("application", app) == ["application"]


async def test_a_key_that_came_late_is_deleted(site: Site) -> None:
    """What a killed process had still under way gets to the server after the next one has looked: `verify` finds it."""
    await site.bring()
    app = (await site.provisioned())["ttn_application_id"]
    found = site.server.stack.get("application", app)
    name = site.keys("application", app)[0]
    key(site.server.stack, found, name=name)
    assert site.keys("application", app) == [name, name]
    assert (await site.provisioned())["provisioning_status"] == "ready"
    secret = (await site.desk.accepted("ttn/credentials/get"))["app_api_secret"]
    assert list(found.keys) == [secret.split(".")[1]]


async def test_an_organizations_own_key_makes_an_application_of_it(site: Site) -> None:
    """What its user could do beside it is not needed; the owner follows from the key."""
    await site.bring(site.there.organization_key)
    status = await site.provisioned(webhook_url=HOOK, gateway_key=True)
    assert status["provisioning_status"] == "ready", status
    assert status["ttn_organization_id"] == site.there.organization.id
    app = site.server.stack.get("application", status["ttn_application_id"])
    assert site.there.organization.account in app.collaborators


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_goes_wrong_it_ends_well_once_it_stops(site: Site, seed: int) -> None:
    """All that a server does on a bad day, at every second call: nothing is reported ready that is not."""
    site.server.faults.at_random(seed, 0.5, most=30)
    await site.bring()
    status = await site.provisioned(**ALL)
    site.server.faults.stop()
    if status["provisioning_status"] == "failed":
        status = await site.provisioned()
    assert status["provisioning_status"] == "ready", status
    _nothing_twice(site, 1)


async def test_another_attempt_ends_what_an_older_one_still_writes(site: Site) -> None:
    """A process that was cut off from the database must not write over what came after it."""
    await site.bring()
    await site.desk.accepted("ttn/provision")
    await site.desk.rows("UPDATE ttn_connections SET work_token = gen_random_uuid()")
    taken = await provision_ledger.take(
        site.desk.pool, site.means.sealer, "default", await _organization(site), site.teller
    )
    assert taken is not None
    await site.desk.rows("UPDATE ttn_connections SET work_token = gen_random_uuid()")
    with pytest.raises(provision_ledger.ProvisioningLostError):
        await taken[0].note({"ttn_user_id": "somebody"})
    assert (await site.settled())["provisioning_status"] == "ready"


async def _organization(site: Site) -> UUID:
    rows = await site.desk.rows("SELECT organization_id FROM ttn_connections")
    found: UUID = rows[0]["organization_id"]
    return found


def _hook(application_id: str, webhook_id: str) -> dict[str, Any]:
    ids = {"webhook_id": webhook_id, "application_ids": {"application_id": application_id}}
    return {"ids": ids, "base_url": "http://elsewhere.example"}


async def test_deep_clean_takes_all_away_and_it_can_be_provisioned_anew(site: Site) -> None:
    """As a run, not beside provisioning or registering; the brought key stays, the taken id is never tried again."""
    await site.bring()
    first = await site.provisioned(**ALL)
    made = await site.desk.accepted("ttn/deep-clean")
    for verb in ("ttn/provision", "ttn/deep-clean"):
        assert made["job_id"] in (await site.desk.rejected(verb))["message"], verb
    await site.runs_done()
    run = (await site.desk.accepted(f"ttn/runs/{made['job_id']}/get"))["job"]
    assert (run["status"], run["action"]) == ("SUCCEEDED", "deep_clean"), run
    status = await site.desk.accepted("ttn/status")
    assert status["provisioning_status"] == "idle"
    assert status["credentials"]["main_key"] == "decrypted"
    assert set(status["credentials"].values()) == {"decrypted", "empty"}
    assert site.server.stack.find("application", first["ttn_application_id"]) is None
    second = await site.provisioned(**ALL)
    assert second["provisioning_status"] == "ready", second
    assert second["ttn_application_id"] != first["ttn_application_id"]
    assert second["ttn_organization_id"] != first["ttn_organization_id"]


async def test_deep_clean_takes_nothing_that_does_not_open_for_absent(
    site: Site, admin: asyncpg.Connection
) -> None:
    """A failed credential stops it, and so does provisioning that is under way."""
    await site.bring()
    await site.provisioned()
    await admin.execute("UPDATE ttn_connections SET app_api_key_sealed = main_key_sealed")
    refused = await site.desk.rejected("ttn/deep-clean", {"force": True})
    assert "app_api_key: cannot be decrypted" in refused["message"]
    await site.desk.accepted("ttn/start-fresh")
    await site.desk.accepted("ttn/provision")
    for verb in ("ttn/deep-clean", "ttn/deprovision"):
        assert "under way" in (await site.desk.rejected(verb))["message"]
