"""jobs/preview: what a job would come to, by the same checks as its creation, without creating anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers import jobs
from handlers.context import Context, Outcome
from handlers.holds import Hold
from handlers.job_targets import look
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
from schema.windows import EndBehavior, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

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
    found = await look(context, command, digest)
    if found.existing is not None:
        jobs.again(context, found.existing, digest)
    job = await jobs.checked(context, command, digest, found)
    job_id = command.job_id or await context.connection.fetchval(_JOBS["make_job_id"])
    things, first, matched = await _reached(context, job, job_id)
    held = sizes(job.stages, things, tuple(matched))
    course = _course(job, things, held, context.now)
    body: dict[str, object] = {
        "jobId": job_id,
        "exists": found.existing is not None,
        "status": _status(command, job, things),
        "execution_count": things,
        "firstThings": first,
        "rollout": _rollout(job, course),
        "document": await _document(context, job, job_id, first),
    }
    if job.scheduling is not None and job.scheduling.maintenance_windows:
        body["maintenanceWindows"] = _windows(course)
    if job.begun.holds:
        body["holds"] = list(job.begun.holds)
    if job.stages:
        body["stages"] = _stages(job.stages, held, course)
    if job.expires_at is not None:
        body["expiresAt"] = seconds(job.expires_at)
    return Outcome(body)


def _course(job: NewJob, things: int, held: Sequence[int], now: datetime) -> Course:
    """When its things are told: in stages as soon as each gate can open, and so with a success of each thing told."""
    schedule = Schedule() if job.scheduling is None else job.scheduling.schedule()
    if job.expires_at is not None:
        schedule = Schedule(end_at=job.expires_at, end_behavior=EndBehavior.CANCEL)
    planned = plan(job.rollout, things, succeed_after=0.0 if job.stages else None)
    return course(planned, schedule, now, stages=job.stages, held=held)


def _stages(stages: Sequence[Stage], held: Sequence[int], found: Course) -> list[dict[str, object]]:
    """How many things each stage holds, and when it is told; at most, where earlier ones may have drawn what fits."""
    shown: list[dict[str, object]] = []
    unsure = False
    for place, (stage, count, times) in enumerate(zip(stages, held, found.stages, strict=True)):
        unsure = unsure or (stage.by_match and place > 0)
        shown.append(
            {
                "stage": place + 1,
                "numberOfThings": count,
                **({"isEstimate": True} if unsure else {}),
                **_when(startsAt=times.starts_at, toldAt=times.told_at),
                **_when(gateOpensAt=times.gate_opens_at),
            }
        )
    return shown


def _when(**times: datetime | None) -> dict[str, object]:
    return {name: seconds(at) for name, at in times.items() if at is not None}


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


def _rollout(job: NewJob, found: Course) -> dict[str, object]:
    """The curve by minute, when all are told or why not, and what that takes for granted."""
    rollout: dict[str, object] = {"byMinute": [_point(*one) for one in found.by_minute()]}
    rollout |= _when(toldAt=found.told_at)
    if (left := found.plan.things - found.told) > 0:
        rollout["notTold"] = left
    if found.paused_at is not None:
        stage = sum(one.starts_at is not None for one in found.stages)
        rollout["waitsForHand"] = {
            "stage": stage,
            **_when(at=found.paused_at),
            "reason": f"stage {stage}: successAction is PAUSE: start the next stage by hand",
        }
    if assumed := list(_assumed(job)):
        rollout["assumptions"] = assumed
    return rollout


def _assumed(job: NewJob) -> Iterator[str]:
    """What nobody knows beforehand, in words."""
    if Hold.APPROVAL in job.begun.holds:
        yield "all approvals are given now"
    if job.stages:
        yield "each thing succeeds as soon as it is told, so that each gate opens as early as it can"
    elif job.rollout is not None and job.rollout.rises_by_success:
        yield "nothing succeeds meanwhile: what raises the rate by successes does not"


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
