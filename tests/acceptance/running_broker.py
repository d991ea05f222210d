"""A broker process that serves on servers of a test's own, with its command line beside it.

Two shapes with one face: `jobbroker up` with everything as its children, and `jobbroker serve` on
servers that run by themselves, as in containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt

from broker.embedded.ports import LOOPBACK
from broker.mosquitto_config import Bind, MosquittoConfig, render_config
from tests.acceptance.mqtt_probe import Login
from tests.helpers import PATIENCE, eventually
from tests.ports import reserved_port, reserved_ports
from tests.servers import Choice, MosquittoServer, make_mosquitto, make_postgres

READY_SECONDS = 120.0
COMMAND_SECONDS = 180.0
SERVING_LOGIN, SERVING_PASSWORD = "jobbroker_app", "of-a-test"
BROKER_PASSWORD = "of-the-broker-itself"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass(slots=True, kw_only=True)
class RunningBroker:
    """What runs and where. Ports are of loopback; `database_admin` sees all tenants' rows.

    `environment` is what its commands run with; add the hooks of a test before `restart`.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    ca_file: Path
    token_port: int
    certificate_port: int
    operators_port: int
    broker_mqtt: str
    database: str
    database_admin: str
    admin_token: str = ""
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def operator_url(self) -> str:
        """What --as takes to act as the operator `admin`, the owner."""
        return f"mqtt://admin:{self.admin_token}@{LOOPBACK}:{self.token_port}"

    @property
    def pid(self) -> int:
        """The process id of the broker; of all of `up`."""
        assert self.process
        return self.process.pid

    async def run(self, *arguments: str) -> Ended:
        """Run a command of `jobbroker`; returns how it ended."""
        return await run_command(self.environment, *arguments)

    async def cli(self, *arguments: str) -> Any:  # noqa: ANN401 - what a command prints as JSON
        """Run a command with --json and return what it printed; AssertionError when it fails."""
        ended = await self.run(*arguments, "--json")
        assert ended.code == 0, f"{arguments} ended with {ended.code}: {ended.err}"
        return json.loads(ended.out)

    def admin(self) -> Login:
        """Return the login of the operator `admin`, who is the owner."""
        return Login(self.token_port, "admin", self.admin_token)

    async def add_operator(self, name: str, role: str) -> Login:
        """Register an operator; returns the login once the MQTT server lets it in."""
        made = await self.cli("operators", "add", name, "--role", role)
        return await self._let_in(Login(self.token_port, name, made["token"]))

    async def add_thing(self, name: str, *options: str) -> Login:
        """Register a thing with a token; returns its login once the MQTT server lets it in."""
        made = await self.cli("things", "add", name, *options)
        return await self._let_in(Login(self.token_port, name, made[0]["token"]))

    async def add_thing_with_certificate(self, name: str, out: Path) -> Login:
        """Register a thing with a certificate, kept in `out`; it is let in at once."""
        made = (await self.cli("things", "add", name, "--cert", "--out", str(out)))[0]
        pair = (Path(made["certificate"]), Path(made["key"]))
        return Login(self.certificate_port, ca_file=Path(made["caFile"]), certificate=pair)

    def client(self, login: Login) -> aiomqtt.Client:
        """Return an MQTT 5 client for a token's login, to be used as a context manager."""
        return aiomqtt.Client(
            LOOPBACK,
            login.port,
            username=login.username,
            password=login.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=PATIENCE,
        )

    async def start(self) -> dict[str, Any]:
        """Start the process and wait until it serves; returns what it printed then."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "broker",
                *self.command,
                env=self.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout
        async with asyncio.timeout(READY_SECONDS):
            line = await self.process.stdout.readline()
        assert line, f"it did not start:\n{self.log.read_text()[-4000:]}"
        told = json.loads(line) if line.startswith(b"{") else {}
        return told if isinstance(told, dict) else {}

    async def stop(self) -> int:
        """End the process in order; returns its exit code."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_SECONDS):
            return await self.process.wait()

    async def kill(self) -> None:
        """End the process as `kill -9` does."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def _let_in(self, login: Login) -> Login:
        async def enters() -> bool:
            try:
                async with self.client(login):
                    return True
            except aiomqtt.MqttError:
                return False

        await eventually(enters)
        return login


async def run_command(environment: Mapping[str, str], *arguments: str) -> Ended:
    """Run `jobbroker` with only this environment; TimeoutError when it takes minutes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "broker",
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, out.decode(), err.decode())


