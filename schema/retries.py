"""Whether a thing whose execution failed or timed out is given another one.

AWS's rules (reference 5.4; "Job executions retry config"): FAILED and TIMED_OUT are retried, each by its own criterion
or by ALL; REJECTED, CANCELED and REMOVED never are; at most 10 retries for a thing, whatever the criteria add up to; a
retry is queued at once, with the next executionNumber; a thing that left its group and came back begins anew.

Decided here where AWS is silent:
- FAILED or TIMED_OUT beside ALL: either allows a retry. FAILED counts failures alone, ALL both.
- Criteria that add up to more than 10 are taken; the tenth retry is the last.
- TIMED_OUT without timeoutConfig is taken: devices may set step timers of their own.
- A paused job retries, but like all its executions that are new, the retry waits until the job is resumed.
- Between maintenance windows a retry is queued as ever and shown when the next window opens.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import AfterValidator, Field

from schema.configs import Config
from schema.lifecycle import JobStatus, Status
from schema.limits import RETRIES, RETRY_CRITERIA

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIVE: Final = frozenset({JobStatus.IN_PROGRESS, JobStatus.SCHEDULED})


class RetryableFailure(StrEnum):
    """Which failures a criterion retries (AWS: RetryableFailureType)."""

    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ALL = "ALL"


class RetryCriteria(Config):
    """How often one kind of failure is tried again (AWS: RetryCriteria)."""

    failure_type: Annotated[RetryableFailure, Field(strict=False)]
    number_of_retries: Annotated[int, Field(ge=0, le=RETRIES)]


def _distinct(value: tuple[RetryCriteria, ...]) -> tuple[RetryCriteria, ...]:
    if len({one.failure_type for one in value}) < len(value):
        msg = f"has {value[0].failure_type} twice; each failureType may be given once"
        raise ValueError(msg)
    return value


class RetryConfig(Config):
    """AWS: JobExecutionsRetryConfig."""

    criteria_list: Annotated[
        tuple[RetryCriteria, ...],
        Field(strict=False, min_length=1, max_length=RETRY_CRITERIA),
        AfterValidator(_distinct),
    ]


class Attempts(NamedTuple):
    """How a thing's executions of a job have ended since it became a target (again), the last one included."""

    failed: int = 0
    timed_out: int = 0

    @property
    def retries(self) -> int:
        """Retries that were made for these: all but the first attempt (AWS: retryAttempt of the last one)."""
        return max(0, self.failed + self.timed_out - 1)


class JobNow(NamedTuple):
    """What a retry needs to know of its job. ends_at is the earlier of endTime and the seeds' expires_at."""

    status: JobStatus
    ends_at: datetime | None = None


class Decision(NamedTuple):
    """Whether to queue another execution, and why or why not, in words for the execution's timeline."""

    reason: str
    retry: bool = False


def attempts_of(ended: Iterable[Status]) -> Attempts:
    """The attempts in a thing's history of one job: statuses of its executions since it became a target."""
    seen = list(ended)
    return Attempts(seen.count(Status.FAILED), seen.count(Status.TIMED_OUT))


def decide(
    config: RetryConfig | None, ended: Status, attempts: Attempts, *, job: JobNow, now: datetime
) -> Decision:
    """Whether an execution that just ended so is tried again.

    attempts include it. A job that is canceled, by hand or by an abort, completed or being deleted retries nothing,
    though its devices may still report; neither does one whose end has passed, whatever its endBehavior.
    """
    if ended not in {Status.FAILED, Status.TIMED_OUT}:
        return Decision(f"{ended} is not retried")
    if config is None:
        return Decision("the job has no jobExecutionsRetryConfig")
    if job.status not in _LIVE:
        return Decision(f"the job is {job.status}")
    if job.ends_at is not None and now >= job.ends_at:
        return Decision("the job's end has passed")
    return _by_criteria(config, ended, attempts)


def _by_criteria(config: RetryConfig, ended: Status, attempts: Attempts) -> Decision:
    if attempts.retries >= RETRIES:
        return Decision(f"{RETRIES} retries are the most a thing is given")
    ways = [one for one in config.criteria_list if one.failure_type in {ended.value, "ALL"}]
    for one in ways:
        made = _ended_so(one.failure_type, attempts)
        if made <= one.number_of_retries:
            kind = one.failure_type
            return Decision(f"retry {made} of {one.number_of_retries} after {kind}", retry=True)
    if not ways:
        return Decision(f"no criterion retries {ended}")
    most = max(one.number_of_retries for one in ways)
    return Decision(f"all {most} retries after {ended} are used up")


def _ended_so(kind: RetryableFailure, attempts: Attempts) -> int:
    match kind:
        case RetryableFailure.FAILED:
            return attempts.failed
        case RetryableFailure.TIMED_OUT:
            return attempts.timed_out
        case RetryableFailure.ALL:
            return attempts.failed + attempts.timed_out
