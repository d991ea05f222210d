"""How a rollout will go: things told by each moment, before a job is created and while it runs.

The plan follows the rate and the pace of schema.rollout. Where a ramp rises by successes it takes each thing to succeed
a given time after it was told: nobody knows better beforehand. Stages and closed windows stretch it (schema.course);
pauses and failures are not in it, and only make a rollout longer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from schema.counts import Counts
from schema.rollout import per_second, rate_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.rollout import RateIncreaseCriteria, RolloutConfig


class Leg(NamedTuple):
    """A stretch of one rate: seconds from now at its begin, things told by then, things a minute (None: no limit)."""

    begins: float
    told: float
    rate: int | None

    def when(self, told: float) -> float:
        """Seconds from now until so many are told, if this leg lasts so long; its begin for fewer than at its begin."""
        return self.begins + max(0.0, told - self.told) / _speed(self.rate)


class Plan(NamedTuple):
    """A rollout's legs in order, how many things it tells altogether, and the seconds from now until all are told."""

    legs: tuple[Leg, ...]
    things: int
    lasts: float

    def told_at(self, seconds: float) -> int:
        """Things told so many seconds from now."""
        if seconds >= self.lasts:
            return self.things
        leg = [one for one in self.legs if one.begins <= seconds][-1]
        return min(self.things, math.floor(leg.told + (seconds - leg.begins) * _speed(leg.rate)))

    def when(self, things: int) -> float:
        """Seconds from now until so many are told, of those there are."""
        leg = [one for one in self.legs if one is self.legs[0] or one.told <= things][-1]
        return min(self.lasts, leg.when(things))

    def by_minute(self, most: int = 60) -> list[tuple[int, int]]:
        """Minutes from now and things told by then, 0 and the last included: at most about `most` of them, evenly."""
        minutes = math.ceil(self.lasts / 60)
        step = max(1, math.ceil(minutes / most))
        return [(minute, self.told_at(minute * 60)) for minute in range(0, minutes + step, step)]


def plan(
    config: RolloutConfig | None,
    things: int,
    *,
    default: int | None = None,
    counts: Counts | None = None,
    succeed_after: float | None = None,
) -> Plan:
    """How `things` things, those in counts included, are told from now on.

    default is the ceiling of a job without maximumPerMinute; succeed_after are the seconds from being told to success,
    None when the plan is to count on none. A few hundred steps at most, however many things there are.
    """
    now = counts or Counts()
    criteria = _criteria(config)
    steps = criteria.steps(notified=now.notified, succeeded=now.succeeded) if criteria else 0
    legs = [Leg(0.0, min(now.notified, things), rate_after(config, steps, default=default))]
    while True:
        ends = legs[-1].when(things)
        rises = math.inf
        if criteria and _rises_yet(config, steps, default):
            rises = _next_rise(criteria, steps, legs, succeed_after=succeed_after)
        if rises >= ends:
            return Plan(tuple(legs), things, ends)
        steps += 1
        told = legs[-1].told + (rises - legs[-1].begins) * _speed(legs[-1].rate)
        legs.append(Leg(rises, told, rate_after(config, steps, default=default)))


def _criteria(config: RolloutConfig | None) -> RateIncreaseCriteria | None:
    if config is None or config.exponential_rate is None:
        return None
    return config.exponential_rate.rate_increase_criteria


def _rises_yet(config: RolloutConfig | None, steps: int, default: int | None) -> bool:
    # That the next step is no higher says nothing, as fractions are cut off; that no later one is does.
    final = rate_after(config, 10**6, default=default)
    return rate_after(config, steps, default=default) != final


def _next_rise(
    criteria: RateIncreaseCriteria, steps: int, legs: Sequence[Leg], *, succeed_after: float | None
) -> float:
    """Seconds from now until the next step of the ramp; never before the last leg's begin."""
    rises = math.inf
    if criteria.number_of_notified_things is not None:
        rises = legs[-1].when(criteria.number_of_notified_things * (steps + 1))
    if criteria.number_of_succeeded_things is not None and succeed_after is not None:
        enough = criteria.number_of_succeeded_things * (steps + 1)
        leg = [one for one in legs if one.told <= enough or one is legs[0]][-1]
        rises = min(rises, leg.when(enough) + succeed_after)
    return max(rises, legs[-1].begins)


def _speed(rate: int | None) -> float:
    return math.inf if rate is None else per_second(rate)
