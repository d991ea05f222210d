"""One execution looked at or deleted by an operator, and a thing's executions of all jobs."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING

from handlers import store
from handlers.context import Context, Outcome, RejectedExecution, told_of
from schema import paging, timeline
from schema.changes import Change
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus, Status
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from handlers.store import Loaded
    from schema.job_commands import DeleteExecution, GetExecution, ListThingExecutions
    from schema.lifecycle import Execution
    from schema.timeline import Entry

_SQL = queries("jobs")


async def delete_execution(
    context: Context, command: DeleteExecution, *, job_id: str, thing: str
) -> Outcome:
    """Delete one execution (AWS: DeleteJobExecution); one that is IN_PROGRESS only with force.

    The counters go with it, and the thing is told when its list changes. Raises Rejected: ResourceNotFound,
    InvalidStateTransition with the execution's state. A redelivered deletion of one that is gone is accepted again.
    """
    _, now = await store.lock_things(context.connection, context.tenant_id, [thing])
    try:
        found = await _load(context, job_id, thing, command.execution_number)
    except Rejected:
        if context.duplicate:
            return Outcome({})
        raise
    execution = found.execution
    if found.job_status is JobStatus.DELETION_IN_PROGRESS:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION, f"status: job {job_id!r} is being deleted with them"
        )
    if execution.status is Status.IN_PROGRESS and not command.force:
        refusal = Rejected(
            Code.INVALID_STATE_TRANSITION,
            "status: an execution that is IN_PROGRESS is deleted with force only",
        )
        raise RejectedExecution(refusal, execution)
    queues = await store.load_queues(context.connection, context.tenant_id, [thing])
    told = await store.save(
        context.connection,
        context.tenant_id,
        [Change(execution, None)],
        queues={thing: [one.execution for one in queues[thing]]},
        now=now,
        slot=context.slot,
    )
    return Outcome(
        {},
        told_of(told),
        subject=f"job/{job_id}/thing/{thing}",
        details={"force": command.force, "executionNumber": execution.execution_number},
    )


async def get_execution(
    context: Context, command: GetExecution, *, job_id: str, thing: str
) -> Outcome:
    """One execution (AWS: DescribeJobExecution), the latest unless a number is named; beyond AWS, its timeline.

    Raises Rejected (ResourceNotFound).
    """
    found = await _load(context, job_id, thing, command.execution_number)
    one = found.execution
    body: dict[str, object] = {
        "jobId": job_id,
        "thingName": thing,
        "thingArn": context.home.arn("thing", thing),
        "status": one.status,
        "queuedAt": seconds(one.queued_at),
        "lastUpdatedAt": seconds(one.updated_at),
        "executionNumber": one.execution_number,
        "versionNumber": one.version,
        "forceCanceled": one.force_canceled,
    }
    if one.started_at is not None:
        body["startedAt"] = seconds(one.started_at)
    if one.details not in (None, "{}"):
        body["statusDetails"] = json.loads(one.details or "{}")
    if one.timeout_at is not None:
        left = (one.timeout_at - context.now).total_seconds()
        body["approximateSecondsBeforeTimedOut"] = max(0, int(left))
    return Outcome({"execution": {**body, **await _timeline(context, one)}})


async def _timeline(context: Context, one: Execution) -> dict[str, object]:
    """When its thing was told of it, and the timeline: queued, told, and each change, in order of time."""
    thing, job_id, number = one.key
    row = await context.connection.fetchrow(
        _SQL["load_timeline"], context.tenant_id, job_id, thing, number
    )
    if row is None:  # deleted since it was read
        return {}
    told_at: datetime | None = row["told_at"]
    shown: list[tuple[datetime, dict[str, object]]] = [(one.queued_at, {"what": "QUEUED"})]
    if told_at is not None:
        shown.append((told_at, {"what": "NOTIFY_SENT"}))
    shown += [(entry.at, _shown(entry)) for entry in timeline.read(row["timeline"])]
    shown.sort(key=itemgetter(0))
    body: dict[str, object] = {} if told_at is None else {"notifySentAt": seconds(told_at)}
    body["timeline"] = [{"at": round(at.timestamp(), 3), **what} for at, what in shown]
    return body


def _shown(entry: Entry) -> dict[str, object]:
    found: dict[str, object] = {"what": entry.status, "versionNumber": entry.version}
    if entry.details:
        found["statusDetails"] = dict(entry.details)
    if entry.is_cut:
        found["isCut"] = True
    return found


async def list_thing_executions(context: Context, command: ListThingExecutions) -> Outcome:
    """A thing's executions by job and number, also those that are over (AWS: ListJobExecutionsForThing).

    Raises Rejected (ResourceNotFound) when there is no such thing.
    """
    thing = command.thing_name
    after = paging.decode(f"things/{thing}", command.next_token, (str, int)) or ("", 0)
    rows = await context.connection.fetch(
        _SQL["list_thing_executions"],
        context.tenant_id,
        thing,
        command.job_id,
        command.status,
        *after,
        command.max_results + 1,
    )
    if not rows and not await context.connection.fetchval(
        _SQL["has_thing"], context.tenant_id, thing
    ):
        raise Rejected(Code.RESOURCE_NOT_FOUND, f"thing {thing!r} does not exist")
    shown = rows[: command.max_results]
    body: dict[str, object] = {
        "executionSummaries": [
            {"jobId": row["job_id"], "jobExecutionSummary": summary(row)} for row in shown
        ]
    }
    if len(rows) > len(shown):
        last = shown[-1]
        body["nextToken"] = paging.encode(
            f"things/{thing}", last["job_id"], last["execution_number"]
        )
    return Outcome(body)


def summary(row: asyncpg.Record) -> dict[str, object]:
    """AWS: JobExecutionSummary of the control plane."""
    found: dict[str, object] = {
        "status": row["status"],
        "queuedAt": seconds(row["queued_at"]),
        "lastUpdatedAt": seconds(row["last_updated_at"]),
        "executionNumber": row["execution_number"],
        "retryAttempt": row["retry_attempt"],
    }
    if row["started_at"] is not None:
        found["startedAt"] = seconds(row["started_at"])
    return found


async def _load(context: Context, job_id: str, thing: str, number: int | None) -> Loaded:
    key = (thing, job_id, number)
    found = await store.load_executions(context.connection, context.tenant_id, [key])
    if key not in found:
        numbered = "" if number is None else f" with executionNumber {number}"
        raise Rejected(
            Code.RESOURCE_NOT_FOUND,
            f"job {job_id!r} has no execution{numbered} on thing {thing!r}",
        )
    return found[key]
