"""The simulated Things Stack's four registries, deletion and what it leaves, keys, and what regional hosts keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from broker.simulator.things_stack import Options, seeding
from tests.integration.stack_calls import Calls, Setting, attributes_of, full_name, name_of, setting

JOIN_EUI = seeding.JOIN_EUI
GONE_404 = {
    "is": ("pkg/identityserver/store:end_device_not_found",) * 2,
    "ns": ("pkg/networkserver:device_not_found", "pkg/redis:not_found"),
    "as": ("pkg/applicationserver:device_not_found", "pkg/redis:not_found"),
    "js": ("pkg/joinserver:device_not_found",) * 2,
}


@pytest.fixture
async def stack() -> AsyncIterator[Setting]:
    """An installation with a tenant that has 3 devices."""
    async with setting(devices=3) as made:
        yield made


def _admin(stack: Setting) -> Calls:
    root = seeding.user(stack.server.stack, "root", admin=True)
    return stack.call.with_key(seeding.key(stack.server.stack, root))


def _device(device_id: str, dev_eui: str, join_eui: str = JOIN_EUI) -> dict[str, Any]:
    ids = {"device_id": device_id, "dev_eui": dev_eui, "join_eui": join_eui}
    return {"end_device": {"ids": ids}, "field_mask": {"paths": ["ids"]}}


def _path(stack: Setting, component: str, device_id: str) -> str:
    return f"{'' if component == 'is' else f'/{component}'}{stack.app}/devices/{device_id}"


@pytest.mark.parametrize("component", ["is", "ns", "as", "js"])
async def test_missing_devices_have_the_registrys_own_404(stack: Setting, component: str) -> None:
    """5.4: each registry has names of its own for DELETE and GET, and the delete is hard and at once."""
    path = _path(stack, component, "sensor-0001")
    assert (await stack.call("DELETE", path)).json() == {}
    again, read = await stack.call("DELETE", path), await stack.call("GET", path)
    assert (again.status_code, read.status_code) == (404, 404)
    assert (full_name(again), full_name(read)) == GONE_404[component]
    held = stack.server.stack.holders_of(seeding.eui_of(1))
    assert len(held) == 3
    assert not any(place.startswith((component, f"eu1/{component}")) for place in held)


async def test_another_cluster_knows_nothing_and_says_it_well(stack: Setting) -> None:
    """0.7: the wrong region is a well-formed 404."""
    answer = await stack.call("DELETE", _path(stack, "ns", "sensor-0001"), host="nam1")
    assert (answer.status_code, full_name(answer)) == (404, "pkg/networkserver:device_not_found")
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4


async def test_batches_say_nothing_of_what_is_missing(stack: Setting) -> None:
    """2.4, 5.4: 200 whatever there was; 1 to 20 ids."""
    ids = ["sensor-0001", "not-here", "sensor-0002"]
    for component in ("as", "ns", "js", "is"):
        path = _path(stack, component, "batch")
        assert (await stack.call("DELETE", path, device_ids=ids)).json() == {}
    assert stack.server.stack.holders_of(seeding.eui_of(2)) == []
    read = await stack.call(
        "GET", f"{stack.app}/devices/batch", device_ids=["x-y-z", "sensor-0003"]
    )
    assert [each["ids"]["device_id"] for each in read.json()["end_devices"]] == ["sensor-0003"]
    many = [f"device-{number}" for number in range(21)]
    assert (
        await stack.call("DELETE", f"{stack.app}/devices/batch", device_ids=many)
    ).status_code == 400
    assert (await stack.call("DELETE", f"{stack.app}/devices/batch")).status_code == 400


async def test_a_release_without_batches_takes_the_word_for_a_device() -> None:
    """9.15: a well-formed 404 that means "unsupported"."""
    async with setting(Options(batch_routes=False), devices=1) as stack:
        path = f"{stack.app}/devices/batch"
        answer = await stack.call("DELETE", path, device_ids=["sensor-0001"])
        assert (answer.status_code, attributes_of(answer)["device_id"]) == (404, "batch")
        assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4


async def test_conflicts_name_the_holder(stack: Setting) -> None:
    """5.6, 4.1: the pair of EUIs is unique in each registry alone; another JoinEUI is another pair."""
    eui = seeding.eui_of(1)
    taken = await stack.call("POST", f"{stack.app}/devices", _device("other", eui))
    assert (taken.status_code, full_name(taken)) == (
        409,
        "pkg/identityserver:end_device_euis_taken",
    )
    assert attributes_of(taken) == {
        "join_eui": JOIN_EUI,
        "dev_eui": eui,
        "device_id": "sensor-0001",
        "application_id": stack.tenant.application.id,
    }
    same_id = await stack.call("POST", f"{stack.app}/devices", _device("sensor-0001", "AA" * 8))
    assert (same_id.status_code, name_of(same_id)) == (409, "id_taken")
    regional = await stack.call("PUT", _path(stack, "ns", "other"), _device("other", eui))
    assert (regional.status_code, full_name(regional)) == (
        409,
        "pkg/internal/registry:end_device_euis_taken",
    )
    elsewhere = await stack.call(
        "PUT", _path(stack, "ns", "other"), _device("other", eui), host="nam1"
    )
    assert elsewhere.status_code == 200
    pair = await stack.call("POST", f"{stack.app}/devices", _device("other", eui, "0" * 16))
    assert pair.status_code == 200


async def test_setting_twice_is_an_update(stack: Setting) -> None:
    """9.11, 2.5, 4.1: Set is an upsert that writes what the mask names; EUIs cannot be changed."""
    path = _path(stack, "js", "sensor-0001")
    body = _device("sensor-0001", seeding.eui_of(1))
    body["end_device"]["supports_join"] = True
    assert (await stack.call("PUT", path, body)).status_code == 200
    assert "supports_join" not in (await stack.call("GET", path, field_mask="supports_join")).json()
    body["field_mask"]["paths"].append("supports_join")
    assert (await stack.call("PUT", path, body)).json()["supports_join"] is True
    changed = await stack.call("PUT", path, _device("sensor-0001", "AA" * 8))
    assert (changed.status_code, name_of(changed)) == (400, "read_only_field")


async def test_a_device_on_another_server_than_its_application(stack: Setting) -> None:
    """5.6: the identity server refuses addresses that differ from the application's own."""
    update = {
        "application": {"network_server_address": "ns.example.com"},
        "field_mask": {"paths": ["network_server_address"]},
    }
    assert (await stack.call("PUT", stack.app, update)).status_code == 200
    body = _device("other", "AA" * 8)
    body["end_device"]["network_server_address"] = "elsewhere.example.com"
    refused = await stack.call("POST", f"{stack.app}/devices", body)
    assert (refused.status_code, name_of(refused)) == (400, "network_server_address_mismatch")


