"""jobs/{id}/pause and resume: a hold that an operator sets and takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import stages, store
from handlers.context import Context, Outcome, told_of
from handlers.holds import Hold, lock_live

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.job_commands import CommentedCommand


async def pause_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Tell nobody else of a job, and hide it from those who have not begun. Pausing a paused one is accepted.

    Raises Rejected: ResourceNotFound, InvalidStateTransition for a job that is over.
    """
    job = await lock_live(context.connection, context.tenant_id, job_id)
    if Hold.PAUSE in job.holds:
        return Outcome(_body(context, job_id, paused=True))
    await job.change(context.now, add=[Hold.PAUSE])
    return await _switched(context, command, job_id, paused=True)


async def resume_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Go on with a paused job where it was; with the next stage, when it waited for that at an open gate.

    Resuming one that is not paused is accepted. Raises as `pause_job`.
    """
    staged = await stages.lock(context.connection, context.tenant_id, job_id)
    job = await lock_live(context.connection, context.tenant_id, job_id)
    if Hold.PAUSE not in job.holds:
        return Outcome(_body(context, job_id, paused=False))
    await job.change(context.now, take=[Hold.PAUSE])
    messages = [] if staged is None else await stages.resume(staged, job, context.now)
    return await _switched(context, command, job_id, paused=False, messages=messages)


async def _switched(
    context: Context,
    command: CommentedCommand,
    job_id: str,
    *,
    paused: bool,
    messages: Sequence[tuple[str, str]] = (),
) -> Outcome:
    said = await store.job_events(
        context.connection,
        context.tenant_id,
        [job_id],
        operation="paused" if paused else "resumed",
        now=context.now,
    )
    told = await store.tell(
        context.connection,
        context.tenant_id,
        messages=[*said, *messages],
        slot=context.slot,
    )
    details: dict[str, object] = {} if command.comment is None else {"comment": command.comment}
    body = _body(context, job_id, paused=paused)
    return Outcome(body, told_of(told), subject=f"job/{job_id}", details=details)


def _body(context: Context, job_id: str, *, paused: bool) -> dict[str, object]:
    return {"jobId": job_id, "jobArn": context.home.arn("job", job_id), "paused": paused}
