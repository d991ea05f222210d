"""failures/list and failures/retry: what failed over all jobs, by its reason, and sending that again as new jobs.

Jobs have different documents, so what failed of several is sent again as one new job for each document, and all of
them have one tag: `retry`, by which jobs/list finds them. The new job has the settings of the newest job it comes
from, but for its schedule, stages and approvals. A failure that was sent again is listed no more, whatever becomes of
it then: its new job may fail, too, and is listed for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from handlers import group_members, groups, jobs, reach, store, tagging
from handlers.context import Context, Outcome
from schema import paging
from schema.commands import CreateJob, CreateSeedJob
from schema.errors import Code, Rejected
from schema.group_commands import CreateGroup
from schema.lifecycle import Status
from schema.limits import (
    FAILING_SEARCHED,
    FAILURE_GROUPS,
    FAILURES_LOOKED_AT,
    FAILURES_RETRIED,
    RETRY_JOBS,
    TARGETS_PER_JOB,
)
from schema.sql import queries
from schema.tags import Resource, Tag
from schema.templates import parse_arn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import asyncpg

    from handlers.store import Told
    from schema.failure_commands import ListFailures, RetryFailures

TAG: Final = "retry"
_SQL = queries("failures")
_NEWEST: Final = 2**63 - 1
_KINDS: Final = (Status.FAILED, Status.TIMED_OUT, Status.REJECTED)
_CONFIGS: Final = {
    "presignedUrlConfig": "presigned_url_config",
    "jobExecutionsRolloutConfig": "rollout_config",
    "abortConfig": "abort_config",
    "jobExecutionsRetryConfig": "retry_config",
}
_NAMED: Final = 3
_Target = tuple[Literal["thing", "thinggroup"], str]


async def list_failures(context: Context, command: ListFailures) -> Outcome:
    """Failures of a page of jobs, the newest that have any, by status and reason, the largest groups first.

    `failures` has for each its status, reason, numberOfThings, and the same by job with the first few things.
    `isWhole` is false when there is more in these jobs than is looked at or shown. Looks at 10,000 jobs for one page.
    """
    statuses = command.failure_type.statuses
    if command.job_id is not None:
        found, token = [command.job_id], None
    else:
        before = paging.decode("failures", command.next_token, (int,))
        start = int(before[0]) if before else _NEWEST
        found, token = await _failing_jobs(context, statuses, start, command.max_results)
    search = command.search and command.search.lower()
    rows = await context.connection.fetch(
        _SQL["group_failures"],
        *(context.tenant_id, found, statuses, search, FAILURES_LOOKED_AT, FAILURE_GROUPS + 1),
    )
    body: dict[str, object] = {
        "failures": [_shown(row) for row in rows[:FAILURE_GROUPS] if row["status"] is not None],
        "isWhole": len(rows) <= FAILURE_GROUPS and rows[0]["looked_at"] < FAILURES_LOOKED_AT,
    }
    return Outcome(body if token is None else {**body, "nextToken": token})


def _shown(row: asyncpg.Record) -> dict[str, object]:
    return {
        "status": row["status"],
        "reason": row["reason"],
        "numberOfThings": row["things"],
        "jobs": json.loads(row["jobs"]),
    }


async def _failing_jobs(
    context: Context, statuses: Collection[Status], start: int, most: int
) -> tuple[list[str], str | None]:
    """Jobs with failures, newest first, from before a number on, and the token of the page after them."""
    floor = await context.connection.fetchval(
        _SQL["find_failing_floor"], context.tenant_id, start, FAILING_SEARCHED
    )
    rows = await context.connection.fetch(
        _SQL["find_failing_jobs"],
        *(context.tenant_id, start, floor or 0, most + 1),
        *(kind in statuses for kind in _KINDS),
    )
    found = [row["job_id"] for row in rows[:most]]
    last = rows[most - 1]["job_uid"] if len(rows) > most else floor
    return found, None if last is None else paging.encode("failures", last)


@dataclass(slots=True)
class _Again:
    """What one new job is made of: the job it is like, and the failures that it sends again."""

    like: asyncpg.Record
    sources: list[str] = field(default_factory=list)
    failures: list[asyncpg.Record] = field(default_factory=list)

    @property
    def things(self) -> list[str]:
        """Each thing once: it may have failed in several jobs of this document."""
        return sorted({one["thing_name"] for one in self.failures})


async def retry_failures(context: Context, command: RetryFailures) -> Outcome:
    """Send the things of these groups their documents again: one new job for each document, all with the tag `retry`.

    Without jobIds the newest 250 jobs that have failures are looked at, as on the first page of the list. Raises
    Rejected: ResourceNotFound when nothing is in the groups (any more), ResourceAlreadyExists when the retryId or the
    name of a job or group is taken, LimitExceeded for more than 20,000 things or 50 documents.
    """
    connection, tenant_id = context.connection, context.tenant_id
    retry_id = command.retry_id or await connection.fetchval(jobs.MAKE_JOB_ID)
    await connection.execute(_SQL["hold_failures"], tenant_id)
    # Memberships and things come before all else that is locked: by name, those of all the jobs together.
    await reach.fleet(connection, tenant_id, context.slot)
    parts = await _parts(context, command)
    names = [f"{retry_id}-{number}" for number in range(1, len(parts) + 1)]
    made = dict(zip([retry_id] if len(parts) == 1 else names, parts, strict=True))
    targets = [await _targets(context, job_id, part) for job_id, part in made.items()]
    told: tuple[Told, ...] = ()
    for (job_id, part), target in zip(made.items(), targets, strict=True):
        told += await _create(context, command, job_id, part, target, retry_id)
    total = sum(len(part.things) for part in parts)
    shown = [
        {
            "jobId": job_id,
            "jobArn": context.home.arn("job", job_id),
            "numberOfThings": len(part.things),
            "sourceJobIds": part.sources,
        }
        for job_id, part in made.items()
    ]
    return Outcome(
        {"retryId": retry_id, "numberOfThings": total, "jobs": shown},
        told,
        subject=f"job/{next(iter(made))}",
        details={
            "retryId": retry_id,
            "things": total,
            "failures": [one.model_dump(mode="json", by_alias=True) for one in command.failures],
            "jobs": {job_id: part.sources for job_id, part in made.items()},
            "comment": command.comment,
        },
    )


async def _parts(context: Context, command: RetryFailures) -> list[_Again]:
    """The failures that are asked for, by what is sent again, of things that are there; the things are locked."""
    found = await _find(context, command)
    there, _ = await store.lock_things(
        context.connection, context.tenant_id, {one["thing_name"] for one in found}
    )
    known = frozenset(there)
    rows = await context.connection.fetch(
        _SQL["load_failed_jobs"], context.tenant_id, sorted({one["job_id"] for one in found})
    )
    parts: dict[tuple[object, ...], _Again] = {}
    of_job: dict[str, _Again] = {}
    for row in rows:
        part = of_job[row["job_id"]] = parts.setdefault(_content(row), _Again(row))
        part.sources.append(row["job_id"])
    for one in found:
        if one["thing_name"] in known and one["job_id"] in of_job:
            of_job[one["job_id"]].failures.append(one)
    wanted = [part for part in parts.values() if part.failures]
    if not wanted:
        raise Rejected(Code.RESOURCE_NOT_FOUND, "failures: nothing is in these groups any more")
    if len(wanted) > RETRY_JOBS:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"failures: are of {len(wanted)} documents, at most {RETRY_JOBS} are sent again at once",
        )
    return wanted


async def _find(context: Context, command: RetryFailures) -> list[asyncpg.Record]:
    statuses = [str(one.status) for one in command.failures]
    if command.job_ids is not None:
        job_ids = list(command.job_ids)
    else:
        kinds = {Status(one) for one in statuses}
        job_ids, _ = await _failing_jobs(context, kinds, _NEWEST, paging.PAGE_MOST)
    reasons = [one.reason for one in command.failures]
    found: list[asyncpg.Record] = await context.connection.fetch(
        _SQL["find_failures"],
        *(context.tenant_id, job_ids, statuses, reasons, FAILURES_RETRIED + 1),
    )
    if len(found) > FAILURES_RETRIED:
        raise Rejected(
            Code.LIMIT_EXCEEDED,
            f"failures: are more than {FAILURES_RETRIED} things; name fewer groups, or jobIds",
        )
    return found


def _content(row: asyncpg.Record) -> tuple[object, ...]:
    """What things were sent: what has all of it in common can be one job again."""
    names = ("dialect", "document", "document_type", "document_params", "document_parameters")
    return tuple(row[name] for name in (*names, "job_template_arn", "presigned_url_config"))


async def _targets(context: Context, job_id: str, part: _Again) -> list[_Target]:
    """The new job's targets, by kind and name: its things, or a group of its name for more than a job may name."""
    things = part.things
    if len(things) == 1 or (part.like["dialect"] == "aws" and len(things) <= TARGETS_PER_JOB):
        return [("thing", one) for one in things]
    existing = await context.connection.fetchval(jobs.FIND_GROUP, context.tenant_id, job_id, None)
    if existing is not None:
        raise Rejected(Code.RESOURCE_ALREADY_EXISTS, f"retryId: a group {job_id!r} exists already")
    made = {
        "thingGroupName": job_id,
        "thingGroupProperties": {"thingGroupDescription": _words(part, "What failed of")},
    }
    command = CreateGroup.model_validate(made)
    await groups.create_group(context, command)
    await group_members.add_members(context.connection, context.tenant_id, job_id, things)
    return [("thinggroup", job_id)]


