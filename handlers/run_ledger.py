"""What a worker writes of a deprovisioning run, each in one short transaction: claimed, how far it has come, its end.

A run is rows, not memory: whoever claims it goes on from here. A claim has a number, and what is written under an older
one changes nothing and raises RunLostError, so that a process that was taken for dead cannot write over its successor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from handlers import store
from handlers.database import tenant_transaction
from handlers.run_tally import REGISTRIES, tally
from schema import run_messages
from schema.sql import queries
from schema.things_stack_runs import Action, Phase, Result, RunStatus, StepName, StepStatus, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import asyncpg

    from handlers.database import Connection, Pool
    from handlers.store import Told
    from schema.things_stack_runs import Step

_SQL = queries("runs")


class RunLostError(Exception):
    """Another process has taken the run, or it has ended: whoever finds out stops."""


@dataclass(frozen=True, slots=True)
class Run:
    """A claimed run as it was last read."""

    tenant_id: str
    id: UUID
    organization_id: UUID
    action: Action
    phase: Phase
    facts: Mapping[str, Any]
    claim: int
    attempt: int
    application_id: str | None
    ttn_org_id: str | None
    device_id: str | None
    force: bool
    dry_run: bool
    requested_by: str | None
    canceled_by: str | None
    request_id: str | None

    @property
    def results(self) -> dict[StepName, Result]:
        """How the steps of application and organization ended last."""
        found = self.facts.get("results", {})
        return {
            StepName(name): Result(StepStatus(one["status"]), one["reason"])
            for name, one in found.items()
        }

    def with_facts(self, **facts: object) -> dict[str, Any]:
        """Its facts and more."""
        return {**self.facts, **facts}


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device that a run must see to. hosts: by registry (ns, as, js), where it is said to be; at times several."""

    device_id: str
    dev_eui: str | None = None
    join_eui: str | None = None
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_claimed: bool = False


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How far one device is: by registry, and whether it was verified to be gone. None: not seen to."""

    device: FoundDevice
    statuses: Mapping[str, StepStatus | None]
    verified: StepStatus | None
    problem: str | None = None
    may_heal: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes of a run. phase and facts: None leaves them; wait: seconds until it goes on."""

    steps: Sequence[Step] = ()
    phase: Phase | None = None
    facts: Mapping[str, Any] | None = None
    found: Sequence[FoundDevice] = ()
    reopened: Sequence[str] = ()
    devices: Sequence[DeviceState] = ()
    wait: float = 0.0
    retry_healing: bool = False
    tell: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a run's devices are."""

    found: int
    done: int
    failed: int
    may_heal: int


async def due(pool: Pool, *, most: int) -> list[tuple[str, UUID]]:
    """Runs that there is something to do for, of all tenants, those that wait longest first."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["due_runs"], most)
    return [(row["tenant_id"], row["id"]) for row in rows]


async def find(pool: Pool, tenant_id: str, run_id: UUID) -> Run | None:
    """A run as it is, claimed or not."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        row = await connection.fetchrow(_SQL["find_run"], tenant_id, run_id)
    return None if row is None else run_of(row)


async def claim(pool: Pool, tenant_id: str, run_id: UUID, *, slot: int | None) -> Claimed | None:
    """Take a run that is due; None when it is not any more."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        row = await connection.fetchrow(_SQL["claim_run"], tenant_id, run_id)
        if row is None:
            return None
        await connection.execute(_SQL["start_job"], tenant_id, run_id)
        run = run_of(row)
        told = None
        if row["claim"] == 1 or row["phase"] == Phase.START:
            told = await _tell(connection, row, operation="started", slot=slot)
    return Claimed(run, told)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is ours, and what is to be told of that."""

    run: Run
    told: Told | None


async def save(
    pool: Pool, run: Run, changes: Changes, *, slot: int | None
) -> tuple[Run, Told | None]:
    """Write how far it has come; returns the run as it is now. Raises RunLostError, and nothing is written then."""
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        row = await connection.fetchrow(
            _SQL["save_run"],
            run.tenant_id,
            run.id,
            run.claim,
            changes.phase or run.phase,
            json.dumps(run.facts if changes.facts is None else changes.facts),
            changes.wait,
        )
        if row is None:
            raise RunLostError(str(run.id))
        await _write(connection, run, changes)
        told = None
        if changes.tell:
            told = await _tell(connection, row, operation="progress", slot=slot)
    return run_of(row), told


async def _write(connection: Connection, run: Run, changes: Changes) -> None:
    await insert_steps(connection, run, changes.steps)
    await _put_devices(connection, run, changes.found)
    key = (run.tenant_id, run.id)
    if changes.reopened:
        await connection.execute(_SQL["reopen_devices"], *key, list(changes.reopened))
    for one in changes.devices:
        await connection.execute(
            _SQL["save_device"],
            *key,
            one.device.device_id,
            *(one.statuses.get(name) for name in REGISTRIES),
            one.verified,
            one.problem,
            one.may_heal,
        )
    if changes.retry_healing:
        await connection.execute(_SQL["reset_devices"], *key, True)  # noqa: FBT003 - only those that may heal


