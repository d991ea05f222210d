"""Works on deprovisioning runs, of all tenants: takes one that is due, goes on with it from what is recorded, ends it.

Any number of processes may do so. Of runs for one application one is worked on at a time: its worker holds a session
advisory lock, which PostgreSQL gives back the moment the process dies; whoever takes the run over has the next claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from broker.things_stack.clearing import clean_devices, clear_state, delete_keys
from broker.things_stack.closing import close_application, close_organization
from broker.things_stack.credentials import (
    Credentials,
    CredentialsError,
    UnreadableCredentialsError,
    credentials_of,
)
from broker.things_stack.driver import Driver, Stopped, Suspended
from broker.things_stack.ending import decide_end
from broker.things_stack.means import Means, broken_pause
from broker.things_stack.opening import list_devices, start
from broker.things_stack.run_locks import RunLocks, lock_names
from broker.things_stack.turns import Turns
from handlers import run_connections, run_ledger
from handlers.database import TRANSIENT, Connection, Pool
from handlers.run_ledger import Changes, Ending, Run, RunLostError
from handlers.store import Told
from schema.things_stack_runs import Phase, Tally

log = structlog.get_logger(__name__)

_PHASES: Final = {
    Phase.START: start,
    Phase.LIST: list_devices,
    Phase.DEVICES: clean_devices,
    Phase.STATE: clear_state,
    Phase.KEYS: delete_keys,
    Phase.APPLICATION: close_application,
    Phase.ORGANIZATION: close_organization,
}
_LOOKED_AT: Final = 50
_STINT_SECONDS: Final = 5.0


class Worker:
    """The service of runs; `run_once` until there is nothing to do, `close` at the end."""

    def __init__(
        self,
        pool: Pool,
        url: str,
        means: Means,
        *,
        slot: int | None,
        tell: Callable[[Iterable[Told]], None],
    ) -> None:
        """Take the database's URL for the connection that holds locks; tell is called with what was committed."""
        self._pool = pool
        self._means = means
        self._slot = slot
        self._tell = tell
        self._locks = RunLocks(url)
        self._turns: Turns[tuple[str, UUID]] = Turns(means.at_once, seconds=means.round_seconds)

    async def close(self) -> None:
        """Let go of everything."""
        await self._turns.stop()
        await self._locks.close()

    async def run_once(self) -> bool:
        """Go on with runs that are due, some at once, for some seconds; returns whether any was worked on."""
        # More than are worked on: those that wait for another's lock must not keep the others from their turn.
        due = await run_ledger.due(self._pool, most=_LOOKED_AT)
        return await self._turns.round(due, self._stint)

    async def _stint(self, key: tuple[str, UUID]) -> bool:
        found = await run_ledger.find(self._pool, *key)
        if found is None:
            return False
        async with self._locks.holding(
            lock_names(found.tenant_id, found.organization_id, found.application_id)
        ) as held:
            if not held:
                return False
            async with self._turns.turn():
                return await self._hold_and_go(*key)

    async def _hold_and_go(self, tenant_id: str, run_id: UUID) -> bool:
        claimed = await run_ledger.claim(self._pool, tenant_id, run_id, slot=self._slot)
        if claimed is None:
            return False
        if claimed.told is not None:
            self._tell([claimed.told])
        try:
            await self._carry_on(claimed.run)
        except RunLostError:
            log.warning("ttn_run_lost", run=str(run_id))
        except TRANSIENT:
            raise
        except Exception:
            # One run that cannot be worked on must not hold up the others, nor be tried again each second.
            log.exception("ttn_run_broke", run=str(run_id))
            await self._postpone(claimed.run)
        return True

    async def _carry_on(self, run: Run) -> None:
        try:
            credentials = await self._credentials(run)
        except CredentialsError as error:
            unreadable = isinstance(error, UnreadableCredentialsError)
            await self._end(run, str(error), unreadable=unreadable)
            return
        async with self._means.connect(credentials) as stack:
            driver = Driver(
                pool=self._pool,
                run=run,
                stack=stack,
                credentials=credentials,
                connect=self._means.connect,
                allowed=self._means.allowed,
                pauses=self._means.pauses,
                concurrency=self._means.concurrency,
                slot=self._slot,
                tell=self._tell,
            )
            await self._go(driver)

    async def _go(self, driver: Driver) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _STINT_SECONDS
        error = None
        try:
            while driver.run.phase is not Phase.CLEAR:
                driver.stop_if_canceled()
                await _PHASES[driver.run.phase](driver)
                if loop.time() > until:
                    return
        except Suspended as suspended:
            log.info("ttn_run_waits", run=str(driver.run.id), reason=str(suspended))
            return
        except Stopped as stopped:
            error = str(stopped)
        await self._end(driver.run, error)

    async def _postpone(self, claimed: Run) -> None:
        """Later each time in a row; what the run has written since it was claimed stays."""
        run = await run_ledger.find(self._pool, claimed.tenant_id, claimed.id)
        if run is None or run.claim != claimed.claim:
            return
        failures = int(run.facts.get("failures", 0))
        changes = Changes(wait=broken_pause(failures), facts=run.with_facts(failures=failures + 1))
        with suppress(RunLostError):
            await run_ledger.save(self._pool, run, changes, slot=self._slot)

    async def _end(self, run: Run, error: str | None, *, unreadable: bool = False) -> None:
        async def decide(connection: Connection, tally: Tally) -> Ending:
            return await decide_end(connection, run, tally, error, unreadable=unreadable)

        told = await run_ledger.end(self._pool, run, decide, slot=self._slot)
        if told is not None:
            self._tell([told])
        log.info("ttn_run_ended", run=str(run.id), error=error)

    async def _credentials(self, run: Run) -> Credentials:
        found = await run_connections.connection_of(
            self._pool, self._means.sealer, run.tenant_id, run.organization_id
        )
        return credentials_of(found)
