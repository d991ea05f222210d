"""Provisioning as a service: an attempt is a row, and goes on from what is recorded, in any process (seed 001)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol
from uuid import UUID

import structlog

from broker.things_stack.means import Means, broken_pause
from broker.things_stack.provision_steps import STEPS
from broker.things_stack.provision_work import StepFailed, Work, with_key
from broker.things_stack.run_locks import lock_names
from broker.things_stack.turns import Turns
from handlers import provision_ledger
from handlers.database import TRANSIENT, Pool
from handlers.provision_ledger import Ledger, ProvisioningLostError
from handlers.stack_connections import StackConnection, UnreadableSecretError
from handlers.telling import Teller
from schema.things_stack_connection import ProvisioningStep, Remedy, steps_of

log = structlog.get_logger(__name__)


class Locks(Protocol):
    """Named locks of this process; see `broker.things_stack.run_locks.RunLocks`."""

    def holding(self, names: tuple[str, ...]) -> AbstractAsyncContextManager[bool]:
        """Hold all of the names for as long as the block lasts; False when another has one."""
        ...


class Provisioner:
    """The service; any number of processes may run it."""

    def __init__(
        self,
        pool: Pool,
        locks: Locks,
        means: Means,
        teller: Teller,
        *,
        on_step: Callable[[ProvisioningStep], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._locks = locks
        self._means = means
        self._teller = teller
        self._on_step = on_step
        self._turns: Turns[tuple[str, UUID]] = Turns(means.at_once, seconds=means.round_seconds)

    async def run_once(self) -> bool:
        """Carry on what is due, some at once, until it ends or waits; returns whether anything was."""
        return await self._turns.round(await provision_ledger.due(self._pool), self._one)

    async def close(self) -> None:
        """End what is under way."""
        await self._turns.stop()

    async def _one(self, key: tuple[str, UUID]) -> bool:
        taken = await self._take(key)
        if taken is None:
            return False
        names = lock_names(*key, taken[1].application_id)
        async with self._locks.holding(names) as held:
            if not held:
                return False
            async with self._turns.turn():
                # As it is now that nobody else works on it.
                taken = await self._take(key)
                if taken is None:
                    return False
                await self._hold_and_go(*taken)
                return True

    async def _take(self, key: tuple[str, UUID]) -> tuple[Ledger, StackConnection] | None:
        return await provision_ledger.take(self._pool, self._means.sealer, *key, self._teller)

    async def _hold_and_go(self, ledger: Ledger, found: StackConnection) -> None:
        told = {"organization": str(found.organization_id)}
        try:
            await self._carry_on(ledger, found)
        except ProvisioningLostError:
            log.warning("ttn_provisioning_lost", **told)
        except TRANSIENT:
            raise
        except Exception as error:
            # One that cannot be worked on must not hold up the others, nor be tried again each second.
            log.exception("ttn_provisioning_broke", **told)
            await self._postpone(ledger, f"an error of ours ({type(error).__name__}); see the log")

    @staticmethod
    async def _postpone(ledger: Ledger, problem: str) -> None:
        with suppress(ProvisioningLostError):
            tries = int((await ledger.load()).row["provisioning_details"].get("tries", 0))
            await ledger.postpone(problem, broken_pause(tries), tries + 1)

    async def _carry_on(self, ledger: Ledger, found: StackConnection) -> None:
        try:
            key = found.secret("main_key")
        except UnreadableSecretError as error:
            await ledger.fail(str(error), Remedy.RETRY, [])
            return
        if key is None:
            await ledger.fail("there is no api_key; use ttn/credentials/set", Remedy.RETRY, [])
            return
        async with self._means.connect(with_key(found, key)) as stack:
            await self._steps(Work(ledger, found, stack, self._means.connect))

    async def _steps(self, work: Work) -> None:
        step = ProvisioningStep.AUTH_INFO
        try:
            while (following := _next(work.found)) is not None:
                step = following
                await work.ledger.begin(step)
                self._on_step(step)
                await STEPS[step](work)
                await work.ledger.done(step)
                work.found = await work.ledger.load()
        except StepFailed as failure:
            await self._failed(work, step, failure)
            return
        await work.ledger.finish()
        log.info("ttn_provisioned", organization=str(work.found.organization_id))

    async def _failed(self, work: Work, step: ProvisioningStep, failure: StepFailed) -> None:
        tries = int((await work.ledger.load()).row["provisioning_details"].get("tries", 0))
        told = {"organization": str(work.found.organization_id), "step": str(step)}
        pauses = self._means.pauses.steps
        if failure.may_heal and tries < len(pauses):
            await work.ledger.postpone(str(failure), pauses[tries], tries + 1)
            log.info("ttn_provisioning_waits", **told, error=str(failure))
            return
        await work.ledger.fail(str(failure), failure.remedy, failure.taken)
        log.warning("ttn_provisioning_failed", **told, error=str(failure))


def _next(found: StackConnection) -> ProvisioningStep | None:
    """The first step that is not done; who the key's owner is may decide which there are."""
    row = found.row
    steps = steps_of(
        organization=row["owner_kind"] == "organization",
        webhook=row["webhook_url"] is not None,
        gateway_key=bool(row["provisioning_wanted"].get("gateway_key")),
    )
    return next((one for one in steps if one not in row["provisioning_done"]), None)
