"""An operator's desk, a database and a simulated Things Stack, with the services that work between them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.sealing import KeyRing
from broker.secret_keys import new_key
from broker.simulator.things_stack import Options, ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import Tenant, tenant
from broker.things_stack import worker
from broker.things_stack.device_batches import DeviceBatches
from broker.things_stack.means import Means, Pauses
from broker.things_stack.provisioning import Provisioner
from broker.things_stack.run_locks import RunLocks
from broker.things_stack.transport import Call, Patience, Transport
from handlers.context import Outside
from handlers.database import Pool
from handlers.store import Told
from handlers.telling import Teller
from schema.things_stack_hosts import StackHosts
from schema.things_stack_outcomes import Outcome
from tests.conftest import Database
from tests.integration.operator_desk import Desk

QUICK = Patience(5, attempts=3, broken=2, first_wait=0, least_rate_wait=0, jitter=0)
KEY = new_key()


class Killed(BaseException):
    """The process is gone: nothing after this line runs."""


class Killing:
    """Counts calls to the server, and ends the process right after one of them was carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.after: int | None = None
        original = Transport.call

        async def call(transport: Transport, one: Call) -> Outcome:
            outcome = await original(transport, one)
            self.calls += 1
            if self.calls == self.after:
                raise Killed
            return outcome

        monkeypatch.setattr(Transport, "call", call)

    def restart(self, after: int | None = None) -> None:
        """Count anew."""
        self.calls, self.after = 0, after


@dataclass(frozen=True, slots=True)
class Site:
    """What a test of the services has."""

    desk: Desk
    server: ThingsStackServer
    there: Tenant
    locks: RunLocks
    means: Means
    url: str
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def teller(self) -> Teller:
        """What hears of all that is told."""
        return Teller(None, self._hear)

    def _hear(self, told: Iterable[Told]) -> None:
        for one in told:
            self.told.extend([(topic, json.loads(payload)) for topic, payload in one.messages])

    @property
    def provisioner(self) -> Provisioner:
        """A service as a process that has just begun has it."""
        return Provisioner(self.desk.pool, self.locks, self.means, self.teller)

    @property
    def batches(self) -> DeviceBatches:
        """As `provisioner`."""
        return DeviceBatches(self.desk.pool, self.locks, self.means, self.teller)

    async def bring(self, key: str | None = None, **more: object) -> dict[str, Any]:
        """Bring a key in: the user's, unless another is named."""
        host = self.server.identity.address
        payload = {"api_key": key or self.there.user_key, "identity_host": host}
        return await self.desk.accepted("ttn/credentials/set", {**payload, **more})

    async def provisioned(self, **wanted: object) -> dict[str, Any]:
        """Provision as wanted until it ends; its status then."""
        only = {name: value for name, value in wanted.items() if name == "organization_id"}
        await self.desk.accepted("ttn/provision", wanted)
        return await self.settled(**only)

    async def settled(self, **only: object) -> dict[str, Any]:
        """Work until provisioning has ended; its status then."""
        for _ in range(50):
            await self.desk.rows(
                "UPDATE ttn_connections SET next_try_at = now() WHERE next_try_at > now()"
            )
            await self.provisioner.run_once()
            status = await self.desk.accepted("ttn/status", only)
            if status["provisioning_status"] != "provisioning":
                return status
        raise AssertionError(f"it does not end: {status}")

    async def batch(self, verb: str, payload: dict[str, object]) -> dict[str, Any]:
        """Have a batch done; what it came to, with all its lines."""
        made = await self.desk.accepted(f"ttn/devices/{verb}", payload)
        return await self.batch_done(made["batch_id"])

    async def batch_done(self, batch_id: str) -> dict[str, Any]:
        """Work until a batch has ended."""
        for _ in range(100):
            await self.desk.rows(
                "UPDATE ttn_device_batches SET next_try_at = now() WHERE next_try_at > now()"
            )
            await self.batches.run_once()
            found = await self.desk.accepted(
                "ttn/devices/batch", {"batch_id": batch_id, "limit": 250}
            )
            if found["status"] not in ("QUEUED", "RUNNING"):
                return found
        raise AssertionError(f"it does not end: {found}")

    async def runs_done(self) -> None:
        """Work on runs until none is left."""
        runs = worker.Worker(self.desk.pool, self.url, self.means, slot=None, tell=lambda _: None)
        for _ in range(50):
            await self.desk.rows("UPDATE ttn_deprovision_runs SET next_try_at = now()")
            if not await runs.run_once():
                break
        await runs.close()

    def keys(self, kind: str, entity_id: str) -> list[str]:
        """Names of an entity's keys at the server."""
        return sorted(one.name for one in self.server.stack.get(kind, entity_id).keys.values())

    async def everything(self) -> str:
        """Every row of every table of ours, as text, as a dump would have it."""
        tables = await self.desk.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND has_table_privilege(oid, 'SELECT')"
        )
        rows = [
            await self.desk.rows(f"SELECT to_jsonb(t)::text AS row FROM {one['relname']} t")
            for one in tables
        ]
        return json.dumps(rows)


@asynccontextmanager
async def stack_site(
    pool: Pool, database: Database, options: Options | None = None
) -> AsyncIterator[Site]:
    """A running server with the tenant `acme`, and a desk that may reach it."""
    async with running_things_stack(options) as server:
        allowed = StackHosts.parse(",".join(server.url(name) for name in server.hosts))
        outside = Outside(sealer=KeyRing.parse(KEY), stack_hosts=allowed)
        locks = RunLocks(database.url)
        means = Means(
            outside.sealer,
            allowed,
            round_seconds=600,
            patience=QUICK,
            pauses=Pauses(steps=(0.0,) * 8),
        )
        try:
            yield Site(
                Desk(pool, outside=outside),
                server,
                tenant(server.stack),
                locks,
                means,
                database.url,
            )
        finally:
            await locks.close()
