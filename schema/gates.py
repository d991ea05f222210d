"""What a staged rollout does now: which stage runs, whether its gate is open, and why, in words.

Nothing is decided from memory: each stage is a row with its counts and times, and whoever evaluates it writes back what
the verdict says. Rules: schema.stages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from schema.configs import WHOLE, hundredths
from schema.counts import Counts
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus
from schema.stages import ErrorAction, Stage, SuccessAction

if TYPE_CHECKING:
    from collections.abc import Sequence


class StageRow(NamedTuple):
    """A stage as stored. things are those assigned to it, told or not; counts those that were told.

    reached_at: since when its success threshold has been met. forgiven: how many had failed when an operator last
    resumed the job or started the next stage by hand.
    """

    things: int
    counts: Counts = Counts()
    started_at: datetime | None = None
    reached_at: datetime | None = None
    forgiven: int = 0

    @property
    def due(self) -> int:
        """Things that can still succeed or did: what shares are of."""
        return self.things - self.counts.removed - self.counts.canceled

    @property
    def over(self) -> bool:
        """Whether all of its things were told and have ended."""
        return self.counts.ended >= self.things


class Step(StrEnum):
    """What is to be done next."""

    WAIT = "wait"
    START_NEXT = "start the next stage"
    PAUSE = "pause"
    CANCEL = "cancel"
    LAST = "the last stage runs"


class Verdict(NamedTuple):
    """What a staged rollout does now. stage: place of the one concerned, with START_NEXT the one to start.

    reached_at is what the running stage's row must have from now on. wake_at: when to look again although nothing has
    changed, None when only a change can.
    """

    step: Step
    stage: int
    reason: str
    reached_at: datetime | None = None
    wake_at: datetime | None = None


def evaluate(stages: Sequence[Stage], rows: Sequence[StageRow], now: datetime) -> Verdict:
    """What to do, from the stages as configured and as stored, in order. A paused job is not evaluated.

    Error thresholds of the stages that have started come first, in order; then the gate of the one that started last.
    """
    running = _running(rows)
    if running is None:
        return Verdict(Step.START_NEXT, 0, "the first stage has no gate before it")
    for place in range(running + 1):
        if (why := _too_bad(stages[place], rows[place])) is not None:
            step = Step.CANCEL if stages[place].error_action is ErrorAction.CANCEL else Step.PAUSE
            return Verdict(step, place, f"stage {place + 1}: {why}", rows[running].reached_at)
    if running == len(stages) - 1:
        return Verdict(Step.LAST, running, f"stage {running + 1} is the last")
    return _gate(stages[running], rows[running], running, now=now)


def start_by_hand(rows: Sequence[StageRow], job: JobStatus) -> int:
    """The place of the stage that an operator's 'start the next' starts, whatever the gate says.

    A paused job goes on by it. The started stages' rows get `forgiven` = their failures. Raises Rejected
    (InvalidStateTransition): the job is not IN_PROGRESS, has no stages, or has none left.
    """
    if job is not JobStatus.IN_PROGRESS:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: a job that is {job} starts no stage"
        )
    if not rows:
        raise Rejected(Code.INVALID_STATE_TRANSITION, "stages: the job has none")
    running = _running(rows)
    if running == len(rows) - 1:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"stages: all {len(rows)} of the job have started"
        )
    return 0 if running is None else running + 1


def resumes_into(stages: Sequence[Stage], rows: Sequence[StageRow], now: datetime) -> int | None:
    """The place of the stage that resuming a paused job starts; None when it only goes on with the one it has.

    A job that paused because a gate was open (successAction PAUSE) goes on with the next stage, as hawkBit's do.
    """
    forgiven = [row._replace(forgiven=bad) for row, bad in zip(rows, forgive(rows), strict=True)]
    verdict = evaluate(stages, forgiven, now)
    return verdict.stage + 1 if verdict.step is Step.PAUSE else None


def forgive(rows: Sequence[StageRow]) -> list[int]:
    """What `forgiven` becomes in each row when an operator resumes the job or starts the next stage by hand."""
    return [row.counts.bad if row.started_at is not None else 0 for row in rows]


def _running(rows: Sequence[StageRow]) -> int | None:
    started = [place for place, row in enumerate(rows) if row.started_at is not None]
    return max(started, default=None)


def _too_bad(stage: Stage, row: StageRow) -> str | None:
    bad = row.counts.bad
    if bad <= row.forgiven:
        return None
    if stage.number_of_failures is not None and bad >= stage.number_of_failures:
        return f"{bad} things failed; numberOfFailures is {stage.number_of_failures}"
    if stage.error_percentage is not None and _reaches(bad, stage.error_percentage, row.due):
        share = _share(bad, row.due)
        return f"{share} failed; errorPercentage is {stage.error_percentage:g} %"
    return None


def _gate(stage: Stage, row: StageRow, place: int, *, now: datetime) -> Verdict:
    succeeded = _share(row.counts.succeeded, row.due)
    needed = f"successPercentage is {stage.success_percentage:g} %"
    if not _reaches(row.counts.succeeded, stage.success_percentage, row.due):
        short = f"stage {place + 1}: {succeeded} succeeded; {needed}"
        if _out_of_reach(stage, row):
            why = (
                f"{short}, which is out of reach: start the next stage by hand, or retry the failed"
            )
            # Once: who resumes it knows.
            step = Step.PAUSE if row.counts.bad > row.forgiven else Step.WAIT
            return Verdict(step, place, why)
        return Verdict(Step.WAIT, place, short)
    reached = row.reached_at or now
    soaked = reached + timedelta(minutes=stage.soak_minutes)
    met = f"stage {place + 1}: {succeeded} succeeded"
    if now < soaked:
        why = f"{met}; it soaks for {stage.soak_minutes} minutes, until {soaked:%Y-%m-%d %H:%M:%S} UTC"
        return Verdict(Step.WAIT, place, why, reached, soaked)
    if stage.success_action is SuccessAction.PAUSE:
        why = f"{met}; successAction is PAUSE: start the next stage by hand"
        return Verdict(Step.PAUSE, place, why, reached)
    return Verdict(Step.START_NEXT, place + 1, met, reached)


def _out_of_reach(stage: Stage, row: StageRow) -> bool:
    best = row.due - row.counts.bad
    return row.over and not _reaches(best, stage.success_percentage, row.due)


def _reaches(part: int, percentage: float, whole: int) -> bool:
    """Whether part is so much of whole; of nothing it always is."""
    return part * WHOLE >= hundredths(percentage) * whole


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole if whole else 100.0
    return f"{part} of {whole} things ({percent:.2f} %)"
