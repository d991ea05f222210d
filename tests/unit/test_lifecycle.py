"""The one table of status changes: every cell, and no way around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schema import lifecycle
from schema.errors import Code, Rejected
from schema.lifecycle import (
    EXECUTION_MOVES,
    JOB_MOVES,
    TERMINAL,
    Execution,
    JobMove,
    JobStatus,
    Move,
    Report,
    Status,
)

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
LEGAL = {
    (Status.QUEUED, Move.START): Status.IN_PROGRESS,
    (Status.QUEUED, Move.REPORT_IN_PROGRESS): Status.IN_PROGRESS,
    (Status.QUEUED, Move.REPORT_SUCCEEDED): Status.SUCCEEDED,
    (Status.QUEUED, Move.REPORT_FAILED): Status.FAILED,
    (Status.QUEUED, Move.REPORT_REJECTED): Status.REJECTED,
    (Status.QUEUED, Move.EXPIRE): Status.TIMED_OUT,
    (Status.QUEUED, Move.CANCEL): Status.CANCELED,
    (Status.QUEUED, Move.FORCE_CANCEL): Status.CANCELED,
    (Status.QUEUED, Move.REMOVE): Status.REMOVED,
    (Status.IN_PROGRESS, Move.REPORT_IN_PROGRESS): Status.IN_PROGRESS,
    (Status.IN_PROGRESS, Move.REPORT_SUCCEEDED): Status.SUCCEEDED,
    (Status.IN_PROGRESS, Move.REPORT_FAILED): Status.FAILED,
    (Status.IN_PROGRESS, Move.REPORT_REJECTED): Status.REJECTED,
    (Status.IN_PROGRESS, Move.TIME_OUT): Status.TIMED_OUT,
    (Status.IN_PROGRESS, Move.FORCE_CANCEL): Status.CANCELED,
    (Status.IN_PROGRESS, Move.REMOVE): Status.REMOVED,
}


def execution(status: Status) -> Execution:
    """One at version 5, started when it had to be."""
    started = None if status is Status.QUEUED else NOW
    return lifecycle.queued("t1", "j1", NOW)._replace(status=status, version=5, started_at=started)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("move", Move)
def test_every_cell(status: Status, move: Move) -> None:
    """A legal move leads where AWS's tables say; every other one is refused as InvalidStateTransition."""
    wanted = LEGAL.get((status, move))

    if wanted is not None:
        assert lifecycle.next_status(status, move) is wanted
        return
    with pytest.raises(Rejected) as refused:
        lifecycle.next_status(status, move)
    assert refused.value.code is Code.INVALID_STATE_TRANSITION
    assert refused.value.show_state


def test_every_status_has_a_row() -> None:
    """No status is forgotten: terminal ones have an empty row, and there are six of them."""
    assert set(EXECUTION_MOVES) == set(Status)
    assert set(JOB_MOVES) == set(JobStatus)
    assert set(Status) - {Status.QUEUED, Status.IN_PROGRESS} == TERMINAL


@pytest.mark.parametrize(
    ("status", "move", "wanted"),
    [
        (JobStatus.IN_PROGRESS, JobMove.COMPLETE, JobStatus.COMPLETED),
        (JobStatus.IN_PROGRESS, JobMove.CANCEL, JobStatus.CANCELED),
        (JobStatus.IN_PROGRESS, JobMove.DELETE, None),
        (JobStatus.IN_PROGRESS, JobMove.FORCE_DELETE, JobStatus.DELETION_IN_PROGRESS),
        (JobStatus.SCHEDULED, JobMove.ROLL_OUT, JobStatus.IN_PROGRESS),
        (JobStatus.COMPLETED, JobMove.CANCEL, None),
        (JobStatus.COMPLETED, JobMove.DELETE, JobStatus.DELETION_IN_PROGRESS),
        (JobStatus.CANCELED, JobMove.CANCEL, None),
        (JobStatus.CANCELED, JobMove.DELETE, JobStatus.DELETION_IN_PROGRESS),
        (JobStatus.DELETION_IN_PROGRESS, JobMove.FORCE_DELETE, None),
    ],
)
def test_job_moves(status: JobStatus, move: JobMove, wanted: JobStatus | None) -> None:
    """Jobs are cancelled while they run, deleted when over or with force (reference 2.2)."""
    if wanted is None:
        with pytest.raises(Rejected):
            lifecycle.next_job_status(status, move)
    else:
        assert lifecycle.next_job_status(status, move) is wanted


def test_an_illegal_move_changes_nothing() -> None:
    """It raises, and the value it was asked of is as before."""
    ended = execution(Status.SUCCEEDED)
    before = Execution(*ended)

    with pytest.raises(Rejected):
        lifecycle.report(ended, Report(Move.REPORT_IN_PROGRESS), NOW, timeout_minutes=None)
    assert ended == before


