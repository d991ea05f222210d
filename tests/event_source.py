"""A reader of server-sent events, as browsers are (WHATWG HTML, 9.2.6): blocks of fields, the last id kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.helpers import PATIENCE


@dataclass(frozen=True, slots=True)
class Sent:
    """One event: its type, the last id so far, and its data as JSON."""

    kind: str
    last_id: str
    data: dict[str, Any]


@dataclass(slots=True)
class EventSource:
    """A stream under way; `last_id` is what a browser would come back with."""

    response: httpx.Response
    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    _fields: dict[str, str] = field(default_factory=dict)

    async def events(self) -> AsyncIterator[Sent]:
        """Events until the stream ends."""
        async for line in self.response.aiter_lines():
            if line:
                self._take(line)
                continue
            fields, self._fields = self._fields, {}
            if "data" in fields:
                data = json.loads(fields["data"])
                yield Sent(fields.get("event", "message"), self.last_id, data)

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "id":
            self.last_id = value
        elif name == "retry":
            self.retry = int(value)
        else:
            self._fields[name] = value

    async def until(self, *operations: tuple[str, str]) -> list[Sent]:
        """Events until each of these was among them: (operation, the end of thingArn or else the job's id)."""
        found, missing = [], set(operations)
        async for event in self.events():
            found.append(event)
            whose = str(event.data.get("thingArn", event.data.get("jobId"))).rpartition("/")[2]
            missing.discard((str(event.data.get("operation")), whose))
            if not missing:
                return found
        raise AssertionError(f"the stream ended before {missing}: {found}")


@asynccontextmanager
async def event_source(
    http: httpx.AsyncClient, token: str, *, last_id: str | None = None, **query: str
) -> AsyncIterator[EventSource]:
    """Follow /api/v1/events."""
    headers = {"Authorization": f"Bearer {token}"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    request = http.stream("GET", "/api/v1/events", headers=headers, params=query, timeout=PATIENCE)
    async with request as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield EventSource(response)
