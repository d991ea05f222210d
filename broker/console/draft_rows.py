"""What a job may have several of, as rows of the form: abort and retry criteria, stages, maintenance windows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DAYS: Final = {
    "*": "every day",
    "MON-FRI": "Monday to Friday",
    "SAT,SUN": "Saturday and Sunday",
    "MON": "Mondays",
    "TUE": "Tuesdays",
    "WED": "Wednesdays",
    "THU": "Thursdays",
    "FRI": "Fridays",
    "SAT": "Saturdays",
    "SUN": "Sundays",
}
_OTHER: Final = "cron"
SIZES: Final = {
    "percentage": "% of things",
    "numberOfThings": "first so many",
    "thingGroupName": "things of a group",
    "attribute": "things with name=value",
    "": "the rest",
}
_WEEKLY: Final = re.compile(r"cron\((\d{1,2}) (\d{1,2}) \? \* ([A-Z,*-]+) \*\)")
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class DraftError(Exception):
    """A field of the form that cannot be taken: its words, and where in the document, if it is there."""

    def __init__(self, message: str, where: str = "") -> None:
        """Take the words, and an excerpt with a mark."""
        super().__init__(message)
        self.message = message
        self.where = where


def whole(number: float | None) -> int | None:
    """A number of the form as an integer."""
    return None if number is None else int(number)


def some(number: float | None, name: str) -> dict[str, Any]:
    """A member of this name for an integer that is not zero."""
    return {name: int(number)} if number else {}


@dataclass(slots=True)
class AbortRow:
    """AWS: AbortCriteria. Without a percentage it is none yet."""

    kind: str = "FAILED"
    percent: float | None = None
    least: float | None = 10

    def wire(self) -> dict[str, Any] | None:
        """As it is sent."""
        if not self.percent:
            return None
        return {
            "failureType": self.kind,
            "action": "CANCEL",
            "thresholdPercentage": self.percent,
            "minNumberOfExecutedThings": whole(self.least) or 1,
        }

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> AbortRow:
        """From what was sent."""
        least = one["minNumberOfExecutedThings"]
        return cls(one["failureType"], one["thresholdPercentage"], least)


@dataclass(slots=True)
class RetryRow:
    """AWS: RetryCriteria. Without a number it is none yet."""

    kind: str = "ALL"
    times: float | None = None

    def wire(self) -> dict[str, Any] | None:
        """As it is sent."""
        if not self.times:
            return None
        return {"failureType": self.kind, "numberOfRetries": whole(self.times)}

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> RetryRow:
        """From what was sent."""
        return cls(one["failureType"], one["numberOfRetries"])


@dataclass(slots=True)
class StageRow:
    """A stage (schema.stages): how far it reaches, its gate, and what stops it."""

    by: str = "percentage"
    size: str = ""
    success: float | None = 95
    soak: float | None = None
    then: str = "START_NEXT"
    error_percent: float | None = None
    errors: float | None = None
    on_error: str = "PAUSE"

    def wire(self) -> dict[str, Any]:
        """As it is sent. Raises DraftError for a size that is none."""
        made: dict[str, Any] = {
            **self._reach(),
            "successPercentage": 100 if self.success is None else self.success,
            **some(self.soak, "soakMinutes"),
            **some(self.errors, "numberOfFailures"),
        }
        if self.error_percent:
            made["errorPercentage"] = self.error_percent
        if self.then != "START_NEXT":
            made["successAction"] = self.then
        if self.on_error != "PAUSE":
            made["errorAction"] = self.on_error
        return made

    def _reach(self) -> dict[str, Any]:
        text = self.size.strip()
        match self.by:
            case "percentage":
                return {self.by: _number(text.removesuffix("%").strip())}
            case "numberOfThings":
                return {self.by: int(_number(text))}
            case "thingGroupName":
                return {self.by: text}
            case "attribute":
                name, equals, value = text.partition("=")
                if not equals:
                    raise DraftError(f"stages: {text[:40]!r} is no name=value")
                return {self.by: {"name": name.strip(), "value": value.strip()}}
            case _:
                return {}

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> StageRow:
        """From what was sent."""
        by = next((name for name in SIZES if name and one.get(name) is not None), "")
        size = one.get(by, "")
        text = f"{size['name']}={size['value']}" if by == "attribute" else f"{size}"
        return cls(
            by,
            text.removesuffix(".0") if by == "percentage" else text,
            one.get("successPercentage", 100),
            one.get("soakMinutes") or None,
            one.get("successAction", "START_NEXT"),
            one.get("errorPercentage"),
            one.get("numberOfFailures"),
            one.get("errorAction", "PAUSE"),
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DraftError(f"stages: {text[:40]!r} is no number") from None


@dataclass(slots=True)
class WindowRow:
    """AWS: MaintenanceWindow. days as DAYS has them, or `cron` for an expression of its own; times are UTC."""

    days: str = "SUN"
    at: str = "02:00"
    minutes: float | None = 60
    cron: str = ""

    def wire(self) -> dict[str, Any]:
        """As it is sent. Raises DraftError for a time that is none."""
        expression = self.cron.strip()
        if self.days != _OTHER:
            clock = _CLOCK.fullmatch(self.at.strip())
            if clock is None:
                raise DraftError(f"windows: {self.at[:40]!r} is no time as 02:00")
            expression = f"cron({int(clock[2])} {int(clock[1])} ? * {self.days} *)"
        return {"startTime": expression, "durationInMinutes": whole(self.minutes) or 1}

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> WindowRow:
        """From what was sent."""
        minutes, expression = one["durationInMinutes"], one["startTime"]
        found = _WEEKLY.fullmatch(expression)
        if found is None or found[3] not in DAYS:
            return cls(_OTHER, "", minutes, expression)
        return cls(found[3], f"{int(found[2]):02}:{int(found[1]):02}", minutes)


def window_words(one: Mapping[str, Any]) -> str:
    """A maintenance window as people say it: `Sundays at 02:00 UTC for 60 min`."""
    row = WindowRow.of(one)
    when = row.cron if row.days == _OTHER else f"{DAYS[row.days]} at {row.at} UTC"
    return f"{when} for {whole(row.minutes)} min"
