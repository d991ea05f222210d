"""The one file that owns every status change, of executions and of jobs.

Nothing else in the project sets a status. A move that has no cell in the tables below is the rejection; a terminal
status has an empty row on purpose. The diagram in docs/lifecycle.md is generated from these tables, and the UPDATE in
`queries/executions.sql` repeats the guard (status and version) so that a concurrent writer can't slip through.

Sources: AWS "Jobs and job execution states"; reference tables 2.1 and 2.2; seed 004 for what `expires_at` does.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.errors import Code, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Status(StrEnum):
    """Status of an execution: one job on one thing."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    REJECTED = "REJECTED"
    REMOVED = "REMOVED"
    CANCELED = "CANCELED"


class Move(StrEnum):
    """Why an execution's status changes. The set of reasons is closed."""

    START = "start-next"
    REPORT_IN_PROGRESS = "update IN_PROGRESS"
    REPORT_SUCCEEDED = "update SUCCEEDED"
    REPORT_FAILED = "update FAILED"
    REPORT_REJECTED = "update REJECTED"
    TIME_OUT = "timer"
    EXPIRE = "job expired"
    CANCEL = "cancel"
    FORCE_CANCEL = "cancel with force"
    REMOVE = "thing left"


class JobStatus(StrEnum):
    """Status of a job."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    DELETION_IN_PROGRESS = "DELETION_IN_PROGRESS"


class JobMove(StrEnum):
    """Why a job's status changes."""

    ROLL_OUT = "start time reached, or a window opens"
    CLOSE = "window closes"
    END = "end time reached"
    COMPLETE = "last execution terminal"
    CANCEL = "cancel"
    DELETE = "delete"
    FORCE_DELETE = "delete with force"


EXECUTION_MOVES: Final[Mapping[Status, Mapping[Move, Status]]] = {
    Status.QUEUED: {
        Move.START: Status.IN_PROGRESS,
        Move.REPORT_IN_PROGRESS: Status.IN_PROGRESS,
        Move.REPORT_SUCCEEDED: Status.SUCCEEDED,
        Move.REPORT_FAILED: Status.FAILED,
        Move.REPORT_REJECTED: Status.REJECTED,
        Move.EXPIRE: Status.TIMED_OUT,
        Move.CANCEL: Status.CANCELED,
        Move.FORCE_CANCEL: Status.CANCELED,
        Move.REMOVE: Status.REMOVED,
    },
    Status.IN_PROGRESS: {
        Move.REPORT_IN_PROGRESS: Status.IN_PROGRESS,
        Move.REPORT_SUCCEEDED: Status.SUCCEEDED,
        Move.REPORT_FAILED: Status.FAILED,
        Move.REPORT_REJECTED: Status.REJECTED,
        Move.TIME_OUT: Status.TIMED_OUT,
        Move.FORCE_CANCEL: Status.CANCELED,
        Move.REMOVE: Status.REMOVED,
    },
    Status.SUCCEEDED: {},
    Status.FAILED: {},
    Status.TIMED_OUT: {},
    Status.REJECTED: {},
    Status.REMOVED: {},
    Status.CANCELED: {},
}