async def test_an_application_with_devices_stays(stack: Setting) -> None:
    """4.2, 5.2: FailedPrecondition is 400; only the identity server's devices count."""
    refused = await stack.call("DELETE", stack.app)
    assert (refused.status_code, refused.json()["code"], full_name(refused)) == (
        400,
        9,
        "pkg/identityserver:application_has_devices",
    )
    assert attributes_of(refused) == {"count": 3}
    for number in (1, 2, 3):
        await stack.call("DELETE", _path(stack, "is", f"sensor-000{number}"))
    assert (await stack.call("DELETE", stack.app)).status_code == 200
    leftovers = stack.server.stack.holders_of(seeding.eui_of(1))
    assert [each.split()[0] for each in leftovers] == ["eu1/ns", "eu1/as", "eu1/js"]
    unreachable = await stack.call("DELETE", _path(stack, "ns", "sensor-0001"))
    assert (unreachable.status_code, name_of(unreachable)) == (403, "no_application_rights")


async def test_a_deleted_application_keeps_its_id_and_can_be_restored() -> None:
    """4.2: 409 on the same id; its own key is 401; restore within 24 hours brings the old keys back."""
    async with setting() as stack:
        app, clock = stack.app, stack.server.stack.clock
        own = stack.call.with_key(stack.tenant.application_key)
        assert (await stack.call("POST", f"{app}/restore", {})).status_code == 404
        await own("DELETE", app)
        after = await own("GET", app)
        assert (after.status_code, name_of(after)) == (401, "api_key_not_found")
        assert (await stack.call("GET", app)).status_code == 404
        assert name_of(await stack.call("DELETE", app)) == "no_application_rights"
        org = f"/organizations/{stack.tenant.organization.id}"
        body = {"application": {"ids": {"application_id": stack.tenant.application.id}}}
        taken = await stack.call("POST", f"{org}/applications", body)
        assert (taken.status_code, name_of(taken)) == (409, "id_taken")
        listed = await stack.call("GET", "/applications", deleted="true")
        assert "deleted_at" in listed.json()["applications"][0]
        assert (await stack.call("POST", f"{app}/restore")).status_code == 200
        assert (await own("GET", app)).status_code == 200
        await stack.call("DELETE", app)
        clock.move(timedelta(hours=25))
        late = await stack.call("POST", f"{app}/restore")
        assert (late.status_code, name_of(late)) == (400, "restore_window_expired")


