"""What several pages look at is asked for once, and never for longer than it is fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.console.glances import FRESH_SECONDS, Glances

Ask = Callable[[], Awaitable[dict[str, Any]]]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Api:
    """Answers with how often it was asked, once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = asyncio.Event()
        self.may.set()

    async def ask(self) -> dict[str, Any]:
        """One answer."""
        self.asked += 1
        mine = self.asked
        await self.may.wait()
        return {"asked": mine}


async def refused() -> dict[str, Any]:
    """What somebody hears who may not ask any more."""
    raise PermissionError


async def test_many_who_look_at_once_ask_once() -> None:
    """Ten pages that want the same get one answer; of another tenant, another key or later it is asked for."""
    clock, api = Clock(), Api()
    glances = Glances(clock)
    api.may.clear()
    looking = [asyncio.create_task(glances.have("acme", "jobs", api.ask)) for _ in range(10)]
    await asyncio.sleep(0)
    api.may.set()
    assert await asyncio.gather(*looking) == 10 * [{"asked": 1}]
    assert await glances.have("acme", "things", api.ask) == {"asked": 2}
    assert await glances.have("other", "jobs", api.ask) == {"asked": 3}
    assert await glances.have("acme", "jobs", api.ask) == {"asked": 1}
    clock.now += FRESH_SECONDS
    assert await glances.have("acme", "jobs", api.ask) == {"asked": 4}


async def test_a_refusal_is_nobody_elses() -> None:
    """Who may not ask hears so; who waited for the same asks for themselves, also when the first page is closed."""
    api, glances = Api(), Glances(Clock())
    first = asyncio.create_task(glances.have("acme", "jobs", refused))
    await asyncio.sleep(0)
    assert await glances.have("acme", "jobs", api.ask) == {"asked": 1}
    with pytest.raises(PermissionError):
        await first
    api.may.clear()
    closed = asyncio.create_task(glances.renew("acme", "jobs", api.ask))
    await asyncio.sleep(0)
    other = asyncio.create_task(glances.have("acme", "jobs", api.ask))
    await asyncio.sleep(0)
    closed.cancel()
    api.may.set()
    assert await other == {"asked": 3}


async def test_after_a_change_nothing_old_is_shown() -> None:
    """What was told before a command of the same tenant is asked for again, also what was still on its way."""
    api, glances = Api(), Glances(Clock())
    api.may.clear()
    before = asyncio.create_task(glances.have("acme", "jobs", api.ask))
    await asyncio.sleep(0)
    glances.forget("acme")
    api.may.set()
    assert await glances.have("acme", "jobs", api.ask) == {"asked": 2}
    assert await before == {"asked": 1}
    assert await glances.have("acme", "jobs", api.ask) == {"asked": 2}


async def test_what_is_remembered_is_bounded() -> None:
    """However many different things are looked at, a thousand answers are the most that are kept."""
    api, glances = Api(), Glances(Clock())
    for number in range(1500):
        await glances.have("acme", number, api.ask)
    again = 0
    for number in range(1499, 400, -1):
        before = api.asked
        await glances.have("acme", number, api.ask)
        again += api.asked > before
    assert again >= 99
