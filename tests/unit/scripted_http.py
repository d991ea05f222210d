"""An HTTP server on loopback that gives the answers it was told to, in turn, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer; drop: the request is read and the connection closed without one."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[str, ...] = ()
    drop: bool = False


@dataclass(slots=True)
class ScriptedServer:
    """answers: those to come; when there are none left, the last one again."""

    answers: list[Scripted]
    asked: list[str] = field(default_factory=list)
    port: int = 0
    most_at_once: int = 0
    _at_once: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
        content = await reader.readexactly(int(lengths[0].split(":")[1])) if lengths else b""
        self.asked.append(head + content.decode())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer.drop:
            length = f"Content-Length: {len(answer.body)}"
            lines = [f"HTTP/1.1 {answer.status} X", length, "Connection: close", *answer.headers]
            writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
            await writer.drain()
        self._at_once -= 1
        writer.close()


@asynccontextmanager
async def scripted(*answers: Scripted) -> AsyncIterator[ScriptedServer]:
    """A server on a free port."""
    made = ScriptedServer(list(answers))
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield made


def refusal(
    name: str, code: int, *, namespace: str = "pkg/x", message: str = "", **attributes: object
) -> bytes:
    """The body of The Things Stack's errors (reference/the-things-stack.md 5.1)."""
    detail = {
        "@type": "type.googleapis.com/ttn.lorawan.v3.ErrorDetails",
        "namespace": namespace,
        "name": name,
        "attributes": attributes,
        "correlation_id": "0" * 32,
        "code": code,
    }
    text = message or f"error:{namespace}:{name}"
    return json.dumps({"code": code, "message": text, "details": [detail]}).encode()
