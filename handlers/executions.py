"""What a device asks, decided and made durable in batches (architecture, laws 2 and 3).

One batch: lock the things it changes, load their queues with one query, decide each request in arrival order with pure
code, write everything at once, commit. The caller then sends the replies, and only then acknowledges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers import audit, store
from handlers.database import tenant_transaction
from handlers.desk import CHANGING, Ask, Decided, Desk
from schema import device
from schema.changes import Change, NobodyHears, about, never
from schema.device import Request
from schema.errors import Code, Conflict, Rejected
from schema.pending import CHANGES_PER_BATCH
from schema.topics import DeviceTopic, Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.documents import Documents, Texts
    from handlers.store import Told

_ATTEMPTS: Final = 5


class Reply(NamedTuple):
    """The answer to one request: which of the two answer topics, what it says, and the code when rejected."""

    accepted: bool
    payload: bytes
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch's replies, in the order of its requests; what else is to be told, in order of commit; what changed."""

    replies: list[Reply]
    told: list[Told]
    changes: list[Change] = field(default_factory=list)


def read(topic: DeviceTopic, payload: bytes, *, duplicate: bool = False) -> Ask:
    """A request decoded, which can be done while the database is at work on those before it."""
    return Ask(topic, payload, duplicate, _decode(topic, payload))


async def answer(
    pool: Pool,
    documents: Documents,
    tenant_id: str,
    asks: Sequence[Ask],
    *,
    slot: int | None,
    before_commit: Callable[[], Awaitable[None]] | None = None,
    nobody_hears: NobodyHears = never,
) -> Answered:
    """Decide and store a tenant's requests; each gets exactly one reply.

    Nothing is stored for a request that is rejected. before_commit is awaited inside each transaction, when all is
    written. nobody_hears says which live events need not be made. Raises the driver's transient errors
    (handlers.database.TRANSIENT), with nothing stored of the rounds not yet done: the caller keeps the requests and
    asks again.
    """
    replies: list[Reply] = []
    told: list[Told] = []
    changes: list[Change] = []
    for batch in _rounds(asks):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                done = await _round(
                    pool,
                    documents,
                    tenant_id,
                    batch,
                    slot=slot,
                    before_commit=before_commit,
                    nobody_hears=nobody_hears,
                )
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                continue
            replies += done.replies
            told += done.told
            changes += done.changes
            break
    return Answered(replies, told, changes)


def _rounds(asks: Sequence[Ask]) -> Iterator[list[Ask]]:
    """Cut where a thing would change more often than the loaded window of its queue can follow."""
    batch: list[Ask] = []
    changes: dict[str, int] = {}
    for ask in asks:
        thing = ask.topic.thing
        if ask.topic.operation in CHANGING:
            changes[thing] = changes.get(thing, 0) + 1
        if changes.get(thing, 0) > CHANGES_PER_BATCH:
            yield batch
            batch, changes = [], {thing: 1}
        batch.append(ask)
    if batch:
        yield batch


async def _round(
    pool: Pool,
    documents: Documents,
    tenant_id: str,
    asks: Sequence[Ask],
    *,
    slot: int | None,
    before_commit: Callable[[], Awaitable[None]] | None,
    nobody_hears: NobodyHears,
) -> Answered:
    decoded = [ask.decoded or _decode(ask.topic, ask.payload) for ask in asks]
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        desk = await Desk.open(
            connection, tenant_id, [one for one in decoded if isinstance(one, Request)]
        )
        decided = [
            one if isinstance(one, Decided) else desk.decide(ask, one)
            for ask, one in zip(asks, decoded, strict=True)
        ]
        told = None
        if desk.changes:
            told = await store.save(
                connection,
                tenant_id,
                desk.changes,
                queues=desk.queues,
                now=desk.now,
                slot=slot,
                nobody_hears=nobody_hears,
            )
            if any(ask.behalf for ask in asks):
                await _note(connection, tenant_id, asks, desk.changes)
        wanted = [found for one in decided if (found := one.documented) is not None]
        texts = None
        if wanted:
            texts = await documents.load(connection, tenant_id, wanted, now=desk.now)
        if before_commit is not None:
            await before_commit()
    replies = [_encode(one, texts, desk.now) for one in decided]
    return Answered(replies, [told] if told else [], desk.changes)


async def _note(
    connection: Connection, tenant_id: str, asks: Sequence[Ask], changes: Sequence[Change]
) -> None:
    """Write down what operators have reported in the place of things."""
    behalf = {ask.topic.thing: ask.behalf for ask in asks if ask.behalf}
    for execution in map(about, changes):
        who = behalf.get(execution.thing_name)
        if who is None:
            continue
        await audit.record(
            connection,
            tenant_id,
            who=who,
            action="things/report",
            subject=f"job/{execution.job_id}/thing/{execution.thing_name}",
            details={"status": execution.status, "executionNumber": execution.execution_number},
        )


def _decode(topic: DeviceTopic, payload: bytes) -> Request | Decided:
    token = None
    try:
        data = device.read_object(payload)
        token = device.read_token(data)
        return device.decode(topic, data, token)
    except Rejected as error:
        return Decided(None, error=error, token=token)


def _encode(one: Decided, texts: Texts | None, now: datetime) -> Reply:
    request, token = one.request, one.token
    if one.error is not None or request is None:
        error = one.error or Rejected(Code.INTERNAL_ERROR, "the request was not decided")
        return Reply(False, device.rejected_reply(error, now, token, one.state), error.code)  # noqa: FBT003 - a named tuple's first field
    asked = one.documented
    try:
        document = None if asked is None or texts is None else texts.of(asked)
    except Rejected as error:
        return Reply(False, device.rejected_reply(error, now, token), error.code)  # noqa: FBT003 - as above
    execution = None if one.found is None else one.found.execution
    match request.topic.operation:
        case Operation.UPDATE:
            state = execution if request.include_state else None
            payload = device.update_reply(state, now, token, document)
        case Operation.GET_PENDING:
            payload = device.pending_reply(one.pending, now, token)
        case Operation.START_NEXT | Operation.DESCRIBE:
            payload = device.execution_reply(execution, now, token, document)
    return Reply(True, payload)  # noqa: FBT003 - as above
