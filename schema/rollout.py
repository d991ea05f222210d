"""How fast a job rolls out: the rate at each moment, and how many things a tick may notify to keep it.

The rate is in things notified a minute and concerns first executions: a retry is queued at once and takes nothing from
it. Later joiners of a continuous job obey it like everybody else; on AWS they don't (reference 5.1).

Sources: AWS "How job configurations work", job rollout rate; reference 5.1 with its worked table.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Self

from pydantic import Field, model_validator

from schema.configs import Config, Things, decimals
from schema.limits import BASE_RATE, INCREMENT_FACTOR, THINGS_COUNTED

if TYPE_CHECKING:
    from schema.counts import Counts

# The schedule runs at this share of the rate, so that things notified late never share a minute with too many of the
# next: what is caught up after a late tick is then still within the maximum.
_SHARE: Final = 0.96
# How late a tick may be and still be caught up, so that any 60 s hold at most `rate` things: 60 / 0.96 - 60 seconds.
# What a longer stop left undone is left undone: it is never made up for.
_CATCH_UP: Final = 2.5
# 1.1^300 things are more than there are.
_STEPS: Final = 300
# Below what a microsecond adds at one thing a minute; above the error of adding up.
_TINY: Final = 1e-9


class RateIncreaseCriteria(Config):
    """When the rate rises by one step: at every so many notified things or succeeded ones (AWS: RateIncreaseCriteria).

    Where both are given, whichever is met first counts. AWS's model also takes neither, a ramp that never rises; that
    can only be a mistake and is refused.
    """

    number_of_notified_things: Things | None = None
    number_of_succeeded_things: Things | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.number_of_notified_things is None and self.number_of_succeeded_things is None:
            msg = "needs numberOfNotifiedThings or numberOfSucceededThings"
            raise ValueError(msg)
        return self

    def steps(self, *, notified: int, succeeded: int) -> int:
        """How often the rate has risen: thresholds are cumulative and linear, N, 2N, 3N, ... (reference 5.1)."""
        by_notified = notified // (self.number_of_notified_things or math.inf)
        by_succeeded = succeeded // (self.number_of_succeeded_things or math.inf)
        return int(max(by_notified, by_succeeded))


class ExponentialRate(Config):
    """A ramp: baseRatePerMinute x incrementFactor^k after k steps (AWS: ExponentialRolloutRate)."""

    base_rate_per_minute: Annotated[int, Field(ge=1, le=BASE_RATE)]
    increment_factor: Annotated[
        float, Field(ge=INCREMENT_FACTOR[0], le=INCREMENT_FACTOR[1]), decimals(1)
    ]
    rate_increase_criteria: RateIncreaseCriteria

    def after(self, steps: int) -> int:
        """Whole things a minute after so many steps; more than can be counted from some step on.

        A fraction is cut off (AWS: not told), but only here, so that 1 x 1.1^k does rise. In tenths, because 1.1 is a
        hair more than 11/10 for a float.
        """
        steps = min(steps, _STEPS)
        tenths = round(self.increment_factor * 10)
        return int(self.base_rate_per_minute * tenths**steps // 10**steps)


class RolloutConfig(Config):
    """AWS: JobExecutionsRolloutConfig. Both parts may be left out; together, the maximum caps the ramp."""

    maximum_per_minute: Things | None = None
    exponential_rate: ExponentialRate | None = None

    @property
    def rises_by_success(self) -> bool:
        """Whether successes make it faster."""
        ramp = self.exponential_rate
        return ramp is not None and (
            ramp.rate_increase_criteria.number_of_succeeded_things is not None
        )


def current_rate(
    config: RolloutConfig | None, counts: Counts, *, default: int | None = None
) -> int | None:
    """The rate now, in things a minute; None is no limit.

    default is what caps a job without maximumPerMinute: none here, where AWS has 1000.
    """
    steps = 0
    if config is not None and config.exponential_rate is not None:
        steps = config.exponential_rate.rate_increase_criteria.steps(
            notified=counts.notified, succeeded=counts.succeeded
        )
    return rate_after(config, steps, default=default)


def rate_after(
    config: RolloutConfig | None, steps: int, *, default: int | None = None
) -> int | None:
    """The rate after so many steps of the ramp, if there is one; default and None as in current_rate."""
    ceiling = default
    if config is not None and config.maximum_per_minute is not None:
        ceiling = config.maximum_per_minute
    if config is None or config.exponential_rate is None:
        return ceiling
    rate = config.exponential_rate.after(steps)
    if ceiling is None:
        return rate if rate <= THINGS_COUNTED else None
    return min(rate, ceiling)


def per_second(rate: int) -> float:
    """Things a second that are told at a rate of so many a minute: a little less, so as never to exceed it."""
    return _SHARE * rate / 60


class Pace(NamedTuple):
    """What a job's row keeps of its pace: things that might be notified at once, and when that was so."""

    credit: float
    at: datetime


class Grant(NamedTuple):
    """How many things this tick may notify, and the pace to keep when it has."""

    things: int
    pace: Pace

    def unused(self, things: int) -> Pace:
        """The pace when so many of the granted things were not notified after all."""
        return self.pace._replace(credit=self.pace.credit + things)


def start(now: datetime) -> Pace:
    """The pace of a job that begins to roll out: its first thing is told at once."""
    return Pace(1.0, now)


def grant(pace: Pace, rate: int | None, now: datetime, *, most: int) -> Grant:
    """How many of `most` things may be notified now at `rate` things a minute; without a rate, all of them.

    Any 60 s hold at most `rate` things, however irregular the ticks; with ticks at most 2.5 s apart the pace is never
    more than 5 % below the rate. After a stop, of the process or by a pause, at most 4 % of a minute's things and one
    more are notified at once. A changed rate holds from the next tick. now is one clock's, the database's.
    """
    if rate is None:
        return Grant(most, Pace(0.0, now))
    refilled = _refill(pace, rate, now)
    things = max(0, min(most, math.floor(refilled.credit + _TINY)))
    return Grant(things, refilled._replace(credit=max(0.0, refilled.credit - things)))


def due(pace: Pace, rate: int | None) -> datetime:
    """When the next thing may be notified at the earliest, so that a slow job needs no tick before."""
    if rate is None or pace.credit >= 1:
        return pace.at
    return pace.at + timedelta(seconds=(1 - pace.credit) / per_second(rate))


def _refill(pace: Pace, rate: int, now: datetime) -> Pace:
    passed = (now - pace.at).total_seconds()
    # Two processes read the clock in one order and take the row in the other: then nothing has passed yet. More than
    # that is a clock set back, and a row that waited for it to come round again would stop the job.
    at = pace.at if -_CATCH_UP <= passed < 0 else now
    credit = pace.credit + max(0.0, passed) * per_second(rate)
    return Pace(min(credit, 1 + _CATCH_UP * per_second(rate)), at)
