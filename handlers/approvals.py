"""Approvals: what a job needs before it rolls out, and operators' votes on it (schema.approval has the rules)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from handlers import store
from handlers.context import Context, Outcome, told_of
from handlers.holds import HeldJob, Hold, lock_live
from handlers.schedules import Begun
from schema.approval import (
    REASON_CODE,
    ApprovalConfig,
    Asked,
    Standing,
    State,
    Voice,
    Vote,
    check_vote,
    required,
    standing,
)
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.lifecycle import JobMove, JobStatus, next_job_status
from schema.rights import Role
from schema.sql import queries
from schema.windows import SchedulingConfig

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection
    from schema.job_commands import CommentedCommand, GetApproval, UpdateApproval

_SQL = queries("approvals")
_JOBS = queries("jobs")
_TIMED = frozenset({Hold.SCHEDULE, Hold.WINDOW})


class _Ballot(NamedTuple):
    asked: Asked
    votes: tuple[Vote, ...]
    now: datetime


async def get_approval(context: Context, _command: GetApproval) -> Outcome:
    """How many approvals each of the tenant's jobs needs at least."""
    return Outcome({"approvalConfig": {"requiredApprovals": context.required_approvals}})


async def update_approval(context: Context, command: UpdateApproval) -> Outcome:
    """Change how many approvals jobs need at least; those that are there keep what they were created with."""
    usual = command.approval_config.required_approvals
    await context.connection.execute(_SQL["set_usual"], context.tenant_id, usual)
    return Outcome(
        {"approvalConfig": {"requiredApprovals": usual}},
        subject="approval",
        details={"requiredApprovals": usual},
    )


def needed(context: Context, asked: ApprovalConfig | None) -> int:
    """How many approvals a new job needs. Raises Rejected (InvalidRequest) for fewer than the tenant asks for."""
    return required(asked, ApprovalConfig(requiredApprovals=context.required_approvals))


def held_back(begun: Begun) -> Begun:
    """How a job that needs approvals stands at first, instead of so: SCHEDULED, whatever its start time."""
    return Begun(JobStatus.SCHEDULED, (*begun.holds, Hold.APPROVAL), begun.due_at)


async def ask(context: Context, job_id: str, count: int) -> None:
    """Write that a new job needs approvals."""
    await context.connection.execute(
        _SQL["insert_approval"],
        context.tenant_id,
        job_id,
        count,
        context.actor,
        context.role,
        context.now,
    )


async def approve_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Say yes to a job; with the last yes that it needs it rolls out, when its schedule lets it.

    Raises Rejected: ResourceNotFound, Unauthorized saying who may vote, ResourceAlreadyExists for a second yes,
    InvalidStateTransition for a job that needs no approval, has been decided or is over, or whose end has come.
    """
    job, now_is = await _vote(context, job_id, Voice.APPROVE, command.comment)
    messages = await _event(context, job_id, "approved", now_is)
    if now_is.state is State.APPROVED and Hold.APPROVAL in job.holds:
        messages += await _let_go(context, job)
    return await _voted(context, command, job_id, now_is, messages)


async def deny_job(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Say no to a job: it is canceled with the comment as its reason. Raises as `approve_job`."""
    job, now_is = await _vote(context, job_id, Voice.DENY, command.comment)
    status, forced = next_job_status(job.status, JobMove.CANCEL), False
    await context.connection.execute(
        _JOBS["cancel_job"],
        context.tenant_id,
        job_id,
        status,
        forced,
        REASON_CODE,
        now_is.reason if command.comment is None else command.comment,
        context.now,
    )
    await context.connection.execute(_JOBS["announce_work"])
    messages = await _event(context, job_id, "cancellation_in_progress", now_is)
    return await _voted(context, command, job_id, now_is, messages)


async def void(job: HeldJob, now: datetime) -> None:
    """A job that is held has changed in what is approved: if it needs approvals, it needs all of them anew.

    Nobody else is told of it until it has them; who was told goes on. One whose end has come needs none: nobody else is
    told of it anyway, and nobody may vote on it any more.
    """
    if (ends := await _ends_at(job)) is not None and ends <= now:
        return
    if not await job.connection.fetchval(_SQL["void_votes"], job.tenant_id, job.job_id):
        return
    await job.change(now, add=[Hold.APPROVAL], status=JobStatus.SCHEDULED)


