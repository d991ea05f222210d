"""From measured times to the few numbers that are reported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_MILLI = 1000.0


@dataclass(frozen=True, slots=True)
class Latency:
    """How long requests took, in milliseconds, and how many there were.

    With few samples a high percentile is the largest one seen; `samples` says so.
    """

    p50: float
    p99: float
    p999: float
    longest: float
    samples: int

    def as_json(self) -> dict[str, float]:
        """Return the numbers by name, rounded to microseconds."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the ordered values do not exceed.

    Nearest rank: always one of the values. Raises ValueError without values or for another share.
    """
    if not ordered:
        raise ValueError("no values to take a percentile of")
    if not 0 <= share <= 1:
        raise ValueError(f"share {share!r} is not from 0 to 1")
    rank = -(-len(ordered) * round(share * 1_000_000) // 1_000_000)  # rounded up, without floats
    return ordered[max(rank, 1) - 1]


def latency(seconds: Iterable[float]) -> Latency | None:
    """Return what measured times in seconds come to, in milliseconds; None when there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    p50, p99, p999 = (percentile(ordered, share) * _MILLI for share in (0.5, 0.99, 0.999))
    return Latency(p50, p99, p999, ordered[-1] * _MILLI, len(ordered))


def median(values: Iterable[float]) -> float:
    """Return the middle one of some runs, or 0 when there were none."""
    found = list(values)
    return statistics.median(found) if found else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a median lies: between low and high, with this confidence (0 to 1)."""

    low: float
    high: float
    confidence: float


def interval_of_median(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Return the narrowest pair of measured values that holds the true median with at least this confidence.

    By order statistics, whatever the distribution is: each value is as likely above the median as below. With too few
    values for it (5 and fewer for 0.95) smallest and largest are returned, with the confidence that those give.
    Raises ValueError without values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to find a median of")
    count = len(ordered)
    outside, beyond, found = 0.0, 0, 0.0
    for left_out in range((count - 1) // 2 + 1):
        outside += 2 * math.comb(count, left_out) / 2**count
        if left_out and 1 - outside < confidence:
            break
        beyond, found = left_out, max(0.0, 1 - outside)
    return Interval(ordered[beyond], ordered[count - 1 - beyond], found)


def spread(values: Iterable[float]) -> float:
    """Return how far the runs lie apart: (largest - smallest) / median; 0 when nothing was done."""
    found = list(values)
    middle = median(found)
    return (max(found) - min(found)) / middle if middle else 0.0


def ratio(one: float | None, other: float | None) -> float | None:
    """Return one number as a multiple of another, to two places; None where either is missing."""
    return round(one / other, 2) if one and other else None


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each counter has grown; one that is new counts from 0."""
    return {name: round(value - before.get(name, 0.0), 3) for name, value in after.items()}


def medians(runs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    """Return the medians over runs of the numbers that each has in the mapping `name`."""
    names = dict.fromkeys(key for run in runs for key in run[name])
    return {key: round(median(run[name].get(key, 0.0) for run in runs), 3) for key in names}
