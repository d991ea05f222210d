"""The processes that the bench starts beside the servers: the load, the answerers, the brokers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from broker.embedded.accounts import EmbeddedServerError, launcher
from broker.embedded.children import Child

_LINE_BYTES: Final = 64 * 1024 * 1024
_READY_SECONDS: Final = 60.0
_END_SECONDS: Final = 15.0


class LoadError(Exception):
    """The load generator could not do as it was told, or ended."""


class LoadProcess:
    """The load generator; see `broker.bench.load` for what it can be told."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def tell(self, do: str, **order: object) -> dict[str, Any]:
        """Give an order and return the answer. Raises LoadError."""
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None:
            raise LoadError("the load generator has no pipes")
        writer.write(json.dumps({"do": do, **order}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
        if not line:
            raise LoadError(f"the load generator ended; its log is {self._log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LoadError(f"the load generator could not {do}: {answer['error']}")
        return answer


@asynccontextmanager
async def load_process(directory: Path) -> AsyncIterator[LoadProcess]:
    """A load generator, for as long as the block lasts."""
    log = directory / "load.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *_python("broker.bench.load"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
    try:
        yield LoadProcess(process, log)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


class Served(Child):
    """A process of ours that prints `ready` on its own line when it serves."""

    async def serve(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `python -m` with these words; return when it is ready. Raises EmbeddedServerError."""
        self.log.unlink(missing_ok=True)
        await self.start([*_python(*words)], env=env)
        await self.until(self._is_ready, _READY_SECONDS)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return b"ready" in self.log.read_bytes().splitlines()
        return False

    async def finish(self) -> None:
        """Stop it in order."""
        await self.end((signal.SIGTERM, _END_SECONDS))

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send(signal.SIGKILL)

    @property
    def process_id(self) -> int:
        """Its process id. Raises EmbeddedServerError when it has ended."""
        if self.pid is None:
            raise EmbeddedServerError(f"{self.name} ended; its log {self.log} ends:\n{self.tail()}")
        return self.pid


def _python(*module: str) -> list[str]:
    # Killed with us: a forgotten broker would answer the next measurement's requests.
    words = launcher(None, reach=(), death=signal.SIGKILL)
    return [*words, sys.executable, "-m", *module]
