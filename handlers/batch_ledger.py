"""Batches of devices as they are recorded: what is due, the lines to do, and what they came to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from schema import stack_messages
from schema.sql import queries
from schema.stack_messages import Moment

if TYPE_CHECKING:
    import asyncpg

    from handlers.database import Connection, Pool
    from handlers.store import Told
    from handlers.telling import Teller
    from schema.secrets import Opened, Sealer
    from schema.things_stack_hosts import Hosts

_SQL = queries("provisioning")
ATTEMPTS_MOST: Final = 10
"""How often a line is tried that time may heal."""
LINES_A_MESSAGE: Final = 25
"""After so many lines each it is told how far a batch is."""


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
    teller: Teller

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

    async def is_held_up(self) -> bool:
        """Whether it must wait: what a run takes away is not registered meanwhile, as `require_no_run` has it."""
        if self.action != "register":
            return False
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            run = await connection.fetchval(_SQL["live_run"], self.tenant_id, self.organization_id)
        return run is not None

    async def record(self, line: Line, hosts: Hosts) -> None:
        """That a device is about to be registered, and on which hosts."""
        euis = (line.device["dev_eui"], line.device["join_eui"])
        where = (hosts.network, hosts.application, hosts.join)
        await self._write("record_device", *self._of(line.device_id), *euis, *where)

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
        await self._write("device_state", *self._of(device_id), state, list(registries))

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
        told: list[Told] = []
        async with self._ours() as connection:
            device = (*self._of(line.device_id), state[0], list(state[1]))
            await connection.execute(_SQL["device_state"], *device)
            ended = (*self._at(line), status, http_status, error)
            row = await connection.fetchrow(_SQL["end_line"], *ended)
            # The last lines are told of by `rest`.
            done = 0 if row is None else row["lines_ok"] + row["lines_failed"]
            if row is not None and done % LINES_A_MESSAGE == 0 and done < row["lines"]:
                told = await self._told(connection, row, Moment.PROGRESS)
        self.teller.tell(told)

    async def try_again(self, line: Line, http_status: int | None, error: str) -> None:
        """That a line waits for better times."""
        await self._write("try_line_again", *self._at(line), http_status, error)

    async def rest(self, seconds: float) -> str:
        """Come back in so many seconds, unless all lines are done; the batch's status then."""
        row = await self._turn("rest_batch", seconds)
        return str(row["status"])

    async def postpone(self, problem: str, seconds: float) -> None:
        """It broke for a reason of ours: come back in so many seconds, and later each time in a row."""
        await self._turn("postpone_batch", seconds, problem)

    async def stop(self, error: str) -> None:
        """End every line that waits, for one reason that concerns them all."""
        await self._write("stop_batch", self.tenant_id, self.batch_id, self.work_token, error)

    async def _turn(self, query: str, *values: object) -> asyncpg.Record:
        """End our turn, and tell how far the batch is. Raises BatchLostError, and nothing is written then."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            key = (self.tenant_id, self.batch_id, self.work_token)
            row = await connection.fetchrow(_SQL[query], *key, *values)
            if row is None:
                raise BatchLostError
            moment = Moment.PROGRESS if row["finished_at"] is None else Moment.FINISHED
            told = await self._told(connection, row, moment)
        self.teller.tell(told)
        return row

    async def _told(
        self, connection: Connection, row: asyncpg.Record, moment: Moment
    ) -> list[Told]:
        messages = stack_messages.of_batch(dict(row), moment)
        return await self.teller.write(connection, self.tenant_id, messages)

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

    async def _write(self, query: str, *values: object) -> None:
        async with self._ours() as connection:
            await connection.execute(_SQL[query], *values)

    @asynccontextmanager
    async def _ours(self) -> AsyncIterator[Connection]:
        """A transaction in which the batch is ours to write. Raises BatchLostError."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            held = await connection.fetchval(
                _SQL["lock_claim"], self.tenant_id, self.batch_id, self.work_token
            )
            if held is None:
                raise BatchLostError
            yield connection


async def due(pool: Pool) -> list[tuple[str, UUID]]:
    """Tenants and batches that there is something to do for."""
    return [(row["tenant_id"], row["batch_id"]) for row in await pool.fetch(_SQL["due_batches"])]


async def find(pool: Pool, tenant_id: str, batch_id: UUID) -> tuple[UUID, str] | None:
    """The organization and application of a batch; None when it is gone."""
    async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
        row = await connection.fetchrow(_SQL["find_batch"], tenant_id, batch_id)
    return None if row is None else (row["organization_id"], row["application_id"])


async def claim(
    pool: Pool, sealer: Sealer, tenant_id: str, batch_id: UUID, teller: Teller
) -> Batch | None:
    """Take a batch that is due, and tell when it begins; None when it is not due any more."""
    told: list[Told] = []
    async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
        row = await connection.fetchrow(_SQL["claim_batch"], tenant_id, batch_id)
        if row is not None and not row["lines_ok"] + row["lines_failed"]:
            messages = stack_messages.of_batch(dict(row), Moment.STARTED)
            told = await teller.write(connection, tenant_id, messages)
    teller.tell(told)
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
        teller,
    )


async def forget(pool: Pool, older_than: timedelta, *, most: int = 1000) -> bool:
    """Forget batches that ended, and devices that were removed, longer ago; of all tenants.

    At most so many rows of each kind and tenant at once; returns whether there may be more.
    """
    more = False
    async with pool.acquire() as raw:
        tenants = [row["tenant_id"] for row in await raw.fetch(_SQL["sweep_tenants"])]
        for tenant_id in tenants:
            for kind in ("forget_lines", "forget_batches", "forget_devices"):
                async with tenant_transaction(raw, tenant_id) as connection:
                    gone = await connection.fetchval(_SQL[kind], tenant_id, older_than, most)
                more = more or gone == most
    return more
