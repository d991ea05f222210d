"""jobs/preview: what a job would come to, by the same checks as its creation, without creating anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers import jobs
from handlers.context import Context, Outcome
from handlers.stages import seed_of
from schema import placeholders
from schema.commands import CreateJob, CreateSeedJob
from schema.course import OPENINGS_SHOWN, course
from schema.device import seconds
from schema.forecast import plan
from schema.lifecycle import JobStatus
from schema.placeholders import Values, compile_document
from schema.sql import queries
from schema.stages import sizes
from schema.windows import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from handlers.jobs import NewJob
    from schema.course import Course
    from schema.placeholders import Template
    from schema.stages import Stage

THINGS_SHOWN: Final = 20
_TIME: Final = "%Y-%m-%d %H:%M"
_SQL = queries("previews")
_JOBS = queries("jobs")
_EXECUTIONS = queries("executions")


async def preview_job(context: Context, command: CreateJob | CreateSeedJob) -> Outcome:
    """How many things, which first, when they are told by the rate and the schedule, and the first one's document.

    Things are those that the targets reach now. Raises Rejected for whatever jobs/create would be refused for, also
    when the id is taken by a job of other content.
    """
    digest = jobs.digest_of(command)
    existing = await jobs.find_existing(context, command, digest)
    if existing is not None:
        jobs.again(context, existing, digest)
    job = await jobs.checked(context, command, digest)
    job_id = command.job_id or await context.connection.fetchval(_JOBS["make_job_id"])
    things, first, matched = await _reached(context, job, job_id)
    body: dict[str, object] = {
        "jobId": job_id,
        "exists": existing is not None,
        "status": _status(command, job, things),
        "execution_count": things,
        "firstThings": first,
        **_rollout(context, job, things),
        "document": await _document(context, job, job_id, first),
    }
    if job.begun.holds:
        body["holds"] = list(job.begun.holds)
    if job.stages:
        body["stages"] = _stages(job.stages, things, matched)
    if job.expires_at is not None:
        body["expiresAt"] = seconds(job.expires_at)
    return Outcome(body)


def _stages(
    stages: Sequence[Stage], things: int, matched: Sequence[int]
) -> list[dict[str, object]]:
    """How many things each stage holds; at most, where earlier ones may have drawn some of those that fit."""
    held = sizes(tuple(stages), things, tuple(matched))
    shown: list[dict[str, object]] = []
    unsure = False
    for place, (stage, count) in enumerate(zip(stages, held, strict=True)):
        unsure = unsure or (stage.by_match and place > 0)
        bound = {"isEstimate": True} if unsure else {}
        shown.append({"stage": place + 1, "numberOfThings": count, **bound})
    return shown


async def _reached(context: Context, job: NewJob, job_id: str) -> tuple[int, list[str], list[int]]:
    """How many things the targets reach, the first that will be told, and how many fit each stage."""
    matches = [one.attribute for one in job.stages]
    row = await context.connection.fetchrow(
        _SQL["find_reached"],
        context.tenant_id,
        [target.kind for target in job.targets],
        [target.name for target in job.targets],
        THINGS_SHOWN,
        seed_of(job_id) if job.stages else None,
        [one.thing_group_name for one in job.stages],
        [None if one is None else one.name for one in matches],
        [None if one is None else one.value for one in matches],
    )
    assert row is not None  # noqa: S101 - a SELECT of expressions has one row
    return row["things"], row["first"], row["matched"]


def _status(command: CreateJob | CreateSeedJob, job: NewJob, things: int) -> str:
    """What the job would be at first: a SNAPSHOT without things is over at once."""
    waits = isinstance(command, CreateJob) and command.target_selection == "CONTINUOUS"
    if things or waits or job.begun.holds:
        return str(job.begun.status)
    return str(JobStatus.COMPLETED)


def _rollout(context: Context, job: NewJob, things: int) -> dict[str, object]:
    """The curve by minute, when all are told, and which maintenance windows that takes."""
    schedule = Schedule() if job.scheduling is None else job.scheduling.schedule()
    found = course(plan(job.rollout, things), schedule, context.now)
    rollout: dict[str, object] = {"byMinute": [_point(*one) for one in found.by_minute()]}
    if found.told_at is not None:
        rollout["toldAt"] = seconds(found.told_at)
    if (left := things - found.told) > 0:
        rollout["notTold"] = left
    body: dict[str, object] = {"rollout": rollout}
    if schedule.windows:
        body["maintenanceWindows"] = _windows(found)
    return body


def _point(minute: int, things: int, rate: int | None) -> dict[str, object]:
    limited = {} if rate is None else {"ratePerMinute": rate}
    return {"minute": minute, "things": things, **limited}


def _windows(found: Course) -> list[dict[str, object]]:
    """The first of the windows in which anybody is told, and how many are told by the end of each."""
    return [
        {
            "startTime": f"{one.begins:{_TIME}}",
            **({} if one.ends is None else {"endTime": f"{one.ends:{_TIME}}"}),
            "things": found.things_by(one.ends or found.told_at or one.begins),
        }
        for one in found.openings[:OPENINGS_SHOWN]
    ]


async def _document(
    context: Context, job: NewJob, job_id: str, first: Sequence[str]
) -> dict[str, object]:
    """What the first thing would be given, and which of the attributes in it that thing has not."""
    template = compile_document(job.document.text, job.document.parameters)
    if not first:
        return {"text": template.shown}
    thing = first[0]
    attributes = await _attributes(context, template, thing)
    found: dict[str, object] = {
        "thingName": thing,
        "text": placeholders.preview(template, Values(thing, job_id, 1, attributes)),
    }
    if missing := [name for name in template.attributes if not attributes.get(name)]:
        found["emptyPlaceholders"] = [f"${{thing:attributes.{name}}}" for name in missing]
    return found


async def _attributes(context: Context, template: Template, thing: str) -> Mapping[str, str]:
    if not template.needs_attributes:
        return {}
    rows = await context.connection.fetch(
        _EXECUTIONS["load_attributes"], context.tenant_id, [thing]
    )
    return json.loads(rows[0]["attributes"]) if rows else {}
