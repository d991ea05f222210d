"""What a device asks, decided and made durable in batches (architecture, laws 2 and 3).

One batch: lock the things it changes, load their queues with one query, decide each request in arrival order with pure
code, write everything at once, commit. The caller then sends the replies, and only then acknowledges.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers import store
from handlers.database import tenant_transaction
from handlers.store import Change, Loaded, Told
from schema import device, lifecycle
from schema.device import Request
from schema.errors import Code, Conflict, Rejected
from schema.lifecycle import TERMINAL, Execution, JobStatus, Report, Status
from schema.pending import CHANGES_PER_BATCH, arranged, listed
from schema.sql import queries
from schema.topics import DeviceTopic, Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.documents import Documents

_SQL = queries("executions")
_CHANGING: Final = frozenset({Operation.START_NEXT, Operation.UPDATE})
_DIGEST: Final = 8  # bytes
# Digests an execution keeps (executions.recent): more than a device has outstanding, which is 20 in paho-mqtt. Whatever
# may be redelivered after a kill must be recognised, or an older report would overwrite a newer one.
_REMEMBERED: Final = 32
_REDELIVERY_REACHES_BACK: Final = timedelta(hours=1)
_ATTEMPTS: Final = 5

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as it arrived: duplicate is MQTT's DUP flag, which says that it may have been handled before."""

    topic: DeviceTopic
    payload: bytes
    duplicate: bool = False


