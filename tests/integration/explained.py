"""What PostgreSQL did for each statement of a connection: true plans, true parameters, whoever ran them.

auto_explain tells the session of every statement it ran, those of foreign keys and functions too. So whatever handlers
run is seen as they ran it; nothing here knows their SQL.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, cast

import asyncpg

from handlers.database import Connection, Pool, connect
from schema.sql import queries
from tests.conftest import LOGIN, Database

# What a statement may look at: a thing's ten listed executions and its job, and pages on the way to each of them.
ROWS_OF_EACH, BUFFERS_OF_EACH = 15, 32
Mode = Literal["auto", "force_generic_plan", "force_custom_plan"]

_SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
}
_SUBJECTS = sorted(
    entry.name.removesuffix(".sql") for entry in (files("schema") / "queries").iterdir()
)
_NAMES = {text.strip(): name for subject in _SUBJECTS for name, text in queries(subject).items()}


@dataclass(frozen=True, slots=True)
class Spare:
    """What any statement may look at, however little it is about."""

    rows: int = 50
    buffers: int = 100


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a plan, over all its loops. read: rows it looked at, also those it then threw away."""

    kind: str
    table: str | None
    index: str | None
    rows: int
    read: int

    def reads_all_of(self, growing: Collection[str]) -> bool:
        """Whether it reads one of these tables from end to end."""
        return self.kind == "Seq Scan" and self.table in growing


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as it ran. step and size: for what, and for how many things or rows of an answer, it was run."""

    name: str
    step: str
    size: int
    buffers: int
    nodes: tuple[Node, ...]

    @property
    def read(self) -> int:
        """Rows that all its scans of tables and indexes looked at."""
        return sum(node.read for node in self.nodes if node.kind.endswith("Scan") and node.table)

    @property
    def ways(self) -> set[str]:
        """The indexes, and the tables read without one, by which it found rows."""
        return {node.index or str(node.table) for node in self.nodes if node.kind.endswith("Scan")}

    def faults(self, growing: Collection[str], spare: Spare) -> list[str]:
        """What is wrong with how it ran: a growing table read whole, or more looked at than its size calls for."""
        most = spare.rows + ROWS_OF_EACH * self.size
        found = [f"reads all of {node.table}" for node in self.nodes if node.reads_all_of(growing)]
        found += [
            f"sorts {node.rows} rows"
            for node in self.nodes
            if "Sort" in node.kind and node.rows > most
        ]
        if self.read > most:
            found.append(f"looks at {self.read} rows by {sorted(self.ways)}")
        if self.buffers > spare.buffers + BUFFERS_OF_EACH * self.size:
            found.append(f"touches {self.buffers} pages")
        return [f"{self.step} ({self.size}): {self.name} {one}" for one in found]


@dataclass(slots=True)
class Watched:
    """One application connection whose statements are told; it is its own pool, as handlers take one."""

    connection: Connection
    seen: list[Statement] = field(default_factory=list)
    _step: tuple[str, int] = ("", 1)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pool(self) -> Pool:
        """The pool that handlers acquire it from."""
        return cast("Pool", self)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """The connection, to one at a time."""
        async with self._busy:
            yield self.connection

    @asynccontextmanager
    async def step(self, name: str, size: int = 1) -> AsyncIterator[None]:
        """Note what is done inside, and how many things or rows it is about."""
        self._step = (name, size)
        yield
        # What the server says comes with or before the next answer.
        await self.connection.execute("SHOW server_version")
        await asyncio.sleep(0)
        self._step = ("", 1)

    async def plans(self, mode: Mode) -> None:
        """Choose which plans prepared statements get from now on (PostgreSQL: plan_cache_mode)."""
        await self.connection.execute(f"SET plan_cache_mode = {mode}")

    def hear(self, _connection: object, message: Any) -> None:  # noqa: ANN401 - asyncpg's type has no name
        """Take one of auto_explain's notices."""
        _, found, text = str(message.message).partition("plan:\n")
        step, size = self._step
        if found and step:
            told = json.loads(text)
            self.seen.append(_statement(told["Query Text"], told["Plan"], step, size))


def _statement(text: str, plan: Mapping[str, Any], step: str, size: int) -> Statement:
    buffers = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
    return Statement(_name(text), step, size, buffers, tuple(_nodes(plan, None)))


def _name(text: str) -> str:
    """A query's name; others (foreign keys' and functions' own) by what they say."""
    return _NAMES.get(text.strip()) or re.sub(
        r'OPERATOR\(pg_catalog\.(.+?)\)|"public"\.|\s+', r"\1 ", text
    )


def _nodes(plan: Mapping[str, Any], above: str | None) -> Iterator[Node]:
    loops = plan["Actual Loops"]
    table = plan.get("Relation Name") or (above if "Index Name" in plan else None)
    wasted = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    rows = plan["Actual Rows"]
    yield Node(
        plan["Node Type"],
        table,
        plan.get("Index Name"),
        round(rows * loops),
        round((rows + wasted) * loops),
    )
    for below in plan.get("Plans", ()):
        yield from _nodes(below, table)


async def tell_plans(admin: asyncpg.Connection, database: Database) -> None:
    """Have later connections of the application's login told of their plans."""
    await admin.execute("LOAD 'auto_explain'")
    for name, value in _SETTINGS.items():
        await admin.execute(
            f"ALTER ROLE {LOGIN} IN DATABASE \"{database.name}\" SET {name} = '{value}'"
        )
    await admin.execute("SET auto_explain.log_min_duration = -1")


@asynccontextmanager
async def watched(database: Database) -> AsyncIterator[Watched]:
    """A connection as the application makes them, told of its plans (after `tell_plans`)."""
    connection = await connect(database.url)
    one = Watched(connection)
    connection.add_log_listener(one.hear)
    try:
        yield one
    finally:
        connection.remove_log_listener(one.hear)
        await connection.close()