async def insert_steps(connection: Connection, run: Run, steps: Sequence[Step]) -> None:
    """Record steps in their order, inside the caller's transaction."""
    if not steps:
        return
    await connection.execute(
        _SQL["insert_steps"],
        run.tenant_id,
        run.id,
        [one.name for one in steps],
        [one.target_type for one in steps],
        [one.target_id for one in steps],
        [one.status for one in steps],
        [one.http_status for one in steps],
        [one.endpoint for one in steps],
        [one.snippet for one in steps],
        [json.dumps(dict(one.meta)) for one in steps],
        [one.elapsed for one in steps],
        run.attempt,
    )


async def _put_devices(connection: Connection, run: Run, found: Sequence[FoundDevice]) -> None:
    if not found:
        return
    await connection.execute(
        _SQL["put_devices"],
        run.tenant_id,
        run.id,
        [one.device_id for one in found],
        [one.dev_eui for one in found],
        [one.join_eui for one in found],
        [json.dumps({key: list(hosts) for key, hosts in one.hosts.items()}) for one in found],
        [one.is_claimed for one in found],
    )


async def next_devices(pool: Pool, run: Run, *, most: int) -> list[FoundDevice]:
    """Devices that are still to be seen to."""
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        rows = await connection.fetch(_SQL["next_devices"], run.tenant_id, run.id, most)
    return [_device(row) for row in rows]


async def earlier_devices(pool: Pool, run: Run) -> list[FoundDevice]:
    """Devices of the same application that an earlier run knew and, as far as is known, did not release.

    Of a run for one device that one alone. All of them in memory, 650 bytes each, while the run lists what is there.
    """
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        rows = await connection.fetch(
            _SQL["earlier_devices"],
            run.tenant_id,
            run.id,
            run.organization_id,
            run.application_id,
            run.device_id if run.action is Action.DEVICE else None,
        )
    return [_device(row) for row in rows]


async def known_hosts(pool: Pool, run: Run) -> dict[str, list[str]]:
    """Every host that the run's devices were said to be on, by registry."""
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        rows = await connection.fetch(_SQL["known_hosts"], run.tenant_id, run.id)
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["registry"], []).append(row["host"])
    return found


async def count(pool: Pool, run: Run) -> Counts:
    """How far the run's devices are."""
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        row = await connection.fetchrow(_SQL["count_devices"], run.tenant_id, run.id)
    assert row is not None  # noqa: S101 - an aggregate has one row
    return Counts(**dict(row))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends. clear: forget the local connection inside the same transaction; returns its step's reason."""

    status: RunStatus
    summary: Mapping[str, object]
    steps: Sequence[Step]
    error: str | None


async def end(
    pool: Pool,
    run: Run,
    decide: Callable[[Connection, Tally], Awaitable[Ending]],
    *,
    slot: int | None,
) -> Told | None:
    """End a run, by what `decide` makes of its tally inside the transaction. Raises RunLostError."""
    async with pool.acquire() as connection, tenant_transaction(connection, run.tenant_id):
        key = (run.tenant_id, run.id)
        row = await connection.fetchrow(_SQL["lock_run"], *key)
        if row is None or row["claim"] != run.claim or row["finished_at"] is not None:
            raise RunLostError(str(run.id))
        ending = await decide(connection, await tally(connection, *key))
        await insert_steps(connection, run, ending.steps)
        row = await connection.fetchrow(
            _SQL["end_run"],
            *key,
            run.claim,
            ending.status,
            json.dumps(dict(ending.summary)),
            ending.error,
        )
        assert row is not None  # noqa: S101 - the row is locked, and was found
        euis = [*_texts(ending.summary, "released_euis"), *_texts(ending.summary, "failed_euis")]
        eui = euis[0] if len(euis) == 1 else None
        await connection.execute(_SQL["end_job"], *key, ending.status, ending.error, eui)
        return await _tell(connection, row, operation="finished", slot=slot)


def _texts(summary: Mapping[str, object], name: str) -> list[str]:
    found = summary.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []


async def _tell(
    connection: Connection, row: asyncpg.Record, *, operation: str, slot: int | None
) -> Told | None:
    counts = await connection.fetchrow(_SQL["count_devices"], row["tenant_id"], row["id"])
    messages = run_messages.of_run(
        {**dict(row), "summary": json.loads(row["summary"])}, dict(counts or {}), operation
    )
    return await store.tell(connection, row["tenant_id"], messages=messages, slot=slot)


def run_of(row: asyncpg.Record) -> Run:
    """A run from its row."""
    return Run(
        tenant_id=row["tenant_id"],
        id=row["id"],
        organization_id=row["organization_id"],
        action=Action(row["action"]),
        phase=Phase(row["phase"]),
        facts=json.loads(row["facts"]),
        claim=row["claim"],
        attempt=row["attempt"],
        application_id=row["ttn_application_id"],
        ttn_org_id=row["ttn_org_id"],
        device_id=row["device_id"],
        force=row["force"],
        dry_run=row["dry_run"],
        requested_by=row["requested_by"],
        canceled_by=row["cancel_requested_by"],
        request_id=row["request_id"],
    )


def _device(row: asyncpg.Record) -> FoundDevice:
    return FoundDevice(
        row["device_id"],
        row["dev_eui"],
        row["join_eui"],
        json.loads(row["hosts"]),
        row["is_claimed"],
    )
