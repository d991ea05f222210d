"""How often somebody may come: a bucket for each key and address, of which so many are remembered."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

_MOST_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RateLimit:
    """At most `rate` a second on the long run for each name, `burst` at once; 0 turns it off.

    A name that stayed away for long enough has a full bucket, so forgetting the least recent ones costs little.
    """

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, name: Hashable, cost: float = 1.0) -> int | None:
        """Count one; None when it may pass, else after how many whole seconds it is worth to try again (1 at least)."""
        if not self._rate:
            return None
        bucket = self._filled(name)
        if bucket.level >= cost:
            bucket.level -= cost
            return None
        return max(1, math.ceil((cost - bucket.level) / self._rate))

    def is_spent(self, name: Hashable) -> int | None:
        """What `take` would say, without counting."""
        return self.take(name, 0.0) if not self._rate else self._wait(name)

    def _wait(self, name: Hashable) -> int | None:
        bucket = self._buckets.get(name)
        if bucket is None:
            return None
        level = min(self._burst, bucket.level + (self._clock() - bucket.at) * self._rate)
        return None if level >= 1.0 else max(1, math.ceil((1.0 - level) / self._rate))

    def _filled(self, name: Hashable) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._burst, now)
            if len(self._buckets) > _MOST_REMEMBERED:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(name)
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket
