"""AWS's six-field cron expressions, in UTC: `cron(Minutes Hours Day-of-month Month Day-of-week Year)`.

Own code because the cron library at hand (cronsim 2.8) reads a sixth field as seconds and knows neither a year, nor
`?`, nor `3W`, nor Sunday as 1: what a translation would have to add is most of this file. Source of the rules: AWS "How
job configurations work", section "Cron expressions".
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from schema.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MONTHS: Final = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SATURDAY: Final = 7
_WEEKS_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class _Field:
    """One field's name, values and words."""

    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()
    wraps: bool = False
    steps: bool = True

    def number(self, text: str) -> int:
        """A value, by number or by word. Raises ValueError naming the field and its limits."""
        if text in self.words:
            return self.words.index(text) + 1
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self.least <= int(text) <= self.most:
            names = f" or {self.words[0]} to {self.words[-1]}" if self.words else ""
            msg = f"{self.name} {shorten(text)} is not {self.least} to {self.most}{names}"
            raise ValueError(msg)
        return int(text)

    def span(self, text: str) -> range | list[int]:
        """The values of `*`, `a` or `a-b`."""
        if text == "*":
            return range(self.least, self.most + 1)
        first, dash, last = text.partition("-")
        low = self.number(first)
        high = self.number(last) if dash else low
        if low <= high:
            return range(low, high + 1)
        if self.wraps:
            return [*range(low, self.most + 1), *range(self.least, high + 1)]
        msg = f"{self.name} {shorten(text)} ends before it begins"
        raise ValueError(msg)

    def values(self, text: str) -> frozenset[int]:
        """The values of one entry of a list, with its step."""
        base, slash, step = text.partition("/")
        if not slash:
            return frozenset(self.span(base))
        if not self.steps or not re.fullmatch(r"[1-9][0-9]{0,3}", step):
            msg = f"{self.name} {shorten(text)} has a step that is not offered"
            raise ValueError(msg)
        only_a_start = base != "*" and "-" not in base
        span = range(self.number(base), self.most + 1) if only_a_start else self.span(base)
        return frozenset(span[:: int(step)])

    def listed(self, text: str) -> frozenset[int]:
        """The values of the whole field."""
        return frozenset().union(*(self.values(entry) for entry in text.split(",")))


_MINUTE: Final = _Field("minutes", 0, 59)
_HOUR: Final = _Field("hours", 0, 23)
_DAY: Final = _Field("day-of-month", 1, 31)
_MONTH: Final = _Field("month", 1, 12, _MONTHS)
_WEEKDAY: Final = _Field("day-of-week", 1, 7, _DAYS, wraps=True, steps=False)
_YEAR: Final = _Field("year", 1970, 2199)
_ORDER: Final = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _YEAR)


@dataclass(frozen=True, slots=True)
class Cron:
    """When something begins, to the minute, in UTC."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    years: frozenset[int]
    day_entries: tuple[str, ...]
    by_weekday: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first beginning later than `moment` (aware); None when there is none until the end of 2199."""
        moment = moment.astimezone(UTC)
        for day in self._days_from(moment.date()):
            if (found := self._first(day, moment + timedelta.resolution)) is not None:
                return found
        return None

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last beginning later than `since` and not later than `until`; None when there is none."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        day = until.date()
        while day >= since.date():
            found = self._last(day, until) if self._has(day) else None
            if found is not None:
                return found if found > since else None
            day -= timedelta(days=1)
        return None

    def _first(self, day: date, least: datetime) -> datetime | None:
        """The day's first beginning not before `least`."""
        for hour in self.hours:
            if (day, hour) >= (least.date(), least.hour):
                for minute in self.minutes:
                    found = datetime.combine(day, time(hour, minute), UTC)
                    if found >= least:
                        return found
        return None

    def _last(self, day: date, most: datetime) -> datetime | None:
        """The day's last beginning not after `most`."""
        for hour in reversed(self.hours):
            if (day, hour) <= (most.date(), most.hour):
                for minute in reversed(self.minutes):
                    found = datetime.combine(day, time(hour, minute), UTC)
                    if found <= most:
                        return found
        return None

    def _has(self, day: date) -> bool:
        return (
            day.year in self.years
            and day.month in self.months
            and day.day in self._days_of(day.year, day.month)
        )

    def _days_from(self, first: date) -> Iterator[date]:
        for year in sorted(year for year in self.years if year >= first.year):
            for month in sorted(self.months):
                if (year, month) >= (first.year, first.month):
                    found = (date(year, month, day) for day in self._days_of(year, month))
                    yield from (day for day in found if day >= first)

    def _days_of(self, year: int, month: int) -> list[int]:
        days: set[int] = set()
        rule = _weekday_entry if self.by_weekday else _day_entry
        for entry in self.day_entries:
            days |= rule(entry, year, month)
        return sorted(days)


