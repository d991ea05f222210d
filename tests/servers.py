"""The real servers of a test run: PostgreSQL and Mosquitto, in containers or as local processes.

JOBBROKER_TEST_SERVERS chooses: `docker` (testcontainers), `local` (the embedded PostgreSQL and the
machine's Mosquitto), or `auto`, the default: docker where an engine answers and has or gets the
images. Whichever it is, servers listen on free ports of loopback and a test sees one face.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import asyncpg

from broker.embedded.accounts import unprivileged_account
from broker.embedded.mosquitto import EmbeddedMosquitto, find_mosquitto, hand_over, listeners
from broker.embedded.ports import LOOPBACK, free_port
from broker.embedded.postgres import ADMIN, EmbeddedPostgres, connected
from tests.helpers import eventually

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

POSTGRES_IMAGE = "postgres:15"
MOSQUITTO_IMAGE = "eclipse-mosquitto:2"
_PASSWORD = "of-a-throw-away-server"
_PULL_SECONDS = 90
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the servers of this run come from, and why."""

    docker: bool
    reason: str


class PostgresServer(Protocol):
    """A PostgreSQL that a test may also take away and bring back; its port stays the same."""

    def url_of(self, database: str) -> str:
        """Return the address of one of its databases, as superuser."""

    async def start(self) -> object:
        """Start it, or start it again."""

    async def stop(self) -> None:
        """Stop it in order: sessions are cut, commits are kept."""

    async def remove(self) -> None:
        """End it for good."""


class MosquittoServer(Protocol):
    """A Mosquitto that a test may also take away and bring back; its ports stay the same."""

    @property
    def config(self) -> Path:
        """Its configuration file; the other files are beside it, to be written before a reload."""

    async def start(self) -> None:
        """Start it, or start it again."""

    async def stop(self) -> None:
        """Stop it in order: it saves its sessions."""

    async def kill(self) -> None:
        """End it as a power cut would."""

    async def reload(self) -> None:
        """Have it read users, rules and revocations again."""

    async def remove(self) -> None:
        """End it for good."""


def choose(wish: str) -> Choice:
    """Return where servers come from, for a wish of `docker`, `local` or `auto`.

    Raises ValueError for any other wish.
    """
    if wish == "docker":
        return Choice(docker=True, reason="as asked for")
    if wish == "local":
        return Choice(docker=False, reason="as asked for")
    if wish == "auto":
        problem = _docker_problem()
        return Choice(docker=not problem, reason=problem or "an engine answers")
    raise ValueError(f"JOBBROKER_TEST_SERVERS is {wish!r}; it may be docker, local or auto")


@cache
def _docker_problem() -> str:
    """Return why containers cannot be used here, or an empty text."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return "no container engine"
    if not _docker_answers("info"):
        return "no container engine answers"
    for image in (POSTGRES_IMAGE, MOSQUITTO_IMAGE):
        if not _docker_answers("image", "inspect", image) and not _docker_answers("pull", image):
            return f"the engine cannot get {image}"
    return ""


def _docker_answers(*words: str) -> bool:
    try:
        done = subprocess.run(
            ["docker", *words], capture_output=True, timeout=_PULL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def describe(choice: Choice) -> str:
    """Return one line for the head of the test report."""
    if choice.docker:
        return f"servers: docker ({POSTGRES_IMAGE}, {MOSQUITTO_IMAGE}), {choice.reason}"
    return f"servers: local (PostgreSQL of the wheel, {_mosquitto_text()}), {choice.reason}"


def _mosquitto_text() -> str:
    try:
        program = find_mosquitto()
    except RuntimeError as problem:
        return str(problem)
    return f"{program.path} {'.'.join(map(str, program.version))}"


def make_postgres(choice: Choice, directory: Path) -> PostgresServer:
    """Return a PostgreSQL that is not started yet; a local one keeps its data in `directory`."""
    if choice.docker:
        return ContainerPostgres()
    return LocalPostgres(directory / "postgres", durable=False)


def make_mosquitto(choice: Choice, config: Path) -> MosquittoServer:
    """Return a Mosquitto that is not started yet, for a configuration file.

    The files it names are next to it or below, by absolute path. `listener` lines name ports of
    loopback that are free.
    """
    return ContainerMosquitto(config) if choice.docker else LocalMosquitto(config)


def _container(image: str, *ports: int, at: int | None = None) -> DockerContainer:
    # The reaper is one more image to pull; the fixtures end what they start.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - half a second to import, and only where containers are used

    container = DockerContainer(image)
    bound = cast("dict[str, Any]", container.ports)  # typed narrower than what it is handed to
    for port in ports:
        bound[f"{port}/tcp"] = (LOOPBACK, at or port)
    return container


class LocalPostgres(EmbeddedPostgres):
    """The PostgreSQL of the wheel as a child of the test run."""

    async def remove(self) -> None:
        """End it for good."""
        await self.stop()


class ContainerPostgres:
    """PostgreSQL in a container."""

    def __init__(self) -> None:
        self._port = free_port()
        words = [word for setting in _FORGETFUL for word in ("-c", setting)]
        self._container = (
            _container(POSTGRES_IMAGE, 5432, at=self._port)
            .with_env("POSTGRES_PASSWORD", _PASSWORD)
            .with_command(["postgres", *words])
        )
        self._made = False

    def url_of(self, database: str) -> str:
        """Return the address of one of its databases, as superuser."""
        return f"postgresql://{ADMIN}:{_PASSWORD}@{LOOPBACK}:{self._port}/{database}"

    async def start(self) -> None:
        """Start it, or start it again with the data it had, and wait until it answers."""
        if self._made:
            await asyncio.to_thread(self._container.get_wrapped_container().start)
        else:
            await asyncio.to_thread(self._container.start)
            self._made = True
        await eventually(self._answers, timeout=60)

    async def stop(self) -> None:
        """Stop it in order; the data stays for a later start."""
        wrapped = self._container.get_wrapped_container()
        # Not SIGTERM, on which PostgreSQL waits for its sessions to end by themselves.
        await asyncio.to_thread(wrapped.kill, signal="SIGINT")
        await asyncio.to_thread(wrapped.wait)

    async def remove(self) -> None:
        """End it for good, with its data."""
        await asyncio.to_thread(self._container.stop)

    async def _answers(self) -> bool:
        try:
            async with connected(self.url_of("postgres")) as connection:
                return bool(await connection.fetchval("SELECT true"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise AssertionError(str(problem)) from problem


class LocalMosquitto:
    """The machine's Mosquitto as a child of the test run."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self._server = EmbeddedMosquitto(config)

    async def start(self) -> None:
        """Start it, or start it again, and wait until it accepts connections."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop it in order."""
        await self._server.stop()

    async def kill(self) -> None:
        """End it as a power cut would."""
        self._server.kill()
        await self._server.wait()

    async def reload(self) -> None:
        """Have it read users, rules and revocations again."""
        self._server.reload()

    async def remove(self) -> None:
        """End it for good."""
        await self._server.stop()


