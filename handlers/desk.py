"""One batch's things on a desk: what is loaded of them, and what each request comes to given the ones before it.

Loading is the only thing here that awaits; the deciding is plain code over `schema.lifecycle` and `schema.pending`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers import store
from handlers.store import Loaded
from schema import lifecycle
from schema.changes import Change
from schema.device import Request
from schema.errors import Code, Rejected
from schema.lifecycle import (
    DIGEST_BYTES,
    REPORTS,
    TERMINAL,
    Execution,
    JobStatus,
    Move,
    Report,
    Status,
)
from schema.pending import listed, order
from schema.sql import queries
from schema.topics import DeviceTopic, Operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from handlers.database import Connection

CHANGING: Final = frozenset({Operation.START_NEXT, Operation.UPDATE})
_SQL = queries("executions")

Key = tuple[str, str, int]


class Ask(NamedTuple):
    """One request as it arrived: duplicate is MQTT's DUP flag, which says that it may have been handled before.

    decoded: what `handlers.executions.read` has made of it, if it was read already. behalf: name and role of the
    operator who asks in the thing's place, whom the audit log names.
    """

    topic: DeviceTopic
    payload: bytes
    duplicate: bool = False
    decoded: Request | Decided | None = None
    behalf: tuple[str, str] | None = None


class Decided(NamedTuple):
    """What a request came to; encoded once the documents are there."""

    request: Request | None
    found: Loaded | None = None
    error: Rejected | None = None
    state: Execution | None = None
    token: str | None = None
    pending: tuple[Execution, ...] = ()

    @property
    def documented(self) -> Loaded | None:
        """The execution whose document the answer carries, if it carries one."""
        if self.request is None or not self.request.include_document:
            return None
        return None if self.error is not None else self.found


def _digest(ask: Ask) -> bytes:
    return blake2b(ask.payload, digest_size=DIGEST_BYTES).digest()


class Desk:
    """One batch's things as they stand while its requests are decided one after the other."""

    def __init__(
        self,
        exists: frozenset[str],
        now: datetime,
        loaded: dict[Key, Loaded],
        latest: dict[tuple[str, str], Key],
    ) -> None:
        self.now = now
        self.changes: list[Change] = []
        self.queues: dict[str, list[Execution]] = {name: [] for name in exists}
        self._by_key = loaded
        self._latest = latest
        for one in loaded.values():
            if one.execution.status not in TERMINAL:
                self.queues[one.execution.thing_name].append(one.execution)
        for queue in self.queues.values():
            if len(queue) > 1:
                queue.sort(key=order)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        tenant_id: str,
        requests: Sequence[Request],
    ) -> Desk:
        """Lock what will change and load all that the requests name."""
        topics = [one.topic for one in requests]
        changing = {topic.thing for topic in topics if topic.operation in CHANGING}
        reading = {topic.thing for topic in topics} - changing
        exists, now = await store.lock_things(connection, tenant_id, changing)
        if reading:
            rows = await connection.fetch(_SQL["find_things"], tenant_id, list(reading))
            exists |= {row["thing_name"] for row in rows}
        loaded, latest = await _load(connection, tenant_id, exists, requests)
        return cls(exists, now, loaded, latest)

    def decide(self, ask: Ask, request: Request) -> Decided:
        """What this request comes to, given all that was decided before it in the batch."""
        thing, token = request.topic.thing, request.client_token
        if thing not in self.queues:
            missing = Rejected(Code.RESOURCE_NOT_FOUND, f"thing {thing} is not registered")
            return Decided(request, error=missing, token=token)
        match request.topic.operation:
            case Operation.UPDATE:
                return self._update(ask, request)
            case Operation.START_NEXT:
                return Decided(request, self._start_next(request), token=token)
            case Operation.GET_PENDING:
                pending = tuple(listed([one.execution for one in self._offered(thing)]))
                return Decided(request, token=token, pending=pending)
            case Operation.DESCRIBE:
                return self._describe(request)

    def _offered(self, thing: str) -> list[Loaded]:
        live = (self._by_key[one.key] for one in self.queues[thing])
        return sorted(
            (one for one in live if one.offered and one.execution.status not in TERMINAL),
            key=lambda one: order(one.execution),
        )

    def _replace(self, found: Loaded, changed: Execution) -> Loaded:
        self.changes.append(Change(found.execution, changed))
        after = found._replace(execution=changed, offered=True, hidden=False)
        self._by_key[changed.key] = after
        return after

    def _start_next(self, request: Request) -> Loaded | None:
        """The execution at work, else the next one, started; None when nothing is pending.

        A redelivered start-next finds what it started at work. If that has ended meanwhile, it is given the next job,
        never the ended one: devices do a job when they are given it, and many use one token, or none, for each request.
        """
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
        return self._replace(first, started)

    def _describe(self, request: Request) -> Decided:
        topic, token = request.topic, request.client_token
        if topic.job_id == "$next":
            offered = self._offered(topic.thing)
            return Decided(request, offered[0] if offered else None, token=token)
        try:
            found = self._named(request)
        except Rejected as error:
            return Decided(request, error=error, token=token)
        if (status := found.execution.status) in TERMINAL:
            told = f"the execution of job {topic.job_id} on thing {topic.thing} is {status}"
            return Decided(request, error=Rejected(Code.TERMINAL_STATE_REACHED, told), token=token)
        return Decided(request, found, token=token)

    def _update(self, ask: Ask, request: Request) -> Decided:
        token, state = request.client_token, None
        try:
            found = self._named(request)
            state = found.execution
            digest = _digest(ask)
            if ask.duplicate and state.inherits(digest):
                # It failed by this very request, and is tried again since.
                return Decided(request, found, token=token)
            if digest not in state.recent or not self._is_repeated(
                ask, request, state, digest=digest
            ):
                found = self._replace(found, self._reported(found, request, digest))
            elif request.step_minutes is not None and state.status is Status.IN_PROGRESS:
                # A device that uses one token for all its heartbeats means each of them.
                found = self._replace(
                    found, lifecycle.keep_alive(state, request.step_minutes, self.now)
                )
        except Rejected as error:
            return Decided(request, error=error, token=token, state=state)
        return Decided(request, found, token=token)

    def _reported(self, found: Loaded, request: Request, digest: bytes) -> Execution:
        execution = found.execution
        if request.expected_version is not None and request.expected_version != execution.version:
            raise Rejected(
                Code.VERSION_MISMATCH,
                f"Expected version {request.expected_version} but found version {execution.version}",
                show_state=True,
            )
        assert request.move is not None  # noqa: S101 - decode gives every update its move
        if request.move is Move.REPORT_IN_PROGRESS and execution.status is Status.QUEUED:
            self._require_startable(found)
        said = Report(request.move, request.details, request.step_minutes, digest)
        return lifecycle.report(execution, said, self.now, timeout_minutes=found.timeout_minutes)

    def _require_startable(self, found: Loaded) -> None:
        """Pass when a device may start this one by its job's id. Raises Rejected (InvalidStateTransition)."""
        job = found.execution.job_id
        if found.hidden:
            raise Rejected(
                Code.INVALID_STATE_TRANSITION,
                f"status: job {job} is paused or outside its maintenance windows; it is not started now",
                show_state=True,
            )
        at_work = (self._by_key[one.key] for one in self.queues[found.execution.thing_name])
        for one in at_work:
            alone = found.exclusive or one.exclusive
            if alone and one.execution.status is Status.IN_PROGRESS:
                raise Rejected(
                    Code.INVALID_STATE_TRANSITION,
                    f"status: job {job} is not started beside job {one.execution.job_id}, which is"
                    " IN_PROGRESS: one of them is exclusive",
                    show_state=True,
                )

    def _is_repeated(
        self, ask: Ask, request: Request, execution: Execution, *, digest: bytes
    ) -> bool:
        """Whether this very request was applied before: by its token, or by being a change just made.

        Without a token, an equal request is a new one unless MQTT says it is a redelivery, or unless it could not be
        meant twice: it names the version it expects, or it reports the end that has been reached. A heartbeat like the
        ones before, sent on after the job was canceled or timed out, is refused whatever its token: else the device
        would never know.
        """
        if not execution.remembers(digest):  # the bytes of two digests beside each other
            return False
        ended_by_us = execution.status in TERMINAL and execution.status not in REPORTS
        return (
            (request.client_token is not None and not ended_by_us)
            or ask.duplicate
            or request.expected_version is not None
            or (execution.status in TERMINAL and REPORTS.get(execution.status) is request.move)
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
        if not (found.offered or found.hidden) and found.execution.status not in TERMINAL:
            # Taken back by the operator; the chunk that will store it is on its way.
            taken = Status.CANCELED if found.job_status is JobStatus.CANCELED else Status.TIMED_OUT
            return found._replace(execution=found.execution._replace(status=taken))
        return found


async def _load(
    connection: Connection,
    tenant_id: str,
    exists: Iterable[str],
    requests: Sequence[Request],
) -> tuple[dict[Key, Loaded], dict[tuple[str, str], Key]]:
    """The things' queues, and the named executions that are not in them; and each named job's latest execution."""
    things = set(exists)
    heads = _heads(things, requests)
    queues = await store.load_queues(connection, tenant_id, things, heads=heads) if things else {}
    loaded = {one.execution.key: one for queue in queues.values() for one in queue}
    # A live execution is the latest of its job on its thing: a retry is only made when the one before has ended.
    latest = {key[:2]: key for key in loaded}
    missing = [
        (topic.thing, topic.job_id, number)
        for topic, number in [(one.topic, one.execution_number) for one in requests]
        if topic.job_id not in ("", "$next")
        and topic.thing in things
        and (
            (topic.thing, topic.job_id) not in latest
            if number is None
            else (topic.thing, topic.job_id, number) not in loaded
        )
    ]
    if missing:
        named = await store.load_executions(connection, tenant_id, missing)
        for (thing, job, number), one in named.items():
            loaded.setdefault(one.execution.key, one)
            if number is None:
                latest[thing, job] = one.execution.key
    return loaded, latest


def _heads(things: set[str], requests: Sequence[Request]) -> dict[str, int]:
    """How many of its first executions a thing's requests can come to; without things whose whole list is asked for."""
    heads = dict.fromkeys(things, 1)
    listing = []
    for topic in [one.topic for one in requests]:
        if topic.operation in CHANGING and topic.thing in heads:
            heads[topic.thing] += 1
        elif topic.operation is Operation.GET_PENDING:
            listing.append(topic.thing)
    for thing in listing:
        heads.pop(thing, None)
    return heads
