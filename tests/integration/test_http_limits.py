"""What HTTP takes from anybody at most, in bytes, seconds, requests and connections; and the answer to more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker.http import connections
from broker.http.answers import as_json
from broker.http.endpoint import Endpoint
from broker.http.limits import RateLimit
from broker.logs import LineQuota
from schema.limits import COMMAND_BYTES
from tests.helpers import PATIENCE, eventually
from tests.integration.http_door import http_door

_POST = b"POST /read HTTP/1.1\r\nHost: x\r\n"
ended: list[str] = []


async def _read(request: Request) -> Response:
    return as_json({"bytes": len(await request.body())})


async def _write(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            ended.append(request.url.query)

    return StreamingResponse(parts())


@pytest.fixture
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A place that reads a body and one that writes without end."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    routes = [
        Endpoint("/read", _read, methods=["POST"]),
        Endpoint("/write", _write, methods=["GET"]),
        Endpoint("/write", _read, methods=["PUT"]),
    ]
    async with http_door(routes) as client:
        yield client


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience, where it is what runs out."""
    monkeypatch.setattr("broker.http.edge.BODY_SECONDS", 0.3)
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)


async def said(door: httpx.AsyncClient, *parts: bytes) -> bytes:
    """All that is answered to these bytes until the connection is closed."""
    reader, writer = await asyncio.open_connection(door.base_url.host, door.base_url.port)
    try:
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        async with asyncio.timeout(PATIENCE):
            answer = b""
            with suppress(ConnectionError):
                while part := await reader.read(65536):
                    answer += part
            return answer
    finally:
        writer.close()


def parts_of(size: int) -> Iterable[bytes]:
    """Chunks of a chunked body."""
    for _ in range(size // 4096):
        yield b"1000\r\n" + b"x" * 4096 + b"\r\n"


@pytest.mark.parametrize("whole", [True, False])
async def test_headers_have_a_size(door: httpx.AsyncClient, whole: bool) -> None:
    """431 beyond 32 KB, whether they come in one piece or never end."""
    many = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(40))
    end = b"Content-Length: 2\r\n\r\n{}" if whole else b""
    answer = await said(door, _POST + many + end)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert (await door.post("/read", content=b"{}", headers={"X-Long": "y" * 9000})).is_success


@pytest.mark.usefixtures("_hasty")
async def test_headers_have_a_time(door: httpx.AsyncClient) -> None:
    """Who says nothing, or half of it, is hung up on."""
    assert await said(door) == b""
    assert await said(door, _POST) == b""


async def test_a_body_has_a_size(door: httpx.AsyncClient) -> None:
    """413, before any of it is read where its size is told, else as soon as it is too large; a gigabyte is not read."""
    told = b"Content-Length: %d\r\n\r\n" % 2**30
    answer = await said(door, _POST + told)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await said(door, _POST + chunked, *parts_of(2 * COMMAND_BYTES))
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b"", "reset, with the answer under way"
    fits = await door.post("/read", content=b"x" * COMMAND_BYTES)
    assert fits.json() == {"bytes": COMMAND_BYTES}


