"""Who is in which dynamic group: kept by the transaction that changes a thing, a membership or a group's query.

Things are asked about in memory, whole groups in PostgreSQL; both mean the same (schema.thing_matching). A query's
thingGroupNames are the groups that a thing was put into, never those it is in by a query: so no group follows from
another's query, and one pass settles everything.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from schema.errors import Code, Rejected
from schema.limits import DYNAMIC_GROUPS
from schema.sql import queries
from schema.thing_matching import Thing, matches, to_sql
from schema.thing_query import Kind, looks_at, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg

    from handlers.database import Connection
    from schema.thing_query import Query

_CONDITION: Final = "/* query */ false"
_OF_STATIC: Final = (
    "(SELECT tenant_id, group_name, thing_name FROM thing_group_members WHERE NOT is_dynamic)"
)
_SQL = queries("groups")
_parsed = lru_cache(maxsize=1024)(parse)


async def hold(connection: Connection, tenant_id: str) -> None:
    """Keep queries, whole groups and jobs' targets as they are from now on; comes before any thing is locked."""
    await connection.execute(_SQL["hold_memberships"], tenant_id)


async def hold_alone(connection: Connection, tenant_id: str) -> None:
    """Keep all memberships as they are, but for this transaction, until it ends; before any thing is locked."""
    await connection.execute(_SQL["hold_memberships_alone"], tenant_id)


async def settle(
    connection: Connection, tenant_id: str, names: Sequence[str], *, groups_only: bool = False
) -> None:
    """Put things into the dynamic groups whose queries are true of them, and out of the others.

    The caller holds memberships and these things. groups_only: nothing of them changed but the groups they were put
    into, so that queries which look at no groups need not be asked.
    """
    asked = await _queries(connection, tenant_id, groups_only=groups_only)
    if not asked:
        return
    rows = await connection.fetch(_SQL["load_for_queries"], tenant_id, list(names))
    into: list[tuple[str, str]] = []
    out: list[tuple[str, str]] = []
    for row in rows:
        thing, there = _thing(row), frozenset(row["dynamic_groups"])
        for group, query in asked.items():
            fits = matches(query, thing)
            if fits != (group in there):
                (into if fits else out).append((group, thing.name))
    await put_in(connection, tenant_id, into)
    await take_out(connection, tenant_id, out)


async def put_in(connection: Connection, tenant_id: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Things come into dynamic groups: (group, thing)."""
    await _change(connection, "insert_dynamic_members", tenant_id, list(pairs))


async def take_out(
    connection: Connection, tenant_id: str, pairs: Iterable[tuple[str, str]]
) -> None:
    """Things leave groups of any kind: (group, thing)."""
    await _change(connection, "delete_dynamic_members", tenant_id, list(pairs))


async def differing(
    connection: Connection, tenant_id: str, group: str, query_string: str
) -> dict[str, bool]:
    """Things whose membership in the group is not what the query says, by name: True is to come in, False to leave."""
    condition, parameters = to_sql(_parsed(query_string), 3, members=_OF_STATIC)
    # Nothing of the query stands in the condition but numbers of parameters.
    statement = _SQL["find_differing"].replace(_CONDITION, condition)
    rows = await connection.fetch(statement, tenant_id, group, *parameters)
    return {row["thing_name"]: row["fits"] for row in rows}


async def fitting(
    connection: Connection, tenant_id: str, query_string: str, *, after: str, most: int
) -> list[str]:
    """The first names after one, at most so many, of the things that a query fits."""
    condition, parameters = to_sql(_parsed(query_string), 4, members=_OF_STATIC)
    statement = _SQL["search_things"].replace(_CONDITION, condition)
    rows = await connection.fetch(statement, tenant_id, after, most, *parameters)
    return [row["thing_name"] for row in rows]


async def member_names(connection: Connection, tenant_id: str, group: str) -> list[str]:
    """All things that are directly in a group, by name."""
    rows = await connection.fetch(_SQL["list_member_names"], tenant_id, group)
    return [row["thing_name"] for row in rows]


async def require_room(connection: Connection, tenant_id: str) -> None:
    """Pass when another dynamic group may be made. Raises Rejected (LimitExceeded)."""
    count = await connection.fetchval(_SQL["count_queries"], tenant_id)
    if count >= DYNAMIC_GROUPS:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"queryString: there are {count} dynamic groups, at most {DYNAMIC_GROUPS} are allowed",
        )


async def _queries(
    connection: Connection, tenant_id: str, *, groups_only: bool
) -> dict[str, Query]:
    rows = await connection.fetch(_SQL["list_queries"], tenant_id)
    asked = {row["group_name"]: _parsed(row["query_string"]) for row in rows}
    if not groups_only:
        return asked
    return {name: query for name, query in asked.items() if looks_at(query, Kind.GROUP)}


async def _change(
    connection: Connection, statement: str, tenant_id: str, pairs: list[tuple[str, str]]
) -> None:
    if pairs:
        groups, things = [group for group, _ in pairs], [thing for _, thing in pairs]
        await connection.execute(_SQL[statement], tenant_id, groups, things)


def _thing(row: asyncpg.Record) -> Thing:
    return Thing(
        row["thing_name"],
        row["thing_type"],
        json.loads(row["attributes"]),
        frozenset(row["groups"]),
    )
