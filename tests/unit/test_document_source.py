"""documentSource: read once from hosts that are allowed, and from nowhere else."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.ca import CertificateAuthority
from broker.document_hosts import AllowedHosts
from broker.document_source import DocumentSource
from schema.errors import Code, Rejected
from tests.helpers import PATIENCE

DOCUMENT = {"operation": "install", "name": "\u00e9"}
BODY = json.dumps(DOCUMENT, ensure_ascii=False).encode()
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes, *headers: str) -> bytes:
    """A complete answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """A server on loopback that answers by path and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {"/job.json": ok(BODY)}
        self.released = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer; a path without an answer waits for the other side to leave."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(request)
        path = request.split(" ")[1]
        writer.write(self.answers.get(path, b""))
        if path not in self.answers or path == "/slow":
            await reader.read()
            self.released.set()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port."""
    made = Server()
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield made


def source(server: Server, *, seconds: float = 10) -> DocumentSource:
    """A source that may read from the server."""
    hosts = f"localhost:{server.port}, 127.0.0.1:{server.port}, 127.0.0.0/8, ::1"
    return DocumentSource(AllowedHosts.parse(hosts), seconds)


async def refusal(reading: Awaitable[str]) -> str:
    """What a reading is refused with."""
    with pytest.raises(Rejected) as refused:
        await reading
    assert refused.value.code is Code.INVALID_REQUEST
    assert refused.value.message.startswith("documentSource: ")
    return refused.value.message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST"])
async def test_a_document_is_read(server: Server, host: str) -> None:
    """By name and by address, asked for once, uncompressed, under the host's own name."""
    text = await source(server).read(f"http://{host}:{server.port}/job.json")
    assert json.loads(text) == DOCUMENT
    [asked] = server.asked
    assert asked.startswith("GET /job.json HTTP/1.1\r\n")
    assert f"\r\nHost: {host.lower()}:{server.port}\r\n" in asked
    assert "\r\nAccept-Encoding: identity\r\n" in asked


async def test_the_query_is_asked_and_not_told(server: Server) -> None:
    """A presigned URL works, and its signature is in no message."""
    server.answers["/job.json?X-Amz-Signature=abc"] = ok(BODY)
    server.answers["/none?X-Amz-Signature=abc"] = b"HTTP/1.1 404 Not Found\r\n\r\n"
    base = f"http://localhost:{server.port}"
    assert await source(server).read(f"{base}/job.json?X-Amz-Signature=abc")
    told = await refusal(source(server).read(f"{base}/none?X-Amz-Signature=abc"))
    assert "answered 404 Not Found" in told
    assert "abc" not in told


async def test_nothing_is_read_unless_hosts_are_allowed(server: Server) -> None:
    """Off by default, with the setting that turns it on; networks alone allow no URL."""
    for hosts in ("", "127.0.0.0/8"):
        closed = DocumentSource(AllowedHosts.parse(hosts))
        told = await refusal(closed.read(f"http://127.0.0.1:{server.port}/job.json"))
        assert "not offered here; JOBBROKER_DOCUMENT_HOSTS" in told
    assert server.asked == []


async def test_another_host_or_port_is_refused(server: Server) -> None:
    """What is not in the list is not connected to."""
    other = DocumentSource(AllowedHosts.parse("localhost,127.0.0.1"))
    told = await refusal(other.read(f"http://localhost:{server.port}/job.json"))
    assert f"localhost:{server.port} is not one of JOBBROKER_DOCUMENT_HOSTS" in told
    assert server.asked == []


async def test_an_allowed_name_at_a_private_address_is_refused(server: Server) -> None:
    """A name may not lead inside unless the address is allowed too."""
    outside = DocumentSource(AllowedHosts.parse(f"localhost:{server.port}"))
    told = await refusal(outside.read(f"http://localhost:{server.port}/job.json"))
    assert re.search(r"localhost is at (127\.0\.0\.1|::1), which is not public", told)
    assert server.asked == []


async def test_redirects_stay_on_the_host(server: Server) -> None:
    """Another path is followed, another host or port is not, nor a circle."""
    server.answers["/moved"] = b"HTTP/1.1 302 Found\r\nLocation: /job.json\r\n\r\n"
    server.answers["/round"] = b"HTTP/1.1 301 Moved\r\nLocation: /round\r\n\r\n"
    base = f"http://localhost:{server.port}"
    assert json.loads(await source(server).read(f"{base}/moved")) == DOCUMENT
    assert "more than 3 times" in await refusal(source(server).read(f"{base}/round"))
    for there in (f"http://127.0.0.1:{server.port}/job.json", "https://example.com/", "//x/y"):
        head = f"HTTP/1.1 307 Moved\r\nLocation: {there}\r\n\r\n"
        server.answers["/away"] = head.encode()
        assert "redirects to another host" in await refusal(source(server).read(f"{base}/away"))
    server.answers["/away"] = b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"
    assert "is not http(s)" in await refusal(source(server).read(f"{base}/away"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ok(b"[]"), "the document must hold a JSON object"),
        (ok(b"{"), "the document is not JSON"),
        (ok(b""), "the document has 0 bytes"),
        (ok(b'{"a":"\xff"}'), "the document is not UTF-8"),
        (ok(b" " * 32769), "has more than 32768 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 40000, "has more than 32768 bytes"),
        (ok(BODY, "Content-Encoding: gzip"), "is compressed"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "answered 302 Found"),
        (b"SSH-2.0-server\r\n", "cannot be read: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "cannot be read: IncompleteRead"),
    ],
)
async def test_what_is_no_document(server: Server, answer: bytes, told: str) -> None:
    """Content, size and answers that are none."""
    server.answers["/x"] = answer
    assert told in await refusal(source(server).read(f"http://localhost:{server.port}/x"))


async def test_a_full_document_fits(server: Server) -> None:
    """32768 bytes are allowed, in chunks too, and a mark of UTF-8 at the front is not part of it."""
    full = b'{"a":"' + b"x" * 32760 + b'"}'
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n" + full + b"\r\n0\r\n\r\n"
    )
    server.answers |= {"/full": chunked, "/mark": ok(b"\xef\xbb\xbf" + BODY)}
    base = f"http://localhost:{server.port}"
    assert len(await source(server).read(f"{base}/full")) == 32768
    assert json.loads(await source(server).read(f"{base}/mark")) == DOCUMENT


