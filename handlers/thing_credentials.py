"""credentials/list, issue, revoke: what lets a thing in, given and taken by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import credentials
from handlers.context import SECRETS, Context, Outcome, not_found
from handlers.principals import issue_token
from schema.device import seconds
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.credentials import Credential
    from schema.view_commands import IssueCredential, ListCredentials, RevokeCredentials

_SQL = queries("registry")


async def list_credentials(context: Context, command: ListCredentials) -> Outcome:
    """A thing's credentials, newest first, those taken away too. Raises Rejected (ResourceNotFound)."""
    name = command.thing_name
    await _require_thing(context, name)
    found = await credentials.list_credentials(context.connection, context.tenant_id, name)
    return Outcome({"credentials": [_shown(one) for one in found]})


async def issue_credential(context: Context, command: IssueCredential) -> Outcome:
    """A new token for a thing, in the answer this once; the one it had stops working.

    Raises Rejected: ResourceNotFound, InvalidRequest for a name that cannot have a token (it has a colon).
    """
    name = command.thing_name
    await _require_thing(context, name)
    token = await issue_token(context.connection, context.tenant_id, name)
    return Outcome(
        {"thingName": name, "token": token, **context.access_key(token)},
        subject=f"thing/{name}",
        details={"issued": "token"},
        secrets=SECRETS,
    )


async def revoke_credentials(context: Context, command: RevokeCredentials) -> Outcome:
    """Take a thing's live credentials away: all, those of a kind, or one certificate; `revoked` says how many.

    None is no error. Raises Rejected (ResourceNotFound).
    """
    name = command.thing_name
    await _require_thing(context, name)
    revoked = await credentials.revoke(
        context.connection, context.tenant_id, name, kind=command.kind, serial=command.serial
    )
    said: dict[str, object] = {"kind": command.kind, "serial": command.serial, "revoked": revoked}
    return Outcome({"revoked": revoked}, subject=f"thing/{name}" if revoked else "", details=said)


async def _require_thing(context: Context, name: str) -> None:
    if await context.connection.fetchrow(_SQL["get_thing"], context.tenant_id, name) is None:
        raise not_found("thing", name)


def _shown(one: Credential) -> dict[str, object]:
    body = {
        "kind": one.kind,
        "createdAt": seconds(one.created_at),
        "revokedAt": None if one.revoked_at is None else seconds(one.revoked_at),
        "serial": one.serial,
        "fingerprint": one.fingerprint,
        "expiresAt": None if one.not_after is None else seconds(one.not_after),
    }
    return {name: value for name, value in body.items() if value is not None}
