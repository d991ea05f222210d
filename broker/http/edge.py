"""What every request passes before any door: limits in size, time and number; and one line of log behind it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.causes import asked_by
from broker.http.limits import RateLimit
from broker.http.refusal import Refusal
from broker.logs import LineQuota
from broker.mqtt.codec import TRACEPARENT, traceparent_of
from schema.limits import COMMAND_BYTES

if TYPE_CHECKING:
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

BODY_SECONDS: Final = 30.0
# Bodies that are too large: so many of one address are answered at once, and one in so many seconds on the long run.
# Each further answer is late, and whoever sends one after the other comes less often: every one costs 2 ms.
_LARGE_AT_ONCE: Final = 5.0
_LARGE_RATE: Final = 0.2
# Below the time that requests have to end in when the process does.
LARGE_PAUSE_SECONDS: Final = 1.5
_UNROUTED: Final = "unknown"
_OURS: Final = 500
_TOO_LARGE: Final = 413
_HALF_READ: Final = (408, _TOO_LARGE)
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")

# Called with the operation (method and the route's path), the status, and after how many seconds the answer began.
Observe = Callable[[str, int, float], None]


class Edge:
    """The outermost application: refuses what is too much, hands the rest on, and notes how it went.

    per_address bounds the requests of one address. A body beyond 262144 bytes is refused when its size is known, and
    as soon as it is that large otherwise; one that is not there after 30 s is waited for no longer. An address that
    sends too large ones again and again waits for its answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_address: RateLimit,
        observe: Observe,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._tracing = tracing
        self._per_address = per_address
        self._too_large = RateLimit(_LARGE_RATE, _LARGE_AT_ONCE)
        self._observe = observe
        self._lines = LineQuota()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        watched = _Watched(send, lambda: self._too_large.take(address_of(scope)) is not None)
        if self._tracing is not None:
            asked_by.set(_traceparent_of(scope))
        try:
            self._refuse_early(scope)
            await self._app(scope, _Bounded(receive), watched)
        except Refusal as refusal:
            if watched.status is None:
                await _answer_early(scope, refusal, watched)
        except Exception:
            # The application has logged and answered it, before it raised it once more.
            if watched.status is None:
                raise
        finally:
            self._note(scope, watched, started)

    def _refuse_early(self, scope: Scope) -> None:
        wait = self._per_address.take(address_of(scope))
        if wait is not None:
            raise Refusal(429, "RequestThrottled", "too many requests from your address", wait)
        hosts = []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length" and int(value) > COMMAND_BYTES:
                raise _too_large(int(value))
        _require_host(scope, hosts)

    def _note(self, scope: Scope, watched: _Watched, started: float) -> None:
        ended = time.perf_counter()
        status = watched.status or 500
        path = scope.get("operation")
        # Methods come from outside, too: without a route they are not names for figures.
        operation = f"{scope['method']} {path}" if path else _UNROUTED
        # A stream of events ends when its reader leaves: that says nothing about us.
        self._observe(operation, status, (watched.began or ended) - started)
        if self._tracing is not None:
            shown: dict[str, str | int] = {
                "http.response.status_code": status,
                "who": str(scope.get("who") or ""),
            }
            self._tracing.note(
                operation, ended - started, shown, parent=asked_by.get(), failed=status >= _OURS
            )
        left_out = self._lines.allow()
        if left_out is not None:
            log.info(
                "http",
                operation=operation,
                status=status,
                milliseconds=round(1000 * (ended - started), 1),
                who=scope.get("who"),
                address=address_of(scope),
                left_out=left_out,
            )


def _traceparent_of(scope: Scope) -> str | None:
    given = Headers(scope=scope).get(TRACEPARENT)
    return None if given is None else traceparent_of([(TRACEPARENT, given)])


def address_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _require_host(scope: Scope, hosts: list[bytes]) -> None:
    """RFC 9112, 3.2: HTTP/1.1 has Host once, in all versions it is a name or an address. Raises Refusal."""
    if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
        raise Refusal(400, "InvalidRequest", f"Host: is there {len(hosts)} times, once is allowed")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refusal(400, "InvalidRequest", "Host: has characters that no host name has")


def _too_large(size: int) -> Refusal:
    return Refusal(
        _TOO_LARGE,
        "PayloadTooLarge",
        f"body: has {size} bytes, at most {COMMAND_BYTES} are allowed",
    )


class _Watched:
    """A `send` that remembers the status, and when the answer began; `is_pest` says whether a 413 may wait."""

    def __init__(self, send: Send, is_pest: Callable[[], bool]) -> None:
        self._send = send
        self._is_pest = is_pest
        self.status: int | None = None
        self.began: float | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # A pause that is meant is no time that the work took.
            self.status, self.began = message["status"], time.perf_counter()
            if self.status == _TOO_LARGE and self._is_pest():
                # Nothing is read meanwhile, beyond what is on its way.
                await asyncio.sleep(LARGE_PAUSE_SECONDS)
            if self.status in _HALF_READ and (b"connection", b"close") not in message["headers"]:
                # What is still on its way would have to be read before the next request.
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)


class _Bounded:
    """A `receive` that ends with a Refusal when a body is too large or too slow."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self._done = False
        self._deadline = time.monotonic() + BODY_SECONDS

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(
                408, "RequestTimeout", f"body: was not there within {BODY_SECONDS:g} s"
            ) from None
        self._size += len(message.get("body", b""))
        self._done = not message.get("more_body", False)
        if self._size > COMMAND_BYTES:
            raise _too_large(self._size)
        return message


async def _answer_early(scope: Scope, refusal: Refusal, send: Send) -> None:
    from broker.http.answers import refused  # noqa: PLC0415 - it needs the address from here

    answer = refused(Request(scope), refusal)
    # What is on its way is not read: the connection is of no further use.
    answer.headers["connection"] = "close"
    await answer(scope, _nothing, send)


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}
