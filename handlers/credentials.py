"""What proves a thing's or an operator's name: given out, taken away, and all of it for Mosquitto.

But for `load_access`, each function runs inside the caller's `tenant_transaction`, and each change
announces itself on the channel ``jobbroker_access`` when that transaction commits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from handlers.database import tenant_transaction
from schema.access import (
    DEFAULT_TENANT,
    AccessSnapshot,
    Claim,
    Principal,
    Revoked,
    check_token_name,
    mosquitto_hash,
)
from schema.sql import queries

if TYPE_CHECKING:
    from handlers.database import Connection

ACCESS_CHANNEL: Final = "jobbroker_access"
TOKEN_BYTES: Final = 32
"""256 random bits: nothing to guess, so that a fast hash of it is safe to keep."""

_SALT_BYTES: Final = 12
_SQL = queries("credentials")


class UnknownPrincipalError(LookupError):
    """No thing or operator of this name in the tenant."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as it may be shown; `serial`, `fingerprint`, `not_after` of a certificate."""

    kind: Literal["token", "certificate", "key"]
    created_at: datetime
    revoked_at: datetime | None
    serial: str | None
    fingerprint: str | None
    not_after: datetime | None


def _token(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def make_token(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A new token: 43 characters of base64url, which nobody has yet."""
    # One that began with a dash would be taken for an option by whatever it is given to on a command line.
    while (token := _token(random(TOKEN_BYTES))).startswith("-"):
        pass
    return token


async def issue_token(
    connection: Connection,
    tenant_id: str,
    principal: str,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """Give `principal` a new token and return it: 43 characters of base64url, shown only now.

    The token it had, if any, stops working: Mosquitto's password file has one line for a name.

    Raises:
        UnknownPrincipalError: nobody of that name.
        ValueError: a name that the password file cannot hold (it has a colon).

    """
    await _lock(connection, tenant_id, check_token_name(principal))
    token = make_token(random)
    hashed = mosquitto_hash(token, random(_SALT_BYTES))
    await _revoke(connection, tenant_id, [principal], kind="token")
    await connection.execute(_SQL["delete_dead_tokens"], tenant_id, principal)
    await connection.execute(_SQL["insert_token"], tenant_id, principal, _sha256(token), hashed)
    await connection.execute(_SQL["notify_access"])
    return token


async def record_certificate(
    connection: Connection,
    tenant_id: str,
    principal: str,
    *,
    serial: str,
    fingerprint: str,
    not_after: datetime,
) -> None:
    """Remember a certificate issued to `principal`; earlier ones stay good until revoked.

    `serial` and `fingerprint` (SHA-256) in lower-case hex, `not_after` with its time zone. Hand the
    certificate out after the commit: one that was not recorded could not be revoked.

    Raises:
        UnknownPrincipalError: nobody of that name.

    """
    await _lock(connection, tenant_id, principal)
    row = (tenant_id, principal, serial, fingerprint, not_after)
    await connection.execute(_SQL["insert_certificate"], *row)
    await connection.execute(_SQL["notify_access"])


async def revoke(
    connection: Connection,
    tenant_id: str,
    principal: str,
    *,
    kind: Literal["token", "certificate"] | None = None,
    serial: str | None = None,
) -> int:
    """Take `principal`'s live credentials away: all, those of one `kind`, or one `serial`.

    Returns how many that were; 0 is no error. A token's connections are closed when the MQTT server
    reloads, a certificate's stay until they reconnect.
    """
    return await _revoke(connection, tenant_id, [principal], kind=kind, serial=serial)


async def revoke_all(connection: Connection, tenant_id: str, principals: Sequence[str]) -> int:
    """Take all live credentials of `principals` away; called when things or operators are deleted.

    Returns how many that were. Must come with every deletion: else a later thing of the same name
    would find the old certificates good again.
    """
    return await _revoke(connection, tenant_id, principals)


async def list_credentials(
    connection: Connection, tenant_id: str, principal: str
) -> list[Credential]:
    """Return `principal`'s credentials, newest first, without anything secret."""
    rows = await connection.fetch(_SQL["list_credentials"], tenant_id, principal)
    return [Credential(**dict(row)) for row in rows]


async def verify_token(connection: Connection, tenant_id: str, principal: str, token: str) -> bool:
    """Tell whether `token` is `principal`'s live token, in a time that tells nothing about it."""
    rows = await connection.fetch(_SQL["list_token_digests"], tenant_id, principal)
    made = _sha256(token)
    matches = [hmac.compare_digest(made, row["token_sha256"]) for row in rows]
    return any(matches)


async def load_access(connection: Connection) -> AccessSnapshot:
    """Return who may connect over all tenants: what `broker.access.AccessFiles` renders.

    One transaction per tenant on `connection`, which must not be in one. Claims to names are only
    read where there are several tenants.
    """
    rows = await connection.fetch("SELECT * FROM sweep_tenants() AS tenant_id")
    tenants = tuple(row["tenant_id"] for row in rows)
    principals: list[Principal] = []
    revoked: list[Revoked] = []
    claims: list[Claim] = []
    for tenant_id in tenants:
        async with tenant_transaction(connection, tenant_id) as inside:
            rows = await inside.fetch(_SQL["list_access"], tenant_id)
            principals += [Principal(tenant_id, *row) for row in rows]
            rows = await inside.fetch(_SQL["list_revoked_certificates"], tenant_id)
            revoked += [Revoked(tenant_id, *row) for row in rows]
            if len(tenants) > 1:
                rows = await inside.fetch(_SQL["list_claims"], tenant_id)
                claims += [Claim(tenant_id, *row) for row in rows]
    return AccessSnapshot(
        tenants or (DEFAULT_TENANT,), tuple(principals), tuple(revoked), tuple(claims)
    )


async def _lock(connection: Connection, tenant_id: str, principal: str) -> None:
    if await connection.fetchrow(_SQL["lock_principal"], tenant_id, principal) is None:
        raise UnknownPrincipalError(f"no thing or operator {principal[:40]!r} in {tenant_id!r}")


async def _revoke(
    connection: Connection,
    tenant_id: str,
    principals: Sequence[str],
    *,
    kind: str | None = None,
    serial: str | None = None,
) -> int:
    names = sorted(set(principals))
    rows = await connection.fetch(_SQL["revoke_credentials"], tenant_id, names, kind, serial)
    if rows:
        await connection.execute(_SQL["notify_access"])
    return len(rows)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
