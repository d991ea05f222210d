"""A job's document from a URL (AWS: documentSource), read once, when the job is created.

Off unless the operator of the installation allows hosts: whoever may create jobs could otherwise make this process
fetch from any place that it reaches. A host's name is resolved once and its addresses are checked before one of them is
connected to, so that a name cannot mean one thing to the check and another to the connection; private addresses must
be allowed themselves. The standard library's client is enough for one GET, and it lets the socket be ours. Proxies
that the environment names are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from broker.document_hosts import PORTS, AllowedHosts
from schema.errors import Code, Rejected, shorten
from schema.fields import document_text
from schema.limits import DOCUMENT_BYTES, SOURCE_URL_CHARS

SECONDS: Final = 10.0
_HOPS_MOST: Final = 3
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_PRINTABLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """Reads documents from allowed hosts. seconds bounds one reading as a whole, names and redirects included."""

    hosts: AllowedHosts
    seconds: float = SECONDS
    tls: ssl.SSLContext | None = None

    async def read(self, url: str) -> str:
        """The job document at a URL, as JSON text.

        Redirects lead to the same scheme, host and port or nowhere. Raises Rejected (InvalidRequest) that says what is
        wrong: the URL, the host, the answer, its size (32768 bytes) or its content.
        """
        if not self.hosts:
            raise Rejected(
                Code.INVALID_REQUEST,
                "documentSource: not offered here; JOBBROKER_DOCUMENT_HOSTS allows hosts",
            )
        asked = _split(url)
        try:
            async with asyncio.timeout(self.seconds):
                body = await self._follow(asked)
        except TimeoutError:
            raise _refused(asked, f"no document within {self.seconds:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise _refused(asked, f"cannot be read: {error or type(error).__name__}") from None
        return _document(asked, body)

    async def _follow(self, asked: SplitResult) -> bytes:
        here = asked
        for _ in range(_HOPS_MOST + 1):
            addresses = await self._addresses(here)
            answer = await self._get(here, addresses)
            if isinstance(answer, bytes):
                return answer
            there = _split(urljoin(here.geturl(), answer))
            if (there.scheme, there.hostname, _port(there)) != (
                here.scheme,
                here.hostname,
                _port(here),
            ):
                raise _refused(here, f"redirects to another host, {shorten(there.netloc)}")
            here = there
        raise _refused(asked, f"redirects more than {_HOPS_MOST} times")

    async def _addresses(self, place: SplitResult) -> list[str]:
        host, port = place.hostname or "", _port(place)
        if not self.hosts.has(place.scheme, host, port):
            raise _refused(place, f"{host}:{port} is not one of JOBBROKER_DOCUMENT_HOSTS")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if not self.hosts.leads_to(address):
                raise _refused(
                    place,
                    f"{host} is at {address}, which is not public; JOBBROKER_DOCUMENT_HOSTS must"
                    " have that address or its network",
                )
        return addresses

    async def _get(self, place: SplitResult, addresses: list[str]) -> bytes | str:
        context = None
        if place.scheme == "https":
            context = self.tls or ssl.create_default_context()
        connection = _Connection(place, addresses, timeout=self.seconds, context=context)
        try:
            return await asyncio.to_thread(_exchange, connection, place)
        finally:
            connection.abort()


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were checked, whatever the name means by now."""

    def __init__(
        self,
        place: SplitResult,
        addresses: list[str],
        *,
        timeout: float,
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(place.hostname or "", _port(place), timeout=timeout)
        self.default_port = PORTS[place.scheme]
        self._addresses, self._context = addresses, context
        self._ended = False
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        # Kept beside: the base class forgets its socket when an answer says that it is the last.
        self._socket = self.sock = self._reach()
        if self._context is not None:
            self._socket = self.sock = self._context.wrap_socket(
                self.sock, server_hostname=self.host
            )

    def _reach(self) -> socket.socket:
        failure: OSError | None = None
        for address in self._addresses:
            if self._ended:
                break
            try:
                return socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                failure = error
        raise failure or TimeoutError

    def abort(self) -> None:
        """End whatever a thread still does with it; that wakes up at once."""
        self._ended = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self.close()


def _exchange(connection: _Connection, place: SplitResult) -> bytes | str:
    """The body of a 200, or where a redirect leads. Runs in a thread."""
    target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    headers = {"Accept": "application/json, text/*;q=0.9", "Accept-Encoding": "identity"}
    connection.request("GET", target, headers=headers)
    with connection.getresponse() as answer:
        if answer.status in _MOVED and (there := answer.getheader("Location")) is not None:
            return there
        if answer.status != _OK:
            raise _refused(place, f"answered {answer.status} {answer.reason[:80]}")
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise _refused(place, "is compressed, though that was not asked for")
        body = answer.read(DOCUMENT_BYTES + 1)
        if len(body) > DOCUMENT_BYTES:
            raise _refused(place, f"has more than {DOCUMENT_BYTES} bytes")
        if answer.length:  # read() with a bound takes an early end for the end
            raise http.client.IncompleteRead(body, answer.length)
        return body


def _split(url: str) -> SplitResult:
    if not 1 <= len(url) <= SOURCE_URL_CHARS:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"documentSource: has {len(url)} characters, 1 to {SOURCE_URL_CHARS} are allowed",
        )
    try:
        found = urlsplit(url)
        good = (
            _PRINTABLE.fullmatch(url) is not None
            and found.scheme in PORTS
            and bool(found.hostname)
            and "@" not in found.netloc
            and _port(found) > 0
        )
    except ValueError:
        good = False
    if not good:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"documentSource: {shorten(url)} is not http(s)://HOST[:PORT]/PATH without a user",
        )
    return found


def _port(place: SplitResult) -> int:
    return PORTS[place.scheme] if place.port is None else place.port


def _refused(place: SplitResult, why: str) -> Rejected:
    # What stands behind a ? may be a signature: it stays unsaid.
    shown = f"{place.scheme}://{place.netloc}{place.path}"
    return Rejected(Code.INVALID_REQUEST, f"documentSource: {shorten(shown)}: {why}")


def _document(place: SplitResult, body: bytes) -> str:
    try:
        return document_text(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _refused(place, "the document is not UTF-8") from None
    except ValueError as error:
        raise _refused(place, f"the document {error}") from None
