"""Cancelling and deleting: a job's begin here and go on in handlers.chunks, one execution's is done at once."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from handlers import store
from handlers.context import Context, Outcome, RejectedExecution, not_found, told_of
from schema import lifecycle
from schema.changes import Change
from schema.errors import Code, Rejected
from schema.lifecycle import Execution, JobMove, JobStatus, Status, next_job_status
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from handlers.store import Told
    from schema.commands import CancelExecution, CancelJob, DeleteJob

_SQL = queries("jobs")


async def cancel_job(context: Context, command: CancelJob, job_id: str) -> Outcome:
    """Cancel a job: it is CANCELED at once; its QUEUED executions follow in chunks, with force IN_PROGRESS ones too.

    A redelivered cancel of a CANCELED job is accepted again. Raises Rejected: ResourceNotFound, InvalidStateTransition.
    """
    job = await _locked(context, job_id)
    if context.duplicate and job["status"] == JobStatus.CANCELED:
        return Outcome(_job_body(context, job_id, job["description"]))
    status = next_job_status(JobStatus(job["status"]), JobMove.CANCEL)
    await context.connection.execute(
        _SQL["cancel_job"],
        context.tenant_id,
        job_id,
        status,
        command.force,
        command.reason_code,
        command.comment,
        context.now,
    )
    return Outcome(
        _job_body(context, job_id, job["description"]),
        await _announce(context, job_id, "cancellation_in_progress"),
        subject=f"job/{job_id}",
        details=command.model_dump(exclude_none=True, by_alias=True, exclude={"client_token"}),
    )


async def delete_job(context: Context, command: DeleteJob, job_id: str) -> Outcome:
    """Begin to delete a job; a live one only with force. It is gone when its last execution is.

    A redelivered delete of a job that is going or gone is accepted again. Raises Rejected: ResourceNotFound,
    InvalidStateTransition.
    """
    try:
        job = await _locked(context, job_id)
    except Rejected:
        if context.duplicate:
            return Outcome(_job_body(context, job_id, None))
        raise
    if context.duplicate and job["status"] == JobStatus.DELETION_IN_PROGRESS:
        return Outcome(_job_body(context, job_id, job["description"]))
    move = JobMove.FORCE_DELETE if command.force else JobMove.DELETE
    status = next_job_status(JobStatus(job["status"]), move)
    await context.connection.execute(
        _SQL["delete_job"], context.tenant_id, job_id, status, context.now
    )
    return Outcome(
        _job_body(context, job_id, job["description"]),
        await _announce(context, job_id, "deletion_in_progress"),
        subject=f"job/{job_id}",
        details={"force": command.force},
    )


async def cancel_execution(
    context: Context, command: CancelExecution, *, job_id: str, thing: str
) -> Outcome:
    """Cancel a thing's latest execution of a job (AWS: CancelJobExecution); answers its new executionState.

    Raises Rejected: ResourceNotFound, VersionMismatch, InvalidStateTransition (IN_PROGRESS takes force), the last two
    with the execution's state.
    """
    _, now = await store.lock_things(context.connection, context.tenant_id, [thing])
    key = (thing, job_id, None)
    found = await store.load_executions(context.connection, context.tenant_id, [key])
    if key not in found:
        raise Rejected(
            Code.RESOURCE_NOT_FOUND, f"job {job_id!r} has no execution on thing {thing!r}"
        )
    before = found[key].execution
    if context.duplicate and before.status is Status.CANCELED:
        return Outcome(_state_body(before))
    after = _canceled(before, command, now)
    queues = await store.load_queues(context.connection, context.tenant_id, [thing])
    told = await store.save(
        context.connection,
        context.tenant_id,
        [Change(before, after)],
        queues={thing: [one.execution for one in queues[thing]]},
        now=now,
        slot=context.slot,
    )
    return Outcome(
        _state_body(after),
        told_of(told),
        subject=f"job/{job_id}/thing/{thing}",
        details={"force": command.force, "executionNumber": after.execution_number},
    )


def _canceled(before: Execution, command: CancelExecution, now: datetime) -> Execution:
    expected = command.expected_version
    if expected is not None and expected != before.version:
        refusal = Rejected(
            Code.VERSION_MISMATCH, f"Expected version {expected} but found version {before.version}"
        )
        raise RejectedExecution(refusal, before)
    try:
        after = lifecycle.cancel(before, now, force=command.force)
    except Rejected as refusal:
        raise RejectedExecution(refusal, before) from None
    details = command.status_details
    return after if details is None else after._replace(details=details)


async def _locked(context: Context, job_id: str) -> asyncpg.Record:
    job = await context.connection.fetchrow(_SQL["lock_job"], context.tenant_id, job_id)
    if job is None:
        raise not_found("job", job_id)
    return job


async def _announce(context: Context, job_id: str, operation: str) -> tuple[Told, ...]:
    await context.connection.execute(_SQL["announce_work"])
    messages = await store.job_events(
        context.connection, context.tenant_id, [job_id], operation=operation, now=context.now
    )
    return told_of(
        await store.tell(
            context.connection, context.tenant_id, messages=messages, slot=context.slot
        )
    )


def _job_body(context: Context, job_id: str, description: str | None) -> dict[str, object]:
    body: dict[str, object] = {"jobId": job_id, "jobArn": context.home.arn("job", job_id)}
    return body if description is None else {**body, "description": description}


def _state_body(execution: Execution) -> dict[str, object]:
    return {"executionState": state_of(execution)}


def state_of(execution: Execution) -> dict[str, object]:
    """An execution's JobExecutionState (reference 1.3)."""
    state: dict[str, object] = {"status": execution.status, "versionNumber": execution.version}
    if execution.details not in (None, "{}"):
        state["statusDetails"] = json.loads(execution.details or "{}")
    return state
