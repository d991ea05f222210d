"""Options of `jobbroker jobs create` that hold a rollout back: its rate, when it is aborted, what is tried again."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from typing import IO, Any, Final, TypeVar

import click

from broker.cli.callers import Body
from broker.cli.new_job import said

T = TypeVar("T")
_ABORT: Final = re.compile(
    r"(ALL|FAILED|REJECTED|TIMED_OUT)\s*>?=?\s*(\d{1,3}(?:\.\d{1,2})?)\s*%(?:\s+after\s+(\d{1,10}))?",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"(\d{1,10})\s*(?:/\s*m(?:in(?:ute)?)?)?", re.IGNORECASE)
_RETRY: Final = re.compile(r"(ALL|FAILED|TIMED_OUT)=(\d{1,2})", re.IGNORECASE)


class Rate(click.ParamType[int]):
    """How many things are told a minute, as 100/min. Converted to the number."""

    name = "rate"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read a rate; a usage error names the value."""
        found = _RATE.fullmatch(str(value).strip())
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is not a rate such as 100/min", param, ctx)
        return int(found[1])


class Abort(click.ParamType[Body]):
    """When a job is aborted, as 'FAILED 20% after 10'. Converted to an AbortCriteria."""

    name = "criterion"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Body:
        """Read a criterion; a usage error names the value."""
        if isinstance(value, dict):
            return value
        found = _ABORT.fullmatch(str(value).strip())
        if found is None:
            self.fail(
                f"{value!r} is not a criterion such as 'FAILED 20% after 10'; "
                "the kinds are FAILED, REJECTED, TIMED_OUT and ALL",
                param,
                ctx,
            )
        return {
            "failureType": found[1].upper(),
            "action": "CANCEL",
            "thresholdPercentage": float(found[2]),
            "minNumberOfExecutedThings": int(found[3] or 1),
        }


class Retry(click.ParamType[Body]):
    """What is tried again how often, as FAILED=2. Converted to a RetryCriteria."""

    name = "retries"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Body:
        """Read a criterion; a usage error names the value."""
        if isinstance(value, dict):
            return value
        found = _RETRY.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not FAILED=N, TIMED_OUT=N or ALL=N", param, ctx)
        return {"failureType": found[1].upper(), "numberOfRetries": int(found[2])}


def braking(command: Callable[..., T]) -> Callable[..., T]:
    """Add the options, handed over as `brakes`: what they say, as members of jobs/create in AWS's words."""

    @click.option(
        "--per-minute", type=click.IntRange(1), help="Tell so many things a minute.  [no limit]"
    )
    @click.option("--rollout", type=Rate(), help="The same in other words: 100/min.")
    @click.option(
        "--abort",
        "aborts",
        multiple=True,
        type=Abort(),
        help="Cancel it when too many fail: 'FAILED 20% after 10'.",
    )
    @click.option(
        "--retry", "retries", multiple=True, type=Retry(), help="Try again what failed: FAILED=2."
    )
    @click.option(
        "--config",
        type=click.File("rb"),
        help="A file with further members of jobs/create: a ramp, say.",
    )
    @functools.wraps(command)
    def with_brakes(
        *args: Any,  # noqa: ANN401 - the command's own
        per_minute: int | None,
        rollout: int | None,
        aborts: Sequence[Body],
        retries: Sequence[Body],
        config: IO[bytes] | None,
        **options: Any,  # noqa: ANN401 - as above
    ) -> T:
        if rollout is not None and per_minute is not None:
            raise click.UsageError("--rollout and --per-minute say the same")
        per_minute = per_minute or rollout
        given = brakes(per_minute=per_minute, aborts=aborts, retries=retries, config=config)
        return command(*args, brakes=given, **options)

    return with_brakes


def brakes(
    *,
    per_minute: int | None = None,
    aborts: Sequence[Body] = (),
    retries: Sequence[Body] = (),
    config: IO[bytes] | None = None,
) -> Body:
    """Members of jobs/create; an option stands above what the file says of the same. Raises a usage error."""
    read = {} if config is None else _object(config)
    rollout = read.get("jobExecutionsRolloutConfig")
    if per_minute is not None:
        rollout = {**(rollout or {}), "maximumPerMinute": per_minute}
    mine = {
        "jobExecutionsRolloutConfig": rollout,
        "abortConfig": {"criteriaList": [*aborts]} if aborts else None,
        "jobExecutionsRetryConfig": {"criteriaList": [*retries]} if retries else None,
    }
    return {**read, **said(mine)}


def _object(config: IO[bytes]) -> Body:
    try:
        found = json.loads(config.read())
    except ValueError as error:
        raise click.UsageError(f"--config: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError("--config: not a JSON object")
    return found
