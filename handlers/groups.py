"""groups/create, get, list, update, delete: a tree of groups, and what a query finds.

A group with a query is dynamic: its things are those that the query is true of. Who puts things into the others is
`handlers.group_members`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers import membership, reach, tagging
from handlers.context import Context, Outcome, not_found
from handlers.principals import require_version
from schema import paging
from schema.device import seconds
from schema.errors import Code, Conflict, Rejected, shorten
from schema.limits import GROUP_DEPTH
from schema.sql import queries
from schema.tags import Resource

if TYPE_CHECKING:
    import asyncpg

    from handlers.reach import Fleet
    from handlers.store import Told
    from schema.group_commands import (
        CreateGroup,
        DeleteGroup,
        GetGroup,
        ListGroups,
        UpdateGroup,
    )
    from schema.view_commands import SearchThings

_SQL = queries("registry")
_GROUPS = queries("groups")
# AWS has names for these; there is one of each.
_INDEX: Final = {"indexName": "AWS_Things", "queryVersion": "2017-09-30"}


async def search_things(context: Context, command: SearchThings) -> Outcome:
    """Names of the things that a query fits, those that a dynamic group of it would have."""
    after = paging.decode("search", command.next_token, (str,)) or ("",)
    found = await membership.fitting(
        context.connection,
        context.tenant_id,
        command.query_string,
        after=str(after[0]),
        most=command.max_results + 1,
    )
    shown = found[: command.max_results]
    body: dict[str, object] = {"things": [{"thingName": name} for name in shown]}
    if len(found) > len(shown):
        body["nextToken"] = paging.encode("search", shown[-1])
    return Outcome(body)


async def create_group(context: Context, command: CreateGroup) -> Outcome:
    """Create a group, below a parent if one is named; an identical one that exists is answered as if new.

    With a query all things that it is true of are in the group when this is answered. Raises Rejected: ResourceNotFound
    for the parent, InvalidRequest for a dynamic one, LimitExceeded below depth 7 and above 200 dynamic groups,
    ResourceAlreadyExists when it exists with another configuration.
    """
    name, properties = command.thing_group_name, command.thing_group_properties
    query = command.query_string
    make_room = reach.fleet if query is None else reach.whole_fleet
    fleet = await make_room(context.connection, context.tenant_id, context.slot)
    existing = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if existing is not None:
        _require_same(command, existing)
        return Outcome(_body(context, name, existing["group_id"], query))
    if query is not None:
        await membership.require_room(context.connection, context.tenant_id)
    await _require_room(context, command.parent_group_name)
    group_id = await context.connection.fetchval(
        _SQL["insert_group"],
        context.tenant_id,
        name,
        command.parent_group_name,
        properties.thing_group_description,
        json.dumps(properties.attribute_payload.attributes),
        query,
    )
    await tagging.give(context, Resource("thinggroup", name), command.tags)
    told = () if query is None else await _rebuild(fleet, name, query)
    return Outcome(
        _body(context, name, group_id, query),
        told,
        subject=f"group/{name}",
        details={"parentGroupName": command.parent_group_name, "queryString": query},
    )


async def get_group(context: Context, command: GetGroup) -> Outcome:
    """A group with the groups above it (AWS: DescribeThingGroup). Raises Rejected (ResourceNotFound)."""
    name = command.thing_group_name
    row = await find_group(context, name)
    above = await context.connection.fetch(_GROUPS["list_ancestors"], context.tenant_id, name)
    metadata: dict[str, object] = {
        "rootToParentThingGroups": [
            {"groupName": one["parent_group"], "groupArn": _arn(context, one["parent_group"])}
            for one in above
        ],
        "creationDate": seconds(row["created_at"]),
    }
    if row["parent_group"] is not None:
        metadata["parentGroupName"] = row["parent_group"]
    properties: dict[str, object] = {
        "attributePayload": {"attributes": json.loads(row["attributes"])}
    }
    if row["description"] is not None:
        properties["thingGroupDescription"] = row["description"]
    body = {
        **_body(context, name, row["group_id"], row["query_string"]),
        "version": row["version"],
        "thingGroupProperties": properties,
        "thingGroupMetadata": metadata,
    }
    # Membership is never behind: AWS's BUILDING and REBUILDING do not occur.
    return Outcome(body if row["query_string"] is None else {**body, "status": "ACTIVE"})


async def update_group(context: Context, command: UpdateGroup) -> Outcome:
    """Change a group's description and attributes, of a dynamic one the query too; answers its version.

    With another query the group's things are those it is true of when this is answered; AWS: UpdateThingGroup,
    UpdateDynamicThingGroup. Raises Rejected: ResourceNotFound, VersionMismatch, InvalidRequest for a static group's.
    """
    name, query = command.thing_group_name, command.query_string
    hold = reach.fleet if query is None else reach.whole_fleet
    fleet = await hold(context.connection, context.tenant_id, context.slot)
    row = await find_group(context, name)
    if query is not None and row["query_string"] is None:
        raise Rejected(
            Code.INVALID_REQUEST, f"queryString: {name!r} is a static group, which has no query"
        )
    description, attributes = _updated(command, row)
    same = (row["description"], json.loads(row["attributes"])) == (description, attributes)
    if same and query in (None, row["query_string"]) and context.duplicate:
        return Outcome({"version": row["version"]})
    require_version(name, command.expected_version, row["version"])
    version = await context.connection.fetchval(
        _GROUPS["update_group"],
        context.tenant_id,
        name,
        description,
        json.dumps(attributes),
        query or row["query_string"],
        row["version"],
    )
    if version is None:  # another update was faster: what is expected is looked at again
        raise Conflict
    changed = query not in (None, row["query_string"])
    told = await _rebuild(fleet, name, query) if query is not None and changed else ()
    details: dict[str, object] = {"queryString": query} if changed else {}
    return Outcome({"version": version}, told, subject=f"group/{name}", details=details)


async def _rebuild(fleet: Fleet, name: str, query: str) -> tuple[Told, ...]:
    """Make a group's things those that its query is true of."""
    connection, tenant_id = fleet.connection, fleet.tenant_id
    wanted = await membership.differing(connection, tenant_id, name, query)

    async def move(some: list[str]) -> None:
        await membership.put_in(connection, tenant_id, [(name, one) for one in some if wanted[one]])
        await membership.take_out(
            connection, tenant_id, [(name, one) for one in some if not wanted[one]]
        )

    return await fleet.change(wanted, move)


