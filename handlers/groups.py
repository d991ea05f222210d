"""groups/create, list, members, add, remove, delete: a tree of groups, and things in any of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from handlers.context import Context, Outcome, not_found
from handlers.principals import require_version
from schema import paging
from schema.errors import Code, Rejected, shorten
from schema.limits import GROUP_DEPTH
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from handlers.database import Connection
    from schema.commands import (
        ChangeMembers,
        CreateGroup,
        DeleteGroup,
        ListGroups,
        ListMembers,
    )

_NAMED = 5
_SQL = queries("registry")


async def create_group(context: Context, command: CreateGroup) -> Outcome:
    """Create a group, below a parent if one is named; an identical one that exists is answered as if new.

    Raises Rejected: ResourceNotFound for the parent, LimitExceeded below depth 7, ResourceAlreadyExists when it exists
    with another configuration.
    """
    name, properties = command.thing_group_name, command.thing_group_properties
    existing = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if existing is not None:
        _require_same(command, existing)
        return Outcome(_body(context, name, existing["group_id"]))
    await _require_room(context, command.parent_group_name)
    group_id = await context.connection.fetchval(
        _SQL["insert_group"],
        context.tenant_id,
        name,
        command.parent_group_name,
        properties.thing_group_description,
        json.dumps(properties.attribute_payload.attributes),
    )
    return Outcome(
        _body(context, name, group_id),
        subject=f"group/{name}",
        details={"parentGroupName": command.parent_group_name},
    )


async def list_groups(context: Context, command: ListGroups) -> Outcome:
    """Groups by name: all, or those below parentGroup; with recursive false only one level of them."""
    after = paging.decode("groups", command.next_token, (str,)) or ("",)
    if command.parent_group is not None:
        await _get(context, command.parent_group)
    rows = await context.connection.fetch(
        _SQL["list_groups"],
        context.tenant_id,
        *after,
        command.max_results + 1,
        command.name_prefix_filter,
        command.parent_group,
        command.recursive,
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"thingGroups": [_summary(context, row) for row in shown]}
    if len(rows) > len(shown):
        body["nextToken"] = paging.encode("groups", shown[-1]["group_name"])
    return Outcome(body)


async def list_members(context: Context, command: ListMembers) -> Outcome:
    """Names of a group's things, each once; with recursive those of its child groups too."""
    group = command.thing_group_name
    after = paging.decode(f"groups/{group}", command.next_token, (str,)) or ("",)
    await _get(context, group)
    rows = await context.connection.fetch(
        _SQL["list_members"],
        context.tenant_id,
        *after,
        command.max_results + 1,
        group,
        command.recursive,
    )
    names = [row["thing_name"] for row in rows[: command.max_results]]
    body: dict[str, object] = {"things": names}
    if len(rows) > len(names):
        body["nextToken"] = paging.encode(f"groups/{group}", names[-1])
    return Outcome(body)


async def add_members(
    connection: Connection, tenant_id: str, group: str, names: Sequence[str]
) -> int:
    """Put existing things into an existing group in one statement; returns how many were not in it before."""
    joined: int = await connection.fetchval(_SQL["insert_members"], tenant_id, group, list(names))
    return joined


async def add_to_group(context: Context, command: ChangeMembers) -> Outcome:
    """Put things into a group. Raises Rejected (ResourceNotFound) naming the group or the things that do not exist."""
    group, names = command.thing_group_name, command.names
    await _get(context, group)
    missing = await context.connection.fetch(_SQL["find_missing_things"], context.tenant_id, names)
    if missing:
        raise Rejected(Code.RESOURCE_NOT_FOUND, f"things {_some(missing)} do not exist")
    joined = await add_members(context.connection, context.tenant_id, group, names)
    return _changed(group, names, joined)


async def remove_from_group(context: Context, command: ChangeMembers) -> Outcome:
    """Take things out of a group; those not in it are left alone. Raises Rejected (ResourceNotFound) for the group."""
    group, names = command.thing_group_name, command.names
    await _get(context, group)
    gone: int = await context.connection.fetchval(
        _SQL["delete_members"], context.tenant_id, group, names
    )
    return _changed(group, names, gone)


async def delete_group(context: Context, command: DeleteGroup) -> Outcome:
    """Delete a group, not its things. A redelivered delete of a group that is gone is accepted again.

    Raises Rejected: ResourceNotFound, VersionMismatch, InvalidRequest when it has child groups.
    """
    name = command.thing_group_name
    group = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if group is None:
        if context.duplicate:
            return Outcome({})
        raise not_found("group", name)
    require_version(name, command.expected_version, group["version"])
    # With child groups the foreign key refuses; handlers.constraints says so in words.
    await context.connection.execute(_SQL["delete_group"], context.tenant_id, name)
    return Outcome({}, subject=f"group/{name}")


async def _require_room(context: Context, parent: str | None) -> None:
    if parent is None:
        return
    if not await context.connection.fetchval(_SQL["hold_group"], context.tenant_id, parent):
        raise not_found("group", parent)
    depth = await context.connection.fetchval(_SQL["get_depth"], context.tenant_id, parent)
    if depth >= GROUP_DEPTH:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"parentGroupName: {shorten(parent)} is at depth {depth}, groups stand at most {GROUP_DEPTH} deep",
        )


def _require_same(command: CreateGroup, row: asyncpg.Record) -> None:
    properties = command.thing_group_properties
    same = (
        row["parent_group"] == command.parent_group_name
        and row["description"] == properties.thing_group_description
        and json.loads(row["attributes"]) == properties.attribute_payload.attributes
    )
    if not same:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"thingGroupName: {command.thing_group_name!r} exists with another configuration",
        )


async def _get(context: Context, name: str) -> asyncpg.Record:
    row = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if row is None:
        raise not_found("group", name)
    return row


def _some(missing: Sequence[asyncpg.Record]) -> str:
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return ", ".join(repr(row["n"]) for row in missing[:_NAMED]) + more


def _changed(group: str, names: list[str], count: int) -> Outcome:
    # Things are counted, and named only as far as a reader of the log can use it.
    details = {"count": count, "things": names[:_NAMED]}
    return Outcome({"count": count}, subject=f"group/{group}" if count else "", details=details)


def _summary(context: Context, row: asyncpg.Record) -> dict[str, object]:
    name = row["group_name"]
    body: dict[str, object] = {"groupName": name, "groupArn": context.home.arn("thinggroup", name)}
    return body if row["parent_group"] is None else {**body, "parentGroupName": row["parent_group"]}


def _body(context: Context, name: str, group_id: object) -> dict[str, object]:
    return {
        "thingGroupName": name,
        "thingGroupArn": context.home.arn("thinggroup", name),
        "thingGroupId": str(group_id),
    }
