"""Every operator command's way, in one transaction: who asks, may they, was it asked before, do it, write it down."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from handlers.cancellations import state_of
from handlers.command_handlers import HANDLERS
from handlers.constraints import translated
from handlers.context import (
    NOTHING,
    Context,
    Outcome,
    Outside,
    RejectedExecution,
    SourceNeeded,
)
from handlers.database import tenant_transaction
from schema import decode
from schema.arns import Home
from schema.device import seconds
from schema.errors import Code, Conflict, Rejected
from schema.rights import READS, WATCHED_READS, Role, require
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.documents import Documents
    from handlers.store import Told
    from schema.access_keys import AccessKeys
    from schema.presign import Signer
    from schema.secrets import Sealer
    from schema.things_stack_hosts import StackHosts
    from schema.topics import OperatorTopic

# How often a command is done again when another writer was faster.
_ATTEMPTS: Final = 5
_SQL = queries("plane")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. role None: looked up in operators by name; given for the local command line, which needs no account."""

    tenant_id: str
    name: str
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the operator is answered, and what the notifier is to send once it is committed (which it is)."""

    accepted: bool
    body: dict[str, object]
    told: tuple[Told, ...] = ()


class _Before(NamedTuple):
    """What a token was used for, and the answer that it got."""

    digest: bytes
    reply: str


@dataclass(slots=True)
class _Reply:
    """What is known so far of the answer: a refusal has the token and the time too, wherever it comes from."""

    token: str | None = None
    now: datetime | None = None
    digest: bytes | None = None  # of a command with a token, which may have been answered before
    before: _Before | None = None

    def accepted(self, outcome: Outcome) -> Answer:
        return Answer(True, {**outcome.body, **self._envelope()}, outcome.told)  # noqa: FBT003 - says it all

    def rejected(self, refusal: Rejected) -> Answer:
        body: dict[str, object] = {"code": str(refusal.code), "message": refusal.message}
        if isinstance(refusal, RejectedExecution):
            body["executionState"] = state_of(refusal.execution)
        return Answer(False, {**body, **self._envelope()})  # noqa: FBT003 - as above

    def _envelope(self) -> dict[str, object]:
        envelope: dict[str, object] = {}
        if self.now is not None:
            envelope["timestamp"] = seconds(self.now)
        if self.token is not None:
            envelope["clientToken"] = self.token
        return envelope


class _With(NamedTuple):
    """What a context has beside who asks, and when."""

    slot: int | None
    duplicate: bool
    signer: Signer | None
    sealer: Sealer
    stack_hosts: StackHosts
    source: str | None = None
    access_keys: AccessKeys | None = None
    per_minute: int | None = None
    documents: Documents | None = None


async def execute(
    pool: Pool,
    actor: Actor,
    topic: OperatorTopic,
    payload: bytes,
    *,
    slot: int | None,
    duplicate: bool = False,
    outside: Outside = NOTHING,
) -> Answer:
    """Carry out one command; its effect, its audit line and what must be told of it are durable when this returns.

    payload: a JSON object, or nothing. slot owns what is to be told. duplicate: the MQTT server delivers it again.
    outside: what it may use beside the database. A documentSource is read when all else about the command is right.
    Never raises for the peer's faults: they are an Answer that is not accepted. Errors of the database propagate; then
    nothing was done, unless the connection was lost while committing: the repeated request finds out.
    """
    with_all = _With(
        slot,
        duplicate,
        outside.signer,
        outside.sealer,
        outside.stack_hosts,
        access_keys=outside.access_keys,
        per_minute=outside.per_minute,
        documents=outside.documents,
    )
    for _ in range(_ATTEMPTS):
        try:
            return await _attempt(pool, actor, topic, payload, given=with_all)
        except SourceNeeded as needed:
            try:
                with_all = with_all._replace(source=await outside.read_source(needed.url))
            except Rejected as refusal:
                return await _refused_now(pool, payload, refusal)
        except Conflict:
            continue
    busy = Rejected(Code.REQUEST_THROTTLED, "others are changing the same things; try again")
    return await _refused_now(pool, payload, busy)


async def require_right(pool: Pool, actor: Actor, verb: str) -> None:
    """Pass when the actor is an operator whose role covers a verb. Raises Rejected, as a command would be."""
    async with pool.acquire() as connection, tenant_transaction(connection, actor.tenant_id):
        context = await _identify(connection, actor, _Reply())
    require(context.role, verb)


async def _attempt(
    pool: Pool,
    actor: Actor,
    topic: OperatorTopic,
    payload: bytes,
    *,
    given: _With,
) -> Answer:
    fields = _read(payload)
    reply = _Reply(None if isinstance(fields, Rejected) else decode.readable_token(fields))
    async with pool.acquire() as connection:
        try:
            async with tenant_transaction(connection, actor.tenant_id):
                context = await _identify(connection, actor, reply)
                context = replace(context, **given._asdict())
                outcome = await _carry_out(context, topic, fields, reply)
        except Rejected as refusal:
            return await _refused(connection, actor, reply, refusal)
        except asyncpg.IntegrityConstraintViolationError as error:
            meaning = translated(error)
            if isinstance(meaning, Rejected):
                return await _refused(connection, actor, reply, meaning)
            raise meaning from error
    return reply.accepted(outcome)


def _read(payload: bytes) -> dict[str, object] | Rejected:
    """A payload's object, or why there is none: who is nobody hears that first."""
    try:
        return decode.read_object(payload)
    except Rejected as refusal:
        return refusal


