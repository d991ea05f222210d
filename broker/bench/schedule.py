"""When requests are due in an open loop: decided beforehand, whatever the answers do.

A generator that waits for answers asks less while the server is slow, and so leaves out the very
moments that hurt (coordinated omission). Here each request has its time, and its latency counts
from that time, also when we ourselves were late to send it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator


def arrivals(per_second: float, *, seed: int) -> Iterator[float]:
    """Yield the seconds at which requests are due, without end: a Poisson process of that rate.

    The same seed gives the same times. Raises ValueError for a rate that is not above 0.
    """
    if per_second <= 0:
        raise ValueError(f"rate {per_second!r} is not above 0 a second")
    chance = random.Random(seed)  # noqa: S311 - arrival times, not secrets
    at = 0.0
    while True:
        at += chance.expovariate(per_second)
        yield at


class Schedule:
    """An open loop's requests from a start time on (seconds of any steadily running clock)."""

    def __init__(self, per_second: float, *, seed: int, start: float) -> None:
        self._times = (start + at for at in arrivals(per_second, seed=seed))
        self._next = next(self._times)

    @property
    def next_at(self) -> float:
        """When the next request is due that was not taken yet."""
        return self._next

    def take(self, now: float) -> list[float]:
        """Return the times of all requests that are due by `now` and were not taken before."""
        due = []
        while self._next <= now:
            due.append(self._next)
            self._next = next(self._times)
        return due
