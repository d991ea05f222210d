"""Waiting for what happens elsewhere: poll until it is so, or say what was seen last."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
# Long enough for a machine with many other things to do: whoever waits for what comes waits no longer for it.
PATIENCE = 100.0


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, timeout: float = ...) -> T: ...


@overload
async def eventually(check: Callable[[], T], *, timeout: float = ...) -> T: ...


async def eventually(check: Callable[[], object], *, timeout: float = PATIENCE) -> object:
    """Call `check` until it returns something true without an AssertionError or a LookupError; return that.

    A key or an index that is missing is what has not come yet: the first message of a thing, the first line of a log.
    Raises AssertionError with what `check` gave last when `timeout` seconds are over. Nothing else
    in tests waits for something to have happened by pausing.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + timeout, _FIRST_PAUSE
    while True:
        began = loop.time()
        try:
            outcome = check()
            seen = await outcome if inspect.isawaitable(outcome) else outcome
            problem: object = f"last seen: {seen!r}"
            if seen:
                return seen
        except (AssertionError, LookupError) as error:
            problem = error if isinstance(error, AssertionError) else repr(error)
        ended = loop.time()
        if ended > deadline:
            raise AssertionError(f"not so after {timeout:g} s; {problem}")
        # What takes long to ask, as a command does, is asked less often: it takes its time from what is waited for.
        await asyncio.sleep(max(pause, min(1.0, ended - began)))
        pause = min(2 * pause, _LONGEST_PAUSE)


async def settled(check: Callable[[], object], *, timeout: float) -> bool:
    """Whether `check` comes true within `timeout` seconds: `eventually`, for whoever goes on either way."""
    try:
        await eventually(check, timeout=timeout)
    except AssertionError:
        return False
    return True


async def elapse(seconds: float) -> None:
    """Let time pass where time itself is the subject: how long a fault lasts, the pace of a load.

    Never to wait for something to have happened.
    """
    await asyncio.sleep(max(0.0, seconds))


def whole_lines(text: str) -> list[str]:
    """The lines of a file that is still written to, without the last one if only a part of it is there.

    Whoever reads beside a writer may see a write up to the end of a page of memory.
    """
    return text.split("\n")[:-1]
