"""The simulated Things Stack does as the real one: routing, errors, credentials, lists, and who may do what."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.simulator.things_stack import Options, seeding
from tests.integration.stack_calls import (
    Setting,
    attributes_of,
    full_name,
    name_of,
    setting,
)


@pytest.fixture
async def stack() -> AsyncIterator[Setting]:
    """An installation with a tenant that has 3 devices."""
    async with setting(devices=3) as made:
        yield made


async def test_routing(stack: Setting) -> None:
    """1, 5.1: unknown paths are 404 without details, wrong methods 501, paths beside the API 404 with details."""
    unknown = await stack.call("DELETE", f"{stack.app}/devices/sensor-0001/purge")
    assert (unknown.status_code, unknown.json()) == (404, {"code": 5, "message": "Not Found"})
    method = await stack.call("GET", f"/ns{stack.app}/devices")
    assert (method.status_code, method.json()) == (
        501,
        {"code": 12, "message": "Method Not Allowed"},
    )
    beside = await stack.call.http.get(f"{stack.server.url()}/api/v2/x")
    assert (beside.status_code, full_name(beside)) == (404, "pkg/webhandlers:route_not_found")


async def test_identity_routes_are_on_one_host_only(stack: Setting) -> None:
    """6.3: a regional cluster knows no applications of its own: a routing 404, without details."""
    answer = await stack.call("GET", stack.app, host="nam1")
    assert (answer.status_code, answer.json()) == (404, {"code": 5, "message": "Not Found"})


async def test_an_error_has_details_and_a_correlation_id(stack: Setting) -> None:
    """5.1: the body of an error."""
    answer = await stack.call("GET", f"{stack.app}/devices/nothing-here")
    body = answer.json()
    details = body["details"][0]
    assert (answer.status_code, body["code"], details["code"]) == (404, 5, 5)
    assert body["message"].startswith("error:pkg/identityserver/store:end_device_not_found (")
    assert details["@type"] == "type.googleapis.com/ttn.lorawan.v3.ErrorDetails"
    assert details["attributes"] == {
        "application_id": stack.tenant.application.id,
        "device_id": "nothing-here",
    }
    assert re.fullmatch(r"[0-9a-f]{32}", details["correlation_id"])


async def test_whitespace_varies(stack: Setting) -> None:
    """5.1: the same answer is not always written the same way."""
    bodies = {(await stack.call("GET", stack.app)).text for _ in range(20)}
    assert len(bodies) > 1
    assert len({body.replace(" ", "") for body in bodies}) == 1


async def test_bad_input_is_400_before_credentials_are_looked_at(stack: Setting) -> None:
    """1: validation comes before authentication."""
    nobody = stack.call.with_key(None)
    for path in ("/applications/No_Good", "/applications/ab", f"/applications/{'a' * 37}"):
        answer = await nobody("GET", path)
        assert (answer.status_code, name_of(answer)) == (400, "validation"), path
    broken = await stack.call.http.post(
        f"{stack.server.url()}/api/v3{stack.app}/devices", content=b"{"
    )
    assert broken.status_code == 400
    assert "details" not in broken.json()
    masked = await nobody("GET", f"{stack.app}/devices", field_mask="ids,ids.dev_addr,nonsense")
    assert full_name(masked) == "pkg/rpcmiddleware/validator:field_mask_paths"
    assert attributes_of(masked) == {"forbidden_paths": ["ids.dev_addr", "nonsense"]}


async def test_reserved_words_are_no_ids(stack: Setting) -> None:
    """1: the block list applies to what is created."""
    app = {"application": {"ids": {"application_id": "webhook"}}}
    made = await stack.call(
        "POST", f"/organizations/{stack.tenant.organization.id}/applications", app
    )
    assert full_name(made) == "pkg/identityserver/blocklist:forbidden_id"
    device = {"end_device": {"ids": {"device_id": "batch"}}}
    assert name_of(await stack.call("POST", f"{stack.app}/devices", device)) == "forbidden_id"


async def test_euis_in_a_query_are_base64(stack: Setting) -> None:
    """1: hex in a query of a device route is refused."""
    path = f"{stack.app}/devices/sensor-0001"
    assert (await stack.call("GET", path, dev_eui="70B3D57ED0000001")).status_code == 400
    assert (await stack.call("GET", path, dev_eui="cLPVftAAAAE=")).status_code == 200


async def test_a_created_device_reads_back_in_capitals_without_what_is_empty(
    stack: Setting,
) -> None:
    """1: EUIs in any case or base64 in, capitals out; empty fields are left out; creates are 200."""
    device = {
        "ids": {"device_id": "odd-one", "dev_eui": "70b3d57ed00000aa", "join_eui": "cLPVftAAAAA="},
        "name": "",
        "description": "new",
        "unknown": 1,
    }
    made = await stack.call("POST", f"{stack.app}/devices", {"end_device": device})
    assert made.status_code == 200
    assert made.json()["ids"]["dev_eui"] == "70B3D57ED00000AA"
    assert made.json()["ids"]["join_eui"] == "70B3D57ED0000000"
    read = await stack.call("GET", f"{stack.app}/devices/odd-one", field_mask="name,description")
    assert set(read.json()) == {"ids", "created_at", "updated_at", "description"}
    bare = (await stack.call("GET", f"{stack.app}/devices/odd-one")).json()
    assert set(bare) == {"ids", "created_at", "updated_at"}


async def test_pages_have_a_limit_a_number_and_a_total() -> None:
    """3: limit and page; beyond the end there is no list but still the total; no page tokens, odd keys ignored."""
    async with setting(devices=250) as stack:
        path = f"{stack.app}/devices"
        default = await stack.call("GET", path, page_token="x", field_mask="ids")
        assert len(default.json()["end_devices"]) == 100
        assert default.headers["x-total-count"] == "250"
        assert "next_page_token" not in default.json()
        last = await stack.call("GET", path, limit=100, page=3)
        assert len(last.json()["end_devices"]) == 50
        assert last.json()["end_devices"][-1]["ids"]["device_id"] == "sensor-0250"
        beyond = await stack.call("GET", path, limit=100, page=4)
        assert (beyond.status_code, beyond.json()) == (200, {})
        assert beyond.headers["x-total-count"] == "250"
        first = await stack.call("GET", path, limit=2, page=0)
        assert [d["ids"]["device_id"] for d in first.json()["end_devices"]] == [
            "sensor-0001",
            "sensor-0002",
        ]
        assert name_of(await stack.call("GET", path, limit=1001)) == "validation"


async def test_a_filter_narrows_a_list_and_not_its_total() -> None:
    """2.4, 3: the filter's parameters are in its body; X-Total-Count does not know of updated_since."""
    async with setting(devices=3) as stack:
        path = f"{stack.app}/devices"
        listed = (await stack.call("GET", path)).json()["end_devices"]
        change = {"end_device": {"name": "new"}, "field_mask": {"paths": ["name"]}}
        await stack.call("PUT", f"{path}/sensor-0002", change)
        since = {"filters": [{"updated_since": listed[-1]["updated_at"]}], "limit": 5}
        found = await stack.call("POST", f"{path}/filter", since)
        assert [d["ids"]["device_id"] for d in found.json()["end_devices"]] == ["sensor-0002"]
        assert found.headers["x-total-count"] == "3"
        limited = await stack.call("POST", f"{path}/filter", {"limit": 1}, limit=3)
        assert len(limited.json()["end_devices"]) == 1


