"""When a rollout tells its things by the clock: its plan laid over the times at which the job rolls out at all.

schema.forecast plans as if nothing ever stopped the rollout; a start time, maintenance windows and an end time stretch
it. What a window's end leaves undone is not made up for in the next one; the rollout goes on at its rate.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.forecast import Plan
    from schema.windows import Schedule

OPENINGS_SHOWN: Final = 20
POINTS: Final = 60
# So many windows are looked at: a rollout that needs more has no end that is worth a date.
_MOST_OPENINGS: Final = 200


class Opening(NamedTuple):
    """A stretch of time in which a job rolls out; ends None: nothing ends it."""

    begins: datetime
    ends: datetime | None

    def seconds_until(self, moment: datetime) -> float:
        """How much of it has passed by then."""
        until = moment if self.ends is None else min(moment, self.ends)
        return max(0.0, (until - self.begins).total_seconds())


class Point(NamedTuple):
    """Whole minutes from the beginning, things told by then, and the rate then (None: no limit, or nobody is told)."""

    minute: int
    things: int
    rate: int | None


class Course(NamedTuple):
    """A plan by the clock, from `begins` on.

    openings: those in which it tells anybody. told_at is None when it never tells all: the job ends before, or it takes
    more windows than are worth looking at; told are those it tells until then.
    """

    plan: Plan
    begins: datetime
    openings: tuple[Opening, ...]
    told_at: datetime | None

    @property
    def told(self) -> int:
        """Things it tells altogether."""
        return self.plan.things if self.told_at is not None else self.things_by(self._last)

    @property
    def _last(self) -> datetime:
        ends = self.told_at or (self.openings[-1].ends if self.openings else None)
        return ends or self.begins

    def things_by(self, moment: datetime) -> int:
        """Things told by then."""
        if not self.openings or moment < self.openings[0].begins:
            return 0
        return self.plan.told_at(sum(one.seconds_until(moment) for one in self.openings))

    def by_minute(self) -> list[Point]:
        """Points of the curve: about sixty at most, evenly, and where the first twenty openings begin and end."""
        minutes = self._minute(self._last, up=True)
        step = max(1, -(-minutes // POINTS))
        edges = {
            self._minute(at, up=up)
            for one in self.openings[:OPENINGS_SHOWN]
            for at, up in ((one.begins, False), (one.ends, True))
            if at is not None
        }
        shown = {*range(0, minutes, step), *(one for one in edges if one < minutes), minutes}
        return [self._point(minute) for minute in sorted(shown)]

    def _minute(self, moment: datetime, *, up: bool) -> int:
        seconds = (moment - self.begins).total_seconds()
        return int(-(-seconds // 60) if up else seconds // 60)

    def _point(self, minute: int) -> Point:
        at = self.begins + timedelta(minutes=minute)
        passed = sum(one.seconds_until(at) for one in self.openings)
        open_now = any(
            one.begins <= at and (one.ends is None or at < one.ends) for one in self.openings
        )
        legs = [one for one in self.plan.legs if one.begins <= passed]
        return Point(minute, self.things_by(at), legs[-1].rate if open_now else None)


def openings(schedule: Schedule, now: datetime) -> Iterator[Opening]:
    """The stretches in which a job of this schedule rolls out, from now on, in order."""
    at = now if schedule.is_open(now) else schedule.next_open(now)
    while at is not None:
        ends = schedule.closes_at(at)
        yield Opening(at, ends)
        if ends is None:
            return
        # A schedule that is practically always open is told in pieces.
        at = ends if schedule.is_open(ends) else schedule.next_open(ends)


def course(plan: Plan, schedule: Schedule, now: datetime) -> Course:
    """The plan, begun now, laid over the schedule."""
    left = plan.lasts
    used: list[Opening] = []
    for one in islice(openings(schedule, now), _MOST_OPENINGS):
        used.append(one)
        lasts = None if one.ends is None else (one.ends - one.begins).total_seconds()
        if lasts is None or lasts >= left:
            return Course(plan, now, tuple(used), one.begins + timedelta(seconds=left))
        left -= lasts
    return Course(plan, now, tuple(used), None)
