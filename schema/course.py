"""When a rollout tells its things by the clock: its plan laid over the times at which the job rolls out at all.

schema.forecast plans as if nothing ever stopped the rollout; a start time, maintenance windows, an end time and the
gates of stages stretch it. What a stop leaves undone is not made up for; the rollout goes on at its rate.

A gate is taken to open as early as it can: each thing succeeds when it is told, so that the share that must succeed is
there once so many of the stage are told, and then it soaks. It soaks outside windows too, but does not open there. One
whose successAction is PAUSE waits for somebody, and the course ends there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.configs import WHOLE, hundredths
from schema.stages import Stage, SuccessAction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Run(NamedTuple):
    """A stretch in which things are told one after the other.

    passed: seconds of the plan before it; before, told: things told at its begin and at its end.
    """

    begins: datetime
    ends: datetime
    passed: float
    before: int
    told: int


class StageTimes(NamedTuple):
    """When a stage starts, when all of it is told and when the gate behind it opens; None: not in the time there is.

    The last one has no gate, and neither has the one at which somebody must resume the job.
    """

    starts_at: datetime | None
    told_at: datetime | None
    gate_opens_at: datetime | None


class Point(NamedTuple):
    """Whole minutes from the beginning, things told by then, and the rate then (None: no limit, or nobody is told)."""

    minute: int
    things: int
    rate: int | None


class Course(NamedTuple):
    """A plan by the clock, from `begins` on.

    openings: those in which it tells anybody, runs: when it does. told_at is None when it never tells all: the job ends
    before, somebody must resume it, or it takes more windows than are worth looking at; told are those it tells until
    then. paused_at: when the gate of a stage pauses it, which is the last of `stages` that has started.
    """

    plan: Plan
    begins: datetime
    openings: tuple[Opening, ...]
    runs: tuple[Run, ...]
    told_at: datetime | None
    stages: tuple[StageTimes, ...] = ()
    paused_at: datetime | None = None

    @property
    def told(self) -> int:
        """Things it tells altogether."""
        return self.runs[-1].told if self.runs else 0

    @property
    def _last(self) -> datetime:
        ends = self.told_at or self.paused_at or (self.openings[-1].ends if self.openings else None)
        return ends or self.begins

    def things_by(self, moment: datetime) -> int:
        """Things told by then."""
        begun = [one for one in self.runs if one.begins <= moment]
        if not begun:
            return 0
        run = begun[-1]
        if moment >= run.ends:
            return run.told
        passed = run.passed + (moment - run.begins).total_seconds()
        return max(run.before, min(run.told, self.plan.told_at(passed)))

    def by_minute(self) -> list[Point]:
        """Points of the curve: about sixty at most, evenly, and where the first twenty stretches begin and end."""
        minutes = self._minute(self._last, up=True)
        step = max(1, -(-minutes // POINTS))
        shown = {
            *range(0, minutes, step),
            *(one for one in self._edges() if one < minutes),
            minutes,
        }
        return [self._point(minute) for minute in sorted(shown)]

    def _edges(self) -> set[int]:
        stretches = [
            *((one.begins, one.ends) for one in self.openings[:OPENINGS_SHOWN]),
            *((one.begins, one.ends) for one in self.runs[:OPENINGS_SHOWN]),
        ]
        begins = {self._minute(one, up=False) for one, _ in stretches}
        return begins | {self._minute(one, up=True) for _, one in stretches if one is not None}

    def _minute(self, moment: datetime, *, up: bool) -> int:
        seconds = (moment - self.begins).total_seconds()
        return int(-(-seconds // 60) if up else seconds // 60)

    def _point(self, minute: int) -> Point:
        at = self.begins + timedelta(minutes=minute)
        running = [one for one in self.runs if one.begins <= at < one.ends]
        if not running:
            # The last point is of the moment at which all are told, a little before it.
            running = [*self.runs[-1:]] if self.told_at is not None and at >= self.told_at else []
        if not running:
            return Point(minute, self.things_by(at), None)
        passed = running[-1].passed + (at - running[-1].begins).total_seconds()
        legs = [one for one in self.plan.legs if one.begins <= passed]
        return Point(minute, self.things_by(at), legs[-1].rate)


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


def course(
    plan: Plan,
    schedule: Schedule,
    now: datetime,
    *,
    stages: Sequence[Stage] = (),
    held: Sequence[int] = (),
) -> Course:
    """The plan, begun now, laid over the schedule and the stages.

    held: how many things each stage holds, all of the plan's together.
    """
    whole = (Stage(),) if not stages else tuple(stages)
    reached = [*accumulate(held)] if stages else [plan.things]
    way = _Way(plan, schedule, now)
    opens, paused_at = way.begin(now), None
    times: list[StageTimes] = []
    for place, stage in enumerate(whole):
        begins, before = opens, reached[place - 1] if place else 0
        if begins is None:
            times.append(StageTimes(None, None, None))
        elif place == len(whole) - 1:
            way.tell(reached[place])
            times.append(StageTimes(begins, None, None))
        else:
            opens = _gate(way, stage, before, reached[place], begins=begins)
            if opens is not None and stage.success_action is SuccessAction.PAUSE:
                opens, paused_at = None, opens
            times.append(StageTimes(begins, None, opens))
            opens = None if opens is None else way.begin(opens)
    told_at = way.told_at(plan.things) if plan.things else times[0].starts_at
    shown = [
        one._replace(told_at=_told_at(way, one, things))
        for one, things in zip(times, reached, strict=True)
    ]
    return Course(
        plan, now, way.used, tuple(way.runs), told_at, tuple(shown if stages else ()), paused_at
    )


def _gate(
    way: _Way, stage: Stage, before: int, reached: int, *, begins: datetime
) -> datetime | None:
    """Tell a stage's things until its gate opens; when it does, or None for never in the time there is."""
    needed = -(-(reached - before) * hundredths(stage.success_percentage) // WHOLE)
    met = way.tell(before + needed) if needed else begins
    opens = None if met is None else way.open_at(met + timedelta(minutes=stage.soak_minutes))
    way.tell(reached, until=opens)
    return opens


def _told_at(way: _Way, stage: StageTimes, reached: int) -> datetime | None:
    """When all of a stage that has started are told; one without things is when it starts."""
    if stage.starts_at is None:
        return None
    if not reached:
        return stage.starts_at
    told = way.told_at(reached)
    return None if told is None else max(told, stage.starts_at)


class _Way:
    """A rollout that is walked along: where it is by the clock and in its plan, and what it has told on the way."""

    def __init__(self, plan: Plan, schedule: Schedule, now: datetime) -> None:
        self.runs: list[Run] = []
        self._plan = plan
        self._openings = openings(schedule, now)
        self._seen: list[Opening] = []
        self._used = 0  # openings that were run in
        self._at = now
        self._passed = 0.0
        self._told = 0

    @property
    def used(self) -> tuple[Opening, ...]:
        """The openings in which anybody was told, or could have been."""
        return tuple(self._seen[: self._used])

    def begin(self, moment: datetime) -> datetime | None:
        """Go to the first moment from `moment` on at which it rolls out; None when it never does again."""
        found = self._opening(max(moment, self._at))
        if found is None:
            return None
        self._at = max(moment, self._at, self._seen[found].begins)
        return self._at

    def open_at(self, moment: datetime) -> datetime | None:
        """The first moment from `moment` on at which it rolls out; None when it never does again. Goes nowhere."""
        found = self._opening(moment)
        return None if found is None else max(moment, self._seen[found].begins)

    def tell(self, things: int, *, until: datetime | None = None) -> datetime | None:
        """Tell things until so many are told altogether, or until `until`; when they are, or None if they are not."""
        while self._told < things:
            place = self._opening(self._at)
            if place is None:
                return None
            self._used = max(self._used, place + 1)
            self._at = max(self._at, self._seen[place].begins)
            if until is not None and self._at > until:
                return None
            if self._run(things, self._seen[place].ends, until):
                break
            if until is not None and self._at >= until:
                return None
        return self.told_at(things) or self._at

    def _run(self, things: int, closes: datetime | None, until: datetime | None) -> bool:
        """Go on until so many are told, it closes or `until`, whichever comes first; whether all were told."""
        left = max(0.0, self._plan.when(things) - self._passed)
        done = self._at + timedelta(seconds=left)
        ends = min(one for one in (done, closes, until) if one is not None)
        is_done = ends == done
        passed = self._passed + (left if is_done else (ends - self._at).total_seconds())
        told = things if is_done else max(self._told, min(things, self._plan.told_at(passed)))
        if ends > self._at or told > self._told:
            self.runs.append(Run(self._at, ends, self._passed, self._told, told))
        self._at, self._passed, self._told = ends, passed, told
        return is_done

    def told_at(self, things: int) -> datetime | None:
        """When so many had been told; None when they have not, and for none of them, as nobody had to be."""
        for run in self.runs:
            if run.before < things <= run.told:
                if things == run.told:
                    left = (run.ends - run.begins).total_seconds()
                else:
                    left = self._plan.when(things) - run.passed
                return min(run.ends, run.begins + timedelta(seconds=max(0.0, left)))
        return None

    def _opening(self, moment: datetime) -> int | None:
        """The place of the opening that holds a moment, or of the first one after it; None when there is none."""
        place = 0
        while True:
            if place == len(self._seen):
                following = next(self._openings, None) if place < _MOST_OPENINGS else None
                if following is None:
                    return None
                self._seen.append(following)
            ends = self._seen[place].ends
            if ends is None or moment < ends:
                return place
            place += 1