async def test_who_sends_too_large_bodies_again_and_again_waits_for_the_answer(
    door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five are refused at once, one after them is refused late; others, and small ones, are not held up."""
    told = _POST + b"Content-Length: %d\r\n\r\n" % 2**30
    monkeypatch.setattr("broker.http.edge.LARGE_PAUSE_SECONDS", 3600.0)
    for _ in range(5):
        assert (await said(door, told)).startswith(b"HTTP/1.1 413 ")
    pause = 0.5
    monkeypatch.setattr("broker.http.edge.LARGE_PAUSE_SECONDS", pause)
    began = asyncio.get_running_loop().time()
    late = asyncio.create_task(said(door, told))
    assert (await door.post("/read", content=b"{}")).is_success
    assert (await late).startswith(b"HTTP/1.1 413 ")
    assert asyncio.get_running_loop().time() - began >= pause


async def test_a_body_in_crumbs_is_there_in_the_end(door: httpx.AsyncClient) -> None:
    """Handed on whole or in large parts, told or chunked: nothing of it is lost."""
    close = b"Connection: close\r\n"
    crumbs = [b"Content-Length: 9\r\n\r\n", b"abc", b"d", b"efghi"]
    assert b'{"bytes":9}' in (await said(door, _POST + close, *crumbs)).replace(b" ", b"")
    chunked = [b"Transfer-Encoding: chunked\r\n\r\n", *parts_of(COMMAND_BYTES // 2), b"0\r\n\r\n"]
    answer = (await said(door, _POST + close, *chunked)).replace(b" ", b"")
    assert b'{"bytes":%d}' % (COMMAND_BYTES // 2) in answer


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", b"", b"400"),
        (b"1.1", b"Host: a\r\nHost: a\r\n", b"400"),
        (b"1.1", b"Host: a/b\r\n", b"400"),
        (b"1.1", b"Host: [::1]:8000\r\n", b"200"),
        (b"1.1", b"Host:\r\n", b"200"),
        (b"1.0", b"", b"200"),
    ],
)
async def test_a_request_says_whom_it_is_for(
    door: httpx.AsyncClient, version: bytes, hosts: bytes, status: bytes
) -> None:
    """RFC 9112, 3.2: Host is there once, but for HTTP/1.0, and can be one."""
    head = b"POST /read HTTP/%b\r\n%bConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    answer = await said(door, head % (version, hosts))
    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert (b"Host: " in answer) == (status == b"400")


@pytest.mark.usefixtures("_hasty")
async def test_a_body_has_a_time(door: httpx.AsyncClient) -> None:
    """408 for one that does not come."""
    answer = await said(door, _POST + b"Content-Length: 9\r\n\r\nslow")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"RequestTimeout" in answer


@pytest.mark.usefixtures("_hasty")
async def test_an_answer_is_read(door: httpx.AsyncClient) -> None:
    """Who does not read is hung up on, and nothing more is made for them."""
    with socket.create_connection((door.base_url.host, door.base_url.port or 0)) as reader:
        reader.sendall(b"GET /write?unread HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await eventually(lambda: "unread" in ended)


async def test_connections_have_a_number(door: httpx.AsyncClient) -> None:
    """One more than there may be is told to come again; when others have gone, there is room."""
    held = [
        await asyncio.open_connection(door.base_url.host, door.base_url.port) for _ in range(20)
    ]

    async def is_full() -> bool:
        return b"503 Service Unavailable\r\nretry-after: 5" in await said(door)

    assert await eventually(is_full)
    for _, writer in held:
        writer.close()

    async def has_room() -> bool:
        with suppress(httpx.HTTPError):
            return (await door.post("/read", content=b"{}")).is_success
        return False

    assert await eventually(has_room)


async def test_what_is_no_http_fills_no_log(
    door: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers' bytes are refused and leave some lines a second; a wish to upgrade is ignored without a word."""
    monkeypatch.setattr(connections._sparing, "_lines", LineQuota(3, clock=lambda: 0.0))
    caplog.set_level("WARNING", "uvicorn.error")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert (await door.post("/read", content=b"{}", headers=upgrade)).status_code == 200
    assert not caplog.records
    for _ in range(9):
        assert b" 400 Bad Request" in await said(door, b"\x16\x03\x01\r\n\r\n")
    assert len(caplog.records) == 3


async def test_a_path_that_has_other_methods_says_which(door: httpx.AsyncClient) -> None:
    """RFC 9110, 15.5.6: all of them, though each is a route of its own."""
    answer = await door.delete("/write")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, PUT")


async def test_requests_of_one_address_have_a_rate() -> None:
    """429 with Retry-After beyond it, and a good answer after that time."""
    routes = [Endpoint("/read", _read, methods=["POST"])]
    async with http_door(routes, per_address=RateLimit(1, 2)) as door:
        # So many at once that a slow machine's seconds do not let them all pass.
        asked = (door.post("/read", content=b"{}") for _ in range(50))
        answers = await asyncio.gather(*asked)
        assert len([one for one in answers if one.status_code == 200]) >= 2
        refused = [one for one in answers if one.status_code == 429]
        assert refused
        assert {one.headers["retry-after"] for one in refused} == {"1"}
        assert {one.json()["code"] for one in refused} == {"RequestThrottled"}

        async def again() -> bool:
            return (await door.post("/read", content=b"{}")).status_code == 200

        assert await eventually(again)