class ContainerMosquitto:
    """Mosquitto in a container that sees the configuration's directory under the same path."""

    def __init__(self, config: Path) -> None:
        self.config = config
        # Loopback inside a container is nobody else's; outside, its ports are bound to loopback.
        text = re.sub(r"(?m)^(listener\s+\d+)\s+127\.0\.0\.1\s*$", r"\1", config.read_text())
        inside = config.with_name(f"container-{config.name}")
        inside.write_text(text)
        self._account = unprivileged_account("mosquitto")
        directory = str(config.parent)
        self._container = (
            _container(MOSQUITTO_IMAGE, *(port for _, port in listeners(config)))
            .with_volume_mapping(directory, directory, "rw")
            .with_command(["/usr/sbin/mosquitto", "-c", str(inside)])
            .with_kwargs(user=self._user())
        )
        self._made = False

    async def start(self) -> None:
        """Start it, or start it again, and wait until it accepts connections."""
        hand_over(self.config, self._account)
        if self._made:
            await asyncio.to_thread(self._container.get_wrapped_container().start)
        else:
            await asyncio.to_thread(self._container.start)
            self._made = True
        await eventually(self._accepts, timeout=30)

    async def stop(self) -> None:
        """Stop it in order."""
        await self._end("SIGTERM")

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end("SIGKILL")

    async def reload(self) -> None:
        """Have it read users, rules and revocations again."""
        hand_over(self.config, self._account)
        wrapped = self._container.get_wrapped_container()
        await asyncio.to_thread(wrapped.kill, signal="SIGHUP")

    async def remove(self) -> None:
        """End it for good."""
        await asyncio.to_thread(self._container.stop)

    async def _end(self, how: str) -> None:
        wrapped = self._container.get_wrapped_container()
        await asyncio.to_thread(wrapped.reload)
        if wrapped.status == "running":
            await asyncio.to_thread(wrapped.kill, signal=how)
            await asyncio.to_thread(wrapped.wait)

    async def _accepts(self) -> bool:
        wrapped = self._container.get_wrapped_container()
        await asyncio.to_thread(wrapped.reload)
        assert wrapped.status == "running", wrapped.logs().decode()
        return all([await _is_served(port) for _, port in listeners(self.config)])

    def _user(self) -> str:
        if self._account is None:
            return f"{os.getuid()}:{os.getgid()}"
        return f"{self._account.uid}:{self._account.gid}"


async def _is_served(port: int) -> bool:
    """Tell whether a published port has a server behind: the engine's proxy accepts before that."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    try:
        await asyncio.wait_for(reader.read(1), 0.05)
    except TimeoutError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        writer.close()
