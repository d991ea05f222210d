"""One stream of events for all readers of a tenant and role, by the token of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.console.api import Api, ApiError
from broker.console.feed import Event, Feeds
from broker.console.viewer import Viewer
from tests.helpers import eventually


@dataclass
class Stream:
    """A connection that somebody opened: with which token, from which position on, and what it is sent."""

    token: str
    since: str | None
    sent: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Its lines."""
        while True:
            yield await self.sent.get()

    def tell(self, number: int) -> None:
        """Send an event."""
        for line in (f"id: {number}", f'data: {{"number": {number}}}', ""):
            self.sent.put_nowait(line)


class StreamingApi:
    """Opens streams for whoever has a token that is not refused."""

    def __init__(self) -> None:
        self.open: list[Stream] = []
        self.refused: set[str] = set()

    @asynccontextmanager
    async def stream(
        self, token: str, path: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[Stream]:
        """One of them."""
        assert path.endswith("live=some")
        if token in self.refused:
            raise ApiError(401, "Unauthorized", "no operator has this token")
        one = Stream(token, headers.get("Last-Event-ID"))
        self.open.append(one)
        try:
            yield one
        finally:
            self.open.remove(one)


def reader(token: str, tenant: str = "acme", role: str = "viewer") -> Viewer:
    """Somebody with a page."""
    found = SimpleNamespace(tenant=tenant, role=role, session=SimpleNamespace(token=token))
    return cast("Viewer", found)


@pytest.fixture
def api() -> StreamingApi:
    """Nobody is refused."""
    return StreamingApi()


@pytest.fixture
async def feeds(api: StreamingApi) -> AsyncIterator[Feeds]:
    """Nobody listens."""
    made = Feeds(cast("Api", api))
    yield made
    made.close()


async def test_readers_of_one_tenant_and_role_share_a_stream(
    api: StreamingApi, feeds: Feeds
) -> None:
    """Ten pages hear each event by one connection; another tenant, or role, has its own; who left hears nothing."""
    heard: list[list[Event]] = [[] for _ in range(10)]
    leave = [feeds.listen(reader(f"t{at}"), one.append) for at, one in enumerate(heard)]
    await eventually(lambda: [one.token for one in api.open] == ["t0"])
    feeds.listen(reader("x", tenant="other"), lambda _: None)
    feeds.listen(reader("y", role="admin"), lambda _: None)
    await eventually(lambda: [one.token for one in api.open] == ["t0", "x", "y"])
    api.open[0].tell(1)
    await eventually(lambda: all(one == [{"number": 1}] for one in heard))
    leave[9]()
    api.open[0].tell(2)
    await eventually(lambda: len(heard[0]) == 2)
    assert len(heard[9]) == 1


async def test_who_leaves_is_not_asked_for_any_more(api: StreamingApi, feeds: Feeds) -> None:
    """The stream goes on behind the last event with the token of who stays, and ends with the last of them."""
    heard: list[Any] = []
    first = feeds.listen(reader("t0"), lambda _: None)
    second = feeds.listen(reader("t1"), heard.append)
    await eventually(lambda: len(api.open) == 1)
    api.open[0].tell(7)
    await eventually(lambda: len(heard) == 1)
    first()
    await eventually(lambda: [(one.token, one.since) for one in api.open] == [("t1", "7")])
    second()
    second()
    await eventually(lambda: api.open == [])


async def test_a_token_that_is_refused_makes_room_for_the_next(
    api: StreamingApi, feeds: Feeds
) -> None:
    """Nobody else misses anything for it; when none is good the stream rests until somebody new comes."""
    api.refused |= {"t0", "t1"}
    feeds.listen(reader("t0"), lambda _: None)
    feeds.listen(reader("t1"), lambda _: None)
    await asyncio.sleep(0)
    feeds.listen(reader("t2"), lambda _: None)
    await eventually(lambda: [one.token for one in api.open] == ["t2"])
