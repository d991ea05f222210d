"""A broker process with its HTTP doors open, on servers of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.serving import BrokerProcess, Site, site
from tests.conftest import Database, StartMosquitto


@dataclass(frozen=True, slots=True)
class HttpSite:
    """Where it listens, and the process behind it."""

    url: str
    broker: BrokerProcess
    site: Site


@asynccontextmanager
async def http_site(
    start_mosquitto: StartMosquitto, database: Database, directory: Path, **settings: str
) -> AsyncIterator[HttpSite]:
    """Start a Mosquitto and a broker on the database; settings are further variables of the broker's."""
    async with site(start_mosquitto, database, directory) as made:
        broker = await made.start(settings={"JOBBROKER_HTTP_PORT": "0", **settings})
        port = broker.lines("http_listening")[0]["port"]
        yield HttpSite(f"http://127.0.0.1:{port}", broker, made)
