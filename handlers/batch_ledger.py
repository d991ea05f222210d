"""Batches of devices as they are recorded: what is due, the lines to do, and what they came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from handlers.database import tenant_transaction
from handlers.stack_batches import line_place
from handlers.stack_connections import (
    RecordedDevice,
    StackConnection,
    load_connection,
)
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from handlers.database import Connection, Pool
    from schema.secrets import Opened, Sealer
    from schema.things_stack_hosts import Hosts

_SQL = queries("provisioning")
ATTEMPTS_MOST: Final = 10
"""How often a line is tried that time may heal."""


class BatchLostError(Exception):
    """Another process has the batch: what this one still writes would be wrong."""


@dataclass(frozen=True, slots=True)
class Line:
    """One device to register or to remove; keys are opened, `failed` among them stops the line."""

    number: int
    device_id: str
    device: dict[str, Any]
    app_key: Opened = field(repr=False)
    nwk_key: Opened = field(repr=False)
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that this process has taken."""

    pool: Pool
    sealer: Sealer
    tenant_id: str
    batch_id: UUID
    organization_id: UUID
    application_id: str
    action: str
    work_token: UUID

    async def lines(self, most: int) -> list[Line]:
        """The next lines that wait, in their order."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            rows = await connection.fetch(
                _SQL["pending_lines"], self.tenant_id, self.batch_id, most, ATTEMPTS_MOST
            )
        return [self._line(row) for row in rows]

    async def connection(self) -> StackConnection | None:
        """The connection that the batch is about, as it is now."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            return await load_connection(
                connection, self.sealer, self.tenant_id, self.organization_id
            )

    async def record(self, line: Line, hosts: Hosts) -> None:
        """That a device is about to be registered, and on which hosts."""
        euis = (line.device["dev_eui"], line.device["join_eui"])
        where = (hosts.network, hosts.application, hosts.join)
        await self._write(("record_device", (*self._of(line.device_id), *euis, *where)))

    async def recorded(self, device_id: str) -> RecordedDevice | None:
        """A device on record."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            row = await connection.fetchrow(_SQL["find_device"], *self._of(device_id))
        if row is None:
            return None
        return RecordedDevice(**{**dict(row), "registered_in": tuple(row["registered_in"])})

    async def known_hosts(self) -> dict[str, list[str]]:
        """By registry (ns, as, js), every host that our record names for a device of the application."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            rows = await connection.fetch(
                _SQL["recorded_hosts"], self.tenant_id, self.organization_id, self.application_id
            )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["registry"], []).append(row["host"])
        return found

    async def state(self, device_id: str, state: str, registries: Sequence[str]) -> None:
        """How far a device is."""
        await self._write(("device_state", (*self._of(device_id), state, list(registries))))

    async def end_line(
        self,
        line: Line,
        *,
        state: tuple[str, Sequence[str]],
        http_status: int | None,
        error: str | None,
    ) -> None:
        """That a line is done, with the device's state and the registries that have it."""
        status = "OK" if error is None else "ERROR"
        await self._write(
            ("device_state", (*self._of(line.device_id), state[0], list(state[1]))),
            ("end_line", (*self._at(line), status, http_status, error)),
        )

    async def try_again(self, line: Line, http_status: int | None, error: str) -> None:
        """That a line waits for better times."""
        await self._write(("try_line_again", (*self._at(line), http_status, error)))

    async def rest(self, seconds: float) -> str:
        """Come back in so many seconds, unless all lines are done; the batch's status then."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            status = await connection.fetchval(
                _SQL["rest_batch"], self.tenant_id, self.batch_id, self.work_token, seconds
            )
        if status is None:
            raise BatchLostError
        return str(status)

    async def stop(self, error: str) -> None:
        """End every line that waits, for one reason that concerns them all."""
        await self._write(("stop_batch", (self.tenant_id, self.batch_id, self.work_token, error)))

    def _line(self, row: asyncpg.Record) -> Line:
        number = row["line"]
        opened = [
            self.sealer.open(
                row[f"{name}_sealed"], line_place(self.tenant_id, self.batch_id, number, name)
            )
            for name in ("app_key", "nwk_key")
        ]
        return Line(
            number,
            row["device_id"],
            json.loads(row["device"]),
            opened[0],
            opened[1],
            row["attempts"],
        )

    def _of(self, device_id: str) -> tuple[object, ...]:
        return (self.tenant_id, self.organization_id, self.application_id, device_id)

    def _at(self, line: Line) -> tuple[object, ...]:
        return (self.tenant_id, self.batch_id, line.number)

    async def _write(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            await self._require_claim(connection)
            for name, values in statements:
                await connection.execute(_SQL[name], *values)

    async def _require_claim(self, connection: Connection) -> None:
        held = await connection.fetchval(
            _SQL["lock_claim"], self.tenant_id, self.batch_id, self.work_token
        )
        if held is None:
            raise BatchLostError


async def due(pool: Pool) -> list[tuple[str, UUID]]:
    """Tenants and batches that there is something to do for."""
    return [(row["tenant_id"], row["batch_id"]) for row in await pool.fetch(_SQL["due_batches"])]


async def find(pool: Pool, tenant_id: str, batch_id: UUID) -> tuple[UUID, str] | None:
    """The organization and application of a batch; None when it is gone."""
    async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
        row = await connection.fetchrow(_SQL["find_batch"], tenant_id, batch_id)
    return None if row is None else (row["organization_id"], row["application_id"])


async def claim(pool: Pool, sealer: Sealer, tenant_id: str, batch_id: UUID) -> Batch | None:
    """Take a batch that is due; None when it is not any more."""
    async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
        row = await connection.fetchrow(_SQL["claim_batch"], tenant_id, batch_id)
    if row is None:
        return None
    return Batch(
        pool,
        sealer,
        tenant_id,
        batch_id,
        row["organization_id"],
        row["application_id"],
        row["action"],
        row["work_token"],
    )


async def forget(pool: Pool, older_than: timedelta) -> None:
    """Forget batches that ended, and devices that were removed, longer ago; of all tenants."""
    async with pool.acquire() as raw:
        tenants = [row["tenant_id"] for row in await raw.fetch(_SQL["sweep_tenants"])]
        for tenant_id in tenants:
            async with tenant_transaction(raw, tenant_id) as connection:
                await connection.execute(_SQL["forget_batches"], tenant_id, older_than)
                await connection.execute(_SQL["forget_devices"], tenant_id, older_than)
