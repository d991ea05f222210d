"""The commands on a connection to The Things Stack: status, credentials, provision, start-fresh (seed 001).

They write down what is wanted; `broker.things_stack.provisioning` does it. No secret leaves but by ttn/credentials/get.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.context import Context, Outcome, not_found
from handlers.stack_connections import (
    StackConnection,
    load_connection,
    place_of,
    read_connection,
)
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.secrets import SecretStatus
from schema.sql import queries
from schema.things_stack_connection import (
    ProvisioningStatus,
    ProvisioningStep,
    Remedy,
    organization_of,
)
from schema.things_stack_hosts import HostNotAllowedError, Hosts

if TYPE_CHECKING:
    from datetime import datetime

    from schema.stack_commands import (
        GetCredentials,
        GetStatus,
        Provision,
        SetCredentials,
        StackCommand,
        StartFresh,
    )

_SQL = queries("provisioning")
ATTEMPTS_BEFORE_FRESH: Final = 3
"""Attempts after which another of the same seems no use."""

# The seed's names of the secrets in an answer, by the column.
_SHOWN: Final = {
    "main_key": "main_api_key",
    "org_api_key": "org_api_secret",
    "app_api_key": "app_api_secret",
    "gateway_api_key": "gateway_api_secret",
    "webhook_secret": "webhook_secret",
}
_MADE: Final = frozenset(ProvisioningStep) - {ProvisioningStep.AUTH_INFO, ProvisioningStep.VERIFY}


async def organization_meant(context: Context, named: str | None) -> UUID:
    """The organization that a command is about: the one named, the only one with a connection, or the tenant itself.

    Raises Rejected (InvalidRequest) when there are several.
    """
    if named is not None:
        return UUID(named)
    rows = await context.connection.fetch(_SQL["organizations"], context.tenant_id)
    if len(rows) > 1:
        raise Rejected(
            Code.INVALID_REQUEST,
            "organization_id: required, since several organizations have a connection",
        )
    return rows[0]["organization_id"] if rows else organization_of(context.tenant_id)


async def require_connection(
    context: Context, command: StackCommand, *, lock: bool = False
) -> StackConnection:
    """The connection that a command is about. Raises Rejected: ResourceNotFound when there is none."""
    organization = await organization_meant(context, command.organization_id)
    found = await load_connection(
        context.connection, context.sealer, context.tenant_id, organization, lock=lock
    )
    if found is None:
        raise not_found("connection of organization", str(organization))
    return found


async def get_status(context: Context, command: GetStatus) -> Outcome:
    """Where provisioning stands; an organization without a connection is idle."""
    organization = await organization_meant(context, command.organization_id)
    found = await load_connection(
        context.connection, context.sealer, context.tenant_id, organization
    )
    if found is None:
        return Outcome(
            {
                "organization_id": str(organization),
                "provisioning_status": ProvisioningStatus.IDLE,
                "provisioning_attempt_count": 0,
                "use_start_fresh": False,
                "guidance": "bring a key in with ttn/credentials/set, then ttn/provision",
            }
        )
    return Outcome(status_body(found))


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
    place = _place(context, command)
    if found is None:
        found = await _first(context, command, organization, place)
    else:
        require_settled(found)
        await _move(context, found, place)
    _require_same(found, "ttn_application_id", command.application_id)
    _require_same(found, "ttn_org_id", command.ttn_organization_id)
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


async def provision(context: Context, command: Provision) -> Outcome:
    """Begin to make what is missing, or go on with what is half-made; one that is under way stays as it is.

    Raises Rejected: ResourceNotFound without a connection; InvalidStateTransition when its key does not open, or when
    only ttn/start-fresh helps; InvalidRequest for other ids than those in use.
    """
    found = await require_connection(context, command, lock=True)
    if found.status is ProvisioningStatus.PROVISIONING:
        return Outcome(status_body(found))
    _require_key(found)
    await require_no_run(context, found)
    if found.row["provisioning_details"].get("remedy") == Remedy.START_FRESH:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"another attempt cannot succeed: {found.row['provisioning_error']}; use ttn/start-fresh",
        )
    _require_same(found, "ttn_application_id", command.application_id)
    _require_same(found, "ttn_org_id", command.ttn_organization_id)
    if command.owner not in (None, found.row["owner_kind"]) and _MADE & set(
        found.row["provisioning_done"]
    ):
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"owner: what was made belongs to the {found.row['owner_kind']}; use ttn/deep-clean first",
        )
    wanted = _wanted(found, command)
    await context.connection.execute(
        _SQL["begin_provisioning"],
        context.tenant_id,
        found.organization_id,
        command.owner,
        command.organization_name,
        command.ttn_organization_id,
        command.application_id,
        command.webhook_url,
        json.dumps(wanted),
    )
    now = await require_connection(context, command)
    return Outcome(
        status_body(now),
        subject=subject_of(found.organization_id),
        details={"attempt": now.row["provisioning_attempts"], **wanted},
    )


async def start_fresh(context: Context, command: StartFresh) -> Outcome:
    """Forget the credentials that were made, and give up ids that are taken; the key that was brought in stays.

    Also those that do not open: that is what it is for when their key is lost. What is at the server stays there, and
    is found again by its mark, or taken away by ttn/deep-clean.
    Raises Rejected: ResourceNotFound without a connection, InvalidStateTransition while provisioning.
    """
    found = await require_connection(context, command, lock=True)
    require_settled(found)
    details = found.row["provisioning_details"]
    taken = [str(one) for one in details.get("taken", [])]
    keep = [None if one in taken else one for one in (found.application_id, found.ttn_org_id)]
    await context.connection.execute(
        _SQL["start_fresh"], context.tenant_id, found.organization_id, taken, *keep
    )
    now = await require_connection(context, command)
    cleared = [name for name, one in found.secrets.items() if one.status is not SecretStatus.EMPTY]
    return Outcome(
        {**status_body(now), "abandoned_ids": list(now.row["abandoned_ids"])},
        subject=subject_of(found.organization_id),
        details={"cleared": [name for name in cleared if name != "main_key"], "abandoned": taken},
    )


def subject_of(organization: UUID) -> str:
    """How the audit log names a connection."""
    return f"ttn/{organization}"


def status_body(found: StackConnection) -> dict[str, object]:
    """A connection as an answer shows it: nothing secret, and of the secrets only whether they open."""
    row = found.row
    fresh = _use_start_fresh(found)
    body = {
        "organization_id": str(found.organization_id),
        "organization_name": row["organization_name"],
        "provisioning_status": str(found.status),
        "provisioning_step": row["provisioning_step"],
        "provisioning_error": row["provisioning_error"],
        "provisioning_attempt_count": row["provisioning_attempts"],
        "steps_done": list(row["provisioning_done"]),
        "use_start_fresh": fresh,
        "guidance": _guidance(found, fresh=fresh),
        "ttn_region": row["ttn_region"],
        "identity_host": found.hosts.identity,
        "regional_host": found.hosts.network,
        "ttn_user_id": row["ttn_user_id"],
        "ttn_organization_id": found.ttn_org_id,
        "ttn_application_id": found.application_id,
        "webhook_id": row["webhook_id"],
        "webhook_url": row["webhook_url"],
        "credentials": {name: str(one.status) for name, one in found.secrets.items()},
        "next_try_at": _at(row["next_try_at"]),
        "provisioned_at": _at(row["provisioned_at"]),
        "credentials_changed_at": _at(row["credentials_changed_at"]),
    }
    return {name: value for name, value in body.items() if value is not None}


def _use_start_fresh(found: StackConnection) -> bool:
    if found.status is not ProvisioningStatus.FAILED:
        return False
    row = found.row
    needed = row["provisioning_details"].get("remedy") == Remedy.START_FRESH
    return bool(needed or row["provisioning_attempts"] >= ATTEMPTS_BEFORE_FRESH)


def _guidance(found: StackConnection, *, fresh: bool) -> str | None:
    failed = [name for name, one in found.secrets.items() if one.status is SecretStatus.FAILED]
    if failed:
        return (
            f"{', '.join(failed)}: cannot be decrypted: put the key it was sealed with into JOBBROKER_SECRET_KEY again;"
            " when that is lost, use ttn/credentials/set for what was brought in, ttn/start-fresh for the rest"
        )
    match found.status:
        case ProvisioningStatus.IDLE:
            return "use ttn/provision"
        case ProvisioningStatus.FAILED if fresh:
            return (
                "use ttn/start-fresh, then ttn/provision; ttn/deep-clean where that does not help"
            )
        case ProvisioningStatus.FAILED:
            return "use ttn/provision to go on with what is half-made"
        case _:
            return None


def _at(moment: datetime | None) -> int | None:
    return None if moment is None else seconds(moment)


@dataclass(frozen=True, slots=True)
class _At:
    region: str | None
    hosts: Hosts


def _place(context: Context, command: SetCredentials) -> _At | None:
    if command.region is not None:
        found = _At(command.region, Hosts.of_region(command.region, tenant=command.tenant))
    elif command.identity_host is not None:
        regional = (command.regional_host or command.identity_host).lower()
        found = _At(None, Hosts(command.identity_host.lower(), *[regional] * 3))
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
    context: Context, command: SetCredentials, organization: UUID, place: _At | None
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


async def _move(context: Context, found: StackConnection, place: _At | None) -> None:
    if place is None or (place.hosts.identity, place.hosts.network) == (
        found.hosts.identity,
        found.hosts.network,
    ):
        return
    if _MADE & set(found.row["provisioning_done"]):
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"region, identity_host: things were made at {found.hosts.identity}; ttn/deep-clean first",
        )
    where = (place.region, place.hosts.identity, place.hosts.network)
    await context.connection.execute(
        _SQL["move_connection"], context.tenant_id, found.organization_id, *where
    )


def require_settled(found: StackConnection) -> None:
    """Pass when nothing is being provisioned. Raises Rejected (InvalidStateTransition)."""
    if found.status is ProvisioningStatus.PROVISIONING:
        raise Rejected(Code.INVALID_STATE_TRANSITION, "provisioning is under way; see ttn/status")


async def require_no_run(context: Context, found: StackConnection) -> None:
    """Pass when no run takes away what is there. Raises Rejected (InvalidStateTransition) naming the run."""
    run = await context.connection.fetchval(
        _SQL["live_run"], context.tenant_id, found.organization_id
    )
    if run is not None:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"run {run} takes away what is there and has not ended; see ttn/runs",
        )


def _require_key(found: StackConnection) -> None:
    opened = found.secrets["main_key"]
    if opened.status is SecretStatus.EMPTY:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, "there is no api_key; use ttn/credentials/set"
        )
    if opened.status is SecretStatus.FAILED:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"api_key: cannot be decrypted: {opened.problem}"
        )


_FIELDS: Final = {"ttn_application_id": "application_id", "ttn_org_id": "ttn_organization_id"}


def _require_same(found: StackConnection, column: str, asked: str | None) -> None:
    """An id can be chosen until something was made under another."""
    known = found.row[column]
    if asked is None or known in (None, asked) or not _MADE & set(found.row["provisioning_done"]):
        return
    raise Rejected(
        Code.INVALID_STATE_TRANSITION,
        f"{_FIELDS[column]}: {asked!r} is not {known!r}, which is in use; use ttn/deep-clean first",
    )


def _wanted(found: StackConnection, command: Provision) -> dict[str, object]:
    """What is asked for now and was before: a later attempt need not say it again."""
    before: dict[str, object] = found.row["provisioning_wanted"]
    return before if command.gateway_key is None else {**before, "gateway_key": command.gateway_key}


def _sealed(context: Context, organization: UUID, name: str, value: str | None) -> bytes | None:
    if value is None:
        return None
    return context.sealer.seal(value, place_of(context.tenant_id, organization, name))