async def test_purge_is_for_administrators(stack: Setting) -> None:
    """0.3, 4.2, 5.4: refused to others before anything is looked at; frees the id; missing is entity_not_found."""
    admin, org = _admin(stack), f"/organizations/{stack.tenant.organization.id}"
    for path in (f"{stack.app}/purge", "/applications/nowhere/purge"):
        refused = await stack.call("DELETE", path)
        assert (refused.status_code, full_name(refused)) == (
            403,
            "pkg/identityserver:admins_purge_applications",
        )
    assert name_of(await stack.call("DELETE", f"{org}/purge")) == "admins_purge_organizations"
    assert name_of(await admin("DELETE", f"{stack.app}/purge")) == "application_has_devices"
    for number in (1, 2, 3):
        await stack.call("DELETE", _path(stack, "is", f"sensor-000{number}"))
    await stack.call("DELETE", stack.app)
    assert (await admin("DELETE", f"{stack.app}/purge")).status_code == 200
    missing = await admin("DELETE", f"{stack.app}/purge")
    assert (missing.status_code, full_name(missing)) == (
        404,
        "pkg/identityserver/store:entity_not_found",
    )
    body = {"application": {"ids": {"application_id": stack.tenant.application.id}}}
    assert (await stack.call("POST", f"{org}/applications", body)).status_code == 200
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 3


async def test_an_organization_goes_without_a_look_at_its_applications(stack: Setting) -> None:
    """4.3: they survive, and whoever had them through it has them no more."""
    org = f"/organizations/{stack.tenant.organization.id}"
    assert (await stack.owner("GET", f"{stack.app}/devices")).status_code == 200
    assert (await stack.owner("DELETE", org)).status_code == 200
    assert name_of(await stack.owner("GET", f"{stack.app}/devices")) == "no_application_rights"
    assert name_of(await stack.call("GET", stack.app)) == "api_key_not_found"
    user = f"/users/{stack.tenant.user.id}/organizations"
    body = {"organization": {"ids": {"organization_id": stack.tenant.organization.id}}}
    again = await stack.owner("POST", user, body)
    assert (again.status_code, name_of(again)) == (409, "already_exists")
    body["organization"]["ids"]["organization_id"] = stack.tenant.user.id
    assert name_of(await stack.owner("POST", user, body)) == "already_exists"
    assert (await _admin(stack)("DELETE", f"{org}/purge")).status_code == 200
    assert stack.tenant.application.collaborators == {}


async def test_a_key_is_told_once(stack: Setting) -> None:
    """7, 2.1: `key` only in the answer to its creation; empty rights delete; a missing one is 404."""
    path = f"{stack.app}/api-keys"
    made = (
        await stack.call("POST", path, {"name": "one", "rights": ["RIGHT_APPLICATION_INFO"]})
    ).json()
    prefix, key_id, secret = made["key"].split(".")
    assert (prefix, key_id, len(key_id), len(secret)) == ("NNSXS", made["id"], 39, 52)
    listed = (await stack.call("GET", path)).json()["api_keys"]
    read = (await stack.call("GET", f"{path}/{key_id}")).json()
    assert all("key" not in each for each in [*listed, read])
    assert read["rights"] == ["RIGHT_APPLICATION_INFO"]
    assert (await stack.call("PUT", f"{path}/{key_id}", {"api_key": {}})).status_code == 200
    missing = await stack.call("DELETE", f"{path}/{key_id}")
    assert (missing.status_code, full_name(missing)) == (
        404,
        "pkg/identityserver/store:api_key_not_found",
    )
    revoked = await stack.call.with_key(made["key"])("GET", stack.app)
    assert (revoked.status_code, name_of(revoked)) == (401, "api_key_not_found")


