"""HTTP clients that nobody wants: those that hold connections, and one whose body has no end in sight.

Half of those that hold never finish their headers, half never finish a body; each sends a byte a second and comes
again at once when it is hung up on. The one beside them sends a body of 10^9 bytes as fast as it is taken, in turn with
its length said before and in chunks; refused, it begins anew. A process of its own: python -m broker.bench.annoying,
with port, token and how many in the environment. Ended, it says in a line of JSON what became of them. It runs at the
lowest priority: elsewhere these clients would be other machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from broker.embedded.ports import LOOPBACK
from broker.priority import step_back

PORT, TOKEN, HOLDERS = (f"JOBBROKER_BENCH_HTTP_{name}" for name in ("PORT", "TOKEN", "HOLDERS"))
HUGE_BYTES: Final = 1_000_000_000
_PIECE: Final = b" " * 65_536
_BYTE_SECONDS: Final = 1.0
# Refused at once it would measure how fast one address can ask, which another limit bounds.
_AGAIN_SECONDS: Final = 0.1
_LOWEST: Final = 19
_LOST: Final = (OSError, asyncio.IncompleteReadError)


class Annoyance:
    """Clients of one port; `told` counts what became of them."""

    def __init__(self, port: int, token: str) -> None:
        """Take the port on loopback, and an operator's token: bodies of strangers are not read at all."""
        self._port = port
        self._head = (
            "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        ).encode()
        self.told: Counter[str] = Counter()

    async def hold(self, *, headers_done: bool, holding: asyncio.Event) -> None:
        """Keep a connection busy for as long as it is kept, again and again; `holding` is set by the first."""
        first, filler = self._head, b"x"
        if headers_done:
            first, filler = self._head + b"Content-Length: 200000\r\n\r\n", b" "
        while True:
            with contextlib.suppress(*_LOST):
                async with self._connected() as (reader, writer):
                    writer.write(first)
                    await writer.drain()
                    self.told["held"] += 1
                    holding.set()
                    await self._trickle(reader, writer, filler)
            self.told["hung_up_on"] += 1
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _trickle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, filler: bytes
    ) -> None:
        ended = asyncio.ensure_future(_until_hung_up(reader))
        try:
            while True:
                await asyncio.wait({ended}, timeout=_BYTE_SECONDS)
                if ended.done():
                    return
                writer.write(filler)
                await writer.drain()
        finally:
            ended.cancel()

    async def send_huge(self) -> None:
        """Send a body of 10^9 bytes for as long as it is taken, again and again."""
        for chunked in itertools.cycle((True, False)):
            self.told["huge_bodies"] += 1
            with contextlib.suppress(*_LOST):
                async with self._connected() as (reader, writer):
                    status = asyncio.ensure_future(self._read_status(reader))
                    try:
                        await self._pour(writer, status, chunked=chunked)
                        await status
                    finally:
                        status.cancel()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _pour(
        self, writer: asyncio.StreamWriter, status: asyncio.Future[None], *, chunked: bool
    ) -> None:
        how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {HUGE_BYTES}"
        writer.write(self._head + how.encode() + b"\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE) if chunked else _PIECE
        sent = 0
        # To its end whatever is answered: one that stops would be a polite one. It ends when it is cut off.
        while sent < HUGE_BYTES:
            writer.write(piece)
            await writer.drain()
            sent += len(_PIECE)
            self.told["huge_bytes"] += len(_PIECE)
            # Loopback takes much without a pause, and the answer is to be read, too.
            await asyncio.sleep(0)
        if not status.done():
            self.told["huge_taken_whole"] += 1

    async def _read_status(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(*_LOST):
            line = await reader.readuntil(b"\r\n")
            self.told[f"huge_answered_{line.split()[1].decode()}"] += 1

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _until_hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(*_LOST):
        await reader.read()


async def main() -> None:
    """Annoy until SIGTERM; `ready` is said once all that hold a connection do."""
    step_back(_LOWEST)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    here = Annoyance(int(os.environ[PORT]), os.environ[TOKEN])
    holding = [asyncio.Event() for _ in range(int(os.environ[HOLDERS]))]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(here.hold(headers_done=number % 2 == 1, holding=one))
            for number, one in enumerate(holding)
        ]
        tasks.append(group.create_task(here.send_huge()))
        for one in holding:
            await one.wait()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()
        for task in tasks:
            task.cancel()
    sys.stdout.write(json.dumps(here.told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Not uvloop: its transports raise RuntimeError when they are written to after the peer's reset.
    asyncio.run(main())
