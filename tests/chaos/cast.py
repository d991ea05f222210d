"""Who takes part: PostgreSQL, Mosquitto, the brokers, and the proxies between them. Each can be hurt and healed."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from broker.bench.children import Served
from broker.cli.callers import DatabaseCaller
from broker.embedded.accounts import EmbeddedServerError
from broker.embedded.mosquitto import EmbeddedMosquitto
from broker.embedded.ports import LOOPBACK
from broker.embedded.postgres import EmbeddedPostgres, connected
from broker.mosquitto_config import Bind, MosquittoConfig, render_config
from broker.serving import access_files
from broker.settings import load_settings
from broker.simulator.registration import join, register
from handlers.database import TRANSIENT, create_pool
from tests.acceptance.running_broker import Ended, run_command
from tests.chaos.disk import SmallDisk
from tests.chaos.operator import OPERATOR, WORKERS
from tests.chaos.proxy import Proxy
from tests.helpers import eventually, settled
from tests.ports import reserved_ports

# What a server that is away, going or coming answers.
AWAY: Final = (*TRANSIENT, asyncpg.PostgresError)
_LOGIN, _PASSWORD, _BROKER_PASSWORD = "jobbroker_app", "of-a-test", "of-the-broker-itself"
_AUTOSAVE_SECONDS: Final = 5
_UP_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0


@dataclass(slots=True)
class Seat:
    """A broker's place: its own proxies to both servers, and the process that sits there now.

    What ends without our doing is started again, as a service manager does, and kept in `ended_alone`.
    """

    number: int
    mqtt: Proxy
    database: Proxy
    environment: dict[str, str]
    directory: Path
    lives: list[Served] = field(default_factory=list)
    ended_alone: list[str] = field(default_factory=list)
    wanted: bool = False

    @property
    def pid(self) -> int | None:
        """The process id, None while none runs."""
        return self.lives[-1].pid if self.lives else None

    async def serve(self) -> None:
        """Start a process and wait until it takes requests; again when it ends, for it may find no database.

        Raises EmbeddedServerError when none takes requests within a minute.
        """
        failed: EmbeddedServerError | None = None

        async def takes_requests() -> bool:
            nonlocal failed
            log = self.directory / f"broker-{self.number + 1}.{len(self.lives) + 1}.log"
            process = Served(f"broker {self.number + 1}", log)
            self.lives.append(process)
            try:
                await process.serve(["broker", "serve"], self.environment)
            except EmbeddedServerError as error:
                failed = error
                return False
            return True

        if not await settled(takes_requests, timeout=_UP_SECONDS):
            raise failed or EmbeddedServerError(f"broker {self.number + 1} does not take requests")
        self.wanted = True

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.wanted = False
        if self.lives:
            self.lives[-1].kill()
            await self.lives[-1].wait()

    async def finish(self) -> int:
        """Stop it in order; returns its exit code."""
        self.wanted = False
        if not self.lives:
            return 0
        await self.lives[-1].end((signal.SIGTERM, _STOP_SECONDS))
        return await self.lives[-1].wait()

    async def look_after(self) -> None:
        """Start again what ended alone, until cancelled."""
        while True:
            await eventually(self._has_ended_alone, timeout=math.inf)
            life = self.lives[-1]
            self.ended_alone.append(f"{life.name}: exit {await life.wait()}: {life.tail()}")
            with suppress(EmbeddedServerError):
                await self.serve()

    def _has_ended_alone(self) -> bool:
        return self.wanted and bool(self.lives) and not self.lives[-1].is_running()


@dataclass(slots=True)
class Cast:
    """All that runs. `tokens` are the things' and the operator's."""

    directory: Path
    disk: SmallDisk
    postgres: EmbeddedPostgres
    mosquitto: EmbeddedMosquitto
    devices: Proxy
    seats: list[Seat]
    tokens: dict[str, str]
    operator_token: str
    mosquitto_wanted: bool = False
    mosquitto_crashes: list[int] = field(default_factory=list)

    async def look_after_mosquitto(self) -> None:
        """Start it again when it ended without our doing, until cancelled: as a service manager does.

        2.0.21 does now and then when it has just come back from a kill -9, by SIGSEGV, as it expires a session that
        it had saved. Exit codes are kept in `mosquitto_crashes`.
        """
        while True:
            await eventually(
                lambda: self.mosquitto_wanted and self.mosquitto.pid is None, timeout=math.inf
            )
            self.mosquitto_crashes.append(await self.mosquitto.wait())
            with suppress(EmbeddedServerError):
                await self.mosquitto.start()

    @property
    def proxies(self) -> list[Proxy]:
        """All of them."""
        return [self.devices, *(one for seat in self.seats for one in (seat.mqtt, seat.database))]

    @property
    def admin_url(self) -> str:
        """The database as its superuser sees it, past all proxies."""
        return self.postgres.url

    async def postgres_up(self) -> None:
        """Wait until PostgreSQL answers, starting it when it has ended. Raises EmbeddedServerError."""

        async def answers() -> bool:
            if self.postgres.pid is None:
                await self.postgres.start()
            with suppress(*AWAY):
                async with asyncio.timeout(2), connected(self.admin_url) as admin:
                    return bool(await admin.fetchval("SELECT true"))
            return False

        if not await settled(answers, timeout=_UP_SECONDS):
            raise EmbeddedServerError(f"PostgreSQL is not up after {_UP_SECONDS:g} s")

    async def run(self, *arguments: str) -> Ended:
        """Run a command of jobbroker beside the first broker."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return await run_command({**kept, **self.seats[0].environment}, *arguments)

    def logs(self) -> Iterable[tuple[str, str]]:
        """All that the brokers wrote, by the log's name."""
        for seat in self.seats:
            for life in seat.lives:
                yield life.log.name, life.log.read_text(encoding="utf-8", errors="replace")


