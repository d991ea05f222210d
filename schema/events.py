"""Events for operators: AWS's `$aws/events/...`, and what AWS lacks (queued, in_progress and progress).

Rules: reference 6 (AWS "Jobs events"). One unit of time, epoch seconds, everywhere: AWS mixes seconds and milliseconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from schema.device import seconds
from schema.lifecycle import TERMINAL, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from schema.lifecycle import Execution

# Switches of tenants.events.
JOB: Final = "job"
JOB_EXECUTION: Final = "job_execution"
QUEUED: Final = "queued"
IN_PROGRESS: Final = "in_progress"
PROGRESS: Final = "progress"
ALL: Final = frozenset({JOB, JOB_EXECUTION, QUEUED, IN_PROGRESS, PROGRESS})

# What AWS lacks, and what is of use only while somebody looks on: how far executions have come.
LIVE: Final = frozenset({QUEUED, IN_PROGRESS, PROGRESS})
_OF_EXECUTIONS: Final = "$aws/events/jobExecution/"

_COUNTED: Final = {
    "canceled": "numberOfCanceledThings",
    "rejected": "numberOfRejectedThings",
    "failed": "numberOfFailedThings",
    "removed": "numberOfRemovedThings",
    "succeeded": "numberOfSucceededThings",
    "timed_out": "numberOfTimedOutThings",
    "queued": "numberOfQueuedThings",
    "in_progress": "numberOfInProgressThings",
}


def process_details(counts: Mapping[str, int]) -> dict[str, int]:
    """AWS's jobProcessDetails from a row of job_counts: all eight counters, AWS's names (reference 3.4)."""
    return {name: counts[column] for column, name in _COUNTED.items()}


def execution_operation(before: Execution | None, after: Execution | None) -> tuple[str, str]:
    """Which event a change of an execution is: (operation, the switch that lets it out)."""
    if after is None:
        return ("deleted", JOB_EXECUTION)
    if after.status in TERMINAL:
        return (after.status.lower(), JOB_EXECUTION)
    if before is None:
        return ("queued", QUEUED)
    if before.status is Status.QUEUED:
        return ("in_progress", IN_PROGRESS)
    return ("progress", PROGRESS)


def execution_topic(job_id: str, operation: str) -> str:
    """Where an execution's event goes (without tenant)."""
    return f"{_OF_EXECUTIONS}{job_id}/{operation}"


def is_live(topic: str) -> bool:
    """Whether a topic, with or without its tenant, is that of a live event."""
    return topic.rpartition("/")[2] in LIVE and _OF_EXECUTIONS in topic


def execution_event(
    operation: str,
    execution: Execution,
    *,
    arn: str,
    event_id: str,
    now: datetime,
) -> tuple[str, str]:
    """Topic (without tenant) and payload of a job execution event.

    Beyond AWS: executionNumber and versionNumber, so that a listener can order what arrives at least once.
    """
    payload = (
        f'{{"eventType":"JOB_EXECUTION","eventId":"{event_id}","timestamp":{seconds(now)},"operation":"{operation}",'
        f'"jobId":"{execution.job_id}","thingArn":"{arn}","status":"{execution.status}",'
        f'"statusDetails":{execution.details or "{}"},'
        f'"executionNumber":{execution.execution_number},"versionNumber":{execution.version}}}'
    )
    return (execution_topic(execution.job_id, operation), payload)


def job_event(
    operation: str,
    job: Mapping[str, object],
    *,
    event_id: str,
    now: datetime,
    counts: Mapping[str, int] | None = None,
) -> tuple[str, str]:
    """Topic (without tenant) and payload of a job event: completed, canceled, deleted, ..._in_progress.

    job has AWS's member names (jobId, targets, targetSelection, description, comment, createdAt, lastUpdatedAt,
    completedAt), times in epoch seconds; members that are None are left out.
    """
    status = {"deleted": "DELETED", "cancellation_in_progress": "CANCELLATION_IN_PROGRESS"}.get(
        operation, operation.upper()
    )
    payload: dict[str, object] = {
        "eventType": "JOB",
        "eventId": event_id,
        "timestamp": seconds(now),
        "operation": operation,
        "status": status,
        **{name: value for name, value in job.items() if value is not None},
    }
    if counts is not None:
        payload["jobProcessDetails"] = process_details(counts)
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return (f"$aws/events/job/{job['jobId']}/{operation}", text)