async def shown(connection: Connection, tenant_id: str, job_id: str) -> dict[str, object] | None:
    """A job's approval as jobs/get shows it; None when it needs none."""
    ballot = await _ballot(connection, tenant_id, job_id)
    if ballot is None:
        return None
    now_is = standing(ballot.asked, ballot.votes)
    return {
        **_body(ballot.asked, now_is),
        "votes": [
            {
                "operatorName": vote.operator_name,
                "role": vote.role,
                "vote": vote.voice,
                "at": seconds(vote.at),
                **({} if vote.comment is None else {"comment": vote.comment}),
            }
            for vote in ballot.votes
        ],
    }


async def _vote(
    context: Context, job_id: str, voice: Voice, comment: str | None
) -> tuple[HeldJob, Standing]:
    job = await lock_live(context.connection, context.tenant_id, job_id)
    ballot = await _ballot(context.connection, context.tenant_id, job_id)
    if ballot is None:
        raise Rejected(Code.INVALID_STATE_TRANSITION, f"approval: {job_id!r} needs no approval")
    if (ends := await _ends_at(job)) is not None and ends <= ballot.now:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"approval: {job_id!r} has ended at {ends:%Y-%m-%d %H:%M:%S} UTC; nobody is told of it any more",
        )
    vote = Vote(context.actor, context.role, voice, ballot.now, comment)
    now_is = check_vote(ballot.asked, ballot.votes, vote)
    await context.connection.execute(
        _SQL["insert_vote"],
        context.tenant_id,
        job_id,
        vote.operator_name,
        vote.role,
        vote.voice,
        vote.at,
        vote.comment,
    )
    return job, now_is


async def _ends_at(job: HeldJob) -> datetime | None:
    """When nobody is told of a job any more: at its endTime, or when it expires (seeds)."""
    row = await job.connection.fetchrow(_SQL["get_end"], job.tenant_id, job.job_id)
    assert row is not None  # noqa: S101 - the job is held
    if row["scheduling_config"] is None:
        expires: datetime | None = row["expires_at"]
        return expires
    return SchedulingConfig.from_text(row["scheduling_config"]).schedule().end_at


async def _ballot(connection: Connection, tenant_id: str, job_id: str) -> _Ballot | None:
    row = await connection.fetchrow(_SQL["get_approval"], tenant_id, job_id)
    if row is None:
        return None
    rows = await connection.fetch(_SQL["list_votes"], tenant_id, job_id)
    asked = Asked(row["creator_name"], Role(row["creator_role"]), row["required"], row["since"])
    votes = tuple(
        Vote(
            one["operator_name"], Role(one["role"]), Voice(one["voice"]), one["at"], one["comment"]
        )
        for one in rows
    )
    return _Ballot(asked, votes, row["now"])


async def _let_go(context: Context, job: HeldJob) -> list[tuple[str, str]]:
    """The job is approved: it rolls out, unless its schedule holds it. Returns what is to be told."""
    status = job.status
    if not job.holds & _TIMED:
        status = next_job_status(status, JobMove.ROLL_OUT)
    await job.change(context.now, take=[Hold.APPROVAL], status=status)
    # Its last execution may have ended while it was to be approved again.
    return await store.complete_jobs(
        context.connection, context.tenant_id, [job.job_id], now=context.now
    )


async def _event(
    context: Context, job_id: str, operation: str, now_is: Standing
) -> list[tuple[str, str]]:
    return await store.job_events(
        context.connection,
        context.tenant_id,
        [job_id],
        operation=operation,
        now=context.now,
        more={"approval": now_is.state, "reason": now_is.reason},
    )


async def _voted(
    context: Context,
    command: CommentedCommand,
    job_id: str,
    now_is: Standing,
    messages: list[tuple[str, str]],
) -> Outcome:
    told = await store.tell(
        context.connection, context.tenant_id, messages=messages, slot=context.slot
    )
    return Outcome(
        {
            "jobId": job_id,
            "jobArn": context.home.arn("job", job_id),
            "approval": {
                "state": now_is.state,
                "approvedBy": [*now_is.approved_by],
                "reason": now_is.reason,
            },
        },
        told_of(told),
        subject=f"job/{job_id}",
        details={
            "approval": now_is.state,
            **({} if command.comment is None else {"comment": command.comment}),
        },
    )


def _body(asked: Asked, now_is: Standing) -> dict[str, object]:
    return {
        "state": now_is.state,
        "requiredApprovals": asked.required,
        "approvedBy": [*now_is.approved_by],
        "reason": now_is.reason,
    }
