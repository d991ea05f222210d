"""jobs/{id}/associate: more targets for a CONTINUOUS job (AWS: AssociateTargetsWithJob)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import approvals, reach, stages
from handlers.context import Context, Outcome, not_found
from handlers.holds import lock_live
from handlers.job_targets import require_targets
from schema.arns import parse_target
from schema.errors import Code, Rejected
from schema.lifecycle import JobStatus
from schema.limits import TARGETS_PER_JOB
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from schema.commands import AssociateTargets

_SQL = queries("groups")


async def associate_targets(context: Context, command: AssociateTargets, job_id: str) -> Outcome:
    """Add targets to a CONTINUOUS job that is not over; things that only they reach wait for the rollout.

    Targets that it has already are left as they are, so that a repeated command does nothing. A job that needs
    approvals needs them anew: what was approved is what it was for. Raises Rejected:
    ResourceNotFound for the job or targets, InvalidRequest for a SNAPSHOT job, InvalidStateTransition for one that is
    over or whose endTime has come, LimitExceeded above 100 targets.
    """
    fleet = await reach.whole_fleet(context.connection, context.tenant_id, context.slot)
    found = {(one.kind, one.name): one for one in map(parse_target, command.targets)}
    await require_targets(context, tuple(found.values()))
    # Its stages before its row, as everyone does (handlers.store).
    await stages.lock(context.connection, context.tenant_id, job_id)
    row = await context.connection.fetchrow(_SQL["get_association"], context.tenant_id, job_id)
    job = _require_open(row, job_id)
    rows = await context.connection.fetch(_SQL["list_targets"], context.tenant_id, job_id)
    old = [(row["target_kind"], row["target_name"]) for row in rows]
    added = [target for key, target in found.items() if key not in old]
    _require_room(len(old) + len(added))
    joined = await _reached(context, [(one.kind, one.name) for one in added])
    joined -= await _reached(context, old) if joined else set()
    await context.connection.execute(
        _SQL["insert_targets"],
        context.tenant_id,
        job_id,
        [one.kind for one in added],
        [one.name for one in added],
        [one.arn for one in added],
        rows[-1]["position"],
    )
    await fleet.let_in([(job_id, name) for name in sorted(joined)])
    await context.connection.execute(
        _SQL["annotate_job"],
        context.tenant_id,
        job_id,
        command.comment,
        len(joined),
        context.now,
    )
    if added:
        held = await lock_live(context.connection, context.tenant_id, job_id)
        await approvals.void(held, context.now)
    return Outcome(
        _body(context, job_id, job["description"]),
        subject=f"job/{job_id}",
        details={"targets": [one.arn for one in added], "things": len(joined)},
    )


def _require_open(job: asyncpg.Record | None, job_id: str) -> asyncpg.Record:
    if job is None:
        raise not_found("job", job_id)
    if job["target_selection"] != "CONTINUOUS":
        raise Rejected(
            Code.INVALID_REQUEST,
            f"targets: {job_id!r} is a {job['target_selection']} job; only a CONTINUOUS one takes more",
        )
    if job["status"] not in (JobStatus.SCHEDULED, JobStatus.IN_PROGRESS):
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"status: {job_id!r} is {job['status']}; only a live job takes more targets",
        )
    if job["has_ended"]:
        raise Rejected(Code.INVALID_STATE_TRANSITION, f"status: the endTime of {job_id!r} has come")
    return job


def _require_room(count: int) -> None:
    if count > TARGETS_PER_JOB:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"targets: the job would have {count}, at most {TARGETS_PER_JOB} are allowed",
        )


async def _reached(context: Context, targets: Collection[tuple[str, str]]) -> set[str]:
    rows = await context.connection.fetch(
        _SQL["find_reached"],
        context.tenant_id,
        [kind for kind, _ in targets],
        [name for _, name in targets],
    )
    return {row["thing_name"] for row in rows}


def _body(context: Context, job_id: str, description: str | None) -> dict[str, object]:
    body: dict[str, object] = {"jobId": job_id, "jobArn": context.home.arn("job", job_id)}
    return body if description is None else {**body, "description": description}
