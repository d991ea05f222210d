"""Batches of devices as a service: lines are rows, done some at a time, and gone on with by any process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from broker.things_stack.claims import Claims
from broker.things_stack.device_lines import LineFailed, LineWork
from broker.things_stack.device_registration import DeviceRegistration
from broker.things_stack.device_removal import DeviceRemoval
from broker.things_stack.found import ADDRESSES, hosts_of
from broker.things_stack.means import BROKEN_SECONDS, Means
from broker.things_stack.places import Places
from broker.things_stack.provision_work import with_key
from broker.things_stack.provisioning import Locks
from broker.things_stack.run_locks import lock_names
from broker.things_stack.together import together
from broker.things_stack.turns import Turns
from handlers import batch_ledger
from handlers.batch_ledger import ATTEMPTS_MOST, Batch, BatchLostError, Line
from handlers.database import TRANSIENT
from handlers.stack_connections import StackConnection, UnreadableSecretError
from handlers.telling import Teller

if TYPE_CHECKING:
    from broker.things_stack.client import ThingsStack
    from handlers.database import Pool

log = structlog.get_logger(__name__)

_STINT_LINES: Final = 200
# A regional host remembers for two minutes that an application was not there (reference/the-things-stack.md 6.4).
_RIGHTS_SETTLE: Final = timedelta(minutes=3)
# How long a batch waits for a run that takes away what is there, before it looks again.
_RUN_SECONDS: Final = 30.0
_NO_KEY: Final = "the connection has no API key any more"


class DeviceBatches:
    """The service; any number of processes may run it."""

    def __init__(self, pool: Pool, locks: Locks, means: Means, teller: Teller) -> None:
        self._pool = pool
        self._locks = locks
        self._means = means
        self._teller = teller
        self._turns: Turns[tuple[str, UUID]] = Turns(means.at_once, seconds=means.round_seconds)

    async def run_once(self) -> bool:
        """Work on batches that are due, some at once, for some hundred lines each; returns whether any was."""
        # All of them: those that wait for another's lock must not keep the others from their turn.
        return await self._turns.round(await batch_ledger.due(self._pool), self._one)

    async def close(self) -> None:
        """End what is under way."""
        await self._turns.stop()

    async def _one(self, key: tuple[str, UUID]) -> bool:
        found = await batch_ledger.find(self._pool, *key)
        if found is None:
            return False
        async with self._locks.holding(lock_names(key[0], *found)) as held:
            if not held:
                return False
            async with self._turns.turn():
                return await self._hold_and_go(*key)

    async def _hold_and_go(self, tenant_id: str, batch_id: UUID) -> bool:
        batch = await batch_ledger.claim(
            self._pool, self._means.sealer, tenant_id, batch_id, self._teller
        )
        if batch is None:
            return False
        try:
            await self._carry_on(batch)
        except BatchLostError:
            log.warning("ttn_batch_lost", batch=str(batch_id))
        except TRANSIENT:
            raise
        except Exception as error:
            # One that cannot be worked on must not hold up the others, nor be tried again each second.
            log.exception("ttn_batch_broke", batch=str(batch_id))
            with suppress(BatchLostError):
                problem = f"an error of ours ({type(error).__name__}); see the log"
                await batch.postpone(problem, BROKEN_SECONDS)
        return True

    async def _carry_on(self, batch: Batch) -> None:
        if await batch.is_held_up():
            await batch.rest(_RUN_SECONDS)
            return
        connection = await batch.connection()
        key, problem = _key_of(connection)
        lines = await batch.lines(_STINT_LINES)
        wait: float = 0
        if connection is None or key is None:
            await batch.stop(problem)
        elif lines:
            async with self._means.connect(with_key(connection, key)) as stack:
                wait = await self._lines(batch, connection, stack, lines)
        status = await batch.rest(wait)
        if status not in ("QUEUED", "RUNNING"):
            log.info("ttn_batch_ended", batch=str(batch.batch_id), status=status)

    async def _lines(
        self, batch: Batch, connection: StackConnection, stack: ThingsStack, lines: list[Line]
    ) -> float:
        """Do lines, so many at once; returns after how many seconds the batch goes on."""
        gate, stopped = asyncio.Semaphore(self._means.concurrency), asyncio.Event()
        work_of = await self._workers(batch, connection, stack)
        waits: list[float] = [0]

        async def one(line: Line) -> None:
            async with gate:
                if not stopped.is_set():
                    waits.append(await self._line(work_of(line), stopped))

        await together(one(line) for line in lines)
        # Lines that were not tried yet do not wait for those that were.
        return 0 if len(lines) == _STINT_LINES else max(waits)

    async def _workers(
        self, batch: Batch, connection: StackConnection, stack: ThingsStack
    ) -> Callable[[Line], DeviceRegistration | DeviceRemoval]:
        """What does a line of the batch."""
        fresh, hosts = _is_fresh(connection), connection.hosts
        if batch.action == "register":
            return lambda line: DeviceRegistration(stack, batch, line, fresh, hosts)
        known = await batch.known_hosts()
        says = await stack.applications.get(batch.application_id, [*ADDRESSES.values()])
        for name, more in (hosts_of(says.body) if says.ok else {}).items():
            known[name] = [*known.get(name, ()), *more]
        places, claims = Places(hosts, self._means.allowed, known), Claims(stack)
        return lambda line: DeviceRemoval(stack, batch, line, fresh, places, claims)

    async def _line(
        self, work: DeviceRegistration | DeviceRemoval, stopped: asyncio.Event
    ) -> float:
        """Do one; after how many seconds it is tried again, 0 when it is done. stopped is set when all are to end."""
        try:
            await work.carry_out()
        except LineFailed as failure:
            if not failure.stops:
                return await self._failed(work, failure)
            stopped.set()
            await work.batch.stop(f"{failure}; nothing more was tried")
            return 0
        state = "registered" if work.batch.action == "register" else "removed"
        await work.batch.end_line(work.line, state=(state, work.has), http_status=200, error=None)
        return 0

    async def _failed(self, work: LineWork, failure: LineFailed) -> float:
        """After how many seconds the line is tried again; 0 when it has failed for good."""
        line = work.line
        if failure.may_heal and line.attempts < ATTEMPTS_MOST:
            await work.batch.try_again(line, failure.status, str(failure))
            pauses = self._means.pauses.steps
            return pauses[min(line.attempts, len(pauses) - 1)]
        registering = work.batch.action == "register"
        state = ("registering" if work.has else "removed") if registering else "removing"
        if registering and not work.ours and work.has:
            state = "registered"  # as it was before this batch
        told = f"{failure}; it is in: {', '.join(work.has)}" if work.has else str(failure)
        await work.batch.end_line(
            line, state=(state, work.has), http_status=failure.status, error=told[:400]
        )
        return 0


def _key_of(connection: StackConnection | None) -> tuple[str | None, str]:
    """The application's own key, else the one that was brought in; or why there is none."""
    if connection is None:
        return None, _NO_KEY
    for name in ("app_api_key", "main_key"):
        try:
            key = connection.secret(name)
        except UnreadableSecretError as error:
            return None, str(error)
        if key is not None:
            return key, ""
    return None, _NO_KEY


def _is_fresh(connection: StackConnection) -> bool:
    changed: datetime | None = connection.row["credentials_changed_at"]
    return changed is not None and datetime.now(UTC) - changed < _RIGHTS_SETTLE
