"""Broker processes as they are deployed, to be paused, killed and started again, beside servers that live on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from broker.hooks import Place
from tests.conftest import Database, StartMosquitto
from tests.helpers import eventually, whole_lines
from tests.ports import reserved_ports
from tests.servers import MosquittoServer

START_SECONDS = 120
# As deployed where it matters here, but open, so that whatever a client sends does arrive.
_MOSQUITTO = """\
per_listener_settings false
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 1000000
max_queued_bytes 268435456
max_packet_size 262144
persistence true
persistence_location {{directory}}/data/
autosave_interval {autosave}
listener {internal} 127.0.0.1
listener {mounted} 127.0.0.1
mount_point default/
"""


class BrokerProcess:
    """One `jobbroker serve`; its log lines (JSON) are in `log`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, sink: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._sink = sink

    @property
    def pid(self) -> int:
        """The process id, also after its end."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it logged so far, or only the lines of one event."""
        told = [json.loads(line) for line in whole_lines(self.text()) if line.startswith("{")]
        return [line for line in told if event in (None, line["event"])]

    def text(self) -> str:
        """All it wrote."""
        return self._log.read_text(errors="replace")

    async def ready(self) -> None:
        """Wait until requests are being taken."""

        def is_ready() -> bool:
            if self._process.returncode is not None:
                raise RuntimeError(f"broker ended:\n{self.text()[-4000:]}")
            return any(line.strip() == "ready" for line in self.text().splitlines())

        await eventually(is_ready, timeout=START_SECONDS)

    async def kill(self) -> None:
        """End it as a power cut would; harmless when it has ended."""
        await self.end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in order; returns its exit code."""
        return await self.end(signal.SIGTERM)

    async def end(self, how: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        code = await asyncio.wait_for(self._process.wait(), START_SECONDS)
        self._sink.close()
        return code


@dataclass(slots=True)
class Site:
    """A Mosquitto, a database, and the broker processes that a test starts between them."""

    mosquitto: MosquittoServer
    database: Database
    mounted_port: int
    internal_port: int
    directory: Path
    plain: bool = False
    processes: list[BrokerProcess] = field(default_factory=list)

    @property
    def device_port(self) -> int:
        """Where devices and operators connect."""
        return self.internal_port if self.plain else self.mounted_port

    async def launch(
        self, *, pause_at: Place | None = None, settings: dict[str, str] | None = None
    ) -> BrokerProcess:
        """Start a broker without waiting for it; pause_at names where it stops (see `paused`)."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JOBBROKER_")}
        environment |= {
            "JOBBROKER_DATABASE_URL": self.database.url,
            "JOBBROKER_MQTT_URL": f"mqtt://127.0.0.1:{self.internal_port}",
            "JOBBROKER_MQTT_TOPICS": "plain" if self.plain else "mounted",
            "JOBBROKER_LOG_FORMAT": "json",
            "JOBBROKER_HTTP_PORT": "off",
            **(settings or {}),
        }
        if pause_at is not None:
            self._pause_file.unlink(missing_ok=True)
            environment["TEST_JOBBROKER_PAUSE_AT"] = pause_at
            environment["TEST_JOBBROKER_PAUSE_FILE"] = str(self._pause_file)
        log = self.directory / f"broker-{len(self.processes)}.log"
        sink = log.open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "broker", "serve", env=environment, stdout=sink, stderr=sink
        )
        self.processes.append(BrokerProcess(process, log, sink))
        return self.processes[-1]

    async def start(
        self, *, pause_at: Place | None = None, settings: dict[str, str] | None = None
    ) -> BrokerProcess:
        """Start a broker and wait until it takes requests."""
        process = await self.launch(pause_at=pause_at, settings=settings)
        await process.ready()
        return process

    @property
    def _pause_file(self) -> Path:
        return self.directory / "paused"

    async def paused(self) -> None:
        """Wait until a broker has stopped where it was told to."""
        await eventually(self._pause_file.exists, timeout=START_SECONDS)


@asynccontextmanager
async def site(
    start_mosquitto: StartMosquitto,
    database: Database,
    directory: Path,
    *,
    plain: bool = False,
    autosave: int = 1800,
    limits: Mapping[str, int] | None = None,
) -> AsyncIterator[Site]:
    """A running Mosquitto and a database; whatever brokers the test starts are ended with it.

    limits: settings of Mosquitto in the place of those as deployed, by name.
    """
    internal, mounted = reserved_ports(2)
    config = _MOSQUITTO.format(internal=internal, mounted=mounted, autosave=autosave)
    mosquitto = await start_mosquitto(_limited(config, limits or {}), {})
    made = Site(mosquitto, database, mounted, internal, directory, plain)
    try:
        yield made
    finally:
        for process in made.processes:
            await process.kill()


def _limited(config: str, limits: Mapping[str, int]) -> str:
    kept = [line for line in config.splitlines() if line.split()[0] not in limits]
    return "\n".join([*(f"{name} {value}" for name, value in limits.items()), *kept, ""])