async def _refused(
    connection: Connection, actor: Actor, reply: _Reply, refusal: Rejected
) -> Answer:
    """A refusal, unless the same command was carried out meanwhile: it is in its own way then, and has its answer.

    A command that is sent again may come to another process while the first is still at it.
    """
    if reply.token is not None and reply.digest is not None:
        async with tenant_transaction(connection, actor.tenant_id):
            found = (actor.tenant_id, actor.name, reply.token)
            row = await connection.fetchrow(_SQL["find_request"], *found)
        if row is not None and row["request_sha256"] == reply.digest:
            return reply.accepted(Outcome(json.loads(row["reply"])))
    return reply.rejected(refusal)


async def _identify(connection: Connection, actor: Actor, reply: _Reply) -> Context:
    # One with U+0000 is refused, and no text for PostgreSQL.
    token = None if "\0" in (reply.token or "") else reply.token
    row = await connection.fetchrow(_SQL["identify"], actor.tenant_id, actor.name, token)
    if row is None:
        reply.now = await connection.fetchval("SELECT clock_timestamp()")
        raise Rejected(Code.RESOURCE_NOT_FOUND, f"tenant {actor.tenant_id!r} does not exist")
    reply.now = row["now"]
    if row["reply"] is not None:
        reply.before = _Before(row["request_sha256"], row["reply"])
    home = Home(row["aws_region"], row["aws_account"])
    role = actor.role or (None if row["role"] is None else Role(row["role"]))
    if role is None:
        raise Rejected(
            Code.UNAUTHORIZED, f"{actor.name!r} is no operator of tenant {actor.tenant_id!r}"
        )
    return Context(
        connection,
        actor.tenant_id,
        home,
        actor.name,
        role,
        row["now"],
        None,
        required_approvals=row["required_approvals"],
    )


async def _carry_out(
    context: Context, topic: OperatorTopic, fields: dict[str, object] | Rejected, reply: _Reply
) -> Outcome:
    if isinstance(fields, Rejected):
        raise fields
    require(context.role, topic.verb)
    command = decode.decode(topic.verb, fields)
    if topic.verb in READS:
        return await HANDLERS[topic.verb](context, command, topic)
    digest = decode.fingerprint(topic.verb, (topic.job_id, topic.thing), command)
    # Kept answers would be a second place where secrets are.
    token = None if topic.verb in WATCHED_READS else command.client_token
    reply.digest = None if token is None else digest
    if token is not None and reply.before is not None:
        return _first_answer(reply.before, token, digest)
    outcome = await HANDLERS[topic.verb](context, command, topic)
    if outcome.subject or token is not None:
        await _write_down(context, topic.verb, token, digest, outcome)
    return outcome


def _first_answer(before: _Before, token: str, digest: bytes) -> Outcome:
    """The answer the same command got under this token. Raises Rejected when it was another command."""
    if before.digest != digest:
        raise Rejected(
            Code.INVALID_REQUEST, f"clientToken: {token[:80]!r} was used before for another command"
        )
    return Outcome(json.loads(before.reply))


async def _write_down(
    context: Context, verb: str, token: str | None, digest: bytes, outcome: Outcome
) -> None:
    """Put a command into the audit log if it has changed something, and keep its answer if it has a token."""
    kept = {name: value for name, value in outcome.body.items() if name not in outcome.secrets}
    await context.connection.execute(
        _SQL["write_down"],
        context.tenant_id,
        context.actor,
        context.role,
        outcome.subject,
        verb,
        json.dumps(outcome.details, ensure_ascii=False),
        token,
        digest,
        json.dumps(kept, ensure_ascii=False),
    )


async def _refused_now(pool: Pool, payload: bytes, refusal: Rejected) -> Answer:
    async with pool.acquire() as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
    return _Reply(decode.readable_token(decode.read_object(payload)), now).rejected(refusal)
