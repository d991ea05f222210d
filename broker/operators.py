"""An operator's command over MQTT: into the shared handlers, and its answer to where it was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from broker.causes import Cause, Tell
from broker.dispatch import token_of
from broker.metrics import Metrics
from broker.mqtt.codec import LARGEST_PACKET
from broker.mqtt.link import Inbound, Outbound
from handlers.context import NOTHING, Outside
from handlers.database import TRANSIENT, Pool
from handlers.operator_plane import Actor, Answer, execute
from schema.device import rejected_reply
from schema.errors import Code, Conflict, Rejected, shorten
from schema.rights import READS
from schema.topics import OperatorTopic, TopicMode, mounted, operator_room, parse

if TYPE_CHECKING:
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
# Of a PUBLISH beside its topic, payload and correlation data: lengths, ids and a traceparent.
_AROUND_BYTES = 256


class OperatorDoor:
    """Answers commands in `operators/{operator}/...`; who asks is proved by the MQTT server's ACL of that room."""

    def __init__(  # noqa: PLR0913 - the composition root wires it, once
        self,
        pool: Pool,
        *,
        mode: TopicMode,
        slot: int,
        tell: Tell,
        outside: Outside = NOTHING,
        largest: Callable[[], int] = lambda: LARGEST_PACKET,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._pool = pool
        self._mode = mode
        self._slot = slot
        self._tell = tell
        self._outside = outside
        self._largest = largest
        self._metrics = metrics or Metrics()
        self._tracing = tracing

    async def answer(self, topic: OperatorTopic, inbound: Inbound) -> list[Outbound]:
        """The messages that answer one command: on its topic + /accepted or /rejected, and where MQTT 5 asks for it."""
        try:
            self._response_topic(topic, inbound)
        except Rejected as error:
            return self._refused(inbound, error)
        received = asyncio.get_running_loop().time()
        answer = await self._execute(topic, inbound)
        self._count(topic.verb, answer)
        if self._tracing is not None:
            took = asyncio.get_running_loop().time() - received
            self._tracing.note(
                topic.verb,
                took,
                {"tenant": topic.tenant, "operator": topic.operator},
                parent=inbound.traceparent,
                failed=answer is None,
            )
        if answer is None:
            broken = Rejected(
                Code.INTERNAL_ERROR, "the command could not be handled; the broker's log says why"
            )
            return self._refused(inbound, broken)
        if answer.accepted:
            if topic.verb == "jobs/create":
                self._metrics.await_notify(answer.told, received)
            self._tell(answer.told, self._cause(inbound))
        outbounds = self._outbounds(
            topic, inbound, accepted=answer.accepted, payload=json.dumps(answer.body).encode()
        )
        return self._that_fit(topic, inbound, outbounds)

    def _that_fit(
        self, topic: OperatorTopic, inbound: Inbound, outbounds: list[Outbound]
    ) -> list[Outbound]:
        """The answer, or that it is too large for the MQTT server, which would not take it from us.

        Of what has changed something the answer is small, and would be a lie.
        """
        size = max(map(_size, outbounds))
        most = self._largest()
        if size <= most or topic.verb not in READS:
            return outbounds
        error = Rejected(
            Code.LIMIT_EXCEEDED,
            f"answer: has {size} bytes, and the MQTT server takes {most} at most; ask for a smaller page"
            " (maxResults, limit), or over HTTP",
        )
        payload = rejected_reply(error, datetime.now(UTC), token_of(inbound.payload))
        return self._outbounds(topic, inbound, accepted=False, payload=payload)

    def _cause(self, inbound: Inbound) -> Cause | None:
        if self._tracing is None or inbound.traceparent is None:
            return None
        return Cause(inbound.traceparent)

    def _count(self, verb: str, answer: Answer | None) -> None:
        code = Code.INTERNAL_ERROR if answer is None else answer.body.get("code")
        refused = answer is None or not answer.accepted
        self._metrics.note_command(verb, str(code) if refused else None)

    async def _execute(self, topic: OperatorTopic, inbound: Inbound) -> Answer | None:
        actor = Actor(topic.tenant, topic.operator, None)
        duplicate = inbound.duplicate
        while True:
            try:
                return await execute(
                    self._pool,
                    actor,
                    topic,
                    inbound.payload,
                    slot=self._slot,
                    duplicate=duplicate,
                    outside=self._outside,
                )
            except (*TRANSIENT, Conflict) as error:
                log.warning(
                    "database_waits", tenant=topic.tenant, verb=topic.verb, error=repr(error)
                )
                await asyncio.sleep(_RETRY_SECONDS)
                duplicate = True  # the connection may have been lost while committing: the effect may be there
            except Exception:
                log.exception(
                    "command_failed", tenant=topic.tenant, operator=topic.operator, verb=topic.verb
                )
                return None

    def _refused(self, inbound: Inbound, error: Rejected) -> list[Outbound]:
        payload = rejected_reply(error, datetime.now(UTC), token_of(inbound.payload))
        return [
            Outbound(
                f"{inbound.topic}/rejected",
                payload,
                correlation_data=inbound.correlation_data,
                traceparent=inbound.traceparent,
            )
        ]

    def _outbounds(
        self, topic: OperatorTopic, inbound: Inbound, *, accepted: bool, payload: bytes
    ) -> list[Outbound]:
        own = f"{inbound.topic}/{'accepted' if accepted else 'rejected'}"
        where = dict.fromkeys([own, self._response_topic(topic, inbound) or own])
        return [
            Outbound(
                one,
                payload,
                correlation_data=inbound.correlation_data,
                traceparent=inbound.traceparent,
            )
            for one in where
        ]

    def _response_topic(self, topic: OperatorTopic, inbound: Inbound) -> str | None:
        """MQTT 5's Response Topic, as the MQTT server knows it.

        It must lie in the operator's own room, else we would publish for others where they may not, and must not be a
        request itself, else we would command ourselves. Raises Rejected.
        """
        asked = inbound.response_topic
        if asked is None:
            return None
        # A mounted client does not know its tenant's prefix, and the MQTT server passes the property on unchanged.
        full = mounted(topic.tenant, asked, self._mode)
        room = operator_room(topic.operator)
        if (
            not asked.startswith(room)
            or asked == room
            or "+" in asked
            or "#" in asked
            or "\0" in asked
        ):
            raise Rejected(
                Code.INVALID_REQUEST, f"Response Topic: {shorten(asked, 120)} is not inside {room}"
            )
        if isinstance(parse(full, self._mode), OperatorTopic):
            raise Rejected(
                Code.INVALID_REQUEST,
                f"Response Topic: {shorten(asked, 120)} is a command's own topic",
            )
        return full


def _size(outbound: Outbound) -> int:
    """How many bytes the packet of a message has at most."""
    texts = (outbound.topic.encode(), outbound.payload, outbound.correlation_data or b"")
    return sum(map(len, texts)) + _AROUND_BYTES