async def test_an_older_release_gives_everything_without_a_limit() -> None:
    """3: the default limit came with 3.32.2."""
    async with setting(Options(default_limit=None), devices=150) as stack:
        answer = await stack.call("GET", f"{stack.app}/devices")
        assert len(answer.json()["end_devices"]) == 150


async def test_credentials(stack: Setting) -> None:
    """5.5: malformed 400, unknown 401, wrong secret 401, expired 401, the word Bearer is needed."""
    call, app = stack.call, stack.app
    key_id, secret = stack.tenant.organization_key.split(".")[1:]
    malformed = await call.with_key("no-key")("GET", app)
    assert (malformed.status_code, full_name(malformed)) == (400, "pkg/auth:token")
    unknown = await call.with_key(f"NNSXS.{'A' * 39}.{secret}")("GET", app)
    assert (unknown.status_code, unknown.json()["code"], full_name(unknown)) == (
        401,
        16,
        "pkg/identityserver:api_key_not_found",
    )
    assert "www-authenticate" in unknown.headers
    wrong = await call.with_key(f"NNSXS.{key_id}.{'A' * 52}")("GET", app)
    assert (wrong.status_code, name_of(wrong)) == (401, "invalid_authorization")
    without = {"authorization": stack.tenant.organization_key}
    bare = await call.with_key(None)("GET", f"{app}/devices", headers=without)
    assert (bare.status_code, name_of(bare)) == (403, "no_application_rights")
    probe = await call.with_key(None)("GET", app)
    assert (probe.status_code, name_of(probe)) == (401, "unauthenticated")
    regional = await call.with_key(None)("GET", f"/ns{app}/devices/sensor-0001")
    assert (regional.status_code, full_name(regional)) == (401, "pkg/rpcmetadata:unauthenticated")


