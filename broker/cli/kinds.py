"""Kinds of option values: shares, durations and their ranges, key=value pairs, targets."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)(%?)")
MANAGED: Final = re.compile(r"(?P<name>AWS-[a-zA-Z0-9_-]+)(:(?P<version>[0-9.]+))?")
_TARGET: Final = re.compile(r"(thing|group|thinggroup)/([a-zA-Z0-9:_-]{1,128})")


class Share(click.ParamType[float]):
    """A share of all, as 3% or 0.03; converted to 0 to 1."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a share; a usage error names the value and the limit."""
        if isinstance(value, float):
            return value
        found = _SHARE.fullmatch(str(value))
        share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not a share from 0% to 100%", param, ctx)
        return share


class Duration(click.ParamType[float]):
    """A duration as 50ms, 2s, 1.5m or 1h; a bare number is seconds. Converted to seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a duration; a usage error names the value."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration such as 50ms, 2s, 1.5m or 1h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class Range(click.ParamType[tuple[float, float]]):
    """Two durations as 50ms..2s, or one for both. Converted to seconds."""

    name = "range"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Read a range; a usage error names the value."""
        if isinstance(value, tuple):
            return value
        low, dots, high = str(value).partition("..")
        least = Duration().convert(low, param, ctx)
        most = Duration().convert(high, param, ctx) if dots else least
        if least > most:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return least, most


class Pair(click.ParamType[tuple[str, str]]):
    """A pair as key=value."""

    name = "key=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Read a pair; a usage error names the value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not key=value", param, ctx)
        return key, text


class TargetName(click.ParamType[str]):
    """A target as thing/NAME, group/NAME or an ARN. Converted to an ARN."""

    name = "target"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read a target; a usage error names the value."""
        text = str(value)
        if text.startswith("arn:"):
            return text
        found = _TARGET.fullmatch(text)
        if found is None:
            self.fail(f"{text!r} is not thing/NAME, group/NAME or an ARN", param, ctx)
        return target_arn("thing" if found[1] == "thing" else "thinggroup", found[2])


def target_arn(kind: str, name: str) -> str:
    """A target's ARN, in the region and account of a tenant that nobody changed; the name decides."""
    return f"arn:aws:iot:us-east-1:000000000000:{kind}/{name}"


def job_arn(job_id: str) -> str:
    """A job's ARN; the id decides."""
    return f"arn:aws:iot:us-east-1:000000000000:job/{job_id}"


def template_arn(name: str) -> str:
    """The ARN of a template: AWS's by AWS-NAME or AWS-NAME:VERSION, else one's own; an ARN as it is."""
    if name.startswith("arn:"):
        return name
    if found := MANAGED.fullmatch(name):
        return f"arn:aws:iot:us-east-1::jobtemplate/{found['name']}:{found['version'] or '1.0'}"
    return f"arn:aws:iot:us-east-1:000000000000:jobtemplate/{name}"


def json_value(text: str) -> Any:  # noqa: ANN401 - whatever JSON says
    """What a parameter's text stands for: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
