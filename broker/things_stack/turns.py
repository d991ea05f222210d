"""Work that is due, so many at once: what is slow, hangs or breaks keeps nothing else from its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """A service's work in this process, by what names it. `round` again and again; `stop` at the end."""

    def __init__(self, at_once: int, *, seconds: float) -> None:
        """Take how many are worked on at once, in the order in which they came, and how long a round waits for them."""
        self._gate = asyncio.Semaphore(at_once)
        self._seconds = seconds
        self._under_way: dict[K, asyncio.Task[bool]] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn: what waits for another's lock does so before, and takes none."""
        async with self._gate:
            yield

    async def round(self, due: Iterable[K], carry_out: Callable[[K], Awaitable[bool]]) -> bool:
        """Begin what is due and not under way yet, and wait until all has ended, or for so long.

        Returns whether anything was worked on. Raises the first error, after the others have had their round; what ends
        the process ends all. When it is cancelled, so is everything under way.
        """
        for key in due:
            if key not in self._under_way:
                self._under_way[key] = asyncio.create_task(_as_task(carry_out(key)))
        if not self._under_way:
            return False
        try:
            await asyncio.wait(self._under_way.values(), timeout=self._seconds)
            return self._ended()
        except BaseException:
            await self.stop()
            raise

    def _ended(self) -> bool:
        ended = {key: task for key, task in self._under_way.items() if task.done()}
        for key in ended:
            del self._under_way[key]
        errors = [error for task in ended.values() if (error := task.exception()) is not None]
        # What is no Exception is meant for the process.
        for error in sorted(errors, key=lambda one: isinstance(one, Exception)):
            raise error
        return any(task.result() for task in ended.values()) or bool(self._under_way)

    async def stop(self) -> None:
        """End what is under way, wherever it is."""
        tasks = [*self._under_way.values()]
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _as_task(work: Awaitable[bool]) -> bool:
    return await work
