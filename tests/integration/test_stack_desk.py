"""The commands on connections to The Things Stack: what they take, tell, keep and put on record."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from broker.sealing import KeyRing
from broker.secret_keys import new_key
from handlers.context import Outside
from handlers.database import Pool, tenant_transaction
from schema import paging
from schema.rights import LEAST_ROLE, Role
from schema.things_stack_connection import organization_of
from schema.things_stack_hosts import DEFAULT_HOSTS, StackHosts
from tests.factories import add_tenant, is_waited_for
from tests.helpers import eventually
from tests.integration.operator_desk import Desk

USER_KEY = "NNSXS." + "U" * 39 + "." + "S" * 52
APP_KEY = "NNSXS." + "P" * 39 + "." + "T" * 52
OTHER_ORGANIZATION = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
FIRST = {"api_key": USER_KEY, "region": "eu1"}
ROOT_KEY = "AB" * 16


def outside(*keys: str) -> Outside:
    """What commands may use: these keys, and the public hosts."""
    return Outside(
        sealer=KeyRing.parse(",".join(keys)), stack_hosts=StackHosts.parse(DEFAULT_HOSTS)
    )


KEY = new_key()


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner with a key to seal with."""
    return Desk(pool, outside=outside(KEY))


async def audit(desk: Desk) -> list[dict[str, Any]]:
    """The audit log, oldest first."""
    lines: list[dict[str, Any]] = (await desk.accepted("audit/list"))["lines"]
    return lines[::-1]


async def ready(desk: Desk, admin: asyncpg.Connection) -> None:
    """A connection as it is when provisioning has ended."""
    await desk.accepted("ttn/credentials/set", FIRST)
    await admin.execute(
        "UPDATE ttn_connections SET provisioning_status = 'ready', ttn_application_id = 'app-1'"
    )


async def test_without_a_connection_it_is_idle(desk: Desk) -> None:
    """A tenant is an organization itself, the same each time; what needs a connection says that there is none."""
    body = await desk.accepted("ttn/status")
    assert body["organization_id"] == str(organization_of("default"))
    assert (body["provisioning_status"], body["provisioning_attempt_count"]) == ("idle", 0)
    for verb in ("ttn/credentials/get", "ttn/provision", "ttn/start-fresh", "ttn/devices/list"):
        assert (await desk.rejected(verb))["code"] == "ResourceNotFound", verb


async def test_credentials_come_back_and_each_reading_is_on_record(desk: Desk) -> None:
    """Three states by name; the audit log has who read and what was there, and no value; nothing is remembered."""
    body = await desk.accepted("ttn/credentials/set", {**FIRST, "organization_name": "Acme"})
    assert USER_KEY not in json.dumps(body)
    assert body["credentials"]["main_key"] == "decrypted"
    for _ in range(2):
        got = await desk.accepted("ttn/credentials/get", {"clientToken": "again"})
        assert got["main_api_key"] == USER_KEY
        assert got["main_api_key_status"] == "decrypted"
        assert got["webhook_secret_status"] == "empty"
        assert "webhook_secret" not in got
        assert got["ttn_region"] == "eu1"
    reads = [one for one in await audit(desk) if one["action"] == "ttn/credentials/get"]
    assert len(reads) == 2
    assert reads[0]["details"]["read"]["main_key"] == "decrypted"
    assert (reads[0]["actor"], reads[0]["subject"]) == ("ann", f"ttn/{organization_of('default')}")


async def test_a_secret_that_does_not_open_is_failed_and_not_empty(desk: Desk, pool: Pool) -> None:
    """Without its key: reported as failed, provisioning refuses to go on; with the key back all is as before."""
    await desk.accepted("ttn/credentials/set", FIRST)
    lost = Desk(pool, outside=outside(new_key()))
    got = await lost.accepted("ttn/credentials/get")
    assert got["main_api_key_status"] == "failed"
    assert "main_api_key" not in got
    assert "cannot be decrypted" in (await lost.accepted("ttn/status"))["guidance"]
    refused = await lost.rejected("ttn/provision")
    assert refused["code"] == "InvalidStateTransition"
    assert "cannot be decrypted" in refused["message"]
    assert (await desk.accepted("ttn/credentials/get"))["main_api_key"] == USER_KEY