async def _create(
    context: Context,
    command: RetryFailures,
    job_id: str,
    part: _Again,
    targets: Sequence[_Target],
    retry_id: str,
) -> tuple[Told, ...]:
    place = (context.tenant_id, job_id)
    if await context.connection.fetchrow(jobs.FIND_JOB, *place) is not None:
        raise Rejected(Code.RESOURCE_ALREADY_EXISTS, f"retryId: a job {job_id!r} exists already")
    made = _command(context, part, job_id, targets)
    if isinstance(made, CreateJob):
        words = command.description or _words(part, "Again, what failed of")
        made = made.model_copy(update={"description": words})
    outcome = await jobs.create_job(context, made)
    await tagging.give(context, Resource("job", job_id), (Tag(Key=TAG, Value=retry_id),))
    await context.connection.execute(
        _SQL["keep_retried"],
        context.tenant_id,
        *([one[name] for one in part.failures] for name in _KEY),
        job_id,
    )
    return outcome.told


_KEY: Final = ("job_id", "thing_name", "execution_number")


def _command(
    context: Context, part: _Again, job_id: str, targets: Sequence[_Target]
) -> CreateJob | CreateSeedJob:
    like = part.like
    if like["dialect"] == "seed":
        kind, name = targets[0]
        seed: dict[str, Any] = {
            "job_id": job_id,
            "document_type": like["document_type"],
            "document_params": json.loads(like["document_params"]),
            ("target_device_id" if kind == "thing" else "target_group_id"): name,
        }
        return CreateSeedJob.model_validate(seed)
    said: dict[str, Any] = {
        "jobId": job_id,
        "targets": [context.home.arn(kind, name) for kind, name in targets],
        "priority": like["priority"],
        "exclusive": like["is_exclusive"],
        **_document(like),
    }
    said |= {name: json.loads(like[column]) for name, column in _CONFIGS.items() if like[column]}
    if like["in_progress_timeout_minutes"] is not None:
        said["timeoutConfig"] = {"inProgressTimeoutInMinutes": like["in_progress_timeout_minutes"]}
    return CreateJob.model_validate_json(json.dumps(said))


def _document(like: asyncpg.Record) -> dict[str, object]:
    """As it was: AWS's templates stay as they are, a template of the tenant's may have changed since."""
    given = json.loads(like["document_parameters"] or "{}")
    filled = {name: text for name, text in given.items() if text}
    arn = like["job_template_arn"]
    if arn is not None and parse_arn(arn).is_managed:
        return {"jobTemplateArn": arn, "documentParameters": filled}
    made: dict[str, object] = {"document": like["document"]}
    return {**made, "documentParameters": filled} if filled else made


def _words(part: _Again, begin: str) -> str:
    named = ", ".join(part.sources[:_NAMED])
    more = f" and {len(part.sources) - _NAMED} more" if len(part.sources) > _NAMED else ""
    return f"{begin} {named}{more}"
