"""A console process, and the system's Chromium to look at it with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.console import unwatched

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WITHOUT: Final = "no Chromium here: Debian has it (apt-get install chromium)"
# Chromium asks nobody about anything, and runs as root in a container.
_FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
READY_SECONDS: Final = 120.0
_PATIENCE_MILLISECONDS: Final = 180_000


@dataclass(slots=True)
class RunningConsole:
    """A `jobbroker console`; its address ends with a slash."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    async def stop(self) -> int:
        """End it in order; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running_console(
    api_url: str, log: Path, *options: str, **settings: str
) -> AsyncIterator[RunningConsole]:
    """Start a console for an API on a free port, with settings by their variables, and end it at the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JOBBROKER_")} | settings
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker", "console", "--api-url", api_url, "--port", "0"),
            *options,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            start_new_session=True,  # as `up` starts it
        )
    assert process.stdout
    try:
        async with asyncio.timeout(READY_SECONDS):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("console http://"), log.read_text()[-4000:]
        console = RunningConsole(line.split()[1], process, log)
        yield console
        await console.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium without a window, and without an eye on the machine's network."""
    words = map(shlex.quote, (sys.executable, unwatched.__file__, CHROMIUM or ""))
    with tempfile.TemporaryDirectory(prefix="jobbroker-") as name:
        program = Path(name) / "chromium"
        program.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        async with _launched(program) as browser:
            yield browser


@asynccontextmanager
async def _launched(program: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass  # without slots: Playwright keeps its own on whose method it is told to call
class Reader:
    """Somebody signed in, with what their browser complained of and whom it asked."""

    page: Page
    context: BrowserContext
    console: str
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def note(self, message: ConsoleMessage) -> None:
        """Keep what the browser says is wrong, except with the machine's own network: containers come and go there."""
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            self.complaints.append(message.text)

    async def open(self, path: str) -> None:
        """Open a page of the console and wait for its heading."""
        await self.page.goto(self.console + path.lstrip("/"))
        await self.page.locator("h1").wait_for()


@asynccontextmanager
async def reader(
    browser: Browser,
    console: str,
    token: str,
    *,
    dark: bool = False,
    width: int = 1360,
    height: int = 860,
) -> AsyncIterator[Reader]:
    """Sign in with a token, in a browser context of its own."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        timezone_id="Europe/Berlin",
    )
    context.set_default_timeout(_PATIENCE_MILLISECONDS)
    page = await context.new_page()
    found = Reader(page, context, console)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", found.note)
    page.on("request", lambda request: found.hosts.add(_origin(request.url)))
    page.on("websocket", lambda socket: found.hosts.add(_origin(socket.url)))
    try:
        await page.goto(console)
        await page.get_by_label("Operator token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.locator("h1").first.wait_for()
        yield found
    finally:
        await context.close()


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
