"""jobs/create, in both dialects: the targets are resolved in the transaction that creates the job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from handlers import approvals, job_documents, reach, stages, store, tagging
from handlers.context import Context, Outcome, told_of
from handlers.job_targets import AT_ONCE, Found, Locked, look, require_none
from handlers.rollouts import freeze_snapshot, make_executions, roll_out_chunk
from handlers.schedules import AT_WORK, Begun, standing
from schema.arns import Home, Target
from schema.commands import CreateJob, CreateSeedJob
from schema.decode import fingerprint
from schema.errors import Code, Rejected
from schema.fields import compact_json
from schema.lifecycle import JobStatus, queued
from schema.rollout import RolloutConfig
from schema.sql import queries
from schema.tags import Resource
from schema.windows import SchedulingConfig, check

if TYPE_CHECKING:
    import asyncpg

    from handlers.job_documents import JobDocument
    from handlers.store import Told
    from schema.abort import AbortConfig
    from schema.retries import RetryConfig
    from schema.stages import Stage

_SQL = queries("jobs")
MAKE_JOB_ID: Final = _SQL["make_job_id"]
FIND_JOB: Final = _SQL["find_job"]
FIND_GROUP: Final = _SQL["find_group"]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is about to be written, whichever dialect it came in."""

    dialect: str
    document: JobDocument
    targets: tuple[Target, ...]
    digest: bytes
    expires_at: datetime | None = None
    timeout_minutes: int | None = None
    description: str | None = None
    rollout: RolloutConfig | None = None
    abort: AbortConfig | None = None
    retry: RetryConfig | None = None
    scheduling: SchedulingConfig | None = None
    begun: Begun = AT_WORK
    priority: int = 0
    exclusive: bool = False
    stages: tuple[Stage, ...] = ()
    approvals: int = 0
    document_type: str | None = None
    document_params: str | None = None
    presigned_urls: str = "{}"
    locked: Locked | None = None

    @property
    def begins_with(self) -> Locked | None:
        """The things of a job that is told to all of them at once, when they are locked: nobody has to be put away."""
        return None if self.begun.holds or self.rollout or self.stages else self.locked


async def create_job(context: Context, command: CreateJob | CreateSeedJob) -> Outcome:
    """Create a job and its executions, or give the first answer again when it is already there.

    Up to 500 things: their executions are made here. More, at a rate or in stages: the snapshot is frozen and rolled
    out in the background. A SNAPSHOT job without any thing is COMPLETED at once; a CONTINUOUS one waits for things.
    Raises Rejected: ResourceNotFound naming targets that do not exist, or a template; ResourceAlreadyExists when the id
    has other content; InvalidRequest naming a placeholder that is wrong, or approvals that are too few.
    """
    digest = digest_of(command)
    continuous = isinstance(command, CreateJob) and command.target_selection == "CONTINUOUS"
    if continuous:
        await reach.whole_fleet(context.connection, context.tenant_id)
    found = await look(context, command, digest, lock=True)
    if found.existing is not None:
        return again(context, found.existing, digest)
    job = await checked(context, command, digest, found)
    job_id = command.job_id or await context.connection.fetchval(_SQL["make_job_id"])
    await _insert(context, job_id, job)
    if isinstance(command, CreateJob):
        await tagging.give(context, Resource("job", job_id), command.tags)
    if continuous:
        await reach.follow(context.connection, context.tenant_id, job_id)
    if job.approvals:
        await approvals.ask(context, job_id, job.approvals)
    held = bool(job.begun.holds)
    if job.begins_with is not None:
        total = len(job.begins_with.things)
        told = await _begin_with(context, job_id, job.begins_with, job.priority)
    else:
        total = await _freeze(context, job_id, job)
        paced = bool(job.rollout or job.stages)
        told = await _begin(context, job_id, total, later=held or (paced and total > 0))
    over = not (total or continuous or held)
    status = str(JobStatus.COMPLETED if over else job.begun.status)
    return Outcome(
        _body(context.home, job_id, status=status, total=total, description=job.description),
        told,
        subject=f"job/{job_id}",
        details={
            "dialect": job.dialect,
            "targets": [target.arn for target in job.targets],
            "execution_count": total,
        },
    )


async def _freeze(context: Context, job_id: str, job: NewJob) -> int:
    place = (context.connection, context.tenant_id, job_id)
    if not job.stages:
        return await freeze_snapshot(*place)
    seed, last = stages.seed_of(job_id), len(job.stages)
    total = await freeze_snapshot(*place, seed=seed, stage=last)
    await stages.draw(context, job_id, job.stages, total)
    return total


def digest_of(command: CreateJob | CreateSeedJob) -> bytes:
    """What a job is asked for with.

    Without the id: a job whose creator gave none has the digest that its repeated request has.
    """
    return fingerprint("jobs/create", (), command.model_copy(update={"job_id": None}))


async def checked(
    context: Context, command: CreateJob | CreateSeedJob, digest: bytes, found: Found
) -> NewJob:
    """The job that a command asks for, held against all that is known before it is written; raises like create_job."""
    require_none(found.missing)
    job = await _new_job(context, command, found.targets, digest=digest)
    return replace(job, locked=found.locked)