async def test_without_a_key_nothing_is_stored(pool: Pool) -> None:
    """The refusal says what to set, and not what was given."""
    desk = Desk(pool, outside=replace(Outside(), stack_hosts=StackHosts.parse(DEFAULT_HOSTS)))
    refused = await desk.rejected("ttn/credentials/set", FIRST)
    assert "JOBBROKER_SECRET_KEY is not set" in refused["message"]
    assert USER_KEY not in json.dumps(refused)
    assert await desk.rows("SELECT 1 FROM ttn_connections") == []


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"api_key": USER_KEY + "x", "region": "eu1"}, "api_key: is not an API key"),
        ({"api_key": 7, "region": "eu1"}, "api_key: is not an API key"),
        ({"api_key": [USER_KEY], "region": "eu1"}, "api_key: is not an API key"),
        ({"api_key": USER_KEY}, "api_key with region, or with identity_host: required"),
        ({"region": "eu1"}, "api_key with region, or with identity_host: required"),
        ({**FIRST, "identity_host": "a.example"}, "exclude each other"),
        ({"api_key": USER_KEY, "tenant": "acme"}, "tenant: goes with region"),
        (
            {"api_key": USER_KEY, "identity_host": "evil.example"},
            "'evil.example' is not one of JOBBROKER_THINGS_STACK_HOSTS",
        ),
        ({**FIRST, "app_api_key": APP_KEY}, "app_api_key: goes with application_id"),
    ],
)
async def test_wrong_credentials_are_told_by_field_and_never_shown(
    desk: Desk, payload: dict[str, object], problem: str
) -> None:
    """And change nothing."""
    refused = await desk.rejected("ttn/credentials/set", payload)
    assert problem in refused["message"]
    assert "UUUU" not in json.dumps(refused)
    assert await desk.rows("SELECT 1 FROM ttn_connections") == []


async def test_several_organizations_must_be_named(desk: Desk) -> None:
    """With one, it is meant; with two, it is asked which."""
    await desk.accepted("ttn/credentials/set", {**FIRST, "organization_id": OTHER_ORGANIZATION})
    assert (await desk.accepted("ttn/status"))["organization_id"] == OTHER_ORGANIZATION
    own = str(organization_of("default"))
    await desk.accepted("ttn/credentials/set", {**FIRST, "organization_id": own})
    assert "organization_id: required" in (await desk.rejected("ttn/status"))["message"]
    first = await desk.accepted("ttn/connections", {"limit": 1})
    after = {"next_token": first["next_token"]}
    last = await desk.accepted("ttn/connections", {"limit": 1, **after})
    assert "next_token" not in last
    listed = [*first["connections"], *last["connections"]]
    assert [one["organization_id"] for one in listed] == sorted([own, OTHER_ORGANIZATION])
    assert {one["provisioning_status"] for one in listed} == {"idle"}
    assert (await desk.accepted("ttn/status", {"organization_id": own}))["organization_id"] == own


async def test_tenants_do_not_see_each_other(desk: Desk, pool: Pool) -> None:
    """Another tenant's connection is not there, whatever is named."""
    await desk.accepted("ttn/credentials/set", {**FIRST, "organization_id": OTHER_ORGANIZATION})
    await add_tenant(pool, "acme")
    other = Desk(pool, tenant="acme", outside=desk.outside)
    refused = await other.rejected("ttn/credentials/get", {"organization_id": OTHER_ORGANIZATION})
    assert refused["code"] == "ResourceNotFound"


