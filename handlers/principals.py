"""The names of things and operators, one namespace as the MQTT username is the name, and the tokens that prove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from handlers import credentials
from schema.errors import Code, Rejected, shorten
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.database import Connection

Kind = Literal["thing", "operator"]
_SQL = queries("registry")


async def take_names(
    connection: Connection, tenant_id: str, names: Sequence[str], kind: Kind
) -> None:
    """Make the names this kind's, where they are free.

    Raises Rejected (ResourceAlreadyExists) naming one that is the other kind's.
    """
    await connection.execute(_SQL["insert_principals"], tenant_id, list(names), kind)
    taken = await connection.fetchrow(_SQL["find_taken"], tenant_id, list(names), kind)
    if taken is not None:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"{kind}Name: {taken['name']!r} is the name of {_article(taken['kind'])}; things and operators share "
            "their names",
        )


async def issue_token(connection: Connection, tenant_id: str, name: str) -> str:
    """A new token for somebody. Raises Rejected (InvalidRequest) for a name that cannot have one."""
    try:
        return await credentials.issue_token(connection, tenant_id, name)
    except ValueError as error:
        raise Rejected(Code.INVALID_REQUEST, f"issueToken: {error}") from None


async def has_credentials(connection: Connection, tenant_id: str, name: str) -> bool:
    """Whether somebody has a live credential."""
    return bool(await connection.fetchval(_SQL["has_credentials"], tenant_id, name))


async def give_up(connection: Connection, tenant_id: str, name: str, kind: Kind) -> None:
    """Take a name and its credentials away; the processes that keep the MQTT server's files are told."""
    await connection.execute(_SQL["delete_principal"], tenant_id, name, kind)
    await credentials.revoke_all(connection, tenant_id, [name])


def require_version(name: str, expected: int | None, stored: int) -> None:
    """Pass when the caller's expectedVersion is the stored one. Raises Rejected (VersionMismatch)."""
    if expected is not None and expected != stored:
        raise Rejected(
            Code.VERSION_MISMATCH,
            f"expectedVersion: {shorten(name)} is expected at {expected} but is at {stored}",
        )


def _article(kind: str) -> str:
    return "an operator" if kind == "operator" else "a thing"
