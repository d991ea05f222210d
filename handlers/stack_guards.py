"""What commands on a connection to The Things Stack need before they change anything, or refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.context import Context, not_found
from handlers.stack_connections import StackConnection, load_connection
from schema.errors import Code, Rejected
from schema.secrets import SecretStatus
from schema.sql import queries
from schema.things_stack_connection import ProvisioningStatus, ProvisioningStep, organization_of

if TYPE_CHECKING:
    from schema.stack_commands import StackCommand

_SQL = queries("provisioning")
MADE: Final = frozenset(ProvisioningStep) - {ProvisioningStep.AUTH_INFO, ProvisioningStep.VERIFY}
"""Steps that make something at the server."""


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


def require_key(found: StackConnection) -> None:
    """Pass when there is a key that opens. Raises Rejected (InvalidStateTransition)."""
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


def require_same(found: StackConnection, column: str, asked: str | None) -> None:
    """An id can be chosen until something was made under another."""
    known = found.row[column]
    if asked is None or known in (None, asked) or not MADE & set(found.row["provisioning_done"]):
        return
    raise Rejected(
        Code.INVALID_STATE_TRANSITION,
        f"{_FIELDS[column]}: {asked!r} is not {known!r}, which is in use; use ttn/deep-clean first",
    )
