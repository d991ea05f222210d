"""From HTTP into the same handlers that MQTT uses (architecture law 5): a command, or a device's request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from broker.causes import Cause, Tell, asked_by
from broker.http.refusal import Refusal
from broker.metrics import Metrics
from broker.streams import Streams
from handlers import executions
from handlers.context import Outside
from handlers.database import TRANSIENT, Pool
from handlers.desk import Ask
from handlers.documents import Documents
from handlers.executions import Reply
from handlers.operator_plane import Actor, Answer, execute
from schema.errors import Conflict
from schema.topics import DeviceTopic, OperatorTopic

if TYPE_CHECKING:
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

# A request over HTTP waits for an answer: so long the database may be away before it gets one that says so.
PATIENCE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What HTTP needs of the serving process to have things done.

    slot owns what is to be told of them; tell is called with what was committed. streams: who follows.
    """

    pool: Pool
    documents: Documents
    slot: int
    tell: Tell
    outside: Outside
    nobody_hears: Callable[[str, str], bool]
    metrics: Metrics
    streams: Streams
    tracing: Tracing | None = None

    async def command(
        self, actor: Actor, verb: str, payload: bytes, *, job_id: str = "", thing: str = ""
    ) -> Answer:
        """Have an operator's command done (verb as in `schema.rights`), and what follows from it told.

        Raises Refusal (503) while the database cannot be reached.
        """
        topic = OperatorTopic(actor.tenant_id, actor.name, verb, job_id, thing)

        async def once(*, duplicate: bool) -> Answer:
            return await execute(
                self.pool,
                actor,
                topic,
                payload,
                slot=self.slot,
                duplicate=duplicate,
                outside=self.outside,
            )

        received = asyncio.get_running_loop().time()
        answer = await patiently(once)
        if answer.accepted:
            if verb == "jobs/create":
                self.metrics.await_notify(answer.told, received)
            self.tell(answer.told, _cause())
        return answer

    async def ask(
        self, topic: DeviceTopic, payload: bytes, *, behalf: tuple[str, str] | None = None
    ) -> Reply:
        """Have a device's request answered, and what follows from it told. Raises Refusal as `command`.

        behalf: name and role of an operator who asks in its place.
        """

        async def once(*, duplicate: bool) -> executions.Answered:
            return await executions.answer(
                self.pool,
                self.documents,
                topic.tenant,
                [Ask(topic, payload, duplicate, behalf=behalf)],
                slot=self.slot,
                nobody_hears=partial(self.nobody_hears, topic.tenant),
            )

        answered = await patiently(once)
        self.tell(answered.told, _cause())
        self.metrics.note_changes(answered.changes)
        return answered.replies[0]


def _cause() -> Cause | None:
    """The request that is being answered, where it brought a traceparent along."""
    asked = asked_by.get()
    return None if asked is None else Cause(asked)


async def patiently(once: Callable[..., Awaitable[T]]) -> T:
    """What `once` gives, over short absences of the database; called with duplicate=True from the second time on.

    The connection may have been lost while committing: the effect may be there. Raises Refusal (503) after five
    seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    duplicate = False
    while True:
        try:
            return await once(duplicate=duplicate)
        except (*TRANSIENT, Conflict) as error:
            if loop.time() > deadline:
                log.warning("database_away", error=repr(error))
                raise Refusal(
                    503, "ServiceUnavailable", "the database cannot be reached; try again", 1
                ) from error
            duplicate = True
        await asyncio.sleep(_RETRY_SECONDS)
