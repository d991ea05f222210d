"""The stream of events (/api/v1/events), one connection for each operator, however many pages listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx
import structlog

from broker.console.api import Api, ApiError
from schema.http_routes import EVENTS_PATH

log = structlog.get_logger(__name__)

Event = dict[str, Any]
Listener = Callable[[Event], None]
_UNKNOWN: Final = 401
_PATH: Final = f"{EVENTS_PATH}?live=some"  # nobody reads more of them, and each costs the devices
_AGAIN_SECONDS: Final = (1.0, 15.0)


class Feeds:
    """Who listens to whose events."""

    def __init__(self, api: Api) -> None:
        """Take the API whose stream it is."""
        self._api = api
        self._feeds: dict[str, _Feed] = {}

    def listen(self, token: str, listener: Listener) -> Callable[[], None]:
        """Tell `listener` each event from now on; returns what ends that."""
        feed = self._feeds.get(token)
        if feed is None:
            feed = self._feeds[token] = _Feed(self._api, token)
        feed.listeners.append(listener)

        def leave() -> None:
            if listener in feed.listeners:
                feed.listeners.remove(listener)
            if not feed.listeners and self._feeds.get(token) is feed:
                del self._feeds[token]
                feed.stop()

        return leave

    def close(self) -> None:
        """End all streams."""
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()


class _Feed:
    """One operator's stream, taken up again where it was lost."""

    def __init__(self, api: Api, token: str) -> None:
        self.listeners: list[Listener] = []
        self._api = api
        self._token = token
        self._last = ""
        self._task = asyncio.create_task(self._run(), name="console events")

    def stop(self) -> None:
        """End it."""
        self._task.cancel()

    async def _run(self) -> None:
        wait, most = _AGAIN_SECONDS
        while True:
            try:
                headers = {"Last-Event-ID": self._last} if self._last else {}
                async with self._api.stream(self._token, _PATH, headers) as answer:
                    wait = _AGAIN_SECONDS[0]
                    await self._read(answer)
            except ApiError as error:
                log.info("console_events_lost", error=str(error))
                if error.status == _UNKNOWN:
                    return
                if error.code == "InvalidRequest":
                    self._last = ""
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)

    async def _read(self, answer: httpx.Response) -> None:
        async for kind, data, position in messages(answer.aiter_lines()):
            self._last = position or self._last
            if kind == "message" and data:
                event = json.loads(data)
                for listener in list(self.listeners):
                    listener(event)


async def messages(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str, str]]:
    """Event, data and id of each message of a stream (WHATWG HTML, 9.2.6), also of those without data."""
    data: list[str] = []
    kind, position = "message", ""
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield kind, "\n".join(data), position
            kind, data = "message", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            position = value
