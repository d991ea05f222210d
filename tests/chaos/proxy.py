"""A TCP proxy on loopback that can be told to cut, to refuse, to delay, or to fall silent."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from typing import cast

from broker.embedded.ports import LOOPBACK
from tests.helpers import eventually

_HIGH_BYTES = 256 * 1024
_END = b""  # in the place of data: this side will send no more


class Proxy:
    """Forwards what comes to `port` (0: a free one, known once it listens) to `target`, both on loopback.

    Silent means what a network without a route does: nothing is forwarded, nothing is closed, and
    what was sent meanwhile arrives when it is healed, as TCP would send it again.
    """

    def __init__(self, name: str, port: int, target: int, *, seed: int = 0) -> None:
        self.name = name
        self.port = port
        self.target = target
        self.latency = self.jitter = 0.0
        self.random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self.pairs: set[_Side] = set()
        self.forwarded = 0
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def silent(self) -> bool:
        """Whether it forwards nothing."""
        return not self._speaks.is_set()

    async def open(self) -> None:
        """Listen; harmless when it does."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Side(self), LOOPBACK, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Cut all connections without a word and refuse new ones, until `heal`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Cut all connections; new ones are taken."""
        for side in list(self.pairs):
            side.abort()

    def stall(self) -> None:
        """Take connections and bytes, and forward nothing, until `heal`."""
        self._speaks.clear()
        for side in self.pairs:
            side.adjust()

    def delay(self, latency: float, jitter: float) -> None:
        """Let each way take `latency` and up to `jitter` seconds longer, until `heal`."""
        self.latency, self.jitter = latency, jitter

    async def heal(self) -> None:
        """Forward everything at once, again."""
        self._speaks.set()
        self.latency = self.jitter = 0.0
        await self.open()
        for side in self.pairs:
            side.adjust()

    async def close(self) -> None:
        """End it with all connections; nothing of it is left when this returns."""
        await self.cut()
        dialling = list(self._tasks)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        await eventually(self._is_gone)

    def _is_gone(self) -> bool:
        self.drop()
        return not self.pairs

    def dial(self, side: _Side) -> None:
        """Connect the other side of a connection that was taken."""
        if self._server is None:  # accepted before the cut and made after it
            side.abort()
            return
        task = asyncio.create_task(self._dial(side))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, side: _Side) -> None:
        await self._speaks.wait()
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Side(self, side), LOOPBACK, self.target)
        except OSError:
            side.abort()


class _Side(asyncio.Protocol):
    """One side of a forwarded connection; `peer` is the other."""

    def __init__(self, proxy: Proxy, peer: _Side | None = None) -> None:
        self._proxy = proxy
        self._accepted = peer is None
        self.peer = peer
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._late: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._full = self._paused = self._ended = False
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.set_write_buffer_limits(high=_HIGH_BYTES)
        self._proxy.pairs.add(self)
        if self._accepted:
            self._proxy.dial(self)
        elif self.peer is not None:
            if self.peer.transport is None:  # it hung up while we dialled
                self.abort()
                return
            self.peer.peer = self
            self.peer.catch_up()
        self.adjust()

    def catch_up(self) -> None:
        """Forward what came before there was another side."""
        early, self._early = self._early, []
        for data in early:
            self._forward(data)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        else:
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        proxy = self._proxy
        if not proxy.latency and not self._late:
            self._write(data)
            return
        due = self._loop.time() + proxy.latency + proxy.random.uniform(0.0, proxy.jitter)
        if self._late:
            due = max(due, self._late[-1][0])  # TCP keeps the order
        self._late.append((due, data))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._late and self._late[0][0] <= now:
            self._write(self._late.popleft()[1])
        if self._late:
            self._timer = self._loop.call_at(self._late[0][0], self._release)

    def _write(self, data: bytes) -> None:
        peer = self.peer
        if peer is None or peer.transport is None or peer.transport.is_closing():
            return
        if data is not _END:
            self._proxy.forwarded += len(data)
            peer.transport.write(data)
            return
        self._ended = True
        peer.transport.write_eof()
        if peer._ended and self.transport is not None:
            self.transport.close()
            peer.transport.close()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer._full = True
            self.peer.adjust()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer._full = False
            self.peer.adjust()

    def adjust(self) -> None:
        """Read, or leave it in the socket: while silent, and while the other side cannot take more."""
        wanted = self._proxy.silent or self._full
        if self.transport is None or self.transport.is_closing() or wanted == self._paused:
            return
        self._paused = wanted
        (self.transport.pause_reading if wanted else self.transport.resume_reading)()

    def eof_received(self) -> bool:
        if self.peer is None:
            return False
        self._forward(_END)
        return True  # half closed, until the other side has said its last word as well

    def abort(self) -> None:
        """Cut both sides."""
        for side in (self, self.peer):
            if side is not None and side.transport is not None:
                side.transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self._proxy.pairs.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        peer = self.peer
        if peer is not None and peer.transport is not None:
            peer.transport.close()
