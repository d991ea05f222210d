"""Roles and tenants at every route and verb: each cell of the table of rights, and nothing of another tenant's.

The examples of `schema.http_routes` are what is asked for. Their names (pump-1, fw-7, basement, ...) are those of the
tenant acme, which has one of everything; who asks is an operator of the tenant default, which has everything as well.
"""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import httpx
import pytest

from handlers.database import Pool
from handlers.operator_plane import Actor, Answer, execute
from schema.http_route import Route
from schema.http_routes import API, ROUTES
from schema.rights import LEAST_ROLE, READS, Role
from schema.topics import OperatorTopic
from tests.factories import add_tenant
from tests.integration.http_door import every_door, http_door
from tests.integration.operator_desk import Desk, aws_job

# In each text that acme has said of anything, and nowhere else.
MARK = "of-acme-alone"
NAMES = {
    "jobId": "fw-7",
    "thingName": "pump-1",
    "thingGroupName": "basement",
    "jobTemplateId": "reboot",
    "operatorName": "bob",
    "templateName": "AWS-Reboot",
}
# AWS's own, which are everybody's.
SHARED = {"managed-templates/get", "managed-templates/list"}


async def fill(pool: Pool, tenant: str, prefix: str, mark: str) -> dict[str, str]:
    """One of everything, by names with a prefix, each with a text that has the mark; returns ids and tokens."""
    desk = Desk(pool, tenant=tenant)
    pump, job, group = f"{prefix}pump-1", f"{prefix}fw-7", f"{prefix}basement"
    for name in (pump, f"{prefix}pump-2"):
        thing = await desk.accepted(
            "things/create",
            {"thingName": name, "attributes": {"site": mark}, "issueToken": name == pump},
        )
        if name == pump:
            device = thing["token"]
    await desk.accepted(
        "groups/create",
        {"thingGroupName": group, "thingGroupProperties": {"thingGroupDescription": mark}},
    )
    await desk.accepted("groups/add", {"thingGroupName": group, "thingNames": [pump]})
    await desk.accepted(
        "jobs/create",
        aws_job(
            pump, group=group, jobId=job, description=mark, tags=[{"Key": "team", "Value": mark}]
        )
        | {"document": json.dumps({"operation": mark}), "targetSelection": "CONTINUOUS"},
    )
    await desk.work()
    await desk.accepted(
        "templates/create",
        {"jobTemplateId": f"{prefix}reboot", "description": mark, "document": "{}"},
    )
    made = await desk.accepted(
        "operators/create", {"operatorName": f"{prefix}bob", "role": "owner"}
    )
    token = await desk.accepted(
        "tokens/create", {"operatorName": f"{prefix}bob", "label": mark, "expiresInDays": 9}
    )
    (batch,) = await desk.rows(
        "WITH connection AS ("
        "  INSERT INTO ttn_connections (tenant_id, organization_id, organization_name, identity_host,"
        "    network_host, application_host, join_host, mark)"
        "  VALUES ($1, gen_random_uuid(), $2, 'a', 'a', 'a', 'a', '0123456789ab') RETURNING *)"
        " INSERT INTO ttn_device_batches (tenant_id, batch_id, organization_id, application_id, action,"
        "   requested_by) SELECT tenant_id, gen_random_uuid(), organization_id, $2, 'remove', 'bob'"
        " FROM connection RETURNING batch_id::text",
        tenant,
        mark,
    )
    (run,) = await desk.rows(
        "INSERT INTO ttn_deprovision_runs (tenant_id, organization_id, ttn_application_id, error)"
        " SELECT tenant_id, organization_id, $2, $2 FROM ttn_connections WHERE tenant_id = $1"
        " RETURNING id::text",
        tenant,
        mark,
    )
    return {
        "operator": made["token"],
        "run_id": run["id"],
        "device": device,
        "tokenId": token["tokenId"],
        "batch_id": batch["batch_id"],
    }


async def rows_of(admin: asyncpg.Connection, tenant: str) -> dict[str, list[str]]:
    """All a tenant has, by table; but when its tokens were used last."""
    tables = await admin.fetch(
        "SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t"
        " USING (table_schema, table_name)"
        " WHERE c.column_name = 'tenant_id' AND c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
    )
    found = {}
    for table in sorted(row["table_name"] for row in tables):
        rows = await admin.fetch(
            f"SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM {table} t WHERE tenant_id = $1"
            " ORDER BY 1",
            tenant,
        )
        found[table] = [row["row"] for row in rows]
    return found


def named(route: Route, ids: dict[str, str]) -> dict[str, str]:
    """Acme's ids for the names in a route's path."""
    missing = set(route.names) - {*NAMES, *ids}
    assert not missing, f"the test needs what acme has for {missing} of {route.verb}"
    found = {**NAMES, **ids}
    if route.verb.startswith("ttn/runs/"):
        found["jobId"] = ids["run_id"]
    return {name: found[name] for name in route.names}


def creating(routes: tuple[Route, ...]) -> list[Route]:
    """In such an order that what makes things of one's own with acme's names comes last."""
    return sorted(routes, key=lambda route: (route.status == 201 and not route.names, route.verb))


