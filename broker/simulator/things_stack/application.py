"""The hosts as one ASGI application: a request's way from its port to a handler and back, faults included."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from broker.simulator.things_stack.call import Call, Reply, as_object
from broker.simulator.things_stack.errors import (
    ABORTED,
    INTERNAL,
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    REDIS,
    RIGHTS,
    UNAUTHENTICATED,
    UNAVAILABLE,
    StackError,
    gateway_error,
)
from broker.simulator.things_stack.faults import AFTERWARDS, IN_FRONT, INSIDE, Fault, Faults, Kind
from broker.simulator.things_stack.ids import check_id
from broker.simulator.things_stack.rates import Rates
from broker.simulator.things_stack.record import Record, Request
from broker.simulator.things_stack.routes import BASE, Route
from broker.simulator.things_stack.state import Document, Host, Stack
from broker.simulator.things_stack.table import router_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BODY: Final = 16 * 1024 * 1024
_NO_ID: Final = frozenset({"key_id", "f_port"})  # neither is an id that somebody chose
_FRONT_PAGES: Final = {
    Kind.BAD_GATEWAY: (502, "<html><head><title>502 Bad Gateway</title></head></html>\r\n"),
    Kind.QUOTING: (502, ""),
    Kind.MAINTENANCE: (503, "<html><body><h1>503 Service Unavailable</h1></body></html>\r\n"),
}


class Dropped(Exception):
    """The connection is to be cut without an answer."""


class Application:
    """Answers for every host; which one was asked, the port says."""

    def __init__(self, stack: Stack, faults: Faults, record: Record) -> None:
        """Take the state, the plan of faults, and where requests are written down."""
        self._stack, self._faults, self._record = stack, faults, record
        self._routers = {name: router_of(host, stack.options) for name, host in stack.hosts.items()}
        self._by_port: dict[int, Host] = {}
        self._rates = Rates(stack)
        self.closing = asyncio.Event()

    def listens(self, host: Host, port: int) -> None:
        """A host has its port."""
        self._by_port[port] = host
        host.address = f"127.0.0.1:{port}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or cut its connection."""
        exchange = _Exchange(scope, receive, send, self._by_port[scope["server"][1]])
        request = exchange.request(len(self._record.requests) + 1)
        self._record.begin(request)
        try:
            await self._answer(exchange, request)
        except Dropped:
            scope["transport"].abort()
            await exchange.gone()
        finally:
            self._record.end()

    async def _answer(self, exchange: _Exchange, request: Request) -> None:
        if self._stack.options.latency:
            await asyncio.sleep(self._stack.options.latency)
        front = self._faults.take(
            IN_FRONT, request.host, request.component, request.method, request.path
        )
        if front is not None and await self._in_front(front, exchange, request):
            return
        try:
            reply = await self._reply(exchange, request)
            status, body, headers = 200, reply.body, reply.headers
        except StackError as error:
            correlation_id = f"{self._stack.rng.getrandbits(128):032x}"
            status, body, headers = error.status, error.body(correlation_id), error_headers(error)
            request.error = error.name
        request.status = status
        await exchange.answer(status, self._written(body), headers | exchange.echoed())

    async def _in_front(self, fault: Fault, exchange: _Exchange, request: Request) -> bool:
        """Whether the fault was all the answer there is."""
        if fault.kind is Kind.DROP_BEFORE:
            raise Dropped
        if fault.kind is Kind.SLOW:
            await self._wait(fault.seconds, exchange)
            return False
        request.status, page = _FRONT_PAGES[fault.kind]
        if fault.kind is Kind.QUOTING:
            page = f"<html><pre>{request.method} {request.path}\n{exchange.quoted()}</pre></html>"
        await exchange.answer(request.status, page, {"content-type": "text/html"})
        return True

    async def _wait(self, seconds: float, exchange: _Exchange) -> None:
        """Take that long, unless the client hangs up or the server is to end."""
        await exchange.read()
        waiting = [
            asyncio.ensure_future(exchange.gone()),
            asyncio.ensure_future(self.closing.wait()),
        ]
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        if done:
            raise Dropped

    async def _reply(self, exchange: _Exchange, request: Request) -> Reply:
        route, params = self._routers[request.host].find(request.method, exchange.path)
        call = await self._call(exchange, route, params)
        for name, value in params.items():
            if name not in _NO_ID:
                check_id(name, value)
        for check in route.checks:
            check(call)
        headers = self._rates.count(route, params, request.key_id)
        place = (request.host, request.component, request.method, request.path)
        inside = self._faults.take(INSIDE, *place)
        if inside is not None:
            raise _error_of(inside, params.get("application_id", ""))
        reply = route.handler(call)
        self._after(self._faults.take(AFTERWARDS, *place))
        reply.headers |= headers
        if call.component == "is" and call.caller.warning:
            reply.headers["X-Warning"] = call.caller.warning
        return reply

    def _after(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.kind is Kind.DROP_AFTER:
            raise Dropped
        if fault.kind is Kind.DONE_BUT_ERROR:
            raise StackError(INTERNAL, REDIS, "store", "store error")
        assert fault.action is not None, "a fault `then` needs an action"  # noqa: S101 - told to who wrote the test
        fault.action()

    async def _call(self, exchange: _Exchange, route: Route, params: dict[str, str]) -> Call:
        return Call(
            stack=self._stack,
            host=exchange.host,
            component=route.component,
            params=params,
            query=parse_qsl(exchange.query, keep_blank_values=True),
            authorization=exchange.header("authorization"),
            body=decoded(await exchange.read()),
        )

    def _written(self, body: Document) -> str:
        """JSON with a space here or there, as the real server has it, differing from one release to another."""
        separators = self._stack.rng.choice([(",", ":"), (", ", ": "), (",", ": ")])
        return json.dumps(body, separators=separators)


class _Exchange:
    """One request and its answer on the wire."""

    def __init__(self, scope: Message, receive: Receive, send: Send, host: Host) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._body: bytes | None = None
        self._gone = False
        self.host = host
        self.path: str = scope["raw_path"].decode("ascii")
        self.query: str = scope["query_string"].decode("ascii", "replace")

    def header(self, name: str) -> str | None:
        wanted = name.encode()
        found = [value for key, value in self._scope["headers"] if key == wanted]
        return found[0].decode("latin-1") if found else None

    def quoted(self) -> str:
        lines = (b": ".join(pair) for pair in self._scope["headers"])
        return b"\n".join(lines).decode("latin-1")

    def echoed(self) -> dict[str, str]:
        request_id = self.header("x-request-id")
        return {} if request_id is None else {"X-Request-Id": request_id}

    def request(self, number: int) -> Request:
        path = self.path.removeprefix(BASE)
        first = path.split("/")[1] if path.startswith("/") else ""
        component = {"ns": "ns", "as": "as", "js": "js", "edcs": "dcs"}.get(first, "is")
        parts = (self.header("authorization") or "").split(".")
        key_id = parts[1] if len(parts) > 2 else ""  # noqa: PLR2004 - prefix, id, secret
        method = self._scope["method"]
        return Request(number, self.host.name, component, method, path, self.query, key_id)

    async def read(self) -> bytes:
        """The body. Raises StackError (400) beyond 16 MiB."""
        if self._body is None:
            body, more = b"", True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._gone = True
                    raise Dropped
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BODY:
                    raise gateway_error(INVALID_ARGUMENT, "http: request body too large")
            self._body = body
        return self._body

    async def gone(self) -> None:
        """Returns when the connection is no more."""
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    async def answer(self, status: int, body: str, headers: dict[str, str]) -> None:
        content = body.encode()
        headers = {"content-type": "application/json", **headers}
        if "gzip" in (self.header("accept-encoding") or ""):
            content = gzip.compress(content, compresslevel=1)
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(content))
        listed = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})
        await self._send({"type": "http.response.body", "body": content})