class Reply(NamedTuple):
    """The answer to one request: which of the two answer topics, what it says, and the code when rejected."""

    accepted: bool
    payload: bytes
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch's replies, in the order of its requests, and what else is to be told, in order of commit."""

    replies: list[Reply]
    told: list[Told]


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a request came to; encoded once the documents are there."""

    request: Request | None
    found: Loaded | None = None
    error: Rejected | None = None
    state: Execution | None = None
    token: str | None = None
    pending: tuple[Execution, ...] = ()

    @property
    def document_of(self) -> int | None:
        if self.error is not None or self.found is None or self.request is None:
            return None
        return self.found.job_uid if self.request.include_document else None


async def answer(
    pool: Pool,
    documents: Documents,
    tenant_id: str,
    asks: Sequence[Ask],
    *,
    slot: int | None,
    before_commit: Callable[[], Awaitable[None]] | None = None,
) -> Answered:
    """Decide and store a tenant's requests; each gets exactly one reply.

    Nothing is stored for a request that is rejected. before_commit is awaited inside each transaction, when all is
    written. Raises the driver's transient errors (handlers.database.TRANSIENT), with nothing stored of the rounds not
    yet done: the caller keeps the requests and asks again.
    """
    replies: list[Reply] = []
    told: list[Told] = []
    for batch in _rounds(asks):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                done = await _round(
                    pool, documents, tenant_id, batch, slot=slot, before_commit=before_commit
                )
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                continue
            replies += done.replies
            told += done.told
            break
    return Answered(replies, told)


def _rounds(asks: Sequence[Ask]) -> Iterator[list[Ask]]:
    """Cut where a thing would change more often than the loaded window of its queue can follow."""
    batch: list[Ask] = []
    changes: dict[str, int] = {}
    for ask in asks:
        thing = ask.topic.thing
        if ask.topic.operation in _CHANGING:
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
) -> Answered:
    decoded = [_decode(ask) for ask in asks]
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        desk = await _Desk.open(
            connection, tenant_id, asks, [one for one in decoded if isinstance(one, Request)]
        )
        decided = [
            one if isinstance(one, _Decided) else desk.decide(ask, one)
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
            )
        wanted = {uid for one in decided if (uid := one.document_of) is not None}
        texts = await documents.load(connection, tenant_id, wanted) if wanted else {}
        if before_commit is not None:
            await before_commit()
    return Answered([_encode(one, texts, desk.now) for one in decided], [told] if told else [])


def _decode(ask: Ask) -> Request | _Decided:
    token = None
    try:
        data = device.read_object(ask.payload)
        token = device.read_token(data)
        return device.decode(ask.topic, data, token)
    except Rejected as error:
        return _Decided(None, error=error, token=token)


def _encode(one: _Decided, texts: dict[int, str], now: datetime) -> Reply:
    request, token = one.request, one.token
    if one.error is not None or request is None:
        error = one.error or Rejected(Code.INTERNAL_ERROR, "the request was not decided")
        return Reply(False, device.rejected_reply(error, now, token, one.state), error.code)  # noqa: FBT003 - a named tuple's first field
    document = None if one.document_of is None else texts.get(one.document_of, "{}")
    execution = None if one.found is None else one.found.execution
    match request.topic.operation:
        case Operation.GET_PENDING:
            payload = device.pending_reply(one.pending, now, token)
        case Operation.UPDATE:
            state = execution if request.include_state else None
            payload = device.update_reply(state, now, token, document)
        case Operation.START_NEXT | Operation.DESCRIBE:
            payload = device.execution_reply(execution, now, token, document)
    return Reply(True, payload)  # noqa: FBT003 - as above


def _digest(ask: Ask) -> bytes:
    return blake2b(
        b"%b\0%b" % (ask.topic.operation.encode(), ask.payload),
        digest_size=_DIGEST,
    ).digest()


def _remembers(execution: Execution, digest: bytes) -> bool:
    recent = execution.recent
    # The plain search is quick and nearly always the answer; only a hit must be looked at digest by digest.
    return digest in recent and digest in {
        recent[at : at + _DIGEST] for at in range(0, len(recent), _DIGEST)
    }


def _remembering(execution: Execution, digest: bytes) -> Execution:
    return execution._replace(recent=(execution.recent + digest)[-_DIGEST * _REMEMBERED :])


class _Desk:
    """One batch's things as they stand while its requests are decided one after the other."""

    def __init__(
        self,
        exists: frozenset[str],
        now: datetime,
        loaded: Iterable[Loaded],
        latest: dict[tuple[str, str], Key],
    ) -> None:
        self.now = now
        self.changes: list[Change] = []
        self.queues: dict[str, list[Execution]] = {name: [] for name in exists}
        self._by_key = {one.execution.key: one for one in loaded}
        self._latest = latest
        self._started_before: dict[bytes, Key] = {}
        self._of_thing: dict[str, list[Key]] = {name: [] for name in exists}
        for key, one in self._by_key.items():
            self._of_thing[key[0]].append(key)
            if one.execution.status not in TERMINAL:
                self.queues[key[0]].append(one.execution)
        for name, queue in self.queues.items():
            self.queues[name] = arranged(queue)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        tenant_id: str,
        asks: Sequence[Ask],
        requests: Sequence[Request],
    ) -> _Desk:
        """Lock what will change and load all that the requests name."""
        changing = {one.topic.thing for one in requests if one.topic.operation in _CHANGING}
        reading = {one.topic.thing for one in requests} - changing
        exists, now = await store.lock_things(connection, tenant_id, changing)
        if reading:
            rows = await connection.fetch(_SQL["find_things"], tenant_id, list(reading))
            exists |= {row["thing_name"] for row in rows}
        loaded, latest = await _load(connection, tenant_id, exists, requests)
        desk = cls(exists, now, loaded, latest)
        await desk._find_redelivered_starts(connection, tenant_id, asks)
        return desk

    async def _find_redelivered_starts(
        self, connection: Connection, tenant_id: str, asks: Sequence[Ask]
    ) -> None:
        for ask in asks:
            if not ask.duplicate or ask.topic.operation is not Operation.START_NEXT:
                continue
            digest = _digest(ask)
            row = await connection.fetchrow(
                _SQL["load_started_by"],
                tenant_id,
                ask.topic.thing,
                digest,
                _REDELIVERY_REACHES_BACK,
            )
            if row is None:
                continue
            named = (row["thing_name"], row["job_id"], row["execution_number"])
            for one in (await store.load_executions(connection, tenant_id, [named])).values():
                self._by_key.setdefault(one.execution.key, one)
                self._started_before[ask.topic.thing.encode() + digest] = one.execution.key

    def decide(self, ask: Ask, request: Request) -> _Decided:
        """What this request comes to, given all that was decided before it in the batch."""
        thing, token = request.topic.thing, request.client_token
        if thing not in self.queues:
            missing = Rejected(Code.RESOURCE_NOT_FOUND, f"thing {thing} is not registered")
            return _Decided(request, error=missing, token=token)
        match request.topic.operation:
            case Operation.GET_PENDING:
                pending = tuple(listed([one.execution for one in self._offered(thing)]))
                return _Decided(request, token=token, pending=pending)
            case Operation.START_NEXT:
                return _Decided(request, self._start_next(ask, request), token=token)
            case Operation.DESCRIBE:
                return self._describe(request)
            case Operation.UPDATE:
                return self._update(ask, request)

    def _offered(self, thing: str) -> list[Loaded]:
        live = [self._by_key[key] for key in self._of_thing[thing]]
        order = {
            one.key: at
            for at, one in enumerate(arranged(one.execution for one in live if one.offered))
        }
        return sorted(
            (one for one in live if one.execution.key in order),
            key=lambda one: order[one.execution.key],
        )

    def _replace(self, found: Loaded, changed: Execution) -> Loaded:
        self.changes.append(Change(found.execution, changed))
        after = found._replace(execution=changed, offered=True)
        self._by_key[changed.key] = after
        return after

    def _start_next(self, ask: Ask, request: Request) -> Loaded | None:
        digest = _digest(ask)
        before = self._started_before.get(request.topic.thing.encode() + digest)
        if before is not None and self._is_still_meant(request, self._by_key[before].execution):
            return self._by_key[before]
        offered = self._offered(request.topic.thing)
        if not offered or offered[0].execution.status is Status.IN_PROGRESS:
            return offered[0] if offered else None
        first = offered[0]
        started = lifecycle.start(
            first.execution,
            self.now,
            timeout_minutes=first.timeout_minutes,
            details=request.details,
            step_minutes=request.step_minutes,
        )
        return self._replace(first, _remembering(started, digest))

    @staticmethod
    def _is_still_meant(request: Request, started: Execution) -> bool:
        # Without a token each start-next of a thing reads alike: one whose job has ended asks for the next job. To give
        # the ended one again would have it done twice; to start one more only tells the thing earlier.
        return request.client_token is not None or started.status not in TERMINAL

    def _describe(self, request: Request) -> _Decided:
        topic, token = request.topic, request.client_token
        if topic.job_id == "$next":
            offered = self._offered(topic.thing)
            return _Decided(request, offered[0] if offered else None, token=token)
        try:
            found = self._named(request)
        except Rejected as error:
            return _Decided(request, error=error, token=token)
        if (status := found.execution.status) in TERMINAL:
            told = f"the execution of job {topic.job_id} on thing {topic.thing} is {status}"
            return _Decided(request, error=Rejected(Code.TERMINAL_STATE_REACHED, told), token=token)
        return _Decided(request, found, token=token)

    def _update(self, ask: Ask, request: Request) -> _Decided:
        token, state = request.client_token, None
        try:
            found = self._named(request)
            state = found.execution
            digest = _digest(ask)
            if not self._is_repeated(ask, request, state, digest=digest):
                found = self._replace(found, _remembering(self._reported(found, request), digest))
        except Rejected as error:
            return _Decided(request, error=error, token=token, state=state)
        return _Decided(request, found, token=token)

    def _reported(self, found: Loaded, request: Request) -> Execution:
        execution = found.execution
        if request.expected_version is not None and request.expected_version != execution.version:
            raise Rejected(
                Code.VERSION_MISMATCH,
                f"Expected version {request.expected_version} but found version {execution.version}",
                show_state=True,
            )
        assert request.move is not None  # noqa: S101 - decode gives every update its move
        said = Report(request.move, request.details, request.step_minutes)
        return lifecycle.report(execution, said, self.now, timeout_minutes=found.timeout_minutes)

    def _is_repeated(
        self, ask: Ask, request: Request, execution: Execution, *, digest: bytes
    ) -> bool:
        """Whether this very request was applied before: by its token, or by being a change just made.

        Without a token, an equal request is a new one unless MQTT says it is a redelivery, or unless it could not be
        meant twice: it names the version it expects, or it reports an end that has been reached.
        """
        if not _remembers(execution, digest):
            return False
        return (
            request.client_token is not None
            or ask.duplicate
            or request.expected_version is not None
            or execution.status in TERMINAL
        )

    def _named(self, request: Request) -> Loaded:
        """The execution the topic names, as a device may see it. Raises Rejected (ResourceNotFound)."""
        topic = request.topic
        if request.execution_number is None:
            key = self._latest.get((topic.thing, topic.job_id))
        else:
            key = (topic.thing, topic.job_id, request.execution_number)
        found = None if key is None else self._by_key.get(key)
        if found is None or found.job_status is JobStatus.DELETION_IN_PROGRESS:
            number = (
                ""
                if request.execution_number is None
                else f" with executionNumber {request.execution_number}"
            )
            raise Rejected(
                Code.RESOURCE_NOT_FOUND,
                f"job {topic.job_id} has no execution{number} on thing {topic.thing}",
            )
        if not found.offered and found.execution.status not in TERMINAL:
            # Taken back by the operator; the chunk that will store it is on its way.
            taken = Status.CANCELED if found.job_status is JobStatus.CANCELED else Status.TIMED_OUT
            return found._replace(execution=found.execution._replace(status=taken))
        return found