def test_step_timer_worked_example() -> None:
    """AWS's example: a 20 minute job at 12:00; step 7 at 12:05, step 5 at 12:10, step 9 at 12:13."""

    def at(minute: int) -> datetime:
        return NOW + timedelta(minutes=minute)

    def step(one: Execution, minute: int, minutes: int) -> Execution:
        said = Report(Move.REPORT_IN_PROGRESS, step_minutes=minutes)
        return lifecycle.report(one, said, at(minute), timeout_minutes=20)

    started = lifecycle.start(lifecycle.queued("t1", "j1", NOW), NOW, timeout_minutes=20)
    first = step(started, 5, 7)
    second = step(first, 10, 5)
    third = step(second, 13, 9)

    assert [one.timeout_at for one in (started, first, second, third)] == [
        at(20),
        at(12),
        at(15),
        at(20),
    ]
    assert step(third, 14, -1).timeout_at == at(20)


def test_start_sets_started_at_once() -> None:
    """Progress moves lastUpdatedAt and the version, never startedAt."""
    later = NOW + timedelta(minutes=3)
    started = lifecycle.start(lifecycle.queued("t1", "j1", NOW), NOW, timeout_minutes=None)
    on = lifecycle.report(started, Report(Move.REPORT_IN_PROGRESS), later, timeout_minutes=None)

    assert (on.started_at, on.updated_at, on.version) == (NOW, later, 3)


def test_an_end_clears_the_timers() -> None:
    """A terminal execution has no deadline."""
    started = lifecycle.start(
        lifecycle.queued("t1", "j1", NOW), NOW, timeout_minutes=20, step_minutes=5
    )
    ended = lifecycle.report(started, Report(Move.REPORT_FAILED), NOW, timeout_minutes=20)

    assert (ended.in_progress_deadline, ended.step_deadline, ended.timeout_at) == (None, None, None)


def test_force_canceled_is_said_of_what_was_running() -> None:
    """A forced cancel marks an execution that was IN_PROGRESS, not one that was QUEUED."""
    assert lifecycle.cancel(execution(Status.IN_PROGRESS), NOW, force=True).force_canceled
    assert not lifecycle.cancel(execution(Status.QUEUED), NOW, force=True).force_canceled


class ExecutionMachine(RuleBasedStateMachine):
    """Drives one execution through any moves at any times."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.it = lifecycle.queued("t1", "j1", NOW)
        self.ended: Execution | None = None

    def attempt(self, changed: Execution | None) -> None:
        """Take a change in, and remember the first end."""
        if changed is not None:
            assert changed.version == self.it.version + 1
            assert changed.queued_at == self.it.queued_at
            self.it = changed
        if self.ended is None and self.it.status in TERMINAL:
            self.ended = self.it

    @rule(minutes=st.integers(0, 30))
    def wait(self, minutes: int) -> None:
        """Time passes."""
        self.now += timedelta(minutes=minutes)

    @rule(
        move=st.sampled_from(sorted(lifecycle.REPORTS.values())),
        step=st.one_of(st.none(), st.just(-1), st.integers(1, 10080)),
        timeout=st.one_of(st.none(), st.integers(1, 10080)),
    )
    def report(self, move: Move, step: int | None, timeout: int | None) -> None:
        """A device reports."""
        try:
            self.attempt(
                lifecycle.report(
                    self.it, Report(move, None, step), self.now, timeout_minutes=timeout
                )
            )
        except Rejected:
            self.attempt(None)

    @rule(
        what=st.sampled_from([lifecycle.time_out, lifecycle.expire, lifecycle.remove]),
        force=st.booleans(),
    )
    def service(self, what: object, force: bool) -> None:
        """The service ends it."""
        try:
            assert callable(what)
            self.attempt(
                lifecycle.cancel(self.it, self.now, force=True)
                if force
                else what(self.it, self.now)
            )
        except Rejected:
            self.attempt(None)

    @invariant()
    def no_way_out_of_an_end(self) -> None:
        """No path leaves a terminal status, or changes anything in it."""
        assert self.ended is None or self.it is self.ended

    @invariant()
    def in_progress_means_started(self) -> None:
        """The invariants that the table's CHECKs repeat."""
        if self.it.status is Status.IN_PROGRESS:
            assert self.it.started_at is not None
        else:
            assert self.it.timeout_at is None


TestExecutionMachine = ExecutionMachine.TestCase


@given(st.sampled_from(sorted(Status)), st.sampled_from(sorted(Move)))
def test_no_move_reaches_queued(status: Status, move: Move) -> None:
    """QUEUED is where an execution begins; nothing leads back to it."""
    assert EXECUTION_MOVES[status].get(move) is not Status.QUEUED


def test_the_documented_diagrams_are_the_tables() -> None:
    """docs/lifecycle.md shows exactly what the tables say."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert f"```mermaid\n{lifecycle.mermaid(EXECUTION_MOVES)}```" in text
    assert f"```mermaid\n{lifecycle.mermaid(JOB_MOVES)}```" in text


DOCUMENT = Path(__file__).parents[2] / "docs" / "lifecycle.md"