def decoded(body: bytes) -> Document:
    """The JSON object in a body, empty when there is no body. Raises StackError (400, no details)."""
    if not body.strip():
        return {}
    try:
        return as_object("request", json.loads(body))
    except ValueError as error:
        raise gateway_error(INVALID_ARGUMENT, f"proto: syntax error: {error}") from None


def error_headers(error: StackError) -> dict[str, str]:
    """What goes with a refusal besides its body."""
    headers = {"WWW-Authenticate": "Bearer"} if error.code == UNAUTHENTICATED else {}
    return headers | error.headers


def _error_of(fault: Fault, application_id: str) -> StackError:
    if fault.kind is Kind.RATE_LIMITED:
        error = Rates.refusal("fault", 60)
        error.headers["X-Rate-Limit-Retry"] = str(fault.retry)
        return error
    if fault.kind is Kind.ABORTED:
        return StackError(ABORTED, REDIS, "transaction_failed", "transaction failed")
    if fault.kind is Kind.NO_RIGHTS:
        text = "no application rights for `{uid}`"
        attributes = {"uid": application_id}
        return StackError(PERMISSION_DENIED, RIGHTS, "no_application_rights", text, attributes)
    if fault.kind is Kind.UNAVAILABLE:
        return StackError(UNAVAILABLE, "pkg/cluster", "peer_unavailable", "peer unavailable")
    return StackError(INTERNAL, "pkg/errors", "internal", "internal error")