async def test_an_expired_key(stack: Setting) -> None:
    """5.5, 9.24: keys expire by the server's clock, and one that expires in the past is not made."""
    later = (stack.server.stack.clock.now() + timedelta(hours=1)).isoformat()
    path = f"{stack.app}/api-keys"
    made = await stack.owner(
        "POST", path, {"rights": ["RIGHT_APPLICATION_INFO"], "expires_at": later}
    )
    call = stack.call.with_key(made.json()["key"])
    assert (await call("GET", stack.app)).status_code == 200
    stack.server.stack.clock.move(timedelta(hours=2))
    expired = await call("GET", stack.app)
    assert (expired.status_code, name_of(expired)) == (401, "api_key_expired")
    past = {"rights": ["RIGHT_APPLICATION_INFO"], "expires_at": "2020-01-01T00:00:00Z"}
    assert (await stack.owner("POST", path, past)).status_code == 400


async def test_what_is_missing_is_403_for_others_and_404_for_administrators(
    stack: Setting,
) -> None:
    """0.6, 5.4, 5.5: missing and foreign applications look alike, save to the probe."""
    admin_key = seeding.key(
        stack.server.stack, seeding.user(stack.server.stack, "root", admin=True)
    )
    admin = stack.call.with_key(admin_key)
    foreign = seeding.user(stack.server.stack, "somebody-else")
    other = seeding.application(stack.server.stack, "their-app", foreign)
    for method, path in (("DELETE", ""), ("GET", "/devices"), ("GET", "/api-keys")):
        missing = await stack.call(method, f"/applications/nowhere{path}")
        theirs = await stack.call(method, f"/applications/{other.id}{path}")
        assert missing.status_code == theirs.status_code == 403
        assert name_of(missing) == name_of(theirs) == "no_application_rights"
    assert attributes_of(missing) == {"uid": "nowhere"}
    gone = await admin("DELETE", "/applications/nowhere")
    assert (gone.status_code, full_name(gone)) == (
        404,
        "pkg/identityserver/store:application_not_found",
    )
    assert (await stack.call("GET", "/applications/nowhere")).status_code == 404
    probe = await stack.call("GET", f"/applications/{other.id}")
    assert (probe.status_code, set(probe.json())) == (200, {"ids", "created_at", "updated_at"})
    named = await stack.call("GET", f"/applications/{other.id}", field_mask="name")
    assert (named.status_code, name_of(named)) == (403, "no_application_rights")
    rights = await stack.call("GET", "/applications/nowhere/rights")
    assert (rights.status_code, rights.json()) == (200, {})


