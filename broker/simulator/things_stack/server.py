"""The installation on loopback: every host a port of its own, all in one uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.simulator.things_stack.application import Application
from broker.simulator.things_stack.faults import Faults
from broker.simulator.things_stack.options import Options
from broker.simulator.things_stack.record import Record
from broker.simulator.things_stack.state import Host, Stack

LOOPBACK = "127.0.0.1"
_BACKLOG = 256
_DRAIN_SECONDS = 1


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which lets the application cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class _Server(uvicorn.Server):
    """uvicorn without its hand on the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ThingsStackServer:
    """A running installation: its hosts, its state, the plan of faults and the record of requests."""

    def __init__(self, options: Options) -> None:
        """Make it; `listen` and `run` bring it up."""
        self.stack = Stack(options)
        self.faults = Faults()
        self.record = Record()
        self._application = Application(self.stack, self.faults, self.record)
        self._sockets: list[socket.socket] = []
        config = uvicorn.Config(
            self._application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        self._server = _Server(config)

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts by their clusters' names; `address` is `127.0.0.1:port`."""
        return self.stack.hosts

    @property
    def identity(self) -> Host:
        """The host with the identity server."""
        return next(host for host in self.hosts.values() if host.plan.identity)

    def url(self, name: str | None = None) -> str:
        """The base of a host's API, without /api/v3; the identity server's without a name."""
        host = self.identity if name is None else self.hosts[name]
        return f"http://{host.address}"

    def listen(self, ports: Mapping[str, int] | None = None) -> None:
        """Take a port for each host, a free one where none is named. Raises OSError when one is taken."""
        for host in self.hosts.values():
            wanted = (ports or {}).get(host.name, 0)
            taken = socket.create_server((LOOPBACK, wanted), backlog=_BACKLOG)
            taken.settimeout(0)
            # asyncio does this only for sockets that name TCP as their protocol, which these do not.
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(taken)
            self._application.listens(host, taken.getsockname()[1])

    async def run(self) -> None:
        """Answer until `close`."""
        await self._server.serve(sockets=self._sockets)

    def close(self) -> None:
        """Take no more requests; those under way have a second."""
        self._application.closing.set()
        self._server.should_exit = True


@asynccontextmanager
async def running_things_stack(
    options: Options | None = None, ports: Mapping[str, int] | None = None
) -> AsyncIterator[ThingsStackServer]:
    """An installation for as long as the block lasts, in the running loop."""
    server = ThingsStackServer(options or Options())
    server.listen(ports)
    serving = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.close()
        await serving
