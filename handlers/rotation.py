"""Every sealed value under the key that seals now: in batches, each its own transaction, so that it can be broken off.

What has the current key already is passed over, so running it again goes on where it was. What no key opens stays as it
is and is reported: it may open again once its key is back in JOBBROKER_SECRET_KEY.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from handlers.database import tenant_transaction
from schema.secrets import SEALED_TABLES, Place, Sealer, SecretStatus
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from handlers.database import Connection, Pool
    from schema.secrets import SealedTable

_SQL = queries("provisioning")
BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Unopened:
    """A value that no key of ours opens: where it is, and why."""

    place: Place
    problem: str


@dataclass(slots=True)
class Rotated:
    """What a rotation has come to: values sealed anew, values that had the key already, and what did not open."""

    resealed: int = 0
    current: int = 0
    unopened: list[Unopened] = field(default_factory=list)


async def rotate(
    pool: Pool,
    sealer: Sealer,
    *,
    batch: int = BATCH,
    on_batch: Callable[[Rotated], None] = lambda _: None,
) -> Rotated:
    """Seal anew what another key than the first has sealed, of all tenants; on_batch hears of each batch's end.

    Raises Rejected (InvalidRequest) without a key, having done nothing.
    """
    sealer.key_id  # noqa: B018 - raises without a key
    done = Rotated()
    async with pool.acquire() as connection:
        tenants = [row[0] for row in await connection.fetch(_SQL["sweep_tenants"])]
        for tenant_id in tenants:
            for table in SEALED_TABLES:
                await _rotate_table(
                    connection, sealer, tenant_id, table, done=done, batch=batch, on_batch=on_batch
                )
    return done


async def _rotate_table(
    connection: Connection,
    sealer: Sealer,
    tenant_id: str,
    table: SealedTable,
    *,
    done: Rotated,
    batch: int,
    on_batch: Callable[[Rotated], None],
) -> None:
    async with tenant_transaction(connection, tenant_id):
        done.current += await connection.fetchval(_count(table), tenant_id, sealer.key_id)
    after: tuple[str, ...] = ()
    while True:
        stale = stale_rows(table, first=not after)
        async with tenant_transaction(connection, tenant_id):
            rows = await connection.fetch(stale, tenant_id, sealer.key_id, batch, *after)
            for row in rows:
                await _reseal(connection, sealer, tenant_id, table, row=row, done=done)
        if not rows:
            return
        on_batch(done)
        after = tuple(rows[-1][name] for name in table.key)


async def _reseal(
    connection: Connection,
    sealer: Sealer,
    tenant_id: str,
    table: SealedTable,
    *,
    row: asyncpg.Record,
    done: Rotated,
) -> None:
    key = tuple(row[name] for name in table.key)
    for column in table.columns:
        place = Place(tenant_id, table.table, key, column)
        opened = sealer.open(row[column], place)
        if opened.status is SecretStatus.FAILED:
            done.unopened.append(Unopened(place, opened.problem))
        elif opened.value is not None and row[f"{column}_is_stale"]:
            sealed = sealer.seal(opened.value, place)
            await connection.execute(_update(table, column), tenant_id, sealed, *key)
            done.resealed += 1


# The names in these come from schema.secrets alone.
def _is_stale(column: str) -> str:
    return f"coalesce(substring({column} FROM 2 FOR 8) <> $2, false)"


def stale_rows(table: SealedTable, *, first: bool) -> str:
    """The next rows of a table that another key has sealed, by the table's own key; after one of them, or the first.

    Params: tenant, the id of the key that seals, how many; the key they come after as texts.
    """
    keys = ", ".join(table.key)
    shown = [f"t.{name}::text AS {name}" for name in table.key]
    shown += [f"t.{column}" for column in table.columns]
    shown += [f"{_is_stale(column)} AS {column}_is_stale" for column in table.columns]
    after = "" if first else f" AND ROW({keys}) > ROW({', '.join(_typed(table, 4))})"
    # Ordered inside: outside, the texts that are shown have the same names.
    return (
        f"SELECT {', '.join(shown)} FROM (SELECT * FROM {table.table} WHERE tenant_id = $1"  # noqa: S608 - see above
        f" AND ({' OR '.join(map(_is_stale, table.columns))}){after}"
        f" ORDER BY {keys} LIMIT $3 FOR UPDATE) t"
    )


def _typed(table: SealedTable, number: int) -> list[str]:
    """The parameters of a table's key, which are texts, from a number on."""
    return [f"${place}::text::{kind}" for place, kind in enumerate(table.key.values(), number)]


def _update(table: SealedTable, column: str) -> str:
    typed = zip(table.key, _typed(table, 3), strict=True)
    where = [f"{name} = {value}" for name, value in typed]
    return f"UPDATE {table.table} SET {column} = $2 WHERE tenant_id = $1 AND {' AND '.join(where)}"  # noqa: S608 - see above


def _count(table: SealedTable) -> str:
    current = [f"(substring({column} FROM 2 FOR 8) = $2)::int" for column in table.columns]
    total = " + ".join(f"coalesce({one}, 0)" for one in current)
    return f"SELECT coalesce(sum({total}), 0) FROM {table.table} WHERE tenant_id = $1"  # noqa: S608 - see above