async def test_provision_begins_an_attempt_and_counts_it(
    desk: Desk, admin: asyncpg.Connection
) -> None:
    """Asked again while it is under way it changes nothing; after three failures it advises to start fresh."""
    await desk.accepted("ttn/credentials/set", FIRST)
    first = await desk.accepted("ttn/provision", {"owner": "organization", "gateway_key": True})
    assert (first["provisioning_status"], first["provisioning_attempt_count"]) == (
        "provisioning",
        1,
    )
    again = await desk.accepted("ttn/provision", {"gateway_key": False})
    assert again["provisioning_attempt_count"] == 1
    assert "under way" in (await desk.rejected("ttn/credentials/set", FIRST))["message"]
    assert "under way" in (await desk.rejected("ttn/start-fresh"))["message"]
    for attempt in (2, 3):
        await admin.execute("UPDATE ttn_connections SET provisioning_status = 'failed'")
        assert (await desk.accepted("ttn/status"))["use_start_fresh"] is False
        body = await desk.accepted("ttn/provision")
        assert body["provisioning_attempt_count"] == attempt
    await admin.execute("UPDATE ttn_connections SET provisioning_status = 'failed'")
    status = await desk.accepted("ttn/status")
    assert status["use_start_fresh"] is True
    assert "ttn/start-fresh" in status["guidance"]
    wanted = await desk.rows("SELECT provisioning_wanted AS w, owner_kind FROM ttn_connections")
    assert json.loads(wanted[0]["w"]) == {"gateway_key": True}
    assert wanted[0]["owner_kind"] == "organization"


@pytest.mark.parametrize(("legacy", "today"), [("not_started", "idle"), ("completed", "ready")])
async def test_older_words_are_read(
    desk: Desk, admin: asyncpg.Connection, legacy: str, today: str
) -> None:
    """Seed 001's mapping of what an older program wrote."""
    await desk.accepted("ttn/credentials/set", FIRST)
    await admin.execute("UPDATE ttn_connections SET provisioning_status = $1", legacy)
    assert (await desk.accepted("ttn/status"))["provisioning_status"] == today


async def test_start_fresh_forgets_what_was_made_and_keeps_what_was_brought(
    desk: Desk, admin: asyncpg.Connection
) -> None:
    """Also where only it helps: then provision refuses before, and the id that is taken is given up for good."""
    await desk.accepted(
        "ttn/credentials/set", {**FIRST, "application_id": "taken-1", "app_api_key": APP_KEY}
    )
    await admin.execute(
        "UPDATE ttn_connections SET provisioning_status = 'failed', provisioning_error = 'taken',"
        ' provisioning_details = \'{"remedy": "start_fresh", "taken": ["taken-1"]}\''
    )
    assert "use ttn/start-fresh" in (await desk.rejected("ttn/provision"))["message"]
    body = await desk.accepted("ttn/start-fresh")
    assert body["abandoned_ids"] == ["taken-1"]
    assert "ttn_application_id" not in body
    assert body["credentials"] == {
        **dict.fromkeys(
            ("org_api_key", "app_api_key", "gateway_api_key", "webhook_secret"), "empty"
        ),
        "main_key": "decrypted",
    }
    assert (await desk.accepted("ttn/provision"))["provisioning_attempt_count"] == 1


async def test_devices_wait_sealed_and_a_repeated_command_adds_none(
    desk: Desk, admin: asyncpg.Connection
) -> None:
    """Lines keep their order; a device named twice, a batch of something else and an unready connection are refused."""
    devices = [
        {
            "device_id": f"dev-{n}",
            "dev_eui": f"70b3d57ed000000{n}",
            "app_key": ROOT_KEY,
            "frequency_plan_id": "EU_863_870_TTN",
        }
        for n in range(3)
    ]
    await desk.accepted("ttn/credentials/set", FIRST)
    assert (
        "not ready"
        in (await desk.rejected("ttn/devices/register", {"devices": devices}))["message"]
    )
    await ready(desk, admin)
    twice = await desk.rejected("ttn/devices/register", {"devices": [devices[0]] * 2})
    assert twice["message"] == "devices: device_id: 'dev-0' is there twice"
    made = await desk.accepted("ttn/devices/register", {"devices": devices[:2]})
    batch = made["batch_id"]
    more = await desk.accepted("ttn/devices/register", {"devices": devices, "batch_id": batch})
    assert (more["added"], more["lines"]) == (1, 3)
    shown = await desk.accepted("ttn/devices/batch", {"batch_id": batch, "limit": 2})
    assert [(one["line"], one["device_id"], one["status"]) for one in shown["results"]] == [
        (1, "dev-0", "PENDING"),
        (2, "dev-1", "PENDING"),
    ]
    rest = {"batch_id": batch, "next_token": shown["next_token"]}
    assert len((await desk.accepted("ttn/devices/batch", rest))["results"]) == 1
    other = await desk.rejected("ttn/devices/remove", {"device_ids": ["dev-0"], "batch_id": batch})
    assert "is a batch of something else" in other["message"]
    await add_tenant(desk.pool, "acme")
    assert (
        len(await desk.rows("SELECT 1 FROM ttn_batch_lines WHERE app_key_sealed IS NOT NULL")) == 3
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"app_key": "AB" * 15}, "devices.0.app_key: is not a key of 32"),
        ({"app_key": None}, "devices.0.app_key"),
        ({"nwk_key": "ABAB"}, "devices.0.nwk_key: is not a key of 32"),
        ({"dev_eui": "70B3"}, "devices.0.dev_eui: '70B3'"),
        ({"device_id": "D_1"}, "devices.0.device_id: 'D_1'"),
    ],
)
async def test_a_wrong_device_is_told_by_field_and_its_key_never_shown(
    desk: Desk, change: dict[str, object], problem: str
) -> None:
    """What cannot be a key stays unsaid as well: it may be most of one."""
    device = {
        "device_id": "dev-1",
        "dev_eui": "70B3D57ED0000001",
        "app_key": ROOT_KEY,
        "frequency_plan_id": "EU_863_870_TTN",
        **change,
    }
    refused = await desk.rejected("ttn/devices/register", {"devices": [device]})
    assert refused["message"].startswith(problem)
    assert "ABAB" not in json.dumps(refused)


