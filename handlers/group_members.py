"""groups/members, add, remove: the things of groups.

Nobody puts things into a dynamic group by hand, or takes them out: its query decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers import reach
from handlers.context import Context, Outcome
from handlers.groups import find_group
from schema import paging
from schema.errors import Code, Rejected
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from handlers.database import Connection
    from handlers.reach import Fleet
    from handlers.store import Told
    from schema.group_commands import ChangeMembers, ListMembers

_NAMED: Final = 5
_SQL = queries("registry")


async def list_members(context: Context, command: ListMembers) -> Outcome:
    """Names of a group's things, each once; with recursive those of its child groups too."""
    group = command.thing_group_name
    after = paging.decode(f"groups/{group}", command.next_token, (str,)) or ("",)
    await find_group(context, group)
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
    """Put existing things into an existing static group; returns how many were not in it before.

    What they leave and join by that follows; what must be told of it is left in the outbox for whichever process.
    """
    joined, _ = await _change(
        await reach.fleet(connection, tenant_id), "insert_members", group, list(names)
    )
    return joined


async def add_to_group(context: Context, command: ChangeMembers) -> Outcome:
    """Put things into a group.

    Raises Rejected: ResourceNotFound naming the group or the things that do not exist, InvalidRequest for a dynamic
    group.
    """
    group, names = command.thing_group_name, command.names
    fleet = await reach.fleet(context.connection, context.tenant_id, context.slot)
    await _get_static(context, group)
    missing = await context.connection.fetch(_SQL["find_missing_things"], context.tenant_id, names)
    if missing:
        raise Rejected(Code.RESOURCE_NOT_FOUND, f"things {_some(missing)} do not exist")
    joined, told = await _change(fleet, "insert_members", group, names)
    return _changed(group, names, joined, told)


async def remove_from_group(context: Context, command: ChangeMembers) -> Outcome:
    """Take things out of a group; those not in it are left alone.

    Raises Rejected for the group: ResourceNotFound, InvalidRequest for a dynamic one.
    """
    group, names = command.thing_group_name, command.names
    fleet = await reach.fleet(context.connection, context.tenant_id, context.slot)
    await _get_static(context, group)
    gone, told = await _change(fleet, "delete_members", group, names)
    return _changed(group, names, gone, told)


async def _change(
    fleet: Fleet, statement: str, group: str, names: Sequence[str]
) -> tuple[int, tuple[Told, ...]]:
    """Have things join or leave a static group; returns how many did, and what is to be told."""
    counts: list[int] = []

    async def write(some: list[str]) -> None:
        counts.append(
            await fleet.connection.fetchval(_SQL[statement], fleet.tenant_id, group, some)
        )

    told = await fleet.change(names, write, ask="groups")
    return sum(counts), told


async def _get_static(context: Context, name: str) -> None:
    row = await find_group(context, name)
    if row["query_string"] is not None:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"thingGroupName: {name!r} is a dynamic group; its query decides who is in it",
        )


def _some(missing: Sequence[asyncpg.Record]) -> str:
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return ", ".join(repr(row["n"]) for row in missing[:_NAMED]) + more


def _changed(group: str, names: list[str], count: int, told: tuple[Told, ...]) -> Outcome:
    # Things are counted, and named only as far as a reader of the log can use it.
    details = {"count": count, "things": names[:_NAMED]}
    subject = f"group/{group}" if count else ""
    return Outcome({"count": count}, told, subject=subject, details=details)
