"""How a job that is watched goes on: its rate against its limit, what is missing to its abort, and when it is done.

What has been told and what has ended a minute is measured from look to look; the rest is schema's arithmetic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from schema.counts import Counts

_STATUSES: Final = {
    "queued": "Queued",
    "in_progress": "InProgress",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "timed_out": "TimedOut",
    "rejected": "Rejected",
    "removed": "Removed",
    "canceled": "Canceled",
}
# Measured over so long; over less than the least, nothing is said.
_MOST_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 2.0
_MINUTE: Final = 60


class _Look(NamedTuple):
    at: float
    told: int
    ended: int


class Outlook:
    """What is said of one job, from look to look."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()

    def of(self, job: Mapping[str, Any], now: float) -> list[str]:
        """Phrases on a job as jobs/get shows it; now in seconds of a clock that never goes back."""
        from schema.counts import Counts

        details = job.get("jobProcessDetails", {})
        counts = Counts(
            **{name: details.get(f"numberOf{word}Things", 0) for name, word in _STATUSES.items()}
        )
        self._looks.append(_Look(now, counts.notified, counts.ended))
        while self._looks[0].at < now - _MOST_SECONDS:
            self._looks.popleft()
        things = max(int(job.get("executionCount", 0)), counts.notified)
        return [
            *_held(job),
            *_staged(job),
            *self._rate(job, counts, things),
            *_abort(job, counts),
            *self._end(job, counts, things),
        ]

    def _rate(self, job: Mapping[str, Any], counts: Counts, things: int) -> Iterator[str]:
        from schema.rollout import RolloutConfig, current_rate

        if counts.notified >= things or job["status"] != "IN_PROGRESS":
            return
        limit = current_rate(
            RolloutConfig.model_validate(job.get("jobExecutionsRolloutConfig", {})), counts
        )
        measured = self._a_minute(lambda look: look.told)
        if limit is not None or measured is not None:
            told = "told" if measured is None else f"{measured:.0f} told"
            of = "" if limit is None else f" of {limit}"
            yield f"{told}{of} a minute"

    def _end(self, job: Mapping[str, Any], counts: Counts, things: int) -> Iterator[str]:
        from schema.forecast import plan
        from schema.rollout import RolloutConfig

        if job["status"] != "IN_PROGRESS" or job.get("holds"):
            return
        config = RolloutConfig.model_validate(job.get("jobExecutionsRolloutConfig", {}))
        stages = job.get("stageStates", [])
        later = sum(one["numberOfThings"] for one in stages if one["state"] == "WAITING")
        told_in = plan(config, max(0, things - later), counts=counts).lasts
        if told_in:
            whom = "all of this stage" if later else "all"
            yield f"{whom} told in {in_words(told_in)}"
        if later:
            return  # when the gates open, nobody knows
        ends = self._a_minute(lambda look: look.ended)
        if ends and counts.ended < things:
            left = 60 * (things - counts.ended) / ends
            yield f"done in about {in_words(max(left, told_in))}"

    def _a_minute(self, of: Callable[[_Look], int]) -> float | None:
        first, last = self._looks[0], self._looks[-1]
        passed = last.at - first.at
        return 60 * (of(last) - of(first)) / passed if passed >= _LEAST_SECONDS else None


def in_words(seconds: float) -> str:
    """A duration as people say it, to a minute or, below two of them, to a second."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2])


def _staged(job: Mapping[str, Any]) -> Iterator[str]:
    stages = job.get("stageStates", [])
    for one in stages:
        if one["state"] == "RUNNING":
            left = one["numberOfWaitingThings"]
            told = one["numberOfThings"] - left
            yield f"stage {one['stage']} of {len(stages)}: {told} of {one['numberOfThings']} told"
            if "gate" in one:
                yield f"gate: {one['gate']}"


def _held(job: Mapping[str, Any]) -> Iterator[str]:
    if job.get("holds"):
        yield f"held: {', '.join(job['holds'])}"


def _abort(job: Mapping[str, Any], counts: Counts) -> Iterator[str]:
    from schema.abort import AbortConfig, nearest

    if "abortConfig" not in job or job["status"] not in ("SCHEDULED", "IN_PROGRESS"):
        return
    config = AbortConfig.model_validate(job["abortConfig"])
    found = nearest(config, counts)
    if found is not None:
        place, missing = found
        kind = config.criteria_list[place].failure_type
        what = "failed, timed out or rejected" if kind == "ALL" else kind
        yield f"{missing} more {what} abort it"