@pytest.mark.parametrize("path", ["/silent", "/slow"])
async def test_a_slow_server_is_left(server: Server, path: str) -> None:
    """One that says nothing, and one that stops in the middle: refused in time, and the connection is gone."""
    server.answers["/slow"] = b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{"
    url = f"http://localhost:{server.port}{path}"
    assert "no document within 0.3 s" in await refusal(source(server, seconds=0.3).read(url))
    async with asyncio.timeout(PATIENCE):
        await server.released.wait()


async def test_a_server_that_is_not_there(server: Server) -> None:
    """A refused connection is told as what it is."""
    gone = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    hosts = AllowedHosts.parse(f"127.0.0.1:{port}")
    told = await refusal(DocumentSource(hosts).read(f"http://127.0.0.1:{port}/x"))
    assert "cannot be read: " in told


async def test_https_proves_the_host(server: Server, tmp_path: Path) -> None:
    """With a certificate that is trusted and fits the name; otherwise nothing is asked."""
    authority = CertificateAuthority.create(tmp_path / "ca", now=datetime.now(UTC))
    (tmp_path / "s.pem").write_bytes(authority.server_pem)
    (tmp_path / "s.key").write_bytes(authority.server_key_pem)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(tmp_path / "s.pem", tmp_path / "s.key")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=own)
    port = listener.sockets[0].getsockname()[1]
    hosts = AllowedHosts.parse(f"localhost:{port},127.0.0.0/8,::1")
    trusting = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    url = f"https://localhost:{port}/job.json"
    async with listener:
        assert json.loads(await DocumentSource(hosts, tls=trusting).read(url)) == DOCUMENT
        assert "CERTIFICATE_VERIFY_FAILED" in await refusal(DocumentSource(hosts).read(url))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x" * 1351,
        "ftp://localhost/x",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://",
        "http://user@localhost/x",
        "http://localhost:99999/x",
        "http://localhost:0/x",
        "http://localhost/a b",
        "http://localhost/\r\nX: y",
        "http://[::1/x",
        "http://loc\u00e4l/x",
    ],
)
async def test_what_is_no_url(url: str) -> None:
    """Another scheme, a user, a port or characters that no URL has."""
    everything = DocumentSource(AllowedHosts.parse("localhost"))
    assert await refusal(everything.read(url))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104 - an address to refuse, not to listen on
        "224.0.0.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared and multicast ones, in IPv6's disguises too."""
    assert not AllowedHosts.parse("files.example.com").leads_to(address)
    assert AllowedHosts.parse("0.0.0.0/0,::/0").leads_to(address)


def test_public_addresses_need_no_more() -> None:
    """An allowed name may be anywhere in public."""
    for address in ("93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"):
        assert AllowedHosts.parse("files.example.com").leads_to(address)


def test_entries_of_the_list() -> None:
    """Hosts with and without a port, addresses of both kinds, in any case."""
    hosts = AllowedHosts.parse("Files.example.com, minio:9000 ,10.0.0.5,[fd00::1]:8080,::1,")
    allowed = [
        ("https", "files.example.com", 443),
        ("http", "files.example.com", 80),
        ("http", "minio", 9000),
        ("http", "10.0.0.5", 80),
        ("http", "fd00::1", 8080),
        ("https", "::1", 443),
    ]
    assert all(hosts.has(*one) for one in allowed)
    for one in [("https", "files.example.com", 80), ("http", "minio", 80), ("http", "fd00::1", 80)]:
        assert not hosts.has(*one)
    assert hosts.leads_to("10.0.0.5")
    assert not hosts.leads_to("10.0.0.6")


@pytest.mark.parametrize(
    "entry", ["a b", "http://x", "x:0", "x:99999", "10.0.0.0/33", "[::1", "a:b:c", "x/24", "*"]
)
def test_entries_that_are_wrong(entry: str) -> None:
    """Each is named when the settings are read."""
    with pytest.raises(ValueError, match=re.escape(repr(entry))):
        AllowedHosts.parse(f"good,{entry}")
