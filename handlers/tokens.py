"""Operators' tokens for HTTP: given out, listed, taken away; and whose a token is that came with a request.

A token has 256 random bits, is shown once and kept as its sha256. Beside the one that is also their MQTT password an
operator may have many, each with a label, an expiry and the minute of its last use.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from handlers import audit
from handlers.context import SECRETS, Context, Outcome, not_found
from handlers.credentials import make_token
from handlers.database import tenant_transaction
from schema import paging
from schema.access_keys import access_key_id, digests_between
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.limits import TOKENS_PER_OPERATOR
from schema.rights import Role, require_grant
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from handlers.database import Pool
    from schema.token_commands import CreateToken, ListTokens, RevokeToken

_SQL = queries("tokens")
USE_NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose a token is; `credential` names it without telling anything of it."""

    tenant_id: str
    name: str
    kind: Literal["thing", "operator"]
    credential: str


async def find_bearer(pool: Pool, token: str) -> Bearer | None:
    """Whose a live token is; None for one that is unknown, revoked or expired. Notes its use, once a minute.

    What is compared is the sha256 of 256 random bits, by an index: the time that takes tells nothing about any token.
    """
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_SQL["find_token"], hashlib.sha256(token.encode()).digest())
        if row is None:
            return None
        if row["is_stale"]:
            async with tenant_transaction(connection, row["tenant_id"]):
                await connection.execute(
                    _SQL["note_use"], row["tenant_id"], row["credential_id"], USE_NOTED_EVERY
                )
    return Bearer(
        row["tenant_id"], row["principal"], row["principal_kind"], str(row["credential_id"])
    )


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose an access key is, what its secret is made of, and an operator's role (None: a thing's)."""

    bearer: Bearer
    digest: bytes
    role: Role | None


async def find_access_key(pool: Pool, key_id: str) -> KeyHolder | None:
    """Whose a live access key is; None for one that is unknown, and when its token is revoked or has expired.

    Notes its use, once a minute. The id is no secret, so that looking it up tells nothing.
    """
    between = digests_between(key_id)
    if between is None:
        return None
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["find_access_key"], *between)
        if len(rows) != 1:
            return None
        tenant_id, name, kind, credential = rows[0]
        async with tenant_transaction(connection, tenant_id):
            row = await connection.fetchrow(_SQL["get_access_key"], tenant_id, credential)
            if row is None:
                return None
            if row["is_stale"]:
                await connection.execute(_SQL["note_use"], tenant_id, credential, USE_NOTED_EVERY)
    role = None if row["role"] is None else Role(row["role"])
    return KeyHolder(Bearer(tenant_id, name, kind, str(credential)), row["token_sha256"], role)


async def digest_for_key(
    pool: Pool, tenant_id: str, *, kind: Literal["thing", "operator"], name: str, who: str
) -> bytes | None:
    """The sha256 of somebody's MQTT token, of which their access key is made; None without a live one.

    That it was asked for, by the owner on the command line, is in the audit log.
    """
    async with (
        pool.acquire() as connection,
        tenant_transaction(connection, tenant_id) as inside,
    ):
        digest: bytes | None = await inside.fetchval(
            _SQL["get_token_digest"], tenant_id, name, kind
        )
        if digest is not None:
            await audit.record(
                inside,
                tenant_id,
                who=(who, Role.OWNER),
                action=f"{kind}s/key",
                subject=f"{kind}/{name}",
                details={"accessKeyId": access_key_id(digest)},
            )
    return digest


async def create_token(context: Context, command: CreateToken) -> Outcome:
    """Make a token for an operator; it is in the answer, this once.

    Raises Rejected: ResourceNotFound for an operator who does not exist, Unauthorized for one whose role the caller may
    not give, LimitExceeded beyond 50 tokens.
    """
    name = command.operator_name
    await _require_over(context, name)
    held = await context.connection.fetchval(_SQL["delete_dead_keys"], context.tenant_id, name)
    if held >= TOKENS_PER_OPERATOR:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"operatorName: {name!r} has {held} tokens, at most {TOKENS_PER_OPERATOR} are allowed;"
            " revoke one first",
        )
    token = make_token()
    expires = context.now + timedelta(days=command.expires_in_days)
    digest = hashlib.sha256(token.encode()).digest()
    token_id = await context.connection.fetchval(
        _SQL["insert_key"], context.tenant_id, name, digest, command.label, expires
    )
    body: dict[str, object] = {
        "tokenId": str(token_id),
        "operatorName": name,
        "expiresAt": seconds(expires),
        "token": token,
        **context.access_key(token),
    }
    return Outcome(
        body,
        subject=f"operator/{name}",
        details={"tokenId": str(token_id), "expiresAt": seconds(expires)},
        secrets=SECRETS,
    )


async def list_tokens(context: Context, command: ListTokens) -> Outcome:
    """Live tokens by operator, with label, expiry and last use, without anything secret."""
    after = paging.decode("tokens", command.next_token, (str, str)) or ("", _FIRST)
    rows = await context.connection.fetch(
        _SQL["list_tokens"],
        context.tenant_id,
        command.operator_name,
        after[0],
        _uuid(after[1]),
        command.max_results + 1,
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"tokens": [_summary(row) for row in shown]}
    if len(rows) > len(shown):
        last = shown[-1]
        body["nextToken"] = paging.encode("tokens", last["principal"], str(last["credential_id"]))
    return Outcome(body)


async def revoke_token(context: Context, command: RevokeToken) -> Outcome:
    """Take a token for HTTP away, at once. A redelivered one of a token that is gone is accepted again.

    Raises Rejected: ResourceNotFound, Unauthorized as `create_token`. The token that is the MQTT password is not among
    them: it goes with `operators/delete`, or when another is issued.
    """
    token_id = UUID(command.token_id)
    name = await context.connection.fetchval(_SQL["lock_key"], context.tenant_id, token_id)
    if name is None:
        if context.duplicate:
            return Outcome({})
        raise not_found("token", command.token_id)
    await _require_over(context, name)
    await context.connection.execute(_SQL["delete_key"], context.tenant_id, token_id)
    return Outcome({}, subject=f"operator/{name}", details={"tokenId": command.token_id})


_FIRST: Final = str(UUID(int=0))


def _uuid(text: object) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise Rejected(Code.INVALID_REQUEST, "nextToken: is no token of tokens") from None


async def _require_over(context: Context, name: str) -> None:
    role = await context.connection.fetchval(_SQL["lock_operator"], context.tenant_id, name)
    if role is None:
        raise not_found("operator", name)
    require_grant(context.role, Role(role))


def _summary(row: asyncpg.Record) -> dict[str, object]:
    body = {
        "tokenId": str(row["credential_id"]),
        "operatorName": row["principal"],
        "kind": "mqtt" if row["kind"] == "token" else "http",
        "label": row["label"],
        "accessKeyId": access_key_id(row["token_sha256"]),
        "createdAt": seconds(row["created_at"]),
        "expiresAt": _at(row["not_after"]),
        "lastUsedAt": _at(row["last_used_at"]),
    }
    return {name: value for name, value in body.items() if value is not None}


def _at(moment: datetime | None) -> int | None:
    return None if moment is None else seconds(moment)
