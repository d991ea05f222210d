"""Turns of background work: what is slow, breaks or waits keeps nothing else from its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from broker.things_stack.turns import Turns

Work = Callable[[str], Coroutine[None, None, bool]]


async def test_what_hangs_holds_up_nobody() -> None:
    """A round ends without it, further ones take what came meanwhile, and it is begun only once."""
    turns: Turns[str] = Turns(4, seconds=0.01)
    begun: list[str] = []
    go_on = asyncio.Event()

    async def work(key: str) -> bool:
        begun.append(key)
        if key == "slow":
            await go_on.wait()
        return True

    assert await turns.round(["slow", "a"], work)
    assert await turns.round(["slow", "b"], work)
    assert begun == ["slow", "a", "b"]
    go_on.set()
    assert await turns.round([], work)
    assert not await turns.round([], work)


async def test_no_more_at_once_than_allowed() -> None:
    """Two have their turn at a time, in the order in which they came."""
    turns: Turns[str] = Turns(2, seconds=60)
    at_work, most, order = 0, 0, []

    async def work(key: str) -> bool:
        nonlocal at_work, most
        async with turns.turn():
            order.append(key)
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1
        return True

    keys = [f"k{number}" for number in range(9)]
    assert await turns.round(keys, work)
    assert (most, order) == (2, keys)


async def test_an_error_is_raised_when_the_others_had_their_round() -> None:
    """Of one piece of work; the rest is done, and the next round is as ever."""
    turns: Turns[str] = Turns(4, seconds=60)
    done: list[str] = []

    async def work(key: str) -> bool:
        if key == "bad":
            raise ValueError(key)
        await asyncio.sleep(0)
        done.append(key)
        return False

    with pytest.raises(ValueError, match="bad"):
        await turns.round(["bad", "a", "b"], work)
    assert done == ["a", "b"]
    assert not await turns.round(["a"], work)


@pytest.mark.parametrize("how", ["stopped", "canceled"])
async def test_nothing_outlives_its_service(how: str) -> None:
    """Stopped, or its round canceled: all that is under way ends."""
    turns: Turns[str] = Turns(4, seconds=60 if how == "canceled" else 0.01)
    ended: list[str] = []
    begun = asyncio.Event()

    async def work(key: str) -> bool:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append(key)
        return True

    round_ = asyncio.create_task(turns.round(["a", "b"], work))
    await begun.wait()
    if how == "canceled":
        round_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await round_
    else:
        assert await round_
        await turns.stop()
    assert sorted(ended) == ["a", "b"]
