"""When a job is stopped because too much of it fails: the first criterion met, and how far the others are off.

Criteria are looked at in list order after each completion, over what has completed and not over all targets. What is
counted are things by their latest execution (schema.counts), so a failure that is tried again is none yet; settle the
retries of a batch before its aborts. Sources: AWS AbortConfig and "Job abort"; reference 5.2.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from pydantic import Field

from schema.configs import WHOLE, Config, Percentage, Things, hundredths
from schema.limits import ABORT_CRITERIA

if TYPE_CHECKING:
    from schema.counts import Counts

# AWS fills reasonCode and comment by itself, with words it does not document; these are ours.
REASON_CODE: Final = "ABORT_CRITERIA_MET"


class FailureType(StrEnum):
    """Which failures a criterion counts (AWS: JobExecutionFailureType)."""

    FAILED = "FAILED"
    REJECTED = "REJECTED"
    TIMED_OUT = "TIMED_OUT"
    ALL = "ALL"

    def of(self, counts: Counts) -> int:
        """Things that failed in this way."""
        match self:
            case FailureType.FAILED:
                return counts.failed
            case FailureType.REJECTED:
                return counts.rejected
            case FailureType.TIMED_OUT:
                return counts.timed_out
            case FailureType.ALL:
                return counts.bad


class AbortCriteria(Config):
    """One criterion (AWS: AbortCriteria).

    A thresholdPercentage of 0, which AWS's model takes, means any failure at all: a job where nothing failed is never
    aborted. minNumberOfExecutedThings are completed ones, as in the developer guide's example; the API reference speaks
    of notified ones, which would abort a job on its first failure.
    """

    failure_type: Annotated[FailureType, Field(strict=False)]
    action: Literal["CANCEL"]
    threshold_percentage: Percentage
    min_number_of_executed_things: Things

    def met(self, counts: Counts) -> bool:
        """Whether the job is to be aborted. Exact: no rounding stands between 10.99 and 11 percent."""
        bad, completed = self.failure_type.of(counts), counts.completed
        return (
            completed >= self.min_number_of_executed_things
            and bad > 0
            and bad * WHOLE >= hundredths(self.threshold_percentage) * completed
        )

    def distance(self, counts: Counts) -> int | None:
        """How many failures in a row, all of this kind, would meet it: 0 when met, None when none ever can.

        None is a threshold of 100 after something else has completed.
        """
        if self.met(counts):
            return 0
        bad, completed = self.failure_type.of(counts), counts.completed
        share = hundredths(self.threshold_percentage)
        missing = share * completed - bad * WHOLE
        if share == WHOLE and missing > 0:
            return None
        by_share = -(-missing // (WHOLE - share)) if missing > 0 else 0
        return max(by_share, self.min_number_of_executed_things - completed, 1)


class AbortConfig(Config):
    """AWS: AbortConfig. AWS names no most; 100 criteria are more than anybody writes."""

    criteria_list: Annotated[
        tuple[AbortCriteria, ...], Field(strict=False, min_length=1, max_length=ABORT_CRITERIA)
    ]


class Abort(NamedTuple):
    """A criterion that is met: its place in the list, and what the job's reasonCode and comment become."""

    place: int
    reason_code: str
    comment: str


def evaluate(config: AbortConfig | None, counts: Counts) -> Abort | None:
    """The first criterion in list order that is met; None when the job may go on.

    What follows is a cancel without force: QUEUED executions end, IN_PROGRESS ones go on, retries are dropped.
    """
    if config is None:
        return None
    for index, criterion in enumerate(config.criteria_list):
        if criterion.met(counts):
            return Abort(index, REASON_CODE, _comment(index, criterion, counts))
    return None


def nearest(config: AbortConfig | None, counts: Counts) -> tuple[int, int] | None:
    """The criterion that the fewest failures in a row would meet: its place, and how many; None when none can be."""
    if config is None:
        return None
    found = [
        (distance, index)
        for index, criterion in enumerate(config.criteria_list)
        if (distance := criterion.distance(counts)) is not None
    ]
    if not found:
        return None
    distance, index = min(found)
    return index, distance


def _comment(index: int, criterion: AbortCriteria, counts: Counts) -> str:
    bad = criterion.failure_type.of(counts)
    kind = criterion.failure_type
    how = "FAILED, TIMED_OUT or REJECTED" if kind is FailureType.ALL else kind
    return (
        f"abortConfig.criteriaList[{index}]: {bad} of {counts.completed} completed things "
        f"({100 * bad / counts.completed:.2f} %) are {how}; the threshold is "
        f"{criterion.threshold_percentage:g} % of at least {criterion.min_number_of_executed_things}"
    )
