"""People who look at a page of a console, without their browsers' drawing: `python -m tests.console.looking`.

Each is an operator, with the page and its websocket kept up to date as in a browser. They stand for machines
elsewhere: the process has the lowest priority here. Console, page and tokens are in the environment. `ready` is said
once all have the page and have been told something; ended, it says in a line of JSON what they heard since.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
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
    """One page that is open: messages are taken, counted and acknowledged."""

    def __init__(self, console: str, token: str) -> None:
        """Take the console's address, which ends with a slash, and an operator's token."""
        self._console, self._token = console, token
        self._socket = socketio.AsyncClient(reconnection=False)
        self._client = ""
        self.heard: Counter[str] = Counter()
        self.is_told = asyncio.Event()
        self._socket.on("*", self._take)

    async def open(self, path: str) -> None:
        """Sign in, get the page, and connect its websocket. Raises what the console's refusals raise."""
        async with httpx.AsyncClient(base_url=self._console, timeout=_PATIENCE_SECONDS) as http:
            entered = await http.post("sign-in", data={"token": self._token, "next": f"/{path}"})
            if not entered.has_redirect_location:
                entered.raise_for_status()
            page = (await http.get(path)).raise_for_status()
            cookies = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
        found = _CLIENT.search(page.text)
        if found is None:
            raise LookupError(f"{path}: no page of the console, but {page.text[:200]!r}")
        self._client = found[1]
        tab, document = uuid.uuid4(), uuid.uuid4()
        asked = f"client_id={self._client}&tab_id={tab}&document_id={document}&next_message_id=0"
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


async def main() -> None:
    """Look until SIGTERM."""
    step_back(_LEAST_PRIORITY)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    viewers = [Viewer(os.environ[CONSOLE], token) for token in json.loads(os.environ[TOKENS])]
    for one in viewers:
        await one.open(os.environ[PAGE])
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await asyncio.gather(*(one.is_told.wait() for one in viewers))
    for one in viewers:
        one.heard.clear()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    sys.stdout.write(json.dumps(sum((one.heard for one in viewers), Counter[str]())) + "\n")
    sys.stdout.flush()
    await asyncio.gather(*(one.close() for one in viewers))


if __name__ == "__main__":
    asyncio.run(main())
