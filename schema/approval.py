"""Whether a job may roll out: n approvals by operators of another role than its creator's. Beyond AWS.

Until it is approved a job is SCHEDULED, whatever its start time, and is told to nobody; hawkBit's rollouts wait for an
approval in the same way. Rules, decided here where the issue leaves them open:

- Who votes has a role that may create jobs (manager or above), other than the creator's, and is not the creator, even
  if the creator's own role has changed since. Where nobody is, the job waits until somebody is, or is canceled.
- Approvals are counted by operator, not by role: two admins are two.
- One denial ends it: the job is canceled with the comment as its reason.
- Who has approved may still deny until the job is approved; to approve twice changes nothing and is refused.
- The tenant's default is the least: a job may ask for more approvals, not for fewer. A default that could be waived by
  the one whom it is to check would be none.
- What is approved is the job as it was then: a change of its rate, abort criteria or retries voids the votes before it.
- A role counts as it was when its holder voted.
- A job whose end comes while it waits is not approved any more. One that nobody was told of is canceled; one that waits
  anew, after a change, ends as its endBehavior says.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import Field

from schema.configs import Config
from schema.errors import Code, Rejected
from schema.limits import APPROVALS
from schema.rights import LEAST_ROLE, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

REASON_CODE: Final = "DENIED"
TOO_LATE: Final = "NOT_APPROVED"
_LEAST: Final = LEAST_ROLE["jobs/create"]


class ApprovalConfig(Config):
    """How many approvals a job asks for, or a tenant for each of its jobs. 0: it rolls out without any."""

    required_approvals: Annotated[int, Field(ge=0, le=APPROVALS)]


class Voice(StrEnum):
    """What an operator says of a job."""

    APPROVE = "APPROVE"
    DENY = "DENY"


class Vote(NamedTuple):
    """One operator's word on a job, as stored; role is the one held then."""

    operator_name: str
    role: Role
    voice: Voice
    at: datetime
    comment: str | None = None


class Asked(NamedTuple):
    """What a job's approval needs. since: when it was created, or last changed in what is approved."""

    creator_name: str
    creator_role: Role
    required: int
    since: datetime


class State(StrEnum):
    """Where a job's approval is."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DENIED = "DENIED"


class Standing(NamedTuple):
    """Where a job's approval is, who has approved so far, and the whole in words."""

    state: State
    approved_by: tuple[str, ...]
    reason: str


def required(asked: ApprovalConfig | None, usual: ApprovalConfig | None) -> int:
    """How many approvals a new job needs. usual is the tenant's default.

    Raises Rejected (InvalidRequest) for fewer than that.
    """
    least = 0 if usual is None else usual.required_approvals
    if asked is None:
        return least
    if asked.required_approvals < least:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"approvalConfig.requiredApprovals: is {asked.required_approvals}, "
            f"at least {least} are needed in this tenant",
        )
    return asked.required_approvals


def standing(asked: Asked, votes: Sequence[Vote]) -> Standing:
    """Where the approval is after these votes, given in the order of their times; void ones are passed over."""
    approved: list[str] = []
    if asked.required == 0:
        return Standing(State.APPROVED, (), "no approval is needed")
    for vote in votes:
        if not _counts(asked, vote):
            continue
        if vote.voice is Voice.DENY:
            return Standing(State.DENIED, tuple(approved), _denial(vote))
        if vote.operator_name not in approved:
            approved.append(vote.operator_name)
        if len(approved) == asked.required:
            break
    state = State.APPROVED if len(approved) == asked.required else State.PENDING
    by = f" by {', '.join(approved)}" if approved else ""
    return Standing(state, tuple(approved), f"{len(approved)} of {asked.required} approvals{by}")


def check_vote(asked: Asked, votes: Sequence[Vote], vote: Vote) -> Standing:
    """Where the approval is with this vote added.

    Raises Rejected: Unauthorized when this operator may not vote on this job, InvalidStateTransition when the approval
    has been decided, ResourceAlreadyExists when the operator has approved already.
    """
    check_voter(asked, vote.operator_name, vote.role)
    before = standing(asked, votes)
    if before.state is not State.PENDING:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"approval: the job's is {before.state} already: {before.reason}",
        )
    if vote.voice is Voice.APPROVE and vote.operator_name in before.approved_by:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS, f"approval: {vote.operator_name} has approved already"
        )
    return standing(asked, [*votes, vote])


def check_voter(asked: Asked, operator_name: str, role: Role) -> None:
    """Pass when the operator may approve or deny the job. Raises Rejected (Unauthorized) saying who may."""
    if operator_name == asked.creator_name:
        why = f"{operator_name} has created the job"
    elif role is asked.creator_role:
        why = f"your role, {role}, is its creator's"
    elif not role.covers(_LEAST):
        why = f"your role is {role}"
    else:
        return
    others = " or ".join(
        one for one in Role if one.covers(_LEAST) and one is not asked.creator_role
    )
    raise Rejected(Code.UNAUTHORIZED, f"approval: {why}; it takes the role {others}")


def _counts(asked: Asked, vote: Vote) -> bool:
    if vote.at < asked.since:
        return False
    try:
        check_voter(asked, vote.operator_name, vote.role)
    except Rejected:
        return False
    return True


def _denial(vote: Vote) -> str:
    comment = "" if vote.comment is None else f": {vote.comment}"
    return f"denied by {vote.operator_name}{comment}"
