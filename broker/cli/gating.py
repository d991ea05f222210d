"""Options of `jobbroker jobs create` beyond AWS: stages with their gates, and how many must approve."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from broker.cli.callers import Body
from broker.cli.kinds import Duration
from broker.cli.new_job import said

T = TypeVar("T")
_NUMBER: Final = r"\d{1,3}(?:\.\d{1,2})?"
_GATE: Final = re.compile(rf"({_NUMBER})\s*%(?:\s+(pause))?", re.IGNORECASE)
_ERRORS: Final = re.compile(
    rf"(?:(?P<share>{_NUMBER})\s*%|(?P<things>\d{{1,10}}))(?:\s+(?P<action>pause|cancel))?",
    re.IGNORECASE,
)
_GROUP: Final = re.compile(r"(?:thing)?group/(.+)")


class StageSizes(click.ParamType[list[Body]]):
    """Stages as 5%,25%,100%; also a number, group/NAME, ATTRIBUTE=VALUE and rest. Converted to stages."""

    name = "stages"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Body]:
        """Read stages; a usage error names the one that is wrong."""
        if isinstance(value, list):
            return value
        return [self._size(text.strip(), param, ctx) for text in str(value).split(",")]

    def _size(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Body:
        if text == "rest":
            return {}
        if re.fullmatch(rf"{_NUMBER}%", text):
            return {"percentage": float(text[:-1])}
        if re.fullmatch(r"\d{1,10}", text):
            return {"numberOfThings": int(text)}
        if group := _GROUP.fullmatch(text):
            return {"thingGroupName": group[1]}
        name, equals, wanted = text.partition("=")
        if not name or not equals:
            forms = "5%, 20, group/NAME, ATTRIBUTE=VALUE or rest"
            self.fail(f"{text!r} is not a stage such as {forms}", param, ctx)
        return {"attribute": {"name": name, "value": wanted}}


class Gate(click.ParamType[Body]):
    """What opens a gate, as 95%, or '95% pause' to wait for somebody then. Converted to members of a stage."""

    name = "gate"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Body:
        """Read a gate; a usage error names the value."""
        if isinstance(value, dict):
            return value
        found = _GATE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a gate such as 95% or '95% pause'", param, ctx)
        action = {"successAction": "PAUSE"} if found[2] else {}
        return {"successPercentage": float(found[1]), **action}


class GateErrors(click.ParamType[Body]):
    """What stops a job, as 10%, 5 or '10% cancel'. Converted to members of a stage."""

    name = "errors"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Body:
        """Read an error threshold; a usage error names the value."""
        if isinstance(value, dict):
            return value
        found = _ERRORS.fullmatch(str(value).strip())
        if found is None:
            self.fail(
                f"{value!r} is not an error threshold such as 10%, 5 or '10% cancel'", param, ctx
            )
        share, things = found["share"], found["things"]
        size = (
            {"numberOfFailures": int(things)}
            if share is None
            else {"errorPercentage": float(share)}
        )
        return {**size, "errorAction": (found["action"] or "pause").upper()}


def soak_of(seconds: float) -> Body:
    """A soak in whole minutes, rounded up."""
    return {"soakMinutes": math.ceil(seconds / 60)}


def gated(
    stages: Sequence[Body], gate: Body | None, soak: float | None, errors: Body | None
) -> list[Body]:
    """Stages with one gate behind each but the last, and one error threshold in all; what a stage says itself holds."""
    behind = {**(gate or {}), **({} if soak is None else soak_of(soak))}
    last = len(stages) - 1
    return [
        {**(behind if place < last else {}), **(errors or {}), **stage}
        for place, stage in enumerate(stages)
    ]


def gating(command: Callable[..., T]) -> Callable[..., T]:
    """Add the options, handed over as `gates`: what they say, as members of jobs/create."""

    @click.option(
        "--stage",
        "stages",
        multiple=True,
        type=StageSizes(),
        help="A few first: 5%,25%,100%; also 20, group/NAME, ATTRIBUTE=VALUE, rest.",
    )
    @click.option("--gate", type=Gate(), help="So many must succeed before the next: 95%.")
    @click.option("--soak", type=Duration(), help="And so long must pass after that: 30m.")
    @click.option(
        "--gate-errors", type=GateErrors(), help="Pause it when so many fail: 10%, '5 cancel'."
    )
    @click.option("--approvals", type=click.IntRange(0), help="So many others must approve it.")
    @functools.wraps(command)
    def with_gates(
        *args: Any,  # noqa: ANN401 - the command's own
        stages: Sequence[list[Body]],
        gate: Body | None,
        soak: float | None,
        gate_errors: Body | None,
        approvals: int | None,
        **options: Any,  # noqa: ANN401 - as above
    ) -> T:
        given = [one for some in stages for one in some]
        if not given and (gate or gate_errors or soak is not None):
            raise click.UsageError("--gate, --soak and --gate-errors go with --stage")
        members = said(
            {
                "stages": gated(given, gate, soak, gate_errors) or None,
                "approvalConfig": None if approvals is None else {"requiredApprovals": approvals},
            }
        )
        return command(*args, gates=members, **options)

    return with_gates