JOB_MOVES: Final[Mapping[JobStatus, Mapping[JobMove, JobStatus]]] = {
    JobStatus.SCHEDULED: {
        JobMove.ROLL_OUT: JobStatus.IN_PROGRESS,
        JobMove.END: JobStatus.IN_PROGRESS,
        JobMove.CANCEL: JobStatus.CANCELED,
        JobMove.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.IN_PROGRESS: {
        JobMove.CLOSE: JobStatus.SCHEDULED,
        JobMove.END: JobStatus.IN_PROGRESS,
        JobMove.COMPLETE: JobStatus.COMPLETED,
        JobMove.CANCEL: JobStatus.CANCELED,
        JobMove.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.COMPLETED: {
        JobMove.DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobMove.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.CANCELED: {
        JobMove.DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobMove.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.DELETION_IN_PROGRESS: {},
}

TERMINAL: Final = frozenset(status for status, moves in EXECUTION_MOVES.items() if not moves)
# What a device may report (AWS: UpdateJobExecution "status"); everything else is the service's to set.
REPORTS: Final[Mapping[str, Move]] = {
    "IN_PROGRESS": Move.REPORT_IN_PROGRESS,
    "SUCCEEDED": Move.REPORT_SUCCEEDED,
    "FAILED": Move.REPORT_FAILED,
    "REJECTED": Move.REPORT_REJECTED,
}


# What an execution remembers of the requests that changed it: more than a device has outstanding (20 in paho-mqtt).
# Whatever may be redelivered after a kill must be recognised, or an older report would overwrite a newer one.
DIGEST_BYTES: Final = 8
REMEMBERED_BYTES: Final = 32 * DIGEST_BYTES


class Execution(NamedTuple):
    """One job on one thing, as stored. Times are aware datetimes; `details` is a JSON object of strings, as text.

    recent: digests of the last requests that changed it, newest last. priority is its job's; stage the one by which its
    thing was told, None in a job without stages. is_retry is said of a new one: it follows the one before.
    """

    thing_name: str
    job_id: str
    execution_number: int
    status: Status
    version: int
    queued_at: datetime
    updated_at: datetime
    details: str | None = None
    started_at: datetime | None = None
    in_progress_deadline: datetime | None = None
    step_deadline: datetime | None = None
    force_canceled: bool = False
    recent: bytes = b""
    priority: int = 0
    stage: int | None = None
    is_retry: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies it inside a tenant: thing, job, execution number."""
        return (self.thing_name, self.job_id, self.execution_number)

    def remembers(self, digest: bytes) -> bool:
        """Whether a request of this digest is among the last that changed it."""
        kept = self.recent
        return digest in {kept[at : at + DIGEST_BYTES] for at in range(0, len(kept), DIGEST_BYTES)}

    def inherits(self, digest: bytes) -> bool:
        """Whether a request of this digest is among the last that changed the execution which this one follows."""
        return self.execution_number > 1 and self.remembers(_of_before(digest))

    @property
    def timeout_at(self) -> datetime | None:
        """When the timer fires: the earlier of the two deadlines (AWS: a step timer never outlives the other)."""
        if self.status is not Status.IN_PROGRESS:
            return None
        deadlines = [at for at in (self.in_progress_deadline, self.step_deadline) if at is not None]
        return min(deadlines, default=None)


class Report(NamedTuple):
    """What a device says of its execution; `details` and `step_minutes` None leave what is stored.

    digest: DIGEST_BYTES that stand for the request, remembered with the change it makes; empty: nothing to remember.
    """

    move: Move
    details: str | None = None
    step_minutes: int | None = None
    digest: bytes = b""


def next_status(status: Status, move: Move) -> Status:
    """Where the move leads. Raises Rejected (InvalidStateTransition) when the table has no such cell."""
    found = EXECUTION_MOVES[status].get(move)
    if found is None:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"status: an execution that is {status} does not take: {move}",
            show_state=True,
        )
    return found


def next_job_status(status: JobStatus, move: JobMove) -> JobStatus:
    """Where the move leads. Raises Rejected (InvalidStateTransition) when the table has no such cell."""
    found = JOB_MOVES[status].get(move)
    if found is None:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: a job that is {status} does not take: {move}"
        )
    return found


def queued(
    thing_name: str,
    job_id: str,
    now: datetime,
    *,
    execution_number: int = 1,
    priority: int = 0,
    stage: int | None = None,
) -> Execution:
    """A new execution: QUEUED, versionNumber 1, queuedAt = lastUpdatedAt = now."""
    return Execution(
        thing_name,
        job_id,
        execution_number,
        Status.QUEUED,
        1,
        now,
        now,
        priority=priority,
        stage=stage,
    )


def queued_again(failed: Execution, now: datetime) -> Execution:
    """The execution that follows a failed one: the next number, anew in all else.

    It remembers the requests that changed the one before, apart from its own: delivered again, they must not change it.
    """
    following = queued(
        failed.thing_name,
        failed.job_id,
        now,
        execution_number=failed.execution_number + 1,
        priority=failed.priority,
        stage=failed.stage,
    )
    return following._replace(recent=_of_before(failed.recent), is_retry=True)


def _of_before(digests: bytes) -> bytes:
    return bytes(255 - byte for byte in digests)


def start(
    execution: Execution,
    now: datetime,
    *,
    timeout_minutes: int | None,
    details: str | None = None,
    step_minutes: int | None = None,
) -> Execution:
    """QUEUED to IN_PROGRESS by start-next: startedAt set, version + 1, the job's in-progress timer begins.

    timeout_minutes is the job's inProgressTimeoutInMinutes. Raises Rejected when the execution is not QUEUED.
    """
    next_status(execution.status, Move.START)
    return report(
        execution,
        Report(Move.REPORT_IN_PROGRESS, details, step_minutes),
        now,
        timeout_minutes=timeout_minutes,
    )


def report(
    execution: Execution, said: Report, now: datetime, *, timeout_minutes: int | None
) -> Execution:
    """What a device's update makes of the execution: version + 1, lastUpdatedAt = now, timers as AWS has them.

    The in-progress timer begins when IN_PROGRESS is entered and is not restarted by progress; a step timer replaces the
    one before, -1 cancels it (AWS: UpdateJobExecution "stepTimeoutInMinutes"). Raises Rejected when the table refuses.
    """
    status = next_status(execution.status, said.move)
    started, deadline, step = (
        execution.started_at,
        execution.in_progress_deadline,
        execution.step_deadline,
    )
    if status is not Status.IN_PROGRESS:
        deadline = step = None
    else:
        if execution.status is Status.QUEUED:
            started, deadline = now, _deadline(now, timeout_minutes)
        if said.step_minutes is not None:
            step = None if said.step_minutes == -1 else _deadline(now, said.step_minutes)
    # Made anew instead of by _replace, which costs four times as much, for each update.
    return Execution(
        execution.thing_name,
        execution.job_id,
        execution.execution_number,
        status,
        execution.version + 1,
        execution.queued_at,
        now,
        execution.details if said.details is None else said.details,
        started,
        deadline,
        step,
        execution.force_canceled,
        (execution.recent + said.digest)[-REMEMBERED_BYTES:],
        execution.priority,
        execution.stage,
    )


def keep_alive(execution: Execution, step_minutes: int, now: datetime) -> Execution:
    """An IN_PROGRESS execution whose last report came again: not counted, but its step timer begins anew (-1: ends)."""
    step = None if step_minutes == -1 else _deadline(now, step_minutes)
    return execution._replace(step_deadline=step)


def _deadline(now: datetime, minutes: int | None) -> datetime | None:
    return None if minutes is None else now + timedelta(minutes=minutes)


def _ended_by_service(execution: Execution, move: Move, now: datetime) -> Execution:
    # The version moves too, so that a device's expectedVersion cannot match a state it has not seen.
    return execution._replace(
        status=next_status(execution.status, move),
        version=execution.version + 1,
        updated_at=now,
        in_progress_deadline=None,
        step_deadline=None,
    )


def time_out(execution: Execution, now: datetime) -> Execution:
    """IN_PROGRESS to TIMED_OUT because a timer fired. Raises Rejected for any other status."""
    return _ended_by_service(execution, Move.TIME_OUT, now)


def expire(execution: Execution, now: datetime) -> Execution:
    """QUEUED to TIMED_OUT because the job's expires_at has passed (seed 004). Raises Rejected for any other status."""
    return _ended_by_service(execution, Move.EXPIRE, now)


def cancel(execution: Execution, now: datetime, *, force: bool) -> Execution:
    """To CANCELED: QUEUED always, IN_PROGRESS only with force. Raises Rejected otherwise."""
    canceled = _ended_by_service(execution, Move.FORCE_CANCEL if force else Move.CANCEL, now)
    return canceled._replace(force_canceled=force and execution.status is Status.IN_PROGRESS)


def remove(execution: Execution, now: datetime) -> Execution:
    """To REMOVED because the thing is no longer a target. Raises Rejected for a terminal execution."""
    return _ended_by_service(execution, Move.REMOVE, now)


def mermaid(
    moves: Mapping[Status, Mapping[Move, Status]] | Mapping[JobStatus, Mapping[JobMove, JobStatus]],
) -> str:
    """The table as a Mermaid state diagram: what docs/lifecycle.md shows."""
    lines = ["stateDiagram-v2"]
    first = next(iter(moves))
    lines.append(f"    [*] --> {first}")
    for status, row in moves.items():
        arrows: dict[str, list[str]] = {}
        for move, target in row.items():
            arrows.setdefault(str(target), []).append(str(move))
        lines += [
            f"    {status} --> {target}: {', '.join(names)}" for target, names in arrows.items()
        ]
        if not row:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines) + "\n"
