"""Gates between stages: what opens one, what holds it, what stops the job, and what an operator may do by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.configs import hundredths
from schema.counts import Counts
from schema.errors import Code, Rejected
from schema.gates import (
    StageRow,
    Step,
    Verdict,
    evaluate,
    forgive,
    resumes_into,
    start_by_hand,
)
from schema.lifecycle import JobStatus
from schema.stages import Stage

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
GATE = {"percentage": 5, "successPercentage": 95, "errorPercentage": 10, "soakMinutes": 0}


def stages(*changes: Mapping[str, object]) -> list[Stage]:
    """Stages that differ from a usual one in these fields, and a last one."""
    return [Stage.model_validate({**GATE, **change}) for change in changes] + [Stage()]


def row(things: int = 100, **counts: int) -> StageRow:
    """A stage that has started, of so many things."""
    return StageRow(things, Counts(**counts), NOW - timedelta(hours=1))


def first(change: Mapping[str, object], of: StageRow, now: datetime = NOW) -> Verdict:
    """What is done while the first of two stages runs."""
    return evaluate(stages(change), [of, StageRow(1900)], now)


def test_the_first_stage_starts_at_once() -> None:
    """A job that has begun starts its first stage without a gate."""
    verdict = evaluate(stages({}), [StageRow(100), StageRow(1900)], NOW)
    assert (verdict.step, verdict.stage) == (Step.START_NEXT, 0)


@pytest.mark.parametrize(
    ("counts", "step", "says"),
    [
        ({"in_progress": 60}, Step.WAIT, "0 of 100 things (0.00 %) succeeded; "),
        ({"succeeded": 94, "queued": 6}, Step.WAIT, "94 of 100 things (94.00 %) succeeded; "),
        ({"succeeded": 95}, Step.START_NEXT, "95 of 100 things (95.00 %) succeeded"),
        ({"succeeded": 95, "failed": 5}, Step.START_NEXT, "95 of 100"),
        ({"succeeded": 94, "failed": 5, "queued": 1}, Step.WAIT, "94 of 100"),
        ({"succeeded": 94, "failed": 6}, Step.PAUSE, "out of reach: start the next stage by hand"),
        ({"succeeded": 3, "failed": 6, "in_progress": 91}, Step.WAIT, "3 of 100 things (3.00 %)"),
        ({"succeeded": 90, "failed": 10}, Step.PAUSE, "10 of 100 things (10.00 %) failed; error"),
        ({"succeeded": 50, "rejected": 5, "timed_out": 5}, Step.PAUSE, "10 of 100"),
        ({"succeeded": 90, "canceled": 3, "removed": 2, "queued": 5}, Step.WAIT, "90 of 95"),
        ({"succeeded": 91, "canceled": 3, "removed": 2, "queued": 4}, Step.START_NEXT, "91 of 95"),
        ({"removed": 100}, Step.START_NEXT, "0 of 0 things (100.00 %)"),
    ],
)
def test_shares_of_the_stage(counts: dict[str, int], step: Step, says: str) -> None:
    """Shares are of the stage's things, told or not, without those canceled or removed."""
    verdict = first({}, row(**counts))
    assert verdict.step is step
    assert says in verdict.reason
    assert verdict.reason.startswith("stage 1: ")
    assert verdict.stage == (1 if step is Step.START_NEXT else 0)


def test_an_empty_stage_passes() -> None:
    """A stage to which no things are left does not hold the others up."""
    assert first({}, row(0)).step is Step.START_NEXT


def test_soaking() -> None:
    """The gate opens so many minutes after the threshold was first met; the verdict says when to look again."""
    soak = {"soakMinutes": 30}
    begun = first(soak, row(succeeded=95))
    assert (begun.step, begun.reached_at) == (Step.WAIT, NOW)
    assert begun.wake_at == NOW + timedelta(minutes=30)
    assert "soaks for 30 minutes, until 2026-01-02 12:30:00 UTC" in begun.reason
    later = row(succeeded=99)._replace(reached_at=NOW)
    assert first(soak, later, NOW + timedelta(minutes=29)).wake_at == begun.wake_at
    assert first(soak, later, NOW + timedelta(minutes=30)).step is Step.START_NEXT


def test_a_failure_while_soaking() -> None:
    """Soaking is for failures to show: one over the threshold stops the job although enough have succeeded."""
    soaking = row(succeeded=95, failed=5)._replace(reached_at=NOW)
    verdict = first({"soakMinutes": 30, "errorPercentage": 5}, soaking)
    assert verdict.step is Step.PAUSE


def test_later_joiners_close_the_gate_again() -> None:
    """A stage that grows below its threshold begins to soak anew when it is met again."""
    grown = first({"soakMinutes": 30}, row(110, succeeded=95, queued=15)._replace(reached_at=NOW))
    assert (grown.step, grown.reached_at, grown.wake_at) == (Step.WAIT, None, None)


def test_a_gate_may_wait_for_somebody() -> None:
    """With successAction PAUSE an open gate pauses the job, and resuming it starts the next stage."""
    wait, rows = stages({"successAction": "PAUSE"}), [row(succeeded=97, failed=3), StageRow(1900)]
    verdict = evaluate(wait, rows, NOW)
    assert (verdict.step, verdict.stage) == (Step.PAUSE, 0)
    assert "successAction is PAUSE" in verdict.reason
    assert resumes_into(wait, rows, NOW) == 1


