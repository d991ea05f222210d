"""Whether something that was measured over time stays level: a line through it, and how steep it may be. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_FEWEST: Final = 4
_SURE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line: its value in the middle, its slope a second, and the standard error of the slope."""

    middle: float
    slope: float
    error: float


def fit(times: Sequence[float], values: Sequence[float]) -> Line:
    """The line with the least squared distances. Raises ValueError for fewer than four samples or one instant."""
    count = len(times)
    if count < _FEWEST or count != len(values):
        raise ValueError(f"{count} times and {len(values)} values: a line takes {_FEWEST} of each")
    middle_time, middle = sum(times) / count, sum(values) / count
    spread = sum((at - middle_time) ** 2 for at in times)
    if not spread:
        raise ValueError("all samples are of one instant")
    pairs = list(zip(times, values, strict=True))
    slope = sum((at - middle_time) * (value - middle) for at, value in pairs) / spread
    left = sum((value - middle - slope * (at - middle_time)) ** 2 for at, value in pairs)
    return Line(middle, slope, math.sqrt(left / (count - 2) / spread))


@dataclass(frozen=True, slots=True)
class Bound:
    """How much something may grow while it is watched: a share of what it is, or `least`, whichever is more."""

    share: float
    least: float

    def of(self, middle: float) -> float:
        """The bound for something of this size."""
        return max(self.share * middle, self.least)


@dataclass(frozen=True, slots=True)
class Level:
    """One quantity's verdict. growth and allowed are over the time watched, in the quantity's own unit."""

    name: str
    first: float
    last: float
    middle: float
    growth: float
    allowed: float
    level: bool


def judge(
    name: str, times: Sequence[float], values: Sequence[float], *, settled: float, bound: Bound
) -> Level:
    """Whether a quantity stays level from the time `settled` on.

    It grows when its line rises by more than the bound allows even at the gentle end of what the samples
    leave possible (two standard errors): what goes up and down, as dead tuples between two vacuums, is level.
    Raises ValueError for too few samples.
    """
    watched = [(at, value) for at, value in zip(times, values, strict=True) if at >= settled]
    line = fit([at for at, _ in watched], [value for _, value in watched])
    length = watched[-1][0] - watched[0][0]
    allowed = bound.of(line.middle)
    surely = (line.slope - _SURE * line.error) * length
    return Level(
        name,
        watched[0][1],
        watched[-1][1],
        line.middle,
        line.slope * length,
        allowed,
        surely <= allowed,
    )


def settled_after(seconds: float, *, remembered: float) -> float:
    """From when on a run is watched: after its first third, and when what is remembered that long has filled up.

    A run too short for that is watched from its middle on.
    """
    return max(seconds / 3, min(remembered, seconds / 2))


def judge_all(
    times: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    settled: float,
    bounds: Mapping[str, Bound],
) -> list[Level]:
    """The verdict of each quantity that has a bound, in the bounds' order. Raises ValueError for too few samples."""
    return [
        judge(name, times, series[name], settled=settled, bound=bound)
        for name, bound in bounds.items()
        if name in series
    ]