async def test_a_right_that_lacks_is_named(stack: Setting) -> None:
    """5.5, 6.1: `insufficient` says which; effective rights are the key's and the account's both."""
    reader = seeding.key(
        stack.server.stack, stack.tenant.organization, ["RIGHT_APPLICATION_DEVICES_READ"]
    )
    call = stack.call.with_key(reader)
    assert (await call("GET", f"{stack.app}/devices")).status_code == 200
    refused = await call("DELETE", stack.app)
    assert (refused.status_code, name_of(refused)) == (403, "insufficient_application_rights")
    assert attributes_of(refused)["missing"] == "RIGHT_APPLICATION_DELETE"
    rights = (await call("GET", f"{stack.app}/rights")).json()
    assert rights == {"rights": ["RIGHT_APPLICATION_DEVICES_READ"]}


async def test_an_administrator_lacks_the_rights_about_keys(stack: Setting) -> None:
    """6.1: universal rights leave out keys unless the installation says otherwise."""
    admin = seeding.key(stack.server.stack, seeding.user(stack.server.stack, "root", admin=True))
    keys = await stack.call.with_key(admin)("GET", f"{stack.app}/api-keys")
    assert (keys.status_code, name_of(keys)) == (403, "insufficient_application_rights")
    async with setting(Options(admin_rights_all=True)) as open_stack:
        root = seeding.user(open_stack.server.stack, "root", admin=True)
        key = seeding.key(open_stack.server.stack, root)
        path = f"{open_stack.app}/api-keys"
        assert (await open_stack.call.with_key(key)("GET", path)).status_code == 200


async def test_auth_info_tells_whose_key_it_is(stack: Setting) -> None:
    """2.3: entity, rights, is_admin left out when false; `{}` without credentials."""
    told = (await stack.call("GET", "/auth_info")).json()
    assert told["api_key"]["entity_ids"] == {
        "organization_ids": {"organization_id": stack.tenant.organization.id}
    }
    assert "key" not in told["api_key"]["api_key"]
    assert "is_admin" not in told
    root = seeding.user(stack.server.stack, "root", admin=True)
    key = seeding.key(stack.server.stack, root)
    admin = (await stack.call.with_key(key)("GET", "/auth_info")).json()
    assert admin["is_admin"] is True
    assert "RIGHT_APPLICATION_DELETE" in admin["universal_rights"]["rights"]
    assert "RIGHT_APPLICATION_SETTINGS_API_KEYS" not in admin["universal_rights"]["rights"]
    assert (await stack.call.with_key(None)("GET", "/auth_info")).json() == {}


async def test_lists_of_applications_depend_on_who_asks(stack: Setting) -> None:
    """3: an application's key sees none; a user sees those of their organizations; deleted ones apart."""
    app_id = stack.tenant.application.id
    of_app = await stack.call.with_key(stack.tenant.application_key)("GET", "/applications")
    assert (of_app.status_code, of_app.json()) == (200, {})
    mine = (await stack.owner("GET", "/applications")).json()["applications"]
    assert [each["ids"]["application_id"] for each in mine] == [app_id]
    directly = await stack.owner("GET", f"/users/{stack.tenant.user.id}/applications")
    assert directly.json() == {}
    by_org = f"/organizations/{stack.tenant.organization.id}/applications"
    assert len((await stack.call("GET", by_org)).json()["applications"]) == 1
    assert (await stack.call("GET", by_org, deleted="true")).json() == {}
    nested = await stack.call("GET", "/organizations")
    assert (nested.status_code, name_of(nested)) == (400, "nested_organizations")


async def test_request_ids_come_back_and_long_answers_may_be_packed(stack: Setting) -> None:
    """1: X-Request-Id is echoed, gzip is used when accepted."""
    answer = await stack.call("GET", stack.app, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["content-encoding"] == "gzip"
    refused = await stack.call("GET", "/nothing", headers={"x-request-id": "mine-2"})
    assert refused.headers["x-request-id"] == "mine-2"
    plain = await stack.call("GET", stack.app, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


async def test_the_record_holds_no_keys(stack: Setting) -> None:
    """What was asked is written down with the public part of the key alone."""
    await stack.call("GET", stack.app)
    request = stack.server.record.requests[-1]
    assert (request.method, request.path, request.status) == ("GET", stack.app, 200)
    secret = stack.tenant.organization_key.split(".")[2]
    assert secret not in repr(stack.server.record)
    assert secret not in repr(stack.server.stack.entities)
