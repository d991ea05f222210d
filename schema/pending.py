"""A thing's pending list: its order, who is first, and which notification a change of it calls for.

Rules: reference 1.8 (AWS "Jobs notifications"). In one sentence: `notify` when an execution enters or leaves the list,
`notify-next` when another execution is first than before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.lifecycle import TERMINAL, JobStatus, Status
from schema.limits import PENDING_LISTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from schema.lifecycle import Execution

# How much of a thing's list is ever loaded: what is listed of both kinds, and what may leave in one batch.
WINDOW: Final = 2 * PENDING_LISTED + 12
# Hence at most so many changing requests of one thing are decided in one batch.
CHANGES_PER_BATCH: Final = 8


def order(execution: Execution) -> tuple[bool, int, datetime, str, int]:
    """Sort key of AWS's order: IN_PROGRESS first, then by queuedAt; job id breaks ties so that the order is total.

    The job's priority goes before queuedAt, which leaves AWS's order as it is while all have none.
    """
    return (
        execution.status is Status.QUEUED,
        -execution.priority,
        execution.queued_at,
        execution.job_id,
        execution.execution_number,
    )


def arranged(executions: Iterable[Execution]) -> list[Execution]:
    """The live ones, in order."""
    return sorted((one for one in executions if one.status not in TERMINAL), key=order)


def listed(queue: Sequence[Execution]) -> list[Execution]:
    """What the lists show: at most ten of each status, in order (AWS: 10 without scheduling)."""
    started = [one for one in queue if one.status is Status.IN_PROGRESS][:PENDING_LISTED]
    waiting = [one for one in queue if one.status is Status.QUEUED][:PENDING_LISTED]
    return started + waiting


def notified(queue: Sequence[Execution]) -> list[Execution]:
    """What notify shows: at most ten in all, IN_PROGRESS before QUEUED (reference 1.8)."""
    return listed(queue)[:PENDING_LISTED]


def list_changed(before: Execution | None, after: Execution | None) -> bool:
    """Whether an execution entered or left its thing's list: a change inside it (started, progressed) is not told.

    None before: it is new; None after: it is deleted.
    """
    return _is_live(before) != _is_live(after)


def _is_live(execution: Execution | None) -> bool:
    return execution is not None and execution.status not in TERMINAL


def first_changed(before: Sequence[Execution], after: Sequence[Execution]) -> bool:
    """Whether another execution (or none) is first than before."""
    return (before[0].key if before else None) != (after[0].key if after else None)


def is_offered(
    status: Status, job_status: JobStatus, *, expired: bool, hidden: bool = False
) -> bool:
    """Whether a live execution may still be shown and started, given its job.

    Cancelling, expiring and deleting 100,000 executions takes seconds; until the chunk comes by, a device must not be
    given what the operator has already taken back. hidden: the job is paused, or outside its windows.
    """
    match job_status:
        case JobStatus.DELETION_IN_PROGRESS:
            return False
        case JobStatus.CANCELED:
            return status is Status.IN_PROGRESS
        case _:
            return status is Status.IN_PROGRESS or not (expired or hidden)