async def test_nobody_grants_what_they_have_not(stack: Setting) -> None:
    """6.1: keys need the right to make keys and every right that is granted; none is no key."""
    rights = ["RIGHT_APPLICATION_SETTINGS_API_KEYS", "RIGHT_APPLICATION_INFO"]
    lesser = stack.call.with_key(seeding.key(stack.server.stack, stack.tenant.organization, rights))
    path = f"{stack.app}/api-keys"
    assert (await lesser("POST", path, {"rights": rights})).status_code == 200
    more = await lesser("POST", path, {"rights": ["RIGHT_APPLICATION_DELETE"]})
    assert (more.status_code, name_of(more)) == (403, "insufficient_application_rights")
    for bad in ([], ["RIGHT_APPLICATION_INFO"] * 2, ["RIGHT_OF_WAY"]):
        assert (await stack.call("POST", path, {"rights": bad})).status_code == 400


async def test_webhooks_outlive_their_application() -> None:
    """2.6, 4.2, 9.19: Set is an upsert by mask; deletes are 200 whatever there was; the next one inherits."""
    async with setting() as stack:
        hooks = f"/as/webhooks/{stack.tenant.application.id}"
        webhook = {
            "base_url": "https://example.com/ttn",
            "format": "json",
            "headers": {"X-Secret": "s"},
            "uplink_message": {"path": "/up"},
        }
        ids = {"webhook_id": "jobbroker"}
        mask = {"paths": ["base_url", "headers", "uplink_message"]}
        body = {"webhook": {**webhook, "ids": ids}, "field_mask": mask}
        assert (await stack.call("POST", hooks, body)).status_code == 200
        read = await stack.call("GET", f"{hooks}/jobbroker", field_mask="headers,format")
        assert read.json()["headers"] == {"X-Secret": "s"}
        assert "format" not in read.json()
        assert (await stack.call("GET", hooks, host="nam1")).json() == {}
        missing = await stack.call("GET", f"{hooks}/other-one")
        assert (missing.status_code, full_name(missing)) == (404, "pkg/redis:not_found")
        assert (await stack.call("DELETE", f"{hooks}/other-one")).json() == {}
        admin = _admin(stack)
        await stack.call("DELETE", stack.app)
        await admin("DELETE", f"{stack.app}/purge")
        org = f"/organizations/{stack.tenant.organization.id}/applications"
        fresh = {"application": {"ids": {"application_id": stack.tenant.application.id}}}
        assert (await stack.call("POST", org, fresh)).status_code == 200
        listed = await stack.call("GET", hooks)
        assert listed.headers["x-total-count"] == "1"
        assert listed.json()["webhooks"][0]["ids"]["webhook_id"] == "jobbroker"


async def test_newer_releases_list_some_webhooks_only() -> None:
    """2.6, 9.20: at most so many, and the total is of those."""
    async with setting(Options(regional_list_limit=2)) as stack:
        hooks = f"/as/webhooks/{stack.tenant.application.id}"
        for number in range(3):
            body = {"webhook": {"ids": {"webhook_id": f"hook-{number}"}}}
            assert (await stack.call("POST", hooks, body)).status_code == 200
        listed = await stack.call("GET", hooks)
        assert (len(listed.json()["webhooks"]), listed.headers["x-total-count"]) == (2, "2")


async def test_webhooks_need_three_rights_to_be_changed(stack: Setting) -> None:
    """6.1: traffic rights as well as settings, for delete as for set; headers are limited."""
    some = stack.call.with_key(
        seeding.key(
            stack.server.stack, stack.tenant.organization, ["RIGHT_APPLICATION_SETTINGS_BASIC"]
        )
    )
    hooks = f"/as/webhooks/{stack.tenant.application.id}"
    refused = await some("DELETE", f"{hooks}/jobbroker")
    assert attributes_of(refused)["missing"].split(", ") == [
        "RIGHT_APPLICATION_TRAFFIC_READ",
        "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
    ]
    many = {f"X-{number}": "v" for number in range(51)}
    body = {"webhook": {"ids": {"webhook_id": "jobbroker"}, "headers": many}}
    assert (await stack.call("POST", hooks, body)).status_code == 400


