"""The commands ttn/credentials/get and set: no secret leaves but by the first (seed 001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.context import Context, Outcome
from handlers.stack_connections import (
    StackConnection,
    load_connection,
    place_of,
    read_connection,
)
from handlers.stack_guards import (
    MADE,
    organization_meant,
    require_connection,
    require_same,
    require_settled,
)
from handlers.stack_status import status_body, subject_of
from schema.errors import Code, Rejected
from schema.sql import queries
from schema.things_stack_hosts import HostNotAllowedError, Hosts

if TYPE_CHECKING:
    from schema.stack_commands import GetCredentials, SetCredentials

_SQL = queries("provisioning")

# The seed's names of the secrets in an answer, by the column.
_SHOWN: Final = {
    "main_key": "main_api_key",
    "org_api_key": "org_api_secret",
    "app_api_key": "app_api_secret",
    "gateway_api_key": "gateway_api_secret",
    "webhook_secret": "webhook_secret",
}


async def get_credentials(context: Context, command: GetCredentials) -> Outcome:
    """Every credential with its status: empty, decrypted or failed. Each reading is on record.

    Raises Rejected: ResourceNotFound without a connection.
    """
    found = await require_connection(context, command)
    body = {name: value for name, value in status_body(found).items() if name != "credentials"}
    for name, shown in _SHOWN.items():
        opened = found.secrets[name]
        body[f"{shown}_status"] = opened.status
        if opened.value is not None:
            body[shown] = opened.value
    statuses = {name: str(one.status) for name, one in found.secrets.items()}
    return Outcome(
        body,
        subject=subject_of(found.organization_id),
        details={"read": statuses},
        secrets=frozenset(_SHOWN.values()),
    )


async def set_credentials(context: Context, command: SetCredentials) -> Outcome:
    """Bring a key in, and say where the server is.

    Raises Rejected: InvalidRequest for a host that is not allowed, or when the first call lacks the key or the place;
    InvalidStateTransition while provisioning, and for another place once something was made at the first.
    """
    organization = await organization_meant(context, command.organization_id)
    found = await load_connection(
        context.connection, context.sealer, context.tenant_id, organization, lock=True
    )
    place = _place_in(context, command)
    if found is None:
        found = await _first(context, command, organization, place)
    else:
        require_settled(found)
        await _move(context, found, place)
    require_same(found, "ttn_application_id", command.application_id)
    require_same(found, "ttn_org_id", command.ttn_organization_id)
    if command.app_api_key and not (command.application_id or found.application_id):
        raise Rejected(Code.INVALID_REQUEST, "app_api_key: goes with application_id")
    app_key = command.app_api_key
    await context.connection.execute(
        _SQL["set_credentials"],
        context.tenant_id,
        organization,
        command.organization_name,
        _sealed(context, organization, "main_key", command.api_key),
        _sealed(context, organization, "app_api_key", app_key),
        None if app_key is None else app_key.split(".")[1],
        command.ttn_organization_id,
        command.application_id,
    )
    members = command.model_dump(exclude_none=True, exclude={"client_token"})
    now = await load_connection(context.connection, context.sealer, context.tenant_id, organization)
    return Outcome(
        {} if now is None else status_body(now),
        subject=subject_of(organization),
        details={"set": sorted(members)},
    )


@dataclass(frozen=True, slots=True)
class _Place:
    region: str | None
    hosts: Hosts


def _place_in(context: Context, command: SetCredentials) -> _Place | None:
    if command.region is not None:
        found = _Place(command.region, Hosts.of_region(command.region, tenant=command.tenant))
    elif command.identity_host is not None:
        regional = (command.regional_host or command.identity_host).lower()
        found = _Place(None, Hosts(command.identity_host.lower(), *[regional] * 3))
    else:
        return None
    try:
        for host in (found.hosts.identity, found.hosts.network):
            context.stack_hosts.base_url(host)
    except HostNotAllowedError as error:
        field = "region" if command.region is not None else "identity_host, regional_host"
        raise Rejected(Code.INVALID_REQUEST, f"{field}: {error}") from None
    return found


async def _first(
    context: Context, command: SetCredentials, organization: UUID, place: _Place | None
) -> StackConnection:
    if place is None or command.api_key is None:
        raise Rejected(
            Code.INVALID_REQUEST,
            "api_key with region, or with identity_host: required for the first credentials",
        )
    where = (place.region, place.hosts.identity, place.hosts.network)
    row = await context.connection.fetchrow(
        _SQL["insert_connection"], context.tenant_id, organization, *where
    )
    if row is None:
        raise AssertionError("INSERT RETURNING gave no row")
    return read_connection(row, context.sealer)


async def _move(context: Context, found: StackConnection, place: _Place | None) -> None:
    if place is None or (place.hosts.identity, place.hosts.network) == (
        found.hosts.identity,
        found.hosts.network,
    ):
        return
    if MADE & set(found.row["provisioning_done"]):
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"region, identity_host: things were made at {found.hosts.identity}; ttn/deep-clean first",
        )
    where = (place.region, place.hosts.identity, place.hosts.network)
    await context.connection.execute(
        _SQL["move_connection"], context.tenant_id, found.organization_id, *where
    )


def _sealed(context: Context, organization: UUID, name: str, value: str | None) -> bytes | None:
    if value is None:
        return None
    return context.sealer.seal(value, place_of(context.tenant_id, organization, name))
