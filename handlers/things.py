"""things/create, list, get, update, delete (AWS: the thing registry), and many things at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers import reach, store
from handlers.context import SECRETS, Context, Outcome, not_found, told_of
from handlers.principals import give_up, has_credentials, issue_token, require_version, take_names
from schema import lifecycle, paging
from schema.changes import Change
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.limits import ATTRIBUTES
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from handlers.database import Connection
    from handlers.store import Told
    from schema.arns import Home
    from schema.commands import CreateThing, DeleteThing, GetThing, ListThings, UpdateThing
    from schema.lifecycle import Execution

_NO_ATTRIBUTES: Final[Mapping[str, str]] = {}
_SQL = queries("registry")


async def create_things(
    connection: Connection,
    tenant_id: str,
    names: Sequence[str],
    *,
    thing_type: str | None = None,
    attributes: Mapping[str, str] = _NO_ATTRIBUTES,
) -> int:
    """Create many things of one configuration; returns how many are new.

    Those that exist stay as they are; new ones come into the dynamic groups whose queries they fit, and CONTINUOUS jobs
    that reach them owe them an execution. Names must fit schema.limits.THING_NAME. Raises Rejected
    (ResourceAlreadyExists) when one of them is an operator's.
    """
    fleet = await reach.fleet(connection, tenant_id)
    await take_names(connection, tenant_id, names, "thing")
    rows = await connection.fetch(
        _SQL["insert_things"], tenant_id, list(names), thing_type, json.dumps(attributes)
    )
    await fleet.arrive([row["thing_name"] for row in rows])
    return len(rows)


async def create_thing(context: Context, command: CreateThing) -> Outcome:
    """Create a thing; an identical one that exists is answered as if new (AWS: CreateThing).

    With issueToken the answer has a token, shown this once, unless the thing has a credential already. Raises Rejected
    (ResourceAlreadyExists) when it exists with another configuration.
    """
    name, connection = command.thing_name, context.connection
    created = await create_things(
        connection,
        context.tenant_id,
        [name],
        thing_type=command.thing_type_name,
        attributes=command.all_attributes,
    )
    row = await _get(context, name)
    if (
        row["thing_type"] != command.thing_type_name
        or json.loads(row["attributes"]) != command.all_attributes
    ):
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS, f"thingName: {name!r} exists with another configuration"
        )
    body: dict[str, object] = {
        "thingName": name,
        "thingArn": context.home.arn("thing", name),
        "thingId": str(row["thing_id"]),
    }
    if command.issue_token and not await has_credentials(connection, context.tenant_id, name):
        token = await issue_token(connection, context.tenant_id, name)
        body |= {"token": token, **context.access_key(token)}
    changed = created or "token" in body
    return Outcome(
        body,
        subject=f"thing/{name}" if changed else "",
        details={"attributes": command.all_attributes, "token": "token" in body},
        secrets=SECRETS,
    )


async def list_things(context: Context, command: ListThings) -> Outcome:
    """Things by name, by type, prefix or attribute if asked (AWS: ListThings)."""
    after = paging.decode("things", command.next_token, (str,)) or ("",)
    rows = await context.connection.fetch(
        _SQL["list_things"],
        context.tenant_id,
        *after,
        command.max_results + 1,
        command.thing_type_name,
        command.name_prefix_filter,
        command.attribute_name,
        command.attribute_value,
        command.use_prefix_attribute_value,
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"things": [_summary(context.home, row) for row in shown]}
    if len(rows) > len(shown):
        body["nextToken"] = paging.encode("things", shown[-1]["thing_name"])
    return Outcome(body)


async def get_thing(context: Context, command: GetThing) -> Outcome:
    """A thing (AWS: DescribeThing) with its groups, the first of its pending executions, and when it was last heard of.

    Raises Rejected (ResourceNotFound).
    """
    name = command.thing_name
    row = await _get(context, name)
    groups = await context.connection.fetch(_SQL["list_groups_of_thing"], context.tenant_id, name)
    queues = await store.load_queues(context.connection, context.tenant_id, [name])
    seen = await context.connection.fetchval(_SQL["find_last_seen"], context.tenant_id, name)
    return Outcome(
        {
            **({} if seen is None else {"lastSeenAt": seconds(seen)}),
            **_summary(context.home, row),
            "defaultClientId": name,
            "thingId": str(row["thing_id"]),
            "createdAt": seconds(row["created_at"]),
            "thingGroups": [
                {
                    "groupName": group["group_name"],
                    "groupArn": context.home.arn("thinggroup", group["group_name"]),
                }
                for group in groups
            ],
            "pendingExecutions": [_pending(one.execution) for one in queues[name]],
        }
    )


async def update_thing(context: Context, command: UpdateThing) -> Outcome:
    """Change a thing's attributes or type (AWS: UpdateThing); answers its version, which stays when nothing changes.

    The dynamic groups it fits, and what CONTINUOUS jobs make of that, follow at once. Raises Rejected:
    ResourceNotFound, VersionMismatch.
    """
    name, connection = command.thing_name, context.connection
    fleet = await reach.fleet(connection, context.tenant_id, context.slot)
    await store.lock_things(connection, context.tenant_id, [name])
    row = await _get(context, name)
    stored = json.loads(row["attributes"])
    attributes, thing_type = _updated(command, stored, row["thing_type"])
    if (attributes, thing_type) == (stored, row["thing_type"]) and (
        context.duplicate or command.expected_version in (None, row["version"])
    ):
        return Outcome({"version": row["version"]})
    require_version(name, command.expected_version, row["version"])
    version = row["version"] + 1

    async def write(_names: list[str]) -> None:
        await connection.execute(
            _SQL["update_thing"], context.tenant_id, name, thing_type, json.dumps(attributes)
        )

    told = await fleet.change([name], write, ask="all")
    details: dict[str, object] = {"attributes": attributes, "thingTypeName": thing_type}
    return Outcome({"version": version}, told, subject=f"thing/{name}", details=details)


def _updated(
    command: UpdateThing, stored: Mapping[str, str], thing_type: str | None
) -> tuple[dict[str, str], str | None]:
    payload = command.attribute_payload
    attributes = dict(stored) if payload is None else payload.onto(stored)
    if len(attributes) > ATTRIBUTES:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"attributePayload: makes {len(attributes)} attributes, at most {ATTRIBUTES} are allowed",
        )
    if command.remove_thing_type:
        return attributes, None
    return attributes, command.thing_type_name or thing_type


async def delete_thing(context: Context, command: DeleteThing) -> Outcome:
    """Delete a thing: its live executions become REMOVED, its credentials end (AWS: DeleteThing).

    A redelivered delete of a thing that is gone is accepted again. Raises Rejected: ResourceNotFound, VersionMismatch.
    """
    name = command.thing_name
    await reach.fleet(context.connection, context.tenant_id)
    locked, now = await store.lock_things(context.connection, context.tenant_id, [name])
    if not locked and context.duplicate:
        return Outcome({})
    row = await _get(context, name)
    require_version(name, command.expected_version, row["version"])
    told = await _remove_executions(context, name, now)
    await give_up(context.connection, context.tenant_id, name, "thing")
    return Outcome({}, told, subject=f"thing/{name}")


async def _remove_executions(context: Context, name: str, now: datetime) -> tuple[Told, ...]:
    connection, tenant_id = context.connection, context.tenant_id
    keys = await connection.fetch(_SQL["find_live_executions"], tenant_id, name)
    if not keys:
        return ()
    loaded = await store.load_executions(
        connection, tenant_id, [(name, row["job_id"], row["execution_number"]) for row in keys]
    )
    changes = [
        Change(one.execution, lifecycle.remove(one.execution, now)) for one in loaded.values()
    ]
    queues = await store.load_queues(connection, tenant_id, [name])
    told = await store.save(
        connection,
        tenant_id,
        changes,
        queues={name: [one.execution for one in queues[name]]},
        now=now,
        slot=context.slot,
    )
    return told_of(told)


async def _get(context: Context, name: str) -> asyncpg.Record:
    row = await context.connection.fetchrow(_SQL["get_thing"], context.tenant_id, name)
    if row is None:
        raise not_found("thing", name)
    return row


def _summary(home: Home, row: asyncpg.Record) -> dict[str, object]:
    body: dict[str, object] = {
        "thingName": row["thing_name"],
        "thingArn": home.arn("thing", row["thing_name"]),
        "attributes": json.loads(row["attributes"]),
        "version": row["version"],
    }
    if row["thing_type"] is not None:
        body["thingTypeName"] = row["thing_type"]
    return body


def _pending(execution: Execution) -> dict[str, object]:
    return {
        "jobId": execution.job_id,
        "status": execution.status,
        "queuedAt": seconds(execution.queued_at),
        "lastUpdatedAt": seconds(execution.updated_at),
        "executionNumber": execution.execution_number,
        "versionNumber": execution.version,
    }
