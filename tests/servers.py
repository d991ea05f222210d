"""The real servers of a test run: PostgreSQL and Mosquitto, in containers or as local processes.

JOBBROKER_TEST_SERVERS chooses: `docker` (testcontainers), `local` (the embedded PostgreSQL and the
machine's Mosquitto), or `auto`, the default: docker where an engine answers and has or gets the
images. Whichever it is, servers listen on free ports of loopback and a test sees one face.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from broker.embedded.mosquitto import EmbeddedMosquitto, find_mosquitto
from broker.embedded.postgres import EmbeddedPostgres
from tests.containers import (
    MOSQUITTO_IMAGE,
    POSTGRES_IMAGE,
    ContainerMosquitto,
    ContainerPostgres,
)

_PULL_SECONDS = 90


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


class LocalPostgres(EmbeddedPostgres):
    """The PostgreSQL of the wheel as a child of the test run."""

    async def remove(self) -> None:
        """End it for good."""
        await self.stop()


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
