"""From an inbound message to its answer: sorted into lanes, decided in batches, answered, and only then acknowledged.

A lane is one tenant's things (or one operator); what a thing sent first is decided first. A batch is whatever has
arrived: no waiting for more. While the database is at work on it, the requests for the next one are decoded, and the
last one's replies leave.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from broker.causes import Cause
from broker.hooks import Place, reach
from broker.lanes import Item, Lane
from broker.logs import LineQuota
from broker.metrics import Metrics
from broker.mqtt.link import Denied, Inbound, Link, LinkClosedError, Outbound
from broker.notifier import Notifier
from handlers import executions
from handlers.database import TRANSIENT, Pool
from handlers.desk import Ask
from handlers.documents import Documents
from handlers.executions import Answered, Reply
from schema import device
from schema.errors import Code, Conflict, Rejected
from schema.topics import DeviceTopic, Operation, OperatorTopic, TopicMode, UnknownTopic, parse

if TYPE_CHECKING:
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

_RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0)


@dataclass(slots=True)
class Counted:
    """What a dispatcher has seen since it began."""

    requests: int = 0
    batches: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    strangers: int = 0


class Note(Protocol):
    """Takes what was refused, as `Refusals.note`."""

    def __call__(
        self, tenant: str, topic: str, payload: bytes, *, at: datetime, left_out: int
    ) -> None:
        """Take one."""


def _forget(tenant: str, topic: str, payload: bytes, *, at: datetime, left_out: int) -> None:
    """Note nothing."""


OperatorAnswer = Callable[[OperatorTopic, Inbound], Awaitable[list[Outbound]]]


class Dispatcher:
    """Takes what one link receives until it is closed, and answers it.

    Unacknowledged requests are what may be lost with this process: the MQTT server sends them again. At most
    `most_waiting` requests are held; beyond, the link is not read (architecture, law 3).

    With answer_qos 0 a device's answer and the PUBACK of its request leave on one connection, in this order, and the
    MQTT server takes them in this order: it never has the PUBACK without the answer.
    """

    def __init__(  # noqa: PLR0913 - the composition root wires it, once
        self,
        pool: Pool,
        documents: Documents,
        notifier: Notifier,
        answer_operator: OperatorAnswer,
        *,
        mode: TopicMode,
        slot: int,
        lanes: int = 4,
        answer_qos: int = 0,
        batch_most: int = 512,
        most_waiting: int = 4000,
        nobody_hears: Callable[[str, str], bool] = lambda _tenant, _topic: False,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        note_refused: Note = _forget,
    ) -> None:
        self._note = note_refused
        self._pool = pool
        self._documents = documents
        self._notifier = notifier
        self._operator_answer = answer_operator
        self._mode = mode
        self._slot = slot
        self._most_workers = lanes
        self._answer_qos = answer_qos
        self._batch_most = batch_most
        self._most_waiting = most_waiting
        self._nobody_hears = nobody_hears
        self._metrics = metrics or Metrics()
        self._tracing = tracing
        self._held = 0
        self._room = asyncio.Event()
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[None] | None = None
        self._rejections = LineQuota()
        self.counted = Counted()

    @property
    def held(self) -> int:
        """Requests taken and not yet answered."""
        return self._held

    async def idle(self) -> None:
        """Wait until nothing that was taken is unanswered."""
        while self._held:
            self._room.clear()
            await self._room.wait()

    async def run(self, link: Link) -> None:
        """Serve one link until it is closed; returns when all that was taken from it is answered."""
        async with asyncio.TaskGroup() as workers:
            self._taking = workers.create_task(self._take(link, workers), name="take")

    def stop_taking(self) -> None:
        """Answer what was taken and let `run` return; the rest stays with the MQTT server."""
        if self._taking is not None:
            self._taking.cancel()

    async def _take(self, link: Link, workers: asyncio.TaskGroup) -> None:
        while True:
            try:
                received = await link.receive()
            except LinkClosedError:
                return
            self._sort(link, received, workers)
            while self._held >= self._most_waiting:
                self._room.clear()
                await self._room.wait()

    def _sort(self, link: Link, received: Sequence[Inbound], workers: asyncio.TaskGroup) -> None:
        now = asyncio.get_running_loop().time()
        filled: dict[str, Lane] = {}
        for inbound in received:
            topic = parse(inbound.topic, self._mode)
            match topic:
                case DeviceTopic(tenant, _):
                    ask = executions.read(topic, inbound.payload, duplicate=inbound.duplicate)
                    name = f"{tenant} things"
                    filled[name] = self._enqueue(name, Item(link, inbound, ask, now))
                case OperatorTopic(tenant, operator):
                    name = f"{tenant} operator {operator}"
                    filled[name] = self._enqueue(name, Item(link, inbound, topic, now))
                case UnknownTopic(tenant, reason):
                    self._refuse_topic(link, inbound, tenant, reason)
                case None:
                    self.counted.strangers += 1
                    log.info("stranger", topic=inbound.topic[:200], size=len(inbound.payload))
                    link.acknowledge([inbound])
        for name, lane in filled.items():
            if lane.needs_worker:
                workers.create_task(self._work(name, lane, lane.join(), workers), name=name)

    def _enqueue(self, name: str, item: Item) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            is_operators = isinstance(item.asked, OperatorTopic)
            most_workers = 1 if is_operators else self._most_workers
            lane = self._lanes[name] = Lane(most_workers, is_operators=is_operators)
        lane.waiting.append(item)
        self._held += 1
        return lane

    async def _work(self, name: str, lane: Lane, worker: int, workers: asyncio.TaskGroup) -> None:
        if lane.is_operators:
            while taken := lane.take(worker, 1):
                await self._answer_operator(taken[0])
        else:
            await self._answer_things(lane, worker, workers)
        lane.leave(worker)
        if lane.is_idle:
            self._lanes.pop(name, None)  # an idle lane is not kept: names come from outside

    async def _answer_things(self, lane: Lane, worker: int, workers: asyncio.TaskGroup) -> None:
        """Answer batch after batch, each told while the database is already at work on the next one."""
        done: tuple[list[Item], Answered, float] | None = None
        clock = asyncio.get_running_loop().time
        while (batch := lane.take(worker, self._batch_most)) or done is not None:
            begun = clock()
            deciding = self._begin(batch, workers)
            if done is not None:
                await asyncio.sleep(0)  # the next one's first statement goes out before that
                await self._tell(*done)
                done = None
                lane.release(worker, batch)
            if deciding is not None:
                answered = await deciding
                lane.decided(worker)
                done = (batch, answered, clock() - begun)

    def _begin(
        self, batch: Sequence[Item], workers: asyncio.TaskGroup
    ) -> asyncio.Task[Answered] | None:
        """Have a batch decided; None when it is empty."""
        asks = [item.asked for item in batch if isinstance(item.asked, Ask)]
        if not asks:
            return None
        return workers.create_task(self._decide(asks[0].topic.tenant, asks))

    async def _tell(self, batch: list[Item], answered: Answered, seconds: float) -> None:
        """Publish a batch's replies, acknowledge its requests when they are out, and have the rest told.

        seconds is what deciding it took.
        """
        await reach(Place.BEFORE_PUBLISH)
        by_link: dict[Link, tuple[list[Outbound], list[Inbound]]] = {}
        for item, reply in zip(batch, answered.replies, strict=True):
            outbounds, inbounds = by_link.setdefault(item.link, ([], []))
            topic = f"{item.inbound.topic}/{'accepted' if reply.accepted else 'rejected'}"
            outbounds.append(
                Outbound(
                    topic, reply.payload, self._answer_qos, traceparent=item.inbound.traceparent
                )
            )
            inbounds.append(item.inbound)
            if reply.code is not None and isinstance(item.asked, Ask):
                tenant = item.asked.topic.tenant
                self._count_rejected(tenant, item.inbound, reply.code, reply.payload)
        self.counted.requests += len(batch)
        self.counted.batches += 1
        for link, (outbounds, inbounds) in by_link.items():
            self._publish_then_acknowledge(link, outbounds, inbounds)
        self._notifier.tell(answered.told, self._cause(batch))
        self._answered(len(batch))
        self._measure(batch, answered, seconds)

    def _cause(self, batch: Sequence[Item]) -> Cause | None:
        if self._tracing is None:
            return None
        asked = [
            (item.asked.topic.thing, item.inbound.traceparent)
            for item in batch
            if isinstance(item.asked, Ask)
        ]
        return Cause.of_batch(asked, len(batch))

    def _measure(self, batch: Sequence[Item], answered: Answered, seconds: float) -> None:
        self._metrics.note_batch(
            [
                (item.asked.topic.operation, reply.code, item.received)
                for item, reply in zip(batch, answered.replies, strict=True)
                if isinstance(item.asked, Ask)
            ],
            seconds=seconds,
            now=asyncio.get_running_loop().time(),
            updates=Operation.UPDATE,
        )
        self._metrics.note_changes(answered.changes)
        if self._tracing is not None:
            linked = [item.inbound.traceparent for item in batch if item.inbound.traceparent]
            self._tracing.note("batch", seconds, {"requests": len(batch)}, linked=linked)

    def _answered(self, requests: int) -> None:
        self._held -= requests
        self._room.set()

    async def _decide(self, tenant: str, asks: Sequence[Ask]) -> Answered:
        """Answer a batch, over the database's absences; a batch that cannot be decided is cut down to the culprit."""
        attempt = 0
        while True:
            try:
                return await executions.answer(
                    self._pool,
                    self._documents,
                    tenant,
                    asks,
                    slot=self._slot,
                    before_commit=lambda: reach(Place.BEFORE_COMMIT),
                    nobody_hears=partial(self._nobody_hears, tenant),
                )
            except (*TRANSIENT, Conflict) as error:
                pause = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                attempt += 1
                # The connection may have been lost while committing, and rounds before are committed anyway.
                asks = [ask._replace(duplicate=True) for ask in asks]
                log.warning(
                    "database_waits",
                    tenant=tenant,
                    requests=len(asks),
                    error=repr(error),
                    seconds=pause,
                )
                await asyncio.sleep(pause)
            except Exception:
                if len(asks) == 1:
                    log.exception("request_failed", tenant=tenant, topic=str(asks[0].topic))
                    return Answered([_internal_error(asks[0])], [])
                log.exception("batch_failed", tenant=tenant, requests=len(asks))
                again = [ask._replace(duplicate=True) for ask in asks]
                parts = [await self._decide(tenant, [ask]) for ask in again]
                return Answered(
                    [reply for part in parts for reply in part.replies],
                    [told for part in parts for told in part.told],
                    [change for part in parts for change in part.changes],
                )

    async def _answer_operator(self, item: Item) -> None:
        assert isinstance(item.asked, OperatorTopic)  # noqa: S101 - an operator's lane has nothing else
        outbounds = await self._operator_answer(item.asked, item.inbound)
        if outbounds and outbounds[0].topic.endswith("/rejected"):
            payload = outbounds[0].payload
            code = str(json.loads(payload).get("code"))
            self._note_rejected(item.asked.tenant, item.inbound, code, payload)
        await reach(Place.BEFORE_PUBLISH)
        self.counted.requests += 1
        self._publish_then_acknowledge(item.link, outbounds, [item.inbound])
        self._answered(1)

    def _refuse_topic(self, link: Link, inbound: Inbound, tenant: str, reason: str) -> None:
        error = Rejected(Code.INVALID_TOPIC, f"topic: {reason}")
        payload = device.rejected_reply(error, datetime.now(UTC), token_of(inbound.payload))
        self._count_rejected(tenant, inbound, error.code, payload)
        self._publish_then_acknowledge(
            link,
            [Outbound(f"{inbound.topic}/rejected", payload, self._answer_qos)],
            [inbound],
        )

    def _publish_then_acknowledge(
        self, link: Link, outbounds: Sequence[Outbound], inbounds: Sequence[Inbound]
    ) -> None:
        """Hand the replies over; when the MQTT server has them, acknowledge the requests they answer."""
        try:
            published = link.publish(outbounds)
        except LinkClosedError:
            return  # not acknowledged either: the MQTT server sends the requests to whoever has the session next
        task = asyncio.create_task(
            _acknowledged_after(published, link, inbounds), name="acknowledge"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _count_rejected(self, tenant: str, inbound: Inbound, code: Code, payload: bytes) -> None:
        self.counted.rejected[code] = self.counted.rejected.get(code, 0) + 1
        self._note_rejected(tenant, inbound, str(code), payload)

    def _note_rejected(self, tenant: str, inbound: Inbound, code: str, payload: bytes) -> None:
        left_out = self._rejections.allow()
        if left_out is not None:
            answer = payload[:400].decode(errors="replace")
            log.info(
                "rejected",
                topic=inbound.topic[:200],
                code=code,
                answer=answer,
                left_out=left_out,
            )
            self._note(tenant, inbound.topic, payload, at=datetime.now(UTC), left_out=left_out)


async def _acknowledged_after(
    published: asyncio.Future[list[Denied]], link: Link, inbounds: Sequence[Inbound]
) -> None:
    try:
        await published
    except LinkClosedError:
        return  # not acknowledged: the MQTT server will send the requests again
    await reach(Place.BEFORE_ACKNOWLEDGE)
    link.acknowledge(inbounds)


def token_of(payload: bytes) -> str | None:
    """The clientToken of a request that is refused for another reason; None when it cannot be read."""
    with suppress(Rejected):
        return device.read_token(device.read_object(payload))
    return None


def _internal_error(ask: Ask) -> Reply:
    error = Rejected(
        Code.INTERNAL_ERROR, "the request could not be handled; the broker's log says why"
    )
    payload = device.rejected_reply(error, datetime.now(UTC), token_of(ask.payload))
    return Reply(accepted=False, payload=payload, code=error.code)