async def test_what_else_an_application_keeps_on_regional_hosts(stack: Setting) -> None:
    """2.5, 4.1: link, packages, pub/subs and join settings; packages go with the device's single delete only."""
    packages = f"/as{stack.app}/packages/associations"
    of_device = f"{_path(stack, 'as', 'sensor-0001')}/packages/associations"
    put = {"default": {"package_name": "x"}, "field_mask": {"paths": ["package_name"]}}
    assert (await stack.call("PUT", f"{packages}/201", put)).status_code == 200
    put = {"association": {"package_name": "x"}, "field_mask": {"paths": ["package_name"]}}
    assert (await stack.call("PUT", f"{of_device}/201", put)).status_code == 200
    assert len((await stack.call("GET", packages)).json()["defaults"]) == 1
    assert (await stack.call("DELETE", f"/as{stack.app}/link")).json() == {}
    assert (await stack.call("GET", packages)).json() == {}
    batch = _path(stack, "as", "batch")
    await stack.call("DELETE", batch, device_ids=["sensor-0001"])
    assert len((await stack.call("GET", of_device)).json()["associations"]) == 1
    pubsub = f"/as/pubsub/{stack.tenant.application.id}"
    assert (await stack.call("DELETE", f"{pubsub}/nothing")).json() == {}
    body = {"pubsub": {"ids": {"pub_sub_id": "mine"}, "format": "json"}}
    assert (await stack.call("POST", pubsub, body)).status_code == 200
    assert len((await stack.call("GET", pubsub)).json()["pubsubs"]) == 1
    settings = f"/js{stack.app}/settings"
    assert (await stack.call("DELETE", settings)).status_code == 404
    put = {"settings": {"home_net_id": "000013"}, "field_mask": {"paths": ["home_net_id"]}}
    assert (await stack.call("POST", settings, put)).status_code == 200
    assert (await stack.call("DELETE", settings)).json() == {}


async def test_search_sees_one_applications_devices_and_a_hundred_at_most() -> None:
    """2.7, 3: a substring of the EUI in any case; a limit beyond 100 gives 100; applications are searched too."""
    async with setting(devices=120) as stack:
        path = f"/search{stack.app}/devices"
        hits = await stack.call("GET", path, dev_eui_contains=seeding.eui_of(7).lower())
        assert [each["ids"]["device_id"] for each in hits.json()["end_devices"]] == ["sensor-0007"]
        assert (await stack.call("GET", path, dev_eui_contains="FFFF")).json() == {}
        many = await stack.call("GET", path, limit=200)
        assert (len(many.json()["end_devices"]), many.headers["x-total-count"]) == (100, "120")
        by_app = stack.call.with_key(stack.tenant.application_key)
        forbidden = await by_app("GET", "/search/applications")
        assert (forbidden.status_code, name_of(forbidden)) == (403, "search_forbidden")
        seeding.application(
            stack.server.stack, "theirs", seeding.user(stack.server.stack, "other-user")
        )
        mine, every = (
            await stack.call("GET", "/search/applications"),
            await _admin(stack)("GET", "/search/applications"),
        )
        assert (len(mine.json()["applications"]), len(every.json()["applications"])) == (1, 2)
    async with setting(Options(search=False)) as stack:
        answer = await stack.call("GET", f"/search{stack.app}/devices")
        assert (answer.status_code, answer.json()) == (404, {"code": 5, "message": "Not Found"})


async def test_collaborators(stack: Setting) -> None:
    """2.1, 2.2: singular paths, but plural to remove one from an organization; somebody must be left."""
    seeding.user(stack.server.stack, "helper")
    ids = {"user_ids": {"user_id": "helper"}}
    body = {"collaborator": {"ids": ids, "rights": ["RIGHT_APPLICATION_INFO"]}}
    assert (await stack.call("PUT", f"{stack.app}/collaborators", body)).status_code == 200
    one = f"{stack.app}/collaborator/user/helper"
    assert (await stack.call("GET", one)).json()["rights"] == ["RIGHT_APPLICATION_INFO"]
    assert (await stack.call("DELETE", f"{stack.app}/collaborators/user/helper")).status_code == 404
    assert (await stack.call("DELETE", one)).json() == {}
    last = f"{stack.app}/collaborator/organization/{stack.tenant.organization.id}"
    assert name_of(await stack.call("DELETE", last)) == "application_needs_collaborator"
    org = f"/organizations/{stack.tenant.organization.id}"
    owner = stack.tenant.user.id
    assert (await stack.owner("DELETE", f"{org}/collaborator/user/{owner}")).status_code == 501
    refused = await stack.owner("DELETE", f"{org}/collaborators/user/{owner}")
    assert name_of(refused) == "organization_needs_collaborator"