@asynccontextmanager
async def staged(
    directory: Path, *, things: int, listeners: int, brokers: int, seed: int
) -> AsyncIterator[Cast]:
    """Start the servers, register the fleet and start the brokers; all ends with the block."""
    async with AsyncExitStack() as stack:
        cast = await _build(stack, directory, brokers=brokers, seed=seed)
        for command in (("migrate",), ("ca", "init")):
            ended = await cast.run(*command)
            if ended.code:
                raise EmbeddedServerError(f"jobbroker {' '.join(command)}: {ended.err}")
        await _register(cast, things=things, listeners=listeners)
        await cast.mosquitto.start()
        cast.mosquitto_wanted = True
        stack.push_async_callback(cast.mosquitto.stop)
        for proxy in cast.proxies:
            await proxy.open()
            stack.push_async_callback(proxy.close)
        for seat in cast.seats:
            stack.push_async_callback(seat.kill)
        await asyncio.gather(*(seat.serve() for seat in cast.seats))
        yield cast


async def _build(stack: AsyncExitStack, directory: Path, *, brokers: int, seed: int) -> Cast:
    disk = SmallDisk(directory / "disk")
    await disk.mount()
    stack.push_async_callback(disk.unmount)
    database, internal, plain, devices, *links = reserved_ports(4 + 2 * brokers)
    postgres = EmbeddedPostgres(disk.place / "postgres", port=database)
    _log_elsewhere(postgres, directory)
    await postgres.start()
    stack.push_async_callback(postgres.stop)
    access = directory / "mosquitto"
    access.mkdir()
    config = MosquittoConfig(
        auth_directory=str(access),
        data_directory=str(access / "data"),
        pid_file=None,
        internal=Bind(internal, LOOPBACK),
        plain=Bind(plain, LOOPBACK),
        devices=None,
        operators=None,
    )
    (access / "mosquitto.conf").write_text(_saving_often(render_config(config)))
    seats = []
    for number in range(brokers):
        mqtt = Proxy(f"mqtt {number + 1}", links[2 * number], internal, seed=seed)
        base = Proxy(f"database {number + 1}", links[2 * number + 1], database, seed=seed)
        environment = _environment(directory, postgres.url, mqtt=mqtt.port, database=base.port)
        seats.append(Seat(number, mqtt, base, environment, directory))
    return Cast(
        directory,
        disk,
        postgres,
        EmbeddedMosquitto(access / "mosquitto.conf"),
        Proxy("devices", devices, plain, seed=seed),
        seats,
        {},
        "",
    )


def _saving_often(config: str) -> str:
    """The worst that a crash can leave: sessions that are known, with queues of some seconds ago.

    With the deployed five minutes most crashes of a short run would find no sessions at all.
    """
    deployed = "autosave_interval 300"
    if deployed not in config:
        raise ValueError(f"the configuration has no line {deployed!r}")
    return config.replace(deployed, f"autosave_interval {_AUTOSAVE_SECONDS}")


def _log_elsewhere(postgres: EmbeddedPostgres, directory: Path) -> None:
    """What PostgreSQL says of a full disk must not go to that disk."""
    log = directory / "postgres.log"
    log.touch()
    postgres.directory.mkdir(parents=True)
    postgres.log.symlink_to(log)


def _environment(directory: Path, admin_url: str, *, mqtt: int, database: int) -> dict[str, str]:
    name = urlsplit(admin_url).path
    return {
        "JOBBROKER_DATABASE_URL": f"postgresql://{_LOGIN}:{_PASSWORD}@{LOOPBACK}:{database}{name}",
        "JOBBROKER_MIGRATION_URL": admin_url,
        "JOBBROKER_MQTT_URL": f"mqtt://%40jobbroker:{_BROKER_PASSWORD}@{LOOPBACK}:{mqtt}",
        "JOBBROKER_DATA_DIR": str(directory / "data"),
        "JOBBROKER_ACCESS_DIR": str(directory / "mosquitto"),
        "JOBBROKER_MQTT_PID_FILE": str(directory / "mosquitto" / "mosquitto.pid"),
        "JOBBROKER_LOG_FORMAT": "json",
        "JOBBROKER_HTTP_PORT": "off",
    }


async def _register(cast: Cast, *, things: int, listeners: int) -> None:
    """Things with tokens in their two groups, the operator, and Mosquitto's files for all of them."""
    names = [f"chaos-{number:04}" for number in range(things)]
    pool = await create_pool(cast.admin_url, size=2)
    try:
        caller = DatabaseCaller(pool, "default")
        cast.tokens = await register(caller, names)
        await join(caller, WORKERS, names[listeners:])
        made = await caller.call(
            "operators/create",
            {"operatorName": OPERATOR, "role": "manager", "issueToken": True},
        )
        cast.operator_token = str(made["token"])
        told = cast.seats[0].environment
        instead = {
            name.removeprefix("JOBBROKER_").lower(): value
            for name, value in told.items()
            if not name.endswith("DATABASE_URL")
        }
        files = access_files(load_settings(**instead, database_url=cast.admin_url), pool)
        files.prepare()
        with suppress(ProcessLookupError):  # Mosquitto reads them when it starts
            await files.run_once()
    finally:
        await pool.close()