async def call(http: httpx.AsyncClient, route: Route, names: dict[str, str], token: str) -> Any:  # noqa: ANN401 - an answer
    """Call a route with its example."""
    path = API + route.path.format(**names)
    query = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in route.example.items()
    }
    has_query = route.method in ("GET", "DELETE") and not any(
        isinstance(value, list | dict) for value in route.example.values()
    )
    return await http.request(
        route.method,
        path,
        params=query if has_query else None,
        json=None if has_query or route.method == "GET" else route.example,
        headers={"Authorization": f"Bearer {token}"},
    )


async def test_nothing_of_another_tenant_by_any_route(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """With each of acme's ids at each route: 404 or 403, or an answer without a trace of acme, which stays as it is."""
    await add_tenant(pool, "acme")
    acme = await fill(pool, "acme", "", MARK)
    own = await fill(pool, "default", "own-", "of-our-own")
    before = await rows_of(admin, "acme")
    assert len([rows for rows in before.values() if rows]) > 8
    async with http_door(every_door(pool)) as http:
        for route in creating(ROUTES):
            answer = await call(http, route, named(route, acme), own["operator"])
            assert MARK not in answer.text, route.verb
            if route.names and route.verb not in SHARED:
                assert answer.status_code in (403, 404), (route.verb, answer.text)
            else:
                assert answer.status_code < 500, (route.verb, answer.text)
        theirs = {"Authorization": f"Bearer {acme['operator']}"}
        assert MARK in (await http.get(f"{API}/jobs/fw-7", headers=theirs)).text
        operator = {"Authorization": f"Bearer {own['operator']}"}
        for method, path, headers in (
            ("GET", "/customer/jobs/fw-7", operator),
            ("DELETE", "/customer/jobs/fw-7", operator),
            ("GET", "/device/v1/jobs/fw-7/execution", {"X-Provision-Token": own["device"]}),
            ("PUT", "/device/v1/jobs/fw-7/execution", {"X-Provision-Token": own["device"]}),
        ):
            body = {"status": "IN_PROGRESS"} if method == "PUT" else None
            answer = await http.request(method, path, headers=headers, json=body)
            assert answer.status_code == 404, (path, answer.text)
        for path in ("/customer/jobs", f"{API}/jobs", f"{API}/tokens", f"{API}/audit"):
            answer = await http.get(path, headers=operator)
            assert (answer.status_code, MARK in answer.text) == (200, False)
    assert await rows_of(admin, "acme") == before


async def test_nothing_of_another_tenant_by_any_command(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """The same over MQTT: the tenant is that of the listener, and commands with acme's ids find nothing there."""
    await add_tenant(pool, "acme")
    acme = await fill(pool, "acme", "", MARK)
    await fill(pool, "default", "own-", "of-our-own")
    before = await rows_of(admin, "acme")
    for route in creating(ROUTES):
        names = named(route, acme)
        answer = await command(pool, route, names, Actor("default", "own-bob"))
        assert MARK not in json.dumps(answer.body), route.verb
        if route.names and route.verb not in SHARED:
            assert answer.body.get("code") in ("ResourceNotFound", "Unauthorized"), route.verb
    assert await rows_of(admin, "acme") == before


async def command(pool: Pool, route: Route, names: dict[str, str], actor: Actor) -> Answer:
    """A route's command as MQTT has it."""
    topic = OperatorTopic(actor.tenant_id, actor.name, route.verb)
    members: dict[str, Any] = dict(route.example)
    if route.is_of_job:
        job, thing = names.get("jobId", ""), names.get("thingName", "")
        topic = OperatorTopic(actor.tenant_id, actor.name, route.verb, job, thing)
    else:
        members |= names
    return await execute(pool, actor, topic, json.dumps(members).encode(), slot=None)


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_at_each_door(pool: Pool, role: Role, admin: asyncpg.Connection) -> None:
    """Where the table says no, MQTT and HTTP both do, in one sentence, and nothing is changed; else neither does."""
    ids = await fill(pool, "default", "", "ours")
    token = (
        await Desk(pool).accepted("operators/create", {"operatorName": f"a-{role}", "role": role})
    )["token"]
    refused = [route for route in ROUTES if not role.covers(LEAST_ROLE[route.verb])]
    allowed = [route for route in ROUTES if route not in refused]
    assert {route.verb for route in ROUTES} == LEAST_ROLE.keys() - {"events/follow"}
    before = await rows_of(admin, "default")
    async with http_door(every_door(pool)) as http:
        for route in refused:
            words = (
                f"{route.verb}: needs the role {LEAST_ROLE[route.verb]} or above; yours is {role}"
            )
            names = named(route, ids)
            by_mqtt = await command(pool, route, names, Actor("default", f"a-{role}"))
            assert by_mqtt.body["message"] == words
            by_http = await call(http, route, names, token)
            assert (by_http.status_code, by_http.json()["message"]) == (403, words)
        assert await rows_of(admin, "default") == before
        for route in sorted(allowed, key=lambda route: (route.verb not in READS, route.method)):
            names = named(route, ids)
            by_http = await call(http, route, names, token)
            assert by_http.status_code < 500, (route.verb, by_http.text)
            assert "needs the role" not in by_http.text or "to give or take" in by_http.text
            by_mqtt = await command(pool, route, names, Actor("default", f"a-{role}"))
            said = str(by_mqtt.body.get("message", ""))
            assert "needs the role" not in said or "to give or take" in said