def test_resuming_elsewhere_starts_nothing() -> None:
    """A job paused for failures, by hand or while it soaks goes on with the stage it has."""
    for stopped in (row(failed=10), row(succeeded=5), row(succeeded=90, failed=10)):
        assert resumes_into(stages({}), [stopped, StageRow(1900)], NOW) is None


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"numberOfFailures": 3}, Step.PAUSE),
        ({"numberOfFailures": 3, "errorAction": "CANCEL"}, Step.CANCEL),
        ({"numberOfFailures": 4}, Step.WAIT),
        ({"errorPercentage": 3}, Step.PAUSE),
        ({"errorPercentage": 3.01}, Step.WAIT),
        ({"errorPercentage": None}, Step.WAIT),
    ],
)
def test_error_thresholds(change: dict[str, object], step: Step) -> None:
    """Failures stop the job by number or by share of the stage, by a pause or by a cancel."""
    assert first(change, row(failed=1, rejected=1, timed_out=1, queued=9)).step is step


def test_late_failures_of_an_earlier_stage_count() -> None:
    """The third stage runs; the first fails after all: its own threshold stops the job."""
    rows = [row(succeeded=85, failed=15), row(succeeded=9), StageRow(1900)]
    verdict = evaluate(stages({}, {"percentage": 25}), rows, NOW)
    assert (verdict.step, verdict.stage) == (Step.PAUSE, 0)


def test_what_was_forgiven_stops_nothing() -> None:
    """After a resume only another failure stops the job again; the same for a gate out of reach."""
    for counts in ({"failed": 10}, {"failed": 6, "succeeded": 94}):
        stopped = row(**counts)
        assert first({}, stopped).step is Step.PAUSE
        seen = stopped._replace(forgiven=forgive([stopped])[0])
        assert first({}, seen).step is Step.WAIT
    seen = row(failed=11)._replace(forgiven=10)
    assert first({}, seen).step is Step.PAUSE


def test_the_last_stage_has_no_next() -> None:
    """While the last stage runs there is nothing to start, but its failures are watched."""
    two = [*stages({})[:1], Stage.model_validate({"numberOfFailures": 2, "errorAction": "CANCEL"})]
    assert evaluate(two, [row(succeeded=95), row(succeeded=100)], NOW).step is Step.LAST
    assert evaluate(two, [row(succeeded=95), row(failed=2)], NOW).step is Step.CANCEL


def test_starting_by_hand() -> None:
    """An operator starts the next stage whatever the gate says, as long as the job runs and one is left."""
    assert start_by_hand([StageRow(1), StageRow(1)], JobStatus.IN_PROGRESS) == 0
    assert start_by_hand([row(failed=9), StageRow(1)], JobStatus.IN_PROGRESS) == 1
    assert forgive([row(failed=9, rejected=1), StageRow(1)]) == [10, 0]


@pytest.mark.parametrize(
    ("rows", "job", "says"),
    [
        ([row(), row()], JobStatus.IN_PROGRESS, "stages: all 2 of the job have started"),
        ([], JobStatus.IN_PROGRESS, "stages: the job has none"),
        ([row(), StageRow(1)], JobStatus.CANCELED, "a job that is CANCELED starts no stage"),
        ([row(), StageRow(1)], JobStatus.SCHEDULED, "a job that is SCHEDULED starts no stage"),
    ],
)
def test_nothing_to_start_by_hand(rows: list[StageRow], job: JobStatus, says: str) -> None:
    """Otherwise it is refused as an invalid transition."""
    with pytest.raises(Rejected, match=says) as caught:
        start_by_hand(rows, job)
    assert caught.value.code is Code.INVALID_STATE_TRANSITION


@given(
    things=st.integers(0, 200),
    fates=st.lists(
        st.sampled_from(["succeeded", "failed", "removed", "in_progress"]), max_size=200
    ),
    needed=st.integers(0, 10_000),
)
def test_no_next_stage_below_the_threshold(things: int, fates: list[str], needed: int) -> None:
    """The next stage starts only when the success threshold is met, and then it does."""
    fates = fates[:things]
    counts = Counts(**{fate: fates.count(fate) for fate in set(fates)})
    gate: dict[str, object] = {"successPercentage": needed / 100, "errorPercentage": None}
    verdict = first(gate, StageRow(things, counts, NOW))
    met = counts.succeeded * 10_000 >= hundredths(needed / 100) * (things - counts.removed)
    assert (verdict.step is Step.START_NEXT) is met


@given(fails=st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_a_staged_job_comes_to_its_end(fails: list[int]) -> None:
    """However many fail, a job told to go on each time it pauses starts every stage, in order, once."""
    some = stages(*[{"percentage": 20 * place} for place in range(1, 5)])
    rows = [StageRow(20) for _ in some]
    for place, failed in enumerate(fails):
        rows[place] = row(20, succeeded=20 - failed, failed=failed)
        if place < len(some) - 1:
            verdict = evaluate(some, rows, NOW)
            assert verdict.step is (Step.START_NEXT if failed <= 1 else Step.PAUSE)
            assert start_by_hand(rows, JobStatus.IN_PROGRESS) == place + 1
            rows = [
                one._replace(forgiven=bad) for one, bad in zip(rows, forgive(rows), strict=True)
            ]
    with pytest.raises(Rejected):
        start_by_hand(rows, JobStatus.IN_PROGRESS)