async def _load(
    connection: Connection,
    tenant_id: str,
    exists: Iterable[str],
    requests: Sequence[Request],
) -> tuple[list[Loaded], dict[tuple[str, str], Key]]:
    """The things' queues, and the named executions that are not in them; and each named job's latest execution."""
    things = set(exists)
    queues = await store.load_queues(connection, tenant_id, things) if things else {}
    loaded = [one for queue in queues.values() for one in queue]
    # A live execution is the latest of its job on its thing: a retry is only made when the one before has ended.
    latest = {(one.execution.thing_name, one.execution.job_id): one.execution.key for one in loaded}
    known = {one.execution.key for one in loaded}
    missing = [
        (topic.thing, topic.job_id, number)
        for topic, number in ((one.topic, one.execution_number) for one in requests)
        if topic.job_id not in ("", "$next")
        and topic.thing in things
        and (
            (topic.thing, topic.job_id) not in latest
            if number is None
            else (topic.thing, topic.job_id, number) not in known
        )
    ]
    if missing:
        for (thing, job, number), one in (
            await store.load_executions(connection, tenant_id, missing)
        ).items():
            if one.execution.key not in known:
                loaded.append(one)
                known.add(one.execution.key)
            if number is None:
                latest[thing, job] = one.execution.key
    return loaded, latest
