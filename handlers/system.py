"""system/get: how the installation does. What is one tenant's goes to its admins; what is nobody's, to `default`'s.

Requests that are refused over MQTT are noted by the process that refuses them and written now and then, the newest of
each tenant, so that all processes' are seen together and a flood of them stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from handlers import slots
from handlers.context import Context, Outcome
from handlers.database import tenant_transaction
from schema.device import seconds
from schema.lifecycle import Status
from schema.limits import REFUSALS_KEPT
from schema.sql import queries
from schema.topics import DEFAULT_TENANT

if TYPE_CHECKING:
    from handlers.database import Connection, Pool
    from schema.view_commands import ShowSystem

_SQL = queries("system")
_TABLES: Final = 12


class Refusal(NamedTuple):
    """A request that was refused; left_out: how many before it were not noted."""

    at: datetime
    topic: str
    code: str
    message: str
    left_out: int


async def keep_refusals(
    pool: Pool, tenant_id: str, refusals: Sequence[Refusal], *, slot: int
) -> None:
    """Write what was refused to a tenant, and forget all but the newest; nothing for a tenant that is not there."""
    columns = [[*column] for column in zip(*refusals, strict=True)]
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        await connection.execute(_SQL["keep_refusals"], tenant_id, slot, *columns)
        await connection.execute(_SQL["forget_refusals"], tenant_id, REFUSALS_KEPT)


async def show_system(context: Context, command: ShowSystem) -> Outcome:
    """The tenant's executions by status and refused requests; for tenant `default`, processes and database as well."""
    del command
    connection = context.connection
    row = await connection.fetchrow(_SQL["sum_executions"], context.tenant_id)
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    refused = await connection.fetch(_SQL["list_refusals"], context.tenant_id)
    body: dict[str, object] = {
        "executions": {status: row[status.lower()] for status in Status},
        "refused": [_refused(one) for one in refused],
    }
    if context.tenant_id == DEFAULT_TENANT:
        body |= {"slots": await _slots(connection), "database": await _database(connection)}
    return Outcome(body)


def _refused(row: Any) -> dict[str, object]:  # noqa: ANN401 - a record
    shown: dict[str, object] = {name: row[name] for name in ("topic", "code", "message", "slot")}
    shown["at"] = seconds(row["at"])
    if row["left_out"]:
        shown["leftOut"] = row["left_out"]
    return shown


async def _slots(connection: Connection) -> list[dict[str, object]]:
    return [
        {
            "slot": one.number,
            "holder": one.holder,
            "held": one.is_held,
            "since": seconds(one.acquired_at),
            "renewedAt": seconds(one.renewed_at),
        }
        for one in await slots.holders(connection)
    ]


async def _database(connection: Connection) -> dict[str, object]:
    whole = await connection.fetchrow(_SQL["measure_database"])
    assert whole is not None  # noqa: S101 - a SELECT without FROM has one row
    tables = [
        {
            "name": row["name"],
            "live": row["live"],
            "dead": row["dead"],
            "bytes": row["bytes"],
            "indexBytes": row["index_bytes"],
            **({"vacuumedAt": seconds(row["vacuumed_at"])} if row["vacuumed_at"] else {}),
        }
        for row in await connection.fetch(_SQL["measure_tables"], _TABLES)
    ]
    return {**dict(whole), "tables": tables}
