"""PostgreSQL and Mosquitto in containers, by testcontainers, with the face of tests/servers.py."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from broker.embedded.accounts import unprivileged_account
from broker.embedded.mosquitto import directives, hand_over, listeners
from broker.embedded.ports import LOOPBACK
from broker.embedded.postgres import ADMIN, connected
from tests.helpers import eventually
from tests.ports import reserved_port

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

POSTGRES_IMAGE = "postgres:15"
MOSQUITTO_IMAGE = "eclipse-mosquitto:2"
_PASSWORD = "of-a-throw-away-server"
_ANSWER_SECONDS = 5.0
# MQTT 3.1.1 without a name or a session; whatever the server thinks of it, it answers (MQTT 3.1.1, 3.1 and 3.2).
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
_FORGETFUL = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=256MB",
)


class ContainerPostgres:
    """PostgreSQL in a container."""

    def __init__(self) -> None:
        self._port = reserved_port()
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
        await eventually(self._answers)

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
        await eventually(self._accepts)

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
        return all([await _is_served(*one) for one in _served_at(self.config)])

    def _user(self) -> str:
        if self._account is None:
            return f"{os.getuid()}:{os.getgid()}"
        return f"{self._account.uid}:{self._account.gid}"


def _served_at(config: Path) -> list[tuple[int, bool]]:
    """The port of each listener, and whether it speaks TLS."""
    found: list[tuple[int, bool]] = []
    for name, value in directives(config):
        if name == "listener":
            found.append((int(value.split()[0]), False))
        elif name == "certfile":
            found[-1] = (found[-1][0], True)
    return found


async def _is_served(port: int, with_tls: bool) -> bool:
    """Tell whether a published port has a server behind that speaks.

    That it accepts says nothing: the engine's proxy does so before, and hangs up when it has found nobody, which takes
    as long as the machine is busy.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(
                LOOPBACK, port, ssl=_anybody() if with_tls else None
            )
            try:
                if not with_tls:  # else it has spoken in the handshake
                    writer.write(_CONNECT)
                    return bool(await reader.read(1))
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return True


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _container(image: str, *ports: int, at: int | None = None) -> DockerContainer:
    # The reaper is one more image to pull; the fixtures end what they start.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - half a second to import, and only where containers are used

    container = DockerContainer(image)
    bound = cast("dict[str, Any]", container.ports)  # typed narrower than what it is handed to
    for port in ports:
        bound[f"{port}/tcp"] = (LOOPBACK, at or port)
    return container
