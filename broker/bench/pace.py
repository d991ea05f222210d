"""How fast the machine itself computes while something is measured.

A virtual machine, or a processor that protects itself from heat, may run at a fraction of its speed for a while, and
no counter tells: processes are given the same CPU time as before and get less done in it. So a small piece of computing
that is always the same is timed again and again, by the CPU time that it takes: that somebody else had the core does
not count, that the core was slow does.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_right
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from broker.bench.figures import median

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

Span = tuple[float, float]

_PIECE: Final = range(3000)  # some 50 microseconds
_SLOW: Final = 2.0
# What was asked so shortly before is still being worked on when the machine slows down.
_UNDER_WAY_SECONDS: Final = 0.02


class Pace:
    """When the piece of computing was done (monotonic clock) and the CPU time that it took, in seconds."""

    def __init__(self) -> None:
        self.at = array("d")
        self.took = array("d")

    def note(self, at: float, took: float) -> None:
        """Take one measurement."""
        self.at.append(at)
        self.took.append(took)

    @property
    def usual(self) -> float:
        """The median of the CPU times; 0 without any."""
        return median(self.took)

    def slow_spans(self) -> list[Span]:
        """From when to when the machine took more than twice its usual time: from the look before to the one after."""
        limit, last = _SLOW * self.usual, len(self.at) - 1
        spans: list[Span] = []
        for number, took in enumerate(self.took):
            if took > limit:
                begin, end = self.at[max(0, number - 1)], self.at[min(last, number + 1)]
                if spans and begin <= spans[-1][1]:
                    begin = spans.pop()[0]
                spans.append((begin, end))
        return spans

    def as_json(self) -> dict[str, Any]:
        """The piece's usual time in microseconds, the share of looks that found it slow, the slowest as a multiple."""
        usual = self.usual
        if not usual:
            return {"usual_us": None, "slow_share": None, "slowest": None}
        slow = sum(took > _SLOW * usual for took in self.took)
        return {
            "usual_us": round(1e6 * usual, 2),
            "slow_share": round(slow / len(self.took), 4),
            "slowest": round(max(self.took) / usual, 1),
        }


def steady(due: Sequence[float], took: Sequence[float], slow: Sequence[Span]) -> list[float]:
    """The times of those requests that were not due within a slow span or in the 20 ms before one.

    due and took go together, in seconds; slow is ordered. Which are left out is decided by when they were due alone,
    never by how long they took; what a slow span leaves to be done after it counts.
    """
    begins = [begin for begin, _ in slow]

    def is_slow(at: float) -> bool:
        before = bisect_right(begins, at + _UNDER_WAY_SECONDS) - 1
        return before >= 0 and slow[before][1] >= at

    return [one for at, one in zip(due, took, strict=True) if not is_slow(at)]


@asynccontextmanager
async def watched(*, every: float = 0.005) -> AsyncIterator[Pace]:
    """Look at the machine's pace every so many seconds until the block is left, from this process's event loop."""
    pace = Pace()

    async def watch() -> None:
        while True:
            at, before = time.monotonic(), time.thread_time()
            sum(_PIECE)
            pace.note(at, time.thread_time() - before)
            await asyncio.sleep(every)

    watching = asyncio.create_task(watch())
    try:
        yield pace
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
