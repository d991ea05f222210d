"""The HTTP listener inside the serving process: the application made of all doors, and uvicorn under it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp

from broker.http.answers import refused
from broker.http.connections import MOST_CONNECTIONS, BoundedProtocol, spare_the_log
from broker.http.edge import Edge, Observe
from broker.http.limits import RateLimit
from broker.http.refusal import Refusal

if TYPE_CHECKING:
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

_KEEP_ALIVE_SECONDS: Final = 30
_DRAIN_SECONDS: Final = 2
_NOT_ALLOWED: Final = 405


def create_app(routes: Sequence[BaseRoute]) -> FastAPI:
    """The application that answers at these routes; errors have the form of the door they happen at.

    FastAPI's own documents are off: ours are made from the table of commands (`broker.http.openapi`).
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.extend(routes)
    app.add_exception_handler(HTTPException, _on_refusal)
    app.add_exception_handler(Exception, _on_fault)
    return app


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    response = refused(request, error)
    if error.status_code == _NOT_ALLOWED:
        response.headers["allow"] = ", ".join(_methods_of(request))
    return response


def _methods_of(request: Request) -> list[str]:
    """All that a path has (RFC 9110, 10.2.1): each is a route of its own, and Starlette names those of one."""
    routes: Sequence[BaseRoute] = request.app.router.routes
    found = [one for one in routes if one.matches(request.scope)[0] is not Match.NONE]
    return sorted({name for one in found for name in getattr(one, "methods", None) or ()})


async def _on_fault(request: Request, error: Exception) -> Response:
    log.error("request_failed", operation=request.url.path[:200], exc_info=error)
    message = "the request could not be handled; the broker's log says why"
    return refused(request, Refusal(500, "InternalError", message))


class _Server(uvicorn.Server):
    """uvicorn without its hand on the process's signals, which are the service's own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Listens from `listen` on, answers while `run` runs, and ends in order on `close`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_address: RateLimit,
        observe: Observe,
        tracing: Tracing | None = None,
    ) -> None:
        """Take the application, how often one address may come, and who is told of each request."""
        edge = Edge(app, per_address=per_address, observe=observe, tracing=tracing)
        config = uvicorn.Config(
            edge,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        self._server = _Server(config)
        spare_the_log()
        self._sockets: list[socket.socket] = []

    def listen(self, host: str, port: int) -> int:
        """Take one more port, 0 for a free one; returns which it is. Raises OSError when it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
        taken.settimeout(0)
        self._sockets.append(taken)
        found: int = taken.getsockname()[1]
        return found

    async def run(self) -> None:
        """Answer until `close`."""
        await self._server.serve(sockets=self._sockets)

    async def close(self) -> None:
        """Take no more requests; those under way have two seconds."""
        self._server.should_exit = True
        if not self._server.started:
            for taken in self._sockets:
                taken.close()
        await asyncio.sleep(0)
