"""What a simulated fleet has seen: counts, and how long answers took, in memory that does not grow."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_STEP: Final = math.log(1.02)
_SMALLEST: Final = 1e-5


class Durations:
    """How often which duration came up, in steps of 2 %: percentiles at a bounded price."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[round(math.log(max(seconds, _SMALLEST)) / _STEP)] += 1
        self._total += 1

    def percentile(self, percent: float) -> float | None:
        """Return the duration in seconds that `percent` of all stay within; None without any."""
        left = math.ceil(self._total * percent / 100)
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return math.exp(step * _STEP)
        return None


@dataclass(slots=True)
class Tally:
    """Counts of a whole fleet. `last_activity` is the event loop's time of the last message."""

    connected: int = 0
    connects: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    requests: int = 0
    repeated: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    notified: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    last_activity: float = 0.0
    answers: Durations = field(default_factory=Durations)
    first_notified: float | None = None

    def as_json(self) -> dict[str, object]:
        """The closing summary; durations in milliseconds."""
        return {
            "connects": self.connects,
            "connectionsLost": self.lost,
            "connectionsRefused": dict(self.refused),
            "requests": self.requests,
            "repeated": self.repeated,
            "accepted": self.accepted,
            "rejected": dict(self.rejected),
            "notifications": self.notified,
            "outcomes": dict(self.outcomes),
            "p50Milliseconds": _milliseconds(self.answers.percentile(50)),
            "p99Milliseconds": _milliseconds(self.answers.percentile(99)),
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
