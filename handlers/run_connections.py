"""What runs need of an organization's connection: its credentials, the devices on our record, and to forget both."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from handlers import stack_connections
from handlers.database import tenant_transaction
from handlers.run_ledger import FoundDevice
from schema.sql import queries
from schema.things_stack_runs import Action

if TYPE_CHECKING:
    from handlers.database import Connection, Pool
    from handlers.run_ledger import Run
    from handlers.stack_connections import RecordedDevice, StackConnection
    from schema.secrets import Sealer

_SQL = queries("runs")


async def connection_of(
    pool: Pool, sealer: Sealer, tenant_id: str, organization_id: UUID
) -> StackConnection | None:
    """An organization's connection with its credentials opened; None when it has none."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        return await stack_connections.load_connection(
            connection, sealer, tenant_id, organization_id
        )


async def recorded_devices(pool: Pool, run: Run) -> list[FoundDevice]:
    """Every device of the run's application that is on our record and was not removed (reference 9, item 2).

    All of them in memory, 650 bytes each, while the run lists what is there.
    """
    if run.application_id is None:
        return []
    found: list[FoundDevice] = []
    after = ""
    while True:
        async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
            page = await stack_connections.recorded_devices(
                connection, run.tenant_id, run.organization_id, run.application_id, after=after
            )
        found += [_found(one) for one in page]
        if len(page) < stack_connections.DEVICES_PAGE:
            return found
        after = page[-1].device_id


def _found(one: RecordedDevice) -> FoundDevice:
    hosts = {"ns": one.network_host, "as": one.application_host, "js": one.join_host}
    return FoundDevice(
        one.device_id,
        one.dev_eui,
        one.join_eui,
        {name: [host] for name, host in hosts.items() if host},
    )


async def forget_released(connection: Connection, run: Run) -> None:
    """Devices that the run has verified to be gone are removed on our record too, in the caller's transaction."""
    await connection.execute(
        _SQL["forget_released"], run.tenant_id, run.organization_id, run.id, run.application_id
    )


async def clear_connection(connection: Connection, run: Run, *, free_ids: bool) -> bool:
    """Forget a connection's credentials and ids, in the caller's transaction; False when it is of another application.

    What a deep clean takes away is to be provisioned anew: the key that an operator brought in stays then, and goes in
    all other cases. free_ids: the application's id may be used again; else it is remembered as one that is taken.
    """
    done = await connection.execute(
        _SQL["clear_connection"],
        run.tenant_id,
        run.organization_id,
        run.application_id,
        run.action == Action.DEEP_CLEAN,
        free_ids,
    )
    return done != "UPDATE 0"
