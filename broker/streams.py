"""Events for those who follow a tenant from here: the web console and /api/v1/events.

Whoever follows is a position that moves on. What is new is read once a tenant and process and shared; who is further
behind reads for themselves, so that a slow one costs the others nothing, and memory is bounded however many there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from broker.audience import Audience
from broker.service import every
from handlers import streams
from handlers.database import Pool
from schema.streams import Event, Position, Row

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
_RENEW_SECONDS: Final = 60.0  # of the 15 minutes that `handlers.streams.follow` asks for
_ROWS_AT_ONCE: Final = 100
_EVENTS_SHARED: Final = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next for a follower: events, perhaps none, and where that leads to.

    missed: before these there were others, which are not kept any more.
    """

    events: list[Event]
    position: Position
    missed: bool = False


@dataclass(slots=True)
class _Feed:
    """One tenant's latest rows: all from `since` on that were there when it last looked."""

    tenant: str
    since: Position
    floor: int
    renew_at: float
    rows: deque[Row] = field(default_factory=deque)
    events: int = 0
    followers: int = 0
    of_all: int = 0  # of them those who want each live event
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None

    @property
    def end(self) -> Position:
        """Behind all of them."""
        return Position(self.rows[-1].row + 1) if self.rows else self.since

    def take(self, found: streams.Read) -> None:
        """Have further rows; the oldest go where there are many."""
        self.floor = max(self.floor, found.floor)
        self.rows.extend(found.rows)
        self.events += sum(len(row.topics) for row in found.rows)
        while self.events > _EVENTS_SHARED and len(self.rows) > 1:
            gone = self.rows.popleft()
            self.events -= len(gone.topics)
            self.since = Position(gone.row + 1)
        if found.rows:
            self.news.set()
            self.news = asyncio.Event()

    def after(self, position: Position) -> list[Row]:
        """The first rows from a position on, which is not before `since`."""
        behind = [row for row in self.rows if row.row >= position.row]
        return behind[:_ROWS_AT_ONCE]


class Streams:
    """All followers of this process. `run_once` is to be called every few seconds, in each process."""

    def __init__(self, pool: Pool, audience: Audience) -> None:
        """Take the database, and who is to know for which tenants live events are made."""
        self._pool = pool
        self._audience = audience
        self._feeds: dict[str, _Feed] = {}
        self._closing = asyncio.Event()
        self.wake = asyncio.Event()

    @property
    def followers(self) -> int:
        """How many there are here."""
        return sum(feed.followers for feed in self._feeds.values())

    def look_again(self) -> None:
        """Another process has kept events."""
        for feed in self._feeds.values():
            feed.wake.set()

    def close(self) -> None:
        """Every follower comes to an end."""
        self._closing.set()
        for feed in self._feeds.values():
            feed.news.set()

    async def run_once(self) -> bool:
        """Learn who is followed anywhere, and drop what is old of it."""
        self._audience.followed = await streams.followed(self._pool)
        for tenant in self._audience.followed:
            await streams.trim(self._pool, tenant)
        return False

    async def follow(
        self,
        tenant: str,
        since: Position | None = None,
        *,
        all_live: bool = True,
        beat: float = 15.0,
    ) -> AsyncGenerator[Step, None]:
        """What happens in a tenant from now on, or since a position; a Step without events at first and each `beat` s.

        all_live: whether each live event is wanted; others may want it, and then all are there. Ends when the process
        does. Raises the database's errors.
        """
        floor, present = await streams.follow(self._pool, tenant, all_live=all_live)
        feed = self._join(tenant, present, floor)
        feed.of_all += all_live
        try:
            lost = since is not None and not floor < since.row <= present.row
            position = present if since is None else Position(floor + 1) if lost else since
            yield Step([], position, lost)
            while not self._closing.is_set():
                step = await self._next(feed, position, beat)
                position = step.position
                yield step
        finally:
            feed.of_all -= all_live
            self._leave(feed)

    async def _next(self, feed: _Feed, position: Position, beat: float) -> Step:
        step = await self._ready(feed, position)
        if step is None:
            news = feed.news
            with suppress(TimeoutError):
                async with asyncio.timeout(beat):
                    await news.wait()
            step = await self._ready(feed, position)
        return step or Step([], position)

    async def _ready(self, feed: _Feed, position: Position) -> Step | None:
        """What is there behind a position; None when nothing is."""
        missed = False
        if position.row >= feed.since.row:
            rows = feed.after(position)
            if not rows:
                return None
        else:
            found = await streams.read(self._pool, feed.tenant, position, most=_ROWS_AT_ONCE)
            missed = position.row <= found.floor
            rows = found.rows
            if not rows:
                return Step([], Position(max(found.floor + 1, feed.since.row)), missed)
        events = [event for row in rows for event in row.events(position)]
        return Step(events, Position(rows[-1].row + 1), missed)

    def _join(self, tenant: str, present: Position, floor: int) -> _Feed:
        feed = self._feeds.get(tenant)
        if feed is None:
            renew_at = asyncio.get_running_loop().time() + _RENEW_SECONDS
            feed = self._feeds[tenant] = _Feed(tenant, present, floor, renew_at)
            one = every(
                f"events of {tenant}",
                lambda: self._read(feed),
                seconds=_LOOK_SECONDS,
                wake=feed.wake,
            )
            feed.reading = asyncio.create_task(one, name=f"events of {tenant}")
        feed.followers += 1
        return feed

    def _leave(self, feed: _Feed) -> None:
        feed.followers -= 1
        if feed.followers == 0:
            del self._feeds[feed.tenant]
            if feed.reading is not None:
                feed.reading.cancel()

    async def _read(self, feed: _Feed) -> bool:
        now = asyncio.get_running_loop().time()
        if now >= feed.renew_at:
            await streams.follow(self._pool, feed.tenant, all_live=feed.of_all > 0)
            feed.renew_at = now + _RENEW_SECONDS
        found = await streams.read(self._pool, feed.tenant, feed.end, most=_ROWS_AT_ONCE)
        feed.take(found)
        return len(found.rows) == _ROWS_AT_ONCE