async def test_dev_euis_are_issued_and_never_taken_back() -> None:
    """4.1: a counter, a limit, and an error where the server issues none."""
    async with setting() as stack:
        none = await stack.call("POST", f"{stack.app}/dev-eui", {})
        assert (none.status_code, name_of(none)) == (400, "dev_eui_issuing_not_enabled")
    options = Options(dev_eui_prefix="70B3D57ED1", dev_eui_limit=2)
    async with setting(options) as stack:
        path = f"{stack.app}/dev-eui"
        issued = [(await stack.call("POST", path, {})).json()["dev_eui"] for _ in range(2)]
        assert issued == ["70B3D57ED1000001", "70B3D57ED1000002"]
        over = await stack.call("POST", path, {})
        assert (over.status_code, name_of(over)) == (400, "application_dev_eui_limit_reached")


async def test_claims_are_given_up_while_the_identity_server_knows_the_device() -> None:
    """2.8, 9.7: unclaim before the delete; a join server that cannot claim is a 409 that is final."""
    async with setting(Options(claimable_join_euis=frozenset({JOIN_EUI})), devices=2) as stack:
        app_id = stack.tenant.application.id
        body = {
            "authenticated_identifiers": {"join_eui": JOIN_EUI, "dev_eui": seeding.eui_of(1)},
            "target_application_ids": {"application_id": app_id},
            "target_device_id": "sensor-0001",
        }
        assert (await stack.call("POST", "/edcs/claim", body)).status_code == 200
        assert f"claim {app_id}/sensor-0001" in stack.server.stack.holders_of(seeding.eui_of(1))
        path = f"/edcs/claim/{app_id}/devices"
        batch = await stack.call("DELETE", f"{path}/batch", device_ids=["sensor-0001", "nobody"])
        assert (batch.status_code, list(batch.json()["failed"])) == (200, ["nobody"])
        assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4
        await stack.call("DELETE", _path(stack, "is", "sensor-0002"))
        late = await stack.call("DELETE", f"{path}/sensor-0002")
        assert (late.status_code, name_of(late)) == (404, "end_device_not_found")
        no = {**body, "authenticated_identifiers": {"join_eui": "0" * 16, "dev_eui": "A" * 16}}
        refused = await stack.call("POST", "/edcs/claim", no)
        assert (refused.status_code, refused.json()["code"], name_of(refused)) == (
            409,
            10,
            "claiming_not_supported",
        )


async def test_users(stack: Setting) -> None:
    """2.3, 5.5: made by anybody, approved; one that is suspended is refused and restricted."""
    body = {"user": {"ids": {"user_id": "jo"}, "primary_email_address": "jo@example.com"}}
    nobody = stack.call.with_key(None)
    assert (await nobody("POST", "/users", body)).status_code == 200
    user = stack.server.stack.get("user", "jo")
    call = stack.call.with_key(seeding.key(stack.server.stack, user))
    created = await call(
        "POST", "/users/jo/applications", {"application": {"ids": {"application_id": "jos-app"}}}
    )
    assert created.status_code == 200
    user.state = "STATE_SUSPENDED"
    refused = await call("GET", "/applications/jos-app")
    assert (refused.status_code, name_of(refused)) == (403, "user_suspended")
    told = (await call("GET", "/auth_info")).json()["api_key"]
    assert told["api_key"]["rights"] == ["RIGHT_USER_INFO"]
    assert name_of(await call("DELETE", "/applications/jos-app")) == "no_application_rights"
    user.state, user.email_validated = "STATE_APPROVED", False
    unchecked = await call("GET", "/auth_info")
    assert "x-warning" in unchecked.headers
    assert name_of(await call("DELETE", "/applications/jos-app")) == "no_application_rights"
    closed = Options(users_create_applications=False)
    async with setting(closed) as other:
        path = f"/users/{other.tenant.user.id}/applications"
        app = {"application": {"ids": {"application_id": "my-own-app"}}}
        refused = await other.owner("POST", path, app)
        assert (refused.status_code, name_of(refused)) == (403, "admins_create_applications")
