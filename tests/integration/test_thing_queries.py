"""Queries of dynamic groups: PostgreSQL means the same things as the evaluation in memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.database import Connection, Pool, connect, tenant_transaction
from schema.errors import Rejected
from schema.query_tokens import Wild, folded
from schema.thing_matching import Thing, matches, to_sql
from schema.thing_query import (
    And,
    Bound,
    Field,
    Kind,
    Match,
    Not,
    Or,
    Query,
    Range,
    parse,
)
from tests.conftest import Database
from tests.factories import add_tenant, add_things

VALUES = ["a", "A", "ab", "aB_", "b", "a.b", "5", "05", "5.0", "-5", "10", "9", "a,b", "", "5[a]"]
NUMBERS = ["5", "5.00", "-5", "9", "10", "9" * 40, "0.1"]
ATTRIBUTES = ["n", "N", "site"]
NAMES = ["a", "A", "ab", "b:1", "5", "a_b", "a-b"]
GROUPS = ["east", "East", "a", "5"]

things = st.builds(
    Thing,
    st.sampled_from(NAMES),
    st.sampled_from([None, "a", "v2"]),
    st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES)),
    st.frozensets(st.sampled_from(GROUPS)),
)
fields = st.one_of(
    st.sampled_from([Field(Kind.NAME), Field(Kind.TYPE), Field(Kind.GROUP), Field(Kind.ANY)]),
    st.sampled_from(ATTRIBUTES).map(lambda name: Field(Kind.ATTRIBUTE, name)),
)
texts = st.sampled_from([*VALUES, *NAMES, *GROUPS, "%", "_", "\\", "a\\", "o'x", "\u00e9"])
patterns = st.lists(st.one_of(texts, st.sampled_from(list(Wild))), max_size=4).map(
    lambda parts: tuple(folded(one) if isinstance(one, str) else one for one in parts)
)


def ranges(values: st.SearchStrategy[str], *, numeric: bool) -> st.SearchStrategy[Query]:
    """Ranges of which at least one end is a value."""
    bounds = st.none() | st.builds(Bound, values.map(folded), st.booleans())
    return st.builds(Range, fields, bounds, bounds, st.just(numeric)).filter(
        lambda one: (one.low or one.high) is not None
    )


queries: st.SearchStrategy[Query] = st.recursive(
    st.one_of(
        st.builds(Match, fields, patterns),
        ranges(texts, numeric=False),
        ranges(st.sampled_from(NUMBERS), numeric=True),
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


async def fill(connection: Connection, fleet: list[Thing]) -> None:
    """The tenant's things become these."""
    await connection.execute("DELETE FROM principals WHERE kind = 'thing'")
    await connection.executemany(
        "INSERT INTO principals VALUES ('default', $1, 'thing')", [(one.name,) for one in fleet]
    )
    await connection.executemany(
        "INSERT INTO things (tenant_id, thing_name, thing_type, attributes)"
        " VALUES ('default', $1, $2, $3::text::jsonb)",
        [(one.name, one.type_name, json.dumps(dict(one.attributes))) for one in fleet],
    )
    await connection.executemany(
        "INSERT INTO thing_group_members (tenant_id, group_name, thing_name)"
        " VALUES ('default', $1, $2)",
        [(group, one.name) for one in fleet for group in one.groups],
    )


async def selected(connection: Connection, query: Query) -> set[str]:
    """The things that PostgreSQL means, and a check that the condition is never null."""
    condition, parameters = to_sql(query, 2)
    rows = await connection.fetch(
        f"SELECT t.thing_name, ({condition}) AS fits FROM things t WHERE t.tenant_id = $1",
        "default",
        *parameters,
    )
    assert None not in {row["fits"] for row in rows}
    return {row["thing_name"] for row in rows if row["fits"]}


async def test_both_sides_mean_the_same_things(pool: Pool) -> None:
    """Some hundred fleets and queries of every kind: the same names from memory and from PostgreSQL."""
    examples = 0
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.executemany(
            "INSERT INTO thing_groups (tenant_id, group_name) VALUES ('default', $1)",
            [(name,) for name in GROUPS],
        )
        for fleet, asked in drawn():
            await fill(connection, fleet)
            for query in asked:
                examples += 1
                wanted = {one.name for one in fleet if matches(query, one)}
                assert await selected(connection, query) == wanted, query
    assert examples >= 300


def drawn() -> list[tuple[list[Thing], list[Query]]]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    found: list[tuple[list[Thing], list[Query]]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(things, min_size=1, max_size=5, unique_by=lambda one: one.name),
        st.lists(queries, min_size=8, max_size=12),
    )
    def collect(fleet: list[Thing], asked: list[Query]) -> None:
        found.append((fleet, asked))

    collect()
    return found


async def test_a_query_from_text_to_things(pool: Pool) -> None:
    """AWS's example of terms side by side; another tenant's things and groups are no matter."""
    await add_things(pool, "p1", "p2")
    await add_tenant(pool, "acme")
    await add_things(pool, "p3", tenant="acme")
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.execute(
            """UPDATE things SET attributes = '{"attr1": "ABC", "attr2": "4", "attr3": "x"}'"""
            " WHERE thing_name = 'p1'"
        )
        query = parse("attributes.attr1:abc AND attributes.attr2<5 NOT attributes.attr3>10")
        assert await selected(connection, query) == {"p1"}
        assert await selected(connection, parse("*")) == {"p1", "p2"}


async def test_the_largest_query_is_one_statement(database: Database) -> None:
    """Fifty terms that each look everywhere are planned and answered."""
    connection = await connect(database.url)
    try:
        async with tenant_transaction(connection, "default"):
            query = parse(" OR ".join(f"*{number}*a*" for number in range(50)))
            assert await selected(connection, query) == set()
    finally:
        await connection.close()
    with pytest.raises(Rejected, match="more than 50 terms"):
        parse(" ".join("a" for _ in range(51)))
