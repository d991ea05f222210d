"""Connections that cannot be held open for nothing: headers are bounded in size and in time, answers in time.

uvicorn bounds none of it. One that says nothing costs a file and some kilobytes; the server takes at most so
many, so that those who hold them would keep others out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.logs import LineQuota
from schema.limits import COMMAND_BYTES

HEADER_BYTES: Final = 32 * 1024
HEADER_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0

MOST_CONNECTIONS: Final = 1000

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Sparing(logging.Filter):
    """Lets some of uvicorn's warnings of a second through: what strangers send as HTTP must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = LineQuota()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or self._lines.allow() is not None


_sparing: Final = _Sparing()


def spare_the_log() -> None:
    """Bound what uvicorn says of requests that are none."""
    logging.getLogger("uvicorn.error").addFilter(_sparing)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on headers beyond 32 KB, and on those not complete within 10 s.

    And on who does not read: an answer that cannot be written for 30 s has nobody who waits for it. And on who comes
    while 1000 others are connected.
    """

    _header_bytes = 0
    _in_headers = True
    _refused = False
    _unwanted_bytes = 0
    _impatience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    # As uvicorn's own: asyncio's protocols are given the transport they were made for.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(_FULL)
        else:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a request's body."""
        if self._refused:
            return
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The headers are there: what follows is the body, which whoever reads it bounds."""
        self._stop_waiting()
        self._in_headers = False
        # What came in one piece with its end was not counted while it came.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEADER_BYTES:
            self._refuse(_TOO_LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on; a large one that nobody wants any more is not read to its end."""
        if self._refused:
            return
        cycle = self.cycle
        if not cycle.response_complete and len(cycle.body) + len(body) <= HIGH_WATER_LIMIT:
            # Whoever waits for it can do nothing with a part: woken for each, it costs as much as a request.
            cycle.body += body
            return
        super().on_body(body)
        if cycle.response_complete:
            self._unwanted_bytes += len(body)
            if self._unwanted_bytes > COMMAND_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        """A request is there; the next one's headers have their own time, once they begin."""
        if self._refused:
            return
        super().on_message_complete()
        self._in_headers, self._header_bytes = True, 0

    def on_message_begin(self) -> None:
        """A further request begins on a connection that was kept."""
        super().on_message_begin()
        self._wait_for_headers()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: RFC 9110, 7.8 lets a server ignore the wish, and what is missing is nothing to be installed."""

    def pause_writing(self) -> None:
        """The peer has not read what is already written: it has some time to."""
        super().pause_writing()
        self._unread = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It did."""
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, answer: bytes) -> None:
        if not self._refused:
            self._refused = True
            self.transport.write(answer)
            self.transport.close()

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        self._impatience = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
