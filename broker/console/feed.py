"""The stream of events (/api/v1/events), one for all readers of a tenant and role, however many pages listen.

Each of them is a token that it may be asked for with; one that the API does not take any more makes room for the next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any, Final

import httpx
import structlog

from broker.console.api import Api, ApiError
from broker.console.viewer import UNKNOWN, Viewer
from schema.http_routes import EVENTS_PATH

log = structlog.get_logger(__name__)

Event = dict[str, Any]
Listener = Callable[[Event], None]
_PATH: Final = f"{EVENTS_PATH}?live=some"  # nobody reads more of them, and each costs the devices
_AGAIN_SECONDS: Final = (1.0, 15.0)


class Feeds:
    """Who listens to whose events."""

    def __init__(self, api: Api) -> None:
        """Take the API whose stream it is."""
        self._api = api
        self._feeds: dict[Hashable, _Feed] = {}

    def listen(self, viewer: Viewer, listener: Listener) -> Callable[[], None]:
        """Tell `listener` each event of the viewer's tenant from now on; returns what ends that."""
        key = (viewer.tenant, viewer.role)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(self._api)
        place = (listener, viewer.session.token)
        feed.add(place)

        def leave() -> None:
            if feed.take_out(place) and self._feeds.get(key) is feed:
                del self._feeds[key]

        return leave

    def close(self) -> None:
        """End all streams."""
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()


class _Feed:
    """One stream, taken up again where it was lost."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._places: list[tuple[Listener, str]] = []  # who listens, each with their token
        self._refused: set[str] = set()
        self._token: str | None = None
        self._last = ""
        self._task: asyncio.Task[None] | None = None

    def add(self, place: tuple[Listener, str]) -> None:
        """Have one more listen."""
        self._places.append(place)
        if self._task is None or self._task.done():
            self._begin()

    def take_out(self, place: tuple[Listener, str]) -> bool:
        """Have one no longer listen; whether nobody is left. Nobody's token is used when they have left."""
        if place in self._places:
            self._places.remove(place)
        if all(token != self._token for _, token in self._places):
            self.stop()
            if self._places:
                self._begin()
        return not self._places

    def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name="console events")

    async def _run(self) -> None:
        wait, most = _AGAIN_SECONDS
        while (token := self._usable()) is not None:
            self._token = token
            try:
                headers = {"Last-Event-ID": self._last} if self._last else {}
                async with self._api.stream(token, _PATH, headers) as answer:
                    wait = _AGAIN_SECONDS[0]
                    await self._read(answer)
            except ApiError as error:
                log.info("console_events_lost", error=str(error))
                if error.status == UNKNOWN:
                    self._refused.add(token)
                    continue
                if error.code == "InvalidRequest":
                    self._last = ""
            await asyncio.sleep(wait)
            wait = min(2 * wait, most)

    def _usable(self) -> str | None:
        """The token of somebody who listens; None when none is good any more."""
        return next((token for _, token in self._places if token not in self._refused), None)

    async def _read(self, answer: httpx.Response) -> None:
        async for kind, data, position in messages(answer.aiter_lines()):
            self._last = position or self._last
            if kind == "message" and data:
                event = json.loads(data)
                for listener, _ in list(self._places):
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
