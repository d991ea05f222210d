"""People who look at a page of a console, without their browsers' drawing: `python -m tests.console.looking`.

Each is an operator, with the page and its websocket kept up to date as in a browser. They stand for machines
elsewhere: the process has the lowest priority here. Console, page and tokens are in the environment. Told `look` in a
line, they open the page, and a line is the answer once all of them have been told something; told `leave`, they close
it, and the answer says what they heard since. They go at the end of the input.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import uuid
from collections import Counter
from typing import Final

import httpx
import socketio

from broker.priority import step_back

CONSOLE, PAGE, TOKENS = (f"JOBBROKER_LOOKING_{name}" for name in ("CONSOLE", "PAGE", "TOKENS"))
_CLIENT: Final = re.compile(r"""["']client_id["']: ["']([0-9a-f-]+)["']""")
_PATIENCE_SECONDS: Final = 60  # the machine is busy: that is what is measured
_LEAST_PRIORITY: Final = 19


class Viewer:
    """One operator's browser: the messages of a page that is open are taken, counted and acknowledged."""

    def __init__(self, console: str, token: str) -> None:
        """Take the console's address, which ends with a slash, and an operator's token."""
        self._console, self._token = console, token
        self._http = httpx.AsyncClient(base_url=console, timeout=_PATIENCE_SECONDS)
        self._socket = socketio.AsyncClient()
        self._client = ""
        self.heard: Counter[str] = Counter()
        self.is_told = asyncio.Event()

    async def enter(self) -> None:
        """Sign in. Raises what the console's refusals raise."""
        entered = await self._http.post("sign-in", data={"token": self._token, "next": "/"})
        if not entered.has_redirect_location:
            entered.raise_for_status()

    async def open(self, path: str) -> None:
        """Get the page and connect its websocket. Raises what the console's refusals raise."""
        self.is_told.clear()
        page = (await self._http.get(path)).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())
        found = _CLIENT.search(page.text)
        if found is None:
            raise LookupError(f"{path}: no page of the console, but {page.text[:200]!r}")
        self._client = found[1]
        tab, document = uuid.uuid4(), uuid.uuid4()
        asked = f"client_id={self._client}&tab_id={tab}&document_id={document}&next_message_id=0"
        self._socket = socketio.AsyncClient(reconnection=False)
        self._socket.on("*", self._take)
        await self._socket.connect(
            f"{self._console.rstrip('/')}?{asked}&implicit_handshake=true",
            headers={"Cookie": cookies, "Origin": self._console.rstrip("/")},
            transports=["websocket"],
            socketio_path="_nicegui_ws/socket.io",
            wait_timeout=_PATIENCE_SECONDS,
        )

    async def _take(self, event: str, message: object = None) -> None:
        self.heard[event] += 1
        self.is_told.set()
        if isinstance(message, dict) and "_id" in message:
            told = {"client_id": self._client, "next_message_id": message["_id"] + 1}
            await self._socket.emit("ack", told)

    async def close(self) -> None:
        """Leave the page."""
        await self._socket.disconnect()


async def look(viewers: list[Viewer], page: str) -> Counter[str]:
    """All have the page, and have been told something of it."""
    for one in viewers:
        await one.open(page)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await asyncio.gather(*(one.is_told.wait() for one in viewers))
    for one in viewers:
        one.heard.clear()
    return Counter()


async def leave(viewers: list[Viewer]) -> Counter[str]:
    """Nobody has the page any more; returns what they heard, by the kinds of messages."""
    heard = sum((one.heard for one in viewers), Counter[str]())
    await asyncio.gather(*(one.close() for one in viewers))
    return heard


async def main() -> None:
    """Do as told, line by line."""
    step_back(_LEAST_PRIORITY)
    viewers = [Viewer(os.environ[CONSOLE], token) for token in json.loads(os.environ[TOKENS])]
    for one in viewers:
        await one.enter()
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = line.strip() == "look"
        heard = await (look(viewers, os.environ[PAGE]) if told else leave(viewers))
        sys.stdout.write(json.dumps(heard) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
