"""An organization with its application in a simulated Things Stack, our connection to it, and workers for its runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from broker.sealing import KeyRing
from broker.secret_keys import new_key
from broker.simulator.things_stack import Options, ThingsStackServer, running_things_stack, seeding
from broker.simulator.things_stack.seeding import Tenant
from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from broker.things_stack.means import Means, Pauses
from broker.things_stack.transport import Call, Patience
from broker.things_stack.worker import Worker
from handlers.context import Outside
from handlers.database import Pool, tenant_transaction
from handlers.stack_connections import place_of
from handlers.store import Told
from schema.things_stack_hosts import Hosts, StackHosts
from schema.things_stack_outcomes import Outcome
from tests.conftest import Database
from tests.integration.operator_desk import Desk

ORGANIZATION = UUID(int=7)
QUICK = Patience(5, attempts=3, first_wait=0, least_rate_wait=0, jitter=0)
WHOLE_ROUNDS = 600.0  # what a round has begun has ended after it
AT_ONCE = Pauses((0, 0, 0), (0, 0, 0, 0, 0))
_INSERT = """
    INSERT INTO ttn_connections (tenant_id, organization_id, identity_host, network_host, application_host, join_host,
                                 ttn_region, ttn_user_id, ttn_org_id, ttn_application_id, mark, main_key_sealed,
                                 provisioning_status)
    VALUES ('default', $1, $2, $3, $3, $3, 'eu1', $4, $5, $6, '0123456789ab', $7, 'ready')
"""


class Killed(BaseException):
    """What a test stops a worker with, as a kill would: nothing catches it."""


@dataclass(slots=True)
class Site:
    """One organization at a fake server, with our database beside it."""

    server: ThingsStackServer
    pool: Pool
    database: Database
    ring: KeyRing
    tenant: Tenant
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def desk(self) -> Desk:
        """The owner ann."""
        return Desk(self.pool, outside=Outside(sealer=self.ring))

    @property
    def allowed(self) -> StackHosts:
        """Every host of the server."""
        return StackHosts.parse(
            ",".join(f"http://{host.address}" for host in self.server.hosts.values())
        )

    @property
    def application(self) -> str:
        """The application's id."""
        return self.tenant.application.id

    async def connect(
        self,
        key: str | None = None,
        *,
        region: str = "eu1",
        organization: UUID = ORGANIZATION,
        tenant: Tenant | None = None,
    ) -> None:
        """Store a connection, with the owner's key unless another is named."""
        tenant = tenant or self.tenant
        sealed = self.ring.seal(
            key or tenant.user_key, place_of("default", organization, "main_key")
        )
        async with self.pool.acquire() as connection, tenant_transaction(connection, "default"):
            await connection.execute(
                _INSERT,
                organization,
                self.server.identity.address,
                self.server.hosts[region].address,
                tenant.user.id,
                tenant.organization.id,
                tenant.application.id,
                sealed,
            )

    def client(self) -> ThingsStack:
        """A client with the owner's key."""
        where = Hosts(self.server.identity.address, *[self.server.hosts["eu1"].address] * 3)
        return ThingsStack(Credentials(self.tenant.user_key, where), self.allowed, patience=QUICK)

    def worker(
        self,
        *,
        before: Callable[[Call], None] = lambda _: None,
        after: Callable[[Call], None] = lambda _: None,
        pauses: Pauses = AT_ONCE,
    ) -> Worker:
        """A worker of a process of its own; before and after are called around each HTTP call."""

        def connect(credentials: Credentials, means: Means) -> ThingsStack:
            stack = ThingsStack(
                credentials, means.allowed, patience=means.patience, concurrency=means.concurrency
            )
            transport = stack._transport
            carry_out = transport.call

            async def call(one: Call) -> Outcome:
                before(one)
                outcome = await carry_out(one)
                after(one)
                return outcome

            transport.call = call  # type: ignore[assignment,method-assign]
            return stack

        means = Means(
            self.ring,
            self.allowed,
            round_seconds=WHOLE_ROUNDS,
            patience=QUICK,
            pauses=pauses,
            client=connect,
        )
        return Worker(self.pool, self.database.url, means, slot=None, tell=self._hear)

    def _hear(self, told: object) -> None:
        assert isinstance(told, list)
        for one in told:
            assert isinstance(one, Told)
            self.told += [(topic, json.loads(payload)) for topic, payload in one.messages]

    async def deprovision(self, **wanted: object) -> str:
        """Ask for a run; returns its id."""
        answer = await self.desk.accepted("ttn/deprovision", wanted)
        return str(answer["job_id"])

    async def record(self, device_id: str, dev_eui: str | None, host: str = "eu1") -> None:
        """Put a device on our own record, as provisioning does."""
        address = self.server.hosts[host].address
        async with self.pool.acquire() as connection, tenant_transaction(connection, "default"):
            await connection.execute(
                "INSERT INTO ttn_devices (tenant_id, organization_id, application_id, device_id, dev_eui,"
                " network_host, application_host, join_host, state)"
                " VALUES ('default', $1, $2, $3, $4, $5, $5, $5, 'registered')",
                ORGANIZATION,
                self.application,
                device_id,
                dev_eui,
                address,
            )

    async def released(self, run_id: str) -> set[str]:
        """The EUIs that a run reports as released."""
        return set((await self.run(run_id))["summary"]["released_euis"])

    async def work(self, worker: Worker | None = None, most: int = 1000) -> None:
        """Work until there is nothing to do."""
        mine = worker or self.worker()
        try:
            for _ in range(most):
                if not await mine.run_once():
                    return
            raise AssertionError("there is work without end")
        finally:
            await mine.close()

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run as ttn/runs/get shows it."""
        found: dict[str, Any] = (await self.desk.accepted(f"ttn/runs/{run_id}/get"))["job"]
        return found

    async def steps(self, run_id: str) -> list[dict[str, Any]]:
        """All steps of a run in their order."""
        return await self.desk.rows(
            "SELECT * FROM ttn_deprovision_run_steps WHERE run_id = $1"
            " ORDER BY created_at, step_number",
            UUID(run_id),
        )

    def held(self) -> set[str]:
        """The EUIs that any registry of the server still holds."""
        stack = self.server.stack
        registries = [stack.identity_devices]
        for host in stack.hosts.values():
            registries += host.registries.values()
        return {
            document["ids"]["dev_eui"]
            for registry in registries
            for document in registry.devices.values()
            if "dev_eui" in document["ids"]
        }


@asynccontextmanager
async def run_site(
    pool: Pool,
    database: Database,
    *,
    devices: int = 0,
    admin: bool = False,
    options: Options | None = None,
    hosts: tuple[str, ...] = ("eu1",),
) -> AsyncIterator[Site]:
    """A site with a fleet; not connected yet."""
    async with running_things_stack(options) as server:
        tenant = seeding.tenant(server.stack, devices=devices, admin=admin, hosts=hosts)
        yield Site(server, pool, database, KeyRing.parse(new_key()), tenant)
