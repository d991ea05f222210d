"""Connections to The Things Stack as they are stored: read with their credentials opened, for commands and for runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from schema.secrets import CONNECTION_SECRETS, SEALED_SUFFIX, Opened, Place, SecretStatus
from schema.sql import queries
from schema.things_stack_connection import ProvisioningStatus, read_status
from schema.things_stack_hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from handlers.database import Connection
    from schema.secrets import Sealer

_SQL = queries("provisioning")
TABLE: Final = "ttn_connections"
DEVICES_PAGE: Final = 1000


class UnreadableSecretError(Exception):
    """A credential is stored and none of our keys opens it: it is there, so nothing may go on as if it were not."""

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(f"{place}: cannot be decrypted: {problem}")
        self.place = place
        self.problem = problem


@dataclass(frozen=True, slots=True)
class StackConnection:
    """One organization's row. secrets: by column without its suffix (main_key, org_api_key, app_api_key, ...)."""

    tenant_id: str
    organization_id: UUID
    hosts: Hosts
    status: ProvisioningStatus
    secrets: Mapping[str, Opened] = field(repr=False)
    row: Mapping[str, Any] = field(repr=False)

    @property
    def application_id(self) -> str | None:
        """The application at the server; None before it is chosen."""
        found: str | None = self.row["ttn_application_id"]
        return found

    @property
    def ttn_org_id(self) -> str | None:
        """The organization at the server; None when the application belongs to a user."""
        found: str | None = self.row["ttn_org_id"]
        return found

    def secret(self, name: str) -> str | None:
        """A credential; None when there is none. Raises UnreadableSecretError when there is one that does not open."""
        opened = self.secrets[name]
        if opened.status is SecretStatus.FAILED:
            raise UnreadableSecretError(self.place(name), opened.problem)
        return opened.value

    def place(self, name: str) -> Place:
        """Where a credential is kept."""
        return place_of(self.tenant_id, self.organization_id, name)


@dataclass(frozen=True, slots=True)
class RecordedDevice:
    """A device that we registered or began to: its EUIs, the hosts it was registered on, and where it is."""

    device_id: str
    dev_eui: str | None
    join_eui: str | None
    network_host: str | None
    application_host: str | None
    join_host: str | None
    state: str
    registered_in: tuple[str, ...]


def place_of(tenant_id: str, organization_id: UUID, name: str) -> Place:
    """Where a connection's credential is kept."""
    return Place(tenant_id, TABLE, (str(organization_id),), name + SEALED_SUFFIX)


async def load_connection(
    connection: Connection,
    sealer: Sealer,
    tenant_id: str,
    organization_id: UUID,
    *,
    lock: bool = False,
) -> StackConnection | None:
    """An organization's connection with its credentials opened; None when it has none.

    Inside the tenant's transaction; `lock` holds the row until its end.
    """
    query = _SQL["lock_connection" if lock else "find_connection"]
    row = await connection.fetchrow(query, tenant_id, organization_id)
    return None if row is None else read_connection(row, sealer)


def read_connection(row: asyncpg.Record, sealer: Sealer) -> StackConnection:
    """A row with its credentials opened, each as empty, decrypted or failed."""
    tenant_id, organization_id = row["tenant_id"], row["organization_id"]
    names = [column.removesuffix(SEALED_SUFFIX) for column in CONNECTION_SECRETS]
    hosts = ("identity_host", "network_host", "application_host", "join_host")
    plain = {name: value for name, value in row.items() if name not in CONNECTION_SECRETS}
    for name in ("provisioning_details", "provisioning_wanted"):
        plain[name] = json.loads(plain[name])
    return StackConnection(
        tenant_id,
        organization_id,
        Hosts(*(row[name] for name in hosts)),
        read_status(row["provisioning_status"]),
        {
            name: sealer.open(row[name + SEALED_SUFFIX], place_of(tenant_id, organization_id, name))
            for name in names
        },
        plain,
    )


async def recorded_devices(
    connection: Connection,
    tenant_id: str,
    organization_id: UUID,
    application_id: str,
    *,
    after: str = "",
) -> list[RecordedDevice]:
    """A page of at most 1000 devices on record for an application, by id from the one after; without removed ones."""
    rows = await connection.fetch(
        _SQL["recorded_devices"], tenant_id, organization_id, application_id, after, DEVICES_PAGE
    )
    return [
        RecordedDevice(**{**dict(row), "registered_in": tuple(row["registered_in"])})
        for row in rows
    ]