async def _new_job(
    context: Context,
    command: CreateJob | CreateSeedJob,
    targets: tuple[Target, ...],
    *,
    digest: bytes,
) -> NewJob:
    if isinstance(command, CreateJob):
        command, document = await job_documents.find(context, command)
        await stages.require_groups(context, command.stages or ())
        count = approvals.needed(context, command.approval_config)
        begun = _begun(command, context.now)
        return NewJob(
            "aws",
            document,
            targets,
            digest,
            timeout_minutes=command.timeout_config.in_progress_timeout_in_minutes,
            description=command.description,
            presigned_urls=command.presigned_url_config.to_text(),
            rollout=usual_rate(context, command.job_executions_rollout_config),
            abort=command.abort_config,
            retry=command.job_executions_retry_config,
            scheduling=command.scheduling_config,
            begun=approvals.held_back(begun) if count else begun,
            priority=command.priority,
            exclusive=command.exclusive,
            stages=command.stages or (),
            approvals=count,
        )
    count = approvals.needed(context, None)
    hours = command.expires_in_hours
    return NewJob(
        "seed",
        job_documents.checked(context, command.document),
        targets,
        digest,
        rollout=usual_rate(context, None),
        expires_at=None if hours is None else context.now + timedelta(hours=hours),
        begun=approvals.held_back(AT_WORK) if count else AT_WORK,
        approvals=count,
        document_type=command.document_type,
        document_params=compact_json(command.document_params),
    )


def _begun(command: CreateJob, now: datetime) -> Begun:
    """How the job stands at first. Raises Rejected (InvalidRequest) for a schedule beyond AWS's limits."""
    if command.scheduling_config is None:
        return AT_WORK
    return standing(check(command.scheduling_config, now, selection=command.target_selection), now)


def usual_rate(context: Context, config: RolloutConfig | None) -> RolloutConfig | None:
    """With the usual maximum where it names none. None also for one that says nothing: such a job needs no pace."""
    found = config or RolloutConfig()
    if found.maximum_per_minute is None and context.per_minute is not None:
        found = found.model_copy(update={"maximum_per_minute": context.per_minute})
    return None if found == RolloutConfig() else found


def again(context: Context, existing: asyncpg.Record, digest: bytes) -> Outcome:
    """The answer to a repeated create, as the job is now."""
    job_id = existing["job_id"]
    if existing["request_sha256"] != digest:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS, f"jobId: {job_id!r} is taken by a job of other content"
        )
    if existing["status"] == JobStatus.DELETION_IN_PROGRESS:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"jobId: {job_id!r} is being deleted; it is free again after that",
        )
    return Outcome(
        _body(
            context.home,
            job_id,
            status=existing["status"],
            total=existing["total_targets"],
            description=existing["description"],
        )
    )


def _body(
    home: Home, job_id: str, *, status: str, total: int, description: str | None
) -> dict[str, object]:
    """AWS's members (CreateJob) and the seeds' (seed 002 step 2), side by side."""
    body: dict[str, object] = {
        "jobId": job_id,
        "jobArn": home.arn("job", job_id),
        "job_id": job_id,
        "status": status,
        "execution_count": total,
    }
    return body if description is None else {**body, "description": description}


async def _insert(context: Context, job_id: str, job: NewJob) -> None:
    seed = job.targets[0] if job.dialect == "seed" else None
    uid = await context.connection.fetchval(
        _SQL["insert_job"],
        context.tenant_id,
        job_id,
        job.dialect,
        job.document.text,
        job.document_type,
        job.document_params,
        seed.name if seed is not None and seed.kind == "thing" else None,
        seed.name if seed is not None and seed.kind == "thinggroup" else None,
        seed is not None and seed.kind == "all",
        job.description,
        job.timeout_minutes,
        job.expires_at,
        job.digest,
        context.actor,
        context.now,
        [target.kind for target in job.targets],
        [target.name for target in job.targets],
        [target.arn for target in job.targets],
        job.document.plain,
        job.document.parameters_text,
        job.document.source,
        job.document.template_arn,
        job.presigned_urls,
        *(
            None if one is None else one.to_text()
            for one in (job.rollout, job.abort, job.retry, job.scheduling)
        ),
        job.begun.status,
        job.begun.holds,
        job.begun.due_at,
        job.priority,
        job.exclusive,
        0 if job.begins_with is None else len(job.begins_with.things),
    )
    if job.document.plain and context.documents is not None:
        context.documents.know(uid, job.document.text)


async def _begin_with(
    context: Context, job_id: str, locked: Locked, priority: int
) -> tuple[Told, ...]:
    wanted = [queued(name, job_id, locked.now, priority=priority) for name in locked.things]
    return told_of(
        await make_executions(
            context.connection, context.tenant_id, wanted, now=locked.now, slot=context.slot
        )
    )


async def _begin(context: Context, job_id: str, total: int, *, later: bool) -> tuple[Told, ...]:
    """Make the executions now, leave them to the background, or complete a job that has none."""
    work = "ROLLOUT" if total > AT_ONCE or later else None
    await context.connection.execute(
        _SQL["set_total_targets"], context.tenant_id, job_id, total, work
    )
    if not total and work is None:
        return await _complete_empty(context, job_id)
    if work is not None:
        await context.connection.execute(_SQL["announce_work"])
        return ()
    return told_of(
        await roll_out_chunk(context.connection, context.tenant_id, job_id, slot=context.slot)
    )


async def _complete_empty(context: Context, job_id: str) -> tuple[Told, ...]:
    messages = await store.complete_jobs(
        context.connection, context.tenant_id, [job_id], now=context.now
    )
    return told_of(
        await store.tell(
            context.connection, context.tenant_id, messages=messages, slot=context.slot
        )
    )
