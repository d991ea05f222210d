"""ttn/connections: a tenant's connections to The Things Stack, one for each organization."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from handlers.context import Context, Outcome
from schema import paging
from schema.errors import Code, Rejected
from schema.sql import queries
from schema.things_stack_connection import read_status

if TYPE_CHECKING:
    from schema.stack_commands import ListConnections

_SQL = queries("provisioning")


async def list_connections(context: Context, command: ListConnections) -> Outcome:
    """A page of the tenant's connections by organization: what they are called and where they stand."""
    after = paging.decode("ttn-connections", command.next_token, (str,)) or (str(UUID(int=0)),)
    try:
        begin = UUID(str(after[0]))
    except ValueError:
        raise Rejected(Code.INVALID_REQUEST, "next_token: is no token of ttn-connections") from None
    rows = await context.connection.fetch(
        _SQL["name_connections"], context.tenant_id, begin, command.limit + 1
    )
    shown = rows[: command.limit]
    body: dict[str, object] = {
        "connections": [
            {
                name: value
                for name, value in (
                    *dict(row).items(),
                    ("organization_id", str(row["organization_id"])),
                    ("provisioning_status", str(read_status(row["provisioning_status"]))),
                )
                if value is not None
            }
            for row in shown
        ]
    }
    if len(rows) > len(shown):
        body["next_token"] = paging.encode("ttn-connections", str(shown[-1]["organization_id"]))
    return Outcome(body)