def clean_environment(data_dir: Path) -> dict[str, str]:
    """Nothing of the developer's own settings, and a data directory of the test's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # Not 8000: several run at a time. Nor any that is free when `up` looks: it listens some seconds later.
    http_port = str(reserved_port())
    return {**kept, "JOBBROKER_DATA_DIR": str(data_dir), "JOBBROKER_HTTP_PORT": http_port}


@asynccontextmanager
async def running_up(directory: Path, **environment: str) -> AsyncIterator[RunningBroker]:
    """Run `jobbroker up` on a directory, and end it at the end."""
    broker = RunningBroker(
        command=("up", "--json", "--no-console"),
        environment={**clean_environment(directory / "data"), **environment},
        log=directory / "up.log",
        ca_file=directory / "data" / "ca.crt",
        token_port=0,
        certificate_port=0,
        operators_port=0,
        broker_mqtt="",
        database="",
        database_admin="",
    )
    try:
        told = await broker.start()
        broker.token_port = _port(told["mqtt"])
        broker.certificate_port = _port(told["mqtts"])
        broker.operators_port = _port(told["operators_mqtts"])
        broker.broker_mqtt = told["broker_mqtt"]
        broker.database = told["database"]
        broker.database_admin = told["database_admin"]
        broker.admin_token = unquote(urlsplit(told["operator"]).password or "")
        yield broker
    finally:
        if broker.process is not None:
            await broker.stop()


@asynccontextmanager
async def running_served(
    choice: Choice, directory: Path, **environment: str
) -> AsyncIterator[RunningBroker]:
    """Run `jobbroker serve` on a PostgreSQL and a Mosquitto of their own, and end all at the end."""
    async with AsyncExitStack() as stack:
        postgres = make_postgres(choice, directory)
        await postgres.start()
        stack.push_async_callback(postgres.remove)
        broker = _served(postgres.url_of("postgres"), directory, environment)
        for command in (("migrate",), ("ca", "init")):
            ended = await broker.run(*command)
            assert ended.code == 0, ended.err
        # It writes what Mosquitto reads, so it starts first, and waits.
        starting = asyncio.create_task(broker.start())
        stack.push_async_callback(_end, broker)
        access_dir = Path(broker.environment["JOBBROKER_ACCESS_DIR"])
        await eventually((access_dir / "crl.pem").exists, timeout=READY_SECONDS)
        mosquitto = make_mosquitto(choice, access_dir / "mosquitto.conf")
        await mosquitto.start()
        stack.push_async_callback(mosquitto.remove)
        await starting
        reloading = asyncio.create_task(_reload_on_change(access_dir, mosquitto))
        stack.callback(reloading.cancel)
        made = await broker.cli("operators", "add", "admin", "--role", "owner")
        broker.admin_token = made["token"]
        await broker._let_in(broker.admin())
        yield broker


def _served(database_admin: str, directory: Path, environment: Mapping[str, str]) -> RunningBroker:
    internal, plain, devices, operators, http = reserved_ports(5)
    access_dir = directory / "mosquitto"
    access_dir.mkdir()
    config = MosquittoConfig(
        auth_directory=str(access_dir),
        data_directory=str(access_dir / "data"),
        pid_file=None,
        internal=Bind(internal, LOOPBACK),
        plain=Bind(plain, LOOPBACK),
        devices=Bind(devices, LOOPBACK),
        operators=Bind(operators, LOOPBACK),
    )
    (access_dir / "mosquitto.conf").write_text(render_config(config))
    where = urlsplit(database_admin)
    login = f"{SERVING_LOGIN}:{SERVING_PASSWORD}@{where.hostname}:{where.port}"
    database = where._replace(netloc=login).geturl()
    broker_mqtt = f"mqtt://%40jobbroker:{BROKER_PASSWORD}@{LOOPBACK}:{internal}"
    return RunningBroker(
        command=("serve",),
        environment={
            **clean_environment(directory / "data"),
            "JOBBROKER_DATABASE_URL": database,
            "JOBBROKER_MIGRATION_URL": database_admin,
            "JOBBROKER_MQTT_URL": broker_mqtt,
            "JOBBROKER_ACCESS_DIR": str(access_dir),
            "JOBBROKER_HTTP_PORT": str(http),
            **environment,
        },
        log=directory / "serve.log",
        ca_file=directory / "data" / "ca" / "ca.crt",
        token_port=plain,
        certificate_port=devices,
        operators_port=operators,
        broker_mqtt=broker_mqtt,
        database=database,
        database_admin=database_admin,
    )


async def _end(broker: RunningBroker) -> None:
    if broker.process is not None:
        await broker.stop()


async def _reload_on_change(access_dir: Path, mosquitto: MosquittoServer) -> None:
    """Reload as a host's unit would (JOBBROKER_MQTT_PID_FILE is of no use across containers)."""

    def written() -> list[int]:
        files = [access_dir / name for name in ("passwd", "acl", "crl.pem")]
        return [file.stat().st_mtime_ns for file in files]

    # What was written before it started to look may have come after the server's start.
    seen: list[int] = []

    def is_new() -> bool:
        return written() != seen

    while True:
        await eventually(is_new, timeout=math.inf)
        seen = written()
        await mosquitto.reload()


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port
