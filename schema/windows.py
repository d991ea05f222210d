"""When a job may roll out: schedulingConfig decoded and checked, and the maintenance windows it opens (AWS).

Sources: AWS "How job configurations work", section "Job scheduling configuration"; AWS API reference, SchedulingConfig
and MaintenanceWindow; reference 5.5. All times are UTC: AWS speaks of windows that move with daylight saving time and
stores UTC; here they do not move.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from schema.configs import Config
from schema.cron import Cron, parse
from schema.errors import Code, Rejected, shorten
from schema.limits import (
    END_DAYS,
    SCHEDULE_LEAD_MINUTES,
    START_DAYS,
    WINDOW_MINUTES,
    WINDOWS_PER_JOB,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

ROLLOUTS_SHOWN: Final = 7  # AWS: scheduledJobRollouts
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_SHOWN: Final = "%Y-%m-%d %H:%M"
# Windows that follow each other without a gap are one opening; looked at this far, to end.
_JOINED_MOST: Final = 100


class EndBehavior(StrEnum):
    """What the end time does beyond stopping the rollout (AWS: endBehavior)."""

    STOP_ROLLOUT = "STOP_ROLLOUT"
    CANCEL = "CANCEL"
    FORCE_CANCEL = "FORCE_CANCEL"


def read_time(text: str) -> datetime:
    """`YYYY-MM-DD HH:MM`, or any ISO 8601 date with a time; without an offset it is UTC. Raises ValueError."""
    if _TIME.fullmatch(text):
        try:
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    msg = "is not a time as YYYY-MM-DD HH:MM, in UTC"
    raise ValueError(msg)


def _time(text: str) -> str:
    read_time(text)
    return text


def _cron(text: str) -> str:
    parse(text)
    return text


class MaintenanceWindow(Config):
    """AWS: MaintenanceWindow; startTime is an expression `cron(...)`."""

    start_time: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_cron)]
    duration_in_minutes: Annotated[int, Field(ge=1, le=WINDOW_MINUTES)]


MaintenanceWindows = Annotated[
    tuple[MaintenanceWindow, ...], Field(strict=False, max_length=WINDOWS_PER_JOB)
]


class SchedulingConfig(Config):
    """AWS: SchedulingConfig, as it stands in commands and is stored."""

    start_time: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_time)] | None = (
        None
    )
    end_time: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_time)] | None = (
        None
    )
    end_behavior: Annotated[EndBehavior, Field(strict=False)] | None = None
    maintenance_windows: MaintenanceWindows = ()

    @model_validator(mode="after")
    def _ends_somehow(self) -> Self:
        if self.end_behavior is not None and self.end_time is None:
            msg = f"endBehavior: {self.end_behavior} needs an endTime"
            raise ValueError(msg)
        return self

    def schedule(self) -> Schedule:
        """The schedule this means. Not checked against a clock: see `check`."""
        end = None if self.end_time is None else read_time(self.end_time)
        return Schedule(
            None if self.start_time is None else read_time(self.start_time),
            end,
            None if end is None else self.end_behavior or EndBehavior.STOP_ROLLOUT,
            tuple(
                Window(parse(one.start_time), timedelta(minutes=one.duration_in_minutes))
                for one in self.maintenance_windows
            ),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Maintenance windows that repeat: each begins by `cron` and lasts `duration`; the end is outside."""

    cron: Cron
    duration: timedelta

    def open_since(self, moment: datetime) -> datetime | None:
        """When the window that is open at `moment` began; None while it is closed."""
        return self.cron.latest(moment - self.duration, moment)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job rolls out: from start_at until end_at, and only in its windows when it has any. Times in UTC.

    end_behavior is set exactly when end_at is.
    """

    start_at: datetime | None = None
    end_at: datetime | None = None
    end_behavior: EndBehavior | None = None
    windows: tuple[Window, ...] = ()

    def is_open(self, moment: datetime) -> bool:
        """Whether the job rolls out at `moment` and its QUEUED executions are shown to devices."""
        if self.start_at is not None and moment < self.start_at:
            return False
        if self.end_at is not None and moment >= self.end_at:
            return False
        return not self.windows or any(one.open_since(moment) for one in self.windows)

    def next_open(self, moment: datetime) -> datetime | None:
        """The earliest time later than `moment` at which it is open and was not just before; None for never again.

        While it is open, that is the time it opens after having closed.
        """
        closes = moment
        if self.is_open(moment):
            closing = self.closes_at(moment)
            if closing is None or closing == self.end_at:
                return None
            closes = closing
        if self.start_at is not None and moment < self.start_at and self.is_open(self.start_at):
            return self.start_at
        return next(self._starts(closes), None)

    def closes_at(self, moment: datetime) -> datetime | None:
        """When an opening that holds `moment` ends; None while closed, or when nothing ever ends it.

        Windows that overlap or follow at once count as one, up to a bound that only a schedule that is practically
        always open reaches: ask again at the time given.
        """
        if not self.is_open(moment):
            return None
        if not self.windows:
            return self.end_at
        end = moment
        for _ in range(_JOINED_MOST):
            ends = [
                since + one.duration
                for one in self.windows
                if (since := one.open_since(end)) is not None
            ]
            if not ends:
                break
            end = max(ends)
            if self.end_at is not None and end >= self.end_at:
                return self.end_at
        return end

    def next_change(self, moment: datetime) -> datetime | None:
        """The earliest time later than `moment` when a service must look again: an opening, a closing, the end."""
        times = (self.next_open(moment), self.closes_at(moment), self.end_at)
        return min((at for at in times if at is not None and at > moment), default=None)

    def upcoming(self, moment: datetime, most: int = ROLLOUTS_SHOWN) -> list[datetime]:
        """The beginnings of at most `most` windows later than `moment`; empty for a job without windows."""
        return list(islice(self._starts(moment), most))

    def _starts(self, moment: datetime) -> Iterator[datetime]:
        after = moment
        if self.start_at is not None and self.start_at > after:
            after = self.start_at - timedelta.resolution
        while True:
            starts = (one.cron.after(after) for one in self.windows)
            first = min((at for at in starts if at is not None), default=None)
            if first is None or (self.end_at is not None and first >= self.end_at):
                return
            yield first
            after = first


def check(
    config: SchedulingConfig,
    now: datetime,
    *,
    selection: Literal["SNAPSHOT", "CONTINUOUS"],
    field: str = "schedulingConfig",
) -> Schedule:
    """The schedule of a job that is created now, held against AWS's limits.

    startTime 30 minutes to a year ahead; endTime 30 minutes ahead and after startTime, at most two years ahead; windows
    for CONTINUOUS jobs only, and at least one must open. Raises Rejected (InvalidRequest) with field, value and limit.
    """
    found = config.schedule()
    lead = timedelta(minutes=SCHEDULE_LEAD_MINUTES)
    if found.start_at is not None:
        said = f"{field}.startTime: {shorten(config.start_time)} is"
        _at_least(said, found.start_at, now + lead)
        _at_most(said, found.start_at, now + timedelta(days=START_DAYS))
    if found.end_at is not None:
        said = f"{field}.endTime: {shorten(config.end_time)} is"
        _at_least(said, found.end_at, (found.start_at or now) + lead)
        _at_most(said, found.end_at, now + timedelta(days=END_DAYS))
    if found.windows:
        _check_windows(found, now, selection, field=f"{field}.maintenanceWindows")
    return found


def _at_least(said: str, moment: datetime, least: datetime) -> None:
    if moment < least:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"{said} too early; {least:{_SHOWN}} UTC is the earliest ({SCHEDULE_LEAD_MINUTES} minutes"
            " of notice)",
        )


def _at_most(said: str, moment: datetime, most: datetime) -> None:
    if moment > most:
        raise Rejected(Code.INVALID_REQUEST, f"{said} too late; {most:{_SHOWN}} UTC is the latest")


def _check_windows(found: Schedule, now: datetime, selection: str, *, field: str) -> None:
    if selection != "CONTINUOUS":
        raise Rejected(
            Code.INVALID_REQUEST,
            f"{field}: for CONTINUOUS jobs only; targetSelection is {selection}",
        )
    for index, one in enumerate(found.windows):
        alone = Schedule(found.start_at, found.end_at, found.end_behavior, (one,))
        first = max(now, found.start_at or now)
        if not alone.is_open(first) and not alone.upcoming(first, 1):
            raise Rejected(
                Code.INVALID_REQUEST,
                f"{field}.{index}.startTime: {shorten(one.cron.text)} opens no window"
                " in the time the job has",
            )


def rollouts_shown(schedule: Schedule, moment: datetime) -> list[dict[str, str]]:
    """AWS's scheduledJobRollouts: the next seven windows' beginnings, as `YYYY-MM-DD HH:MM` in UTC."""
    return [{"startTime": f"{at:{_SHOWN}}"} for at in schedule.upcoming(moment)]