def _updated(command: UpdateGroup, row: asyncpg.Record) -> tuple[str | None, dict[str, str]]:
    stored = json.loads(row["attributes"])
    properties = command.thing_group_properties
    if properties is None:
        return row["description"], stored
    payload = properties.attribute_payload
    return (
        properties.thing_group_description or row["description"],
        stored if payload is None else payload.onto(stored),
    )


async def list_groups(context: Context, command: ListGroups) -> Outcome:
    """Groups by name: all, or those below parentGroup; with recursive false only one level of them."""
    after = paging.decode("groups", command.next_token, (str,)) or ("",)
    if command.parent_group is not None:
        await find_group(context, command.parent_group)
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


async def delete_group(context: Context, command: DeleteGroup) -> Outcome:
    """Delete a group, not its things, which leave what they were in by it. A redelivered delete is accepted again.

    Raises Rejected: ResourceNotFound, VersionMismatch, InvalidRequest when it has child groups.
    """
    name = command.thing_group_name
    fleet = await reach.whole_fleet(context.connection, context.tenant_id, context.slot)
    group = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if group is None:
        if context.duplicate:
            return Outcome({})
        raise not_found("group", name)
    require_version(name, command.expected_version, group["version"])
    members = await membership.member_names(context.connection, context.tenant_id, name)

    async def leave(some: list[str]) -> None:
        await membership.take_out(
            context.connection, context.tenant_id, [(name, one) for one in some]
        )

    ask = "groups" if group["query_string"] is None else "nothing"
    told = await fleet.change(members, leave, ask=ask)
    # With child groups the foreign key refuses; handlers.constraints says so in words.
    await context.connection.execute(_SQL["delete_group"], context.tenant_id, name)
    return Outcome({}, told, subject=f"group/{name}")


async def _require_room(context: Context, parent: str | None) -> None:
    if parent is None:
        return
    row = await context.connection.fetchrow(_SQL["hold_group"], context.tenant_id, parent)
    if row is None:
        raise not_found("group", parent)
    if row["query_string"] is not None:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"parentGroupName: {shorten(parent)} is a dynamic group, which has no groups inside it",
        )
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
        and row["query_string"] == command.query_string
        and row["description"] == properties.thing_group_description
        and json.loads(row["attributes"]) == properties.attribute_payload.attributes
    )
    if not same:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"thingGroupName: {command.thing_group_name!r} exists with another configuration",
        )


async def find_group(context: Context, name: str) -> asyncpg.Record:
    """A group's row. Raises Rejected (ResourceNotFound) when there is none of this name."""
    row = await context.connection.fetchrow(_SQL["get_group"], context.tenant_id, name)
    if row is None:
        raise not_found("group", name)
    return row


def _summary(context: Context, row: asyncpg.Record) -> dict[str, object]:
    name = row["group_name"]
    body: dict[str, object] = {"groupName": name, "groupArn": _arn(context, name)}
    if row["query_string"] is not None:
        body["queryString"] = row["query_string"]
    return body if row["parent_group"] is None else {**body, "parentGroupName": row["parent_group"]}


def _arn(context: Context, name: str) -> str:
    return context.home.arn("thinggroup", name)


def _body(context: Context, name: str, group_id: object, query: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "thingGroupName": name,
        "thingGroupArn": _arn(context, name),
        "thingGroupId": str(group_id),
    }
    return body if query is None else {**body, "queryString": query, **_INDEX}