def parse(text: str) -> Cron:
    """The expression in `cron(...)`.

    Words may be in any case. A day of the week may run over Saturday (`FRI-MON`); no other range may run backwards.
    Raises ValueError that says which field is wrong, its value and what it may be.
    """
    found = re.fullmatch(r"cron\(\s*(.+?)\s*\)", text)
    fields = found[1].upper().split() if found else []
    if len(fields) != len(_ORDER):
        msg = f"is not cron({' '.join(field.name for field in _ORDER)})"
        raise ValueError(msg)
    minutes, hours, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        msg = f"needs ? in exactly one of day-of-month ({day}) and day-of-week ({weekday})"
        raise ValueError(msg)
    by_weekday = day == "?"
    entries = tuple((weekday if by_weekday else day).split(","))
    _check_days(entries, _weekday_entry if by_weekday else _day_entry)
    return Cron(
        text,
        tuple(sorted(_MINUTE.listed(minutes))),
        tuple(sorted(_HOUR.listed(hours))),
        _MONTH.listed(month),
        _YEAR.listed(year),
        entries,
        by_weekday,
    )


def _check_days(entries: tuple[str, ...], rule: Callable[[str, int, int], frozenset[int]]) -> None:
    if len(entries) > 1 and any("#" in entry for entry in entries):
        msg = f"day-of-week {shorten(','.join(entries))}: with # there can be one entry only"
        raise ValueError(msg)
    for entry in entries:
        rule(entry, 2000, 1)


def _day_entry(entry: str, year: int, month: int) -> frozenset[int]:
    """Days of a month for `L`, `LW`, `nW`, or numbers; a day that the month lacks is left out."""
    last = calendar.monthrange(year, month)[1]
    if entry == "L":
        return frozenset({last})
    if entry == "LW":
        return frozenset({_nearest_weekday(year, month, last)})
    if entry.endswith("W"):
        day = _DAY.number(entry[:-1])
        return frozenset({_nearest_weekday(year, month, day)} if day <= last else ())
    return frozenset(day for day in _DAY.values(entry) if day <= last)


def _nearest_weekday(year: int, month: int, day: int) -> int:
    """Monday to Friday nearest to a day, without leaving the month."""
    last = calendar.monthrange(year, month)[1]
    match calendar.weekday(year, month, day):
        case calendar.SATURDAY:
            return day - 1 if day > 1 else day + 2
        case calendar.SUNDAY:
            return day + 1 if day < last else day - 2
        case _:
            return day


def _weekday_entry(entry: str, year: int, month: int) -> frozenset[int]:
    """Days of a month for `L` (Saturday), `nL` (the month's last n), `n#k` (its k-th n), or weekdays 1 to 7."""
    last = calendar.monthrange(year, month)[1]
    if entry == "L":
        return _on_weekdays(frozenset({_SATURDAY}), year, month)
    if entry.endswith("L"):
        return frozenset({max(_on_weekdays(frozenset({_WEEKDAY.number(entry[:-1])}), year, month))})
    weekday, sharp, count = entry.partition("#")
    if sharp:
        if not re.fullmatch(rf"[1-{_WEEKS_MOST}]", count):
            msg = f"day-of-week {shorten(entry)}: # is followed by 1 to {_WEEKS_MOST}"
            raise ValueError(msg)
        first = min(_on_weekdays(frozenset({_WEEKDAY.number(weekday)}), year, month))
        day = first + 7 * (int(count) - 1)
        return frozenset({day} if day <= last else ())
    return _on_weekdays(_WEEKDAY.values(entry), year, month)


def _on_weekdays(weekdays: frozenset[int], year: int, month: int) -> frozenset[int]:
    first, last = calendar.monthrange(year, month)
    # calendar has Monday as 0, AWS has Sunday as 1.
    return frozenset(day for day in range(1, last + 1) if (first + day) % 7 + 1 in weekdays)
