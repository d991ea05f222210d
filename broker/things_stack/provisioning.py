"""Provisioning as a service: an attempt is a row, and goes on from what is recorded, in any process (seed 001)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

import structlog

from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from broker.things_stack.provision_steps import STEPS
from broker.things_stack.provision_work import StepFailed, Work, with_key
from broker.things_stack.transport import Patience
from handlers import provision_ledger
from handlers.database import Pool
from handlers.provision_ledger import Ledger, ProvisioningLostError
from handlers.stack_connections import StackConnection, UnreadableSecretError
from schema.secrets import Sealer
from schema.things_stack_connection import ProvisioningStep, Remedy, steps_of
from schema.things_stack_hosts import StackHosts

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 4


class Locks(Protocol):
    """Named locks of this process; see `broker.things_stack.run_locks.RunLocks`."""

    def holding(self, names: tuple[str, ...]) -> AbstractAsyncContextManager[bool]:
        """Hold all of the names for as long as the block lasts; False when another has one."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What provisioning and batches of devices are done with.

    pauses: seconds before each further try of a step that time may heal; after the last it has failed. A regional host
    may remember for two minutes that a new application was not there (6.4), so together they are more.
    """

    sealer: Sealer
    allowed: StackHosts
    concurrency: int = 4
    patience: Patience = field(default_factory=Patience)
    pauses: tuple[float, ...] = (5, 15, 30, 45, 60, 60, 120, 300)

    def connect(self, credentials: Credentials) -> ThingsStack:
        """A client with somebody's key."""
        return ThingsStack(
            credentials, self.allowed, patience=self.patience, concurrency=self.concurrency
        )


def lock_names(found: StackConnection) -> tuple[str, ...]:
    """What must be held to work on a connection: it and its application, which deprovisioning holds as well."""
    mine = f"organization {found.tenant_id} {found.organization_id}"
    application = found.application_id
    return (mine,) if application is None else (mine, f"application {application}")


class Provisioner:
    """The service; any number of processes may run it."""

    def __init__(
        self,
        pool: Pool,
        locks: Locks,
        means: Means,
        *,
        on_step: Callable[[ProvisioningStep], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._locks = locks
        self._means = means
        self._on_step = on_step

    async def run_once(self) -> bool:
        """Carry on what is due, some at once, until it ends or waits; returns whether anything was."""
        due = await provision_ledger.due(self._pool)
        done = await asyncio.gather(
            *(
                self._one(tenant_id, organization_id)
                for tenant_id, organization_id in due[:_AT_ONCE]
            ),
            return_exceptions=True,
        )
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return any(done)

    async def _one(self, tenant_id: str, organization_id: UUID) -> bool:
        taken = await provision_ledger.take(
            self._pool, self._means.sealer, tenant_id, organization_id
        )
        if taken is None:
            return False
        async with self._locks.holding(lock_names(taken[1])) as held:
            # As it is now that nobody else works on it.
            if held:
                taken = await provision_ledger.take(
                    self._pool, self._means.sealer, tenant_id, organization_id
                )
            if taken is None or not held:
                return False
            try:
                await self._carry_on(*taken)
            except ProvisioningLostError:
                log.warning("ttn_provisioning_lost", organization=str(organization_id))
            return True

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
        if failure.may_heal and tries < len(self._means.pauses):
            await work.ledger.postpone(str(failure), self._means.pauses[tries], tries + 1)
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
