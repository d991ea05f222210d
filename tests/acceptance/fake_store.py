"""A store that speaks S3 as far as presigned URLs go: it checks each signature and the time, and holds objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

from broker.embedded.ports import LOOPBACK
from schema.presign import S3Store, StoredObject

ACCESS_KEY, SECRET_KEY = "of-the-jobs", "known-to-both"


@dataclass(slots=True)
class FakeStore:
    """Objects by `/BUCKET/KEY`; pages are what anybody may read there."""

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        length = next(
            (
                int(line.split(":")[1])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length:")
            ),
            0,
        )
        status, body = self._answer(method, target, await reader.readexactly(length))
        self.served.append(f"{method} {urlsplit(target).path} {status}")
        answer = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(answer.encode() + body)
        await writer.drain()
        writer.close()

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path = unquote(urlsplit(target).path)
        if path in self.pages:
            return 200, self.pages[path]
        if not self._is_signed(method, target):
            return 403, b"SignatureDoesNotMatch"
        if method == "PUT":
            self.objects[path] = body
            return 200, b""
        return (200, self.objects[path]) if path in self.objects else (404, b"NoSuchKey")

    def _is_signed(self, method: str, target: str) -> bool:
        """Whether this very URL is what the shared secret makes for its time, and the time is not over."""
        place = urlsplit(target)
        asked = {name: value for name, [value] in parse_qs(place.query).items()}
        if "X-Amz-Date" not in asked:
            return False
        at = datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expires = int(asked["X-Amz-Expires"])
        bucket, _, key = unquote(place.path).removeprefix("/").partition("/")
        store = S3Store(self.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY)
        verb = cast('Literal["GET", "PUT"]', method)
        wanted = store.presign(verb, StoredObject(bucket, key), at, expires=expires)
        return self.endpoint + target == wanted and datetime.now(UTC) <= at + timedelta(
            seconds=expires
        )


@asynccontextmanager
async def fake_store() -> AsyncIterator[FakeStore]:
    """One on a free port of loopback."""
    store = FakeStore()
    async with await asyncio.start_server(store.serve, LOOPBACK, 0) as server:
        store.endpoint = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        yield store
