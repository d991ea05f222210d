"""/api/v1/events: what happens in the caller's tenant, as server-sent events that can be resumed.

WHATWG HTML, 9.2 "Server-sent events": `id` comes back as Last-Event-ID when the connection was lost; lines that begin
with a colon are comments; an `id` without data moves the client on without an event.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.audience import SomeEvents
from broker.http.endpoint import Endpoint
from broker.http.identity import Identity
from broker.http.refusal import Refusal, status_of
from broker.streams import Step, Streams
from handlers.database import TRANSIENT, Pool
from handlers.operator_plane import Actor, require_right
from schema.errors import Rejected, shorten
from schema.events import is_live
from schema.http_routes import EVENTS_PATH
from schema.limits import JOB_ID, check_name
from schema.streams import Event, Position, read_position

BEAT_SECONDS: Final = 15.0
MOST_FOLLOWERS: Final = 200
MOST_OF_ONE: Final = 20
RETRY_MILLISECONDS: Final = 1000
_VERB: Final = "events/follow"
_AGAIN_SECONDS: Final = 5


class FollowEvents:
    """The one endpoint. Who follows is asked for their token again at each beat: what was revoked ends the stream."""

    def __init__(self, pool: Pool, streams: Streams, identity: Identity) -> None:
        self._pool = pool
        self._streams = streams
        self._identity = identity
        self._following: Counter[tuple[str, str]] = Counter()

    def routes(self) -> list[Endpoint]:
        """The endpoint."""
        return [Endpoint(EVENTS_PATH, self.follow, methods=["GET"])]

    async def follow(self, request: Request) -> Response:
        """Events as they happen; jobId in the query for those of one job alone, live for how many of the live ones.

        lastEventId in the query, or Last-Event-ID: go on behind that one.
        """
        actor = await self._allowed(request)
        try:
            asked = _asked(request)
        except Rejected as refusal:
            raise Refusal(status_of(refusal.code), str(refusal.code), refusal.message) from None
        who = (actor.tenant_id, actor.name)
        if self._following[who] >= MOST_OF_ONE or self._following.total() >= MOST_FOLLOWERS:
            message = f"at most {MOST_OF_ONE} streams of one operator, and {MOST_FOLLOWERS} in all"
            raise Refusal(429, "RequestThrottled", message, _AGAIN_SECONDS)
        self._following[who] += 1
        return _Stream(self._texts(request, actor, asked), lambda: self._left(who))

    def _left(self, who: tuple[str, str]) -> None:
        self._following[who] -= 1
        if not self._following[who]:
            del self._following[who]

    async def _allowed(self, request: Request) -> Actor:
        actor = await self._identity.operator(request)
        try:
            await require_right(self._pool, actor, _VERB)
        except Rejected as refusal:
            raise Refusal(status_of(refusal.code), str(refusal.code), refusal.message) from None
        return actor

    async def _texts(
        self,
        request: Request,
        actor: Actor,
        asked: _Asked,
    ) -> AsyncGenerator[str, None]:
        clock = asyncio.get_running_loop().time
        looked = clock()
        yield f"retry: {RETRY_MILLISECONDS}\n"
        steps = self._streams.follow(
            actor.tenant_id, asked.since, all_live=asked.all_live, beat=BEAT_SECONDS
        )
        async with aclosing(steps):
            try:
                async for step in steps:
                    if clock() - looked >= BEAT_SECONDS:
                        await self._allowed(request)
                        looked = clock()
                    yield _written(step, asked.wants)
            except Refusal as refusal:
                yield _named("end", refusal.code, str(refusal.detail))
            except TRANSIENT:
                yield _named("end", "ServiceUnavailable", "the database is away; come again")


class _Stream(StreamingResponse):
    """A response that says when it is over, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, texts: AsyncGenerator[str, None], on_end: Callable[[], None]) -> None:
        # No proxy is to keep or to collect it.
        super().__init__(texts, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._texts = texts
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await self._texts.aclose()


class _Asked:
    """From where on, of which job (None: of all), and whether each live event."""

    def __init__(self, since: Position | None, job_id: str | None, *, all_live: bool) -> None:
        self.since = since
        self.all_live = all_live
        self._job_id = job_id
        self._some = SomeEvents()

    def wants(self, event: Event) -> bool:
        """Whether an event is to be told. That others want each live event makes no more of them for this one."""
        if self._job_id is not None and event.job_id != self._job_id:
            return False
        return self.all_live or not is_live(event.topic) or self._some.takes_one()


def _asked(request: Request) -> _Asked:
    """What a request asks for. Raises Rejected."""
    query = request.query_params
    strange = query.keys() - {"jobId", "lastEventId", "live"}
    if strange:
        raise Refusal(400, "InvalidRequest", f"{min(strange)[:80]}: no such parameter")
    # A client that reconnects sends the header, and the query it first came with.
    last = request.headers.get("last-event-id") or query.get("lastEventId")
    since = None if not last else read_position(last)
    job_id = check_name("jobId", query["jobId"], JOB_ID) if "jobId" in query else None
    live = query.get("live", "all")
    if live not in {"all", "some"}:
        raise Refusal(400, "InvalidRequest", f"live: {shorten(live)} is neither all nor some")
    return _Asked(since, job_id, all_live=live == "all")


def _written(step: Step, wanted: Callable[[Event], bool]) -> str:
    parts = []
    if step.missed:
        parts.append(_named("missed", "EventsMissed", "what happened before is not kept any more"))
    parts += [_event(one) for one in step.events if wanted(one)]
    # Where nothing is told: a sign of life that moves the client on behind what it did not want.
    parts.append(f":\nid: {step.position}\n\n")
    return "".join(parts)


def _event(event: Event) -> str:
    data = event.payload.replace("\n", "\ndata: ")
    return f"id: {event.behind}\ndata: {data}\n\n"


def _named(event: str, code: str, message: str) -> str:
    return f'event: {event}\ndata: {{"code":"{code}","message":{json.dumps(message)}}}\n\n'
