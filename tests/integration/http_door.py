"""HTTP doors inside a test's own process, on a free port and the test's database: to reach what a process hides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from starlette.routing import BaseRoute

from broker.audience import Audience
from broker.http.customer import CustomerJobs
from broker.http.device import DeviceJobs
from broker.http.doors import Doors
from broker.http.events import FollowEvents
from broker.http.identity import Identity
from broker.http.limits import RateLimit
from broker.http.rest import rest_routes
from broker.http.server import HttpServer, create_app
from broker.http.stack_runs import SeedRuns
from broker.metrics import Metrics
from broker.streams import Streams
from handlers.context import Outside
from handlers.database import Pool
from handlers.documents import Documents
from schema.topics import TopicMode
from tests.helpers import PATIENCE


@asynccontextmanager
async def http_door(
    routes: Sequence[BaseRoute], *, per_address: RateLimit | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve these routes; yields a client whose paths begin there."""
    server = HttpServer(
        create_app(routes),
        per_address=per_address or RateLimit(0, 1),
        observe=lambda _what, _status, _for: None,
    )
    port = server.listen("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run())
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE
        ) as client:
            yield client
        await server.close()
        await running


def every_door(pool: Pool) -> list[BaseRoute]:
    """All routes that take a token, over a test's database, with nobody behind to be told."""
    doors = Doors(
        pool=pool,
        documents=Documents(1_000_000),
        slot=0,
        tell=lambda _told, _cause=None: None,
        outside=Outside(),
        nobody_hears=lambda _tenant, _topic: False,
        metrics=Metrics(),
        streams=Streams(pool, Audience(TopicMode.MOUNTED)),
    )
    identity = Identity(pool, per_key=RateLimit(0, 1))
    return [
        *CustomerJobs(doors, identity).routes(),
        *DeviceJobs(doors, identity).routes(),
        *SeedRuns(doors, identity).routes(),
        *rest_routes(doors, identity),
        *FollowEvents(pool, doors.streams, identity).routes(),
    ]
