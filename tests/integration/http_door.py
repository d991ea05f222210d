"""HTTP doors inside a test's own process, on a free port and the test's database: to reach what a process hides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from starlette.routing import BaseRoute

from broker.http.limits import RateLimit
from broker.http.server import HttpServer, create_app


@asynccontextmanager
async def http_door(routes: Sequence[BaseRoute]) -> AsyncIterator[httpx.AsyncClient]:
    """Serve these routes; yields a client whose paths begin there."""
    server = HttpServer(
        create_app(routes), per_address=RateLimit(0, 1), observe=lambda _what, _status, _for: None
    )
    port = server.listen("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
        await server.close()
        await running