@pytest.mark.parametrize("role", list(Role))
async def test_roles(desk: Desk, pool: Pool, admin: asyncpg.Connection, role: Role) -> None:
    """A viewer sees states, a manager may read credentials, admin and owner change things (seed 001)."""
    await ready(desk, admin)
    payloads: dict[str, dict[str, object]] = {
        "ttn/status": {},
        "ttn/credentials/get": {},
        "ttn/credentials/set": {**FIRST},
        "ttn/provision": {},
        "ttn/start-fresh": {},
        "ttn/deep-clean": {"dry_run": True},
        "ttn/devices/register": {
            "devices": [
                {
                    "device_id": "dev-1",
                    "dev_eui": "70B3D57ED0000001",
                    "app_key": ROOT_KEY,
                    "frequency_plan_id": "E",
                }
            ]
        },
        "ttn/devices/remove": {"device_ids": ["dev-1"]},
        "ttn/devices/list": {},
    }
    for verb, payload in payloads.items():
        await admin.execute("UPDATE ttn_connections SET provisioning_status = 'ready'")
        answer = await Desk(pool, role, outside=desk.outside).send(verb, payload)
        allowed = role.covers(LEAST_ROLE[verb])
        assert answer.accepted == allowed, (verb, answer.body)
        assert allowed or answer.body["code"] == "Unauthorized"


async def test_a_token_of_no_line_there_can_be_is_the_end_of_the_list(
    desk: Desk, admin: asyncpg.Connection
) -> None:
    """A place beyond what a batch's lines are numbered with is no fault of ours."""
    await ready(desk, admin)
    made = await desk.accepted("ttn/devices/remove", {"device_ids": ["dev-0"]})
    token = paging.encode("ttn-lines", 2**40)
    for asked in ({}, {"status": "PENDING"}):
        page = {"batch_id": made["batch_id"], "next_token": token, **asked}
        assert (await desk.accepted("ttn/devices/batch", page))["results"] == []


async def test_first_credentials_that_come_twice_at_once_are_one_connection(
    desk: Desk, pool: Pool
) -> None:
    """The later one finds what the first has written, instead of failing for it."""
    first = (
        "INSERT INTO ttn_connections (tenant_id, organization_id, identity_host, network_host, application_host,"
        " join_host, mark) VALUES ('default', $1, $2, $2, $2, $2, '0123456789ab')"
    )
    async with pool.acquire() as raw:
        async with tenant_transaction(raw, "default") as connection:
            host = "eu1.cloud.thethings.network"
            await connection.execute(first, organization_of("default"), host)
            second = asyncio.create_task(desk.send("ttn/credentials/set", FIRST))
            await eventually(lambda: is_waited_for(connection), timeout=60)
        answer = await second
    assert answer.accepted, answer.body
    (count,) = await desk.rows("SELECT count(*) FROM ttn_connections")
    assert count["count"] == 1
