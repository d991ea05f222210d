"""Provisioning as it is recorded: what is due, how far it is, and what was made; no transaction lasts over a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.database import tenant_transaction
from handlers.stack_connections import StackConnection, load_connection, place_of
from schema import stack_messages
from schema.secrets import CONNECTION_SECRETS, SEALED_SUFFIX
from schema.sql import queries
from schema.stack_messages import Moment
from schema.things_stack_connection import ProvisioningStatus, ProvisioningStep, Remedy

if TYPE_CHECKING:
    from handlers.database import Pool
    from handlers.store import Told
    from handlers.telling import Teller
    from schema.secrets import Sealer

_SQL = queries("provisioning")

# What provisioning may write of a connection; secrets by their names without the suffix.
_SECRETS: Final = frozenset(one.removesuffix(SEALED_SUFFIX) for one in CONNECTION_SECRETS)
_COLUMNS: Final = _SECRETS | {
    *("owner_kind", "ttn_user_id", "ttn_org_id", "ttn_application_id", "abandoned_ids"),
    *("org_api_key_id", "app_api_key_id", "gateway_api_key_id", "webhook_id"),
}


class ProvisioningLostError(Exception):
    """Another attempt has begun, or the connection is gone: what this one still writes would be wrong."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One attempt's way to its row."""

    pool: Pool
    sealer: Sealer
    tenant_id: str
    organization_id: UUID
    work_token: UUID | None
    teller: Teller

    async def load(self) -> StackConnection:
        """The connection as it is now. Raises ProvisioningLostError when it is another attempt's."""
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            found = await load_connection(
                connection, self.sealer, self.tenant_id, self.organization_id
            )
        if found is None or not _is_current(found, self.work_token):
            raise ProvisioningLostError
        return found

    async def begin(self, step: ProvisioningStep) -> None:
        """That a step is under way."""
        first = step is ProvisioningStep.AUTH_INFO
        moment = Moment.STARTED if first else Moment.PROGRESS
        await self._write("provisioning_step = $4", step, moment=moment)

    async def note(
        self, changes: Mapping[str, object], details: Mapping[str, object] | None = None
    ) -> None:
        """What a step has made or is about to make: columns, secrets by name, and further details."""
        names = list(changes)
        unknown = set(names) - _COLUMNS
        if unknown:
            raise ValueError(f"not among what provisioning writes: {', '.join(sorted(unknown))}")
        sets = [f"{_column(name)} = ${number}" for number, name in enumerate(names, 5)]
        values = [self._stored(name, changes[name]) for name in names]
        if _SECRETS & set(names):
            sets.append("credentials_changed_at = clock_timestamp()")
        await self._write(
            ", ".join(["provisioning_details = provisioning_details || $4::jsonb", *sets]),
            json.dumps(dict(details or {})),
            *values,
        )

    async def done(self, step: ProvisioningStep) -> None:
        """That a step is done; the next one is under way at once."""
        await self._write(
            "provisioning_done = array_append(array_remove(provisioning_done, $4), $4),"
            " provisioning_error = NULL, provisioning_details = provisioning_details - 'tries'",
            str(step),
        )

    async def finish(self) -> None:
        """That all is made and verified."""
        await self._write(
            "provisioning_status = $4, provisioning_step = NULL, provisioning_error = NULL,"
            " next_try_at = NULL, provisioned_at = coalesce(provisioned_at, clock_timestamp())",
            ProvisioningStatus.READY,
            moment=Moment.FINISHED,
        )

    async def fail(self, error: str, remedy: Remedy, taken: list[str]) -> None:
        """That this attempt has failed, with what helps, and ids that are taken for good."""
        await self._write(
            "provisioning_status = 'failed', provisioning_error = $4, next_try_at = NULL,"
            " provisioning_details = provisioning_details || $5::jsonb",
            error,
            json.dumps({"remedy": remedy, **({"taken": taken} if taken else {})}),
            moment=Moment.FINISHED,
        )

    async def postpone(self, error: str, seconds: float, tries: int) -> None:
        """That a step is tried again in so many seconds."""
        await self._write(
            "provisioning_error = $4, provisioning_details = provisioning_details || $5::jsonb,"
            " next_try_at = clock_timestamp() + make_interval(secs => $6)",
            error,
            json.dumps({"tries": tries}),
            seconds,
            moment=Moment.PROGRESS,
        )

    def _stored(self, name: str, value: object) -> object:
        if name not in _SECRETS or value is None:
            return value
        return self.sealer.seal(str(value), place_of(self.tenant_id, self.organization_id, name))

    async def _write(self, sets: str, *values: object, moment: Moment | None = None) -> None:
        """Write it, and tell of it. Raises ProvisioningLostError, and nothing is written then."""
        told: list[Told] = []
        async with (
            self.pool.acquire() as raw,
            tenant_transaction(raw, self.tenant_id) as connection,
        ):
            # What is set is made of this module's own words.
            row = await connection.fetchrow(
                f"UPDATE ttn_connections SET {sets}, updated_at = clock_timestamp()"  # noqa: S608 - see above
                " WHERE tenant_id = $1 AND organization_id = $2 AND work_token = $3"
                " AND provisioning_status = 'provisioning' RETURNING *, clock_timestamp() AS now",
                self.tenant_id,
                self.organization_id,
                self.work_token,
                *values,
            )
            if row is None:
                raise ProvisioningLostError
            if moment is not None:
                messages = stack_messages.of_provisioning(dict(row), moment)
                told = await self.teller.write(connection, self.tenant_id, messages)
        self.teller.tell(told)


async def due(pool: Pool) -> list[tuple[str, UUID]]:
    """Tenants and organizations whose provisioning there is something to do for."""
    rows = await pool.fetch(_SQL["due_provisioning"])
    return [(row["tenant_id"], row["organization_id"]) for row in rows]


async def take(
    pool: Pool, sealer: Sealer, tenant_id: str, organization_id: UUID, teller: Teller
) -> tuple[Ledger, StackConnection] | None:
    """The attempt that is under way for an organization; None when there is none any more."""
    async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
        found = await load_connection(connection, sealer, tenant_id, organization_id)
    if found is None or found.status is not ProvisioningStatus.PROVISIONING:
        return None
    token: UUID | None = found.row["work_token"]
    return Ledger(pool, sealer, tenant_id, organization_id, token, teller), found


def _is_current(found: StackConnection, token: UUID | None) -> bool:
    return found.status is ProvisioningStatus.PROVISIONING and found.row["work_token"] == token


def _column(name: str) -> str:
    return name + SEALED_SUFFIX if name in _SECRETS else name
