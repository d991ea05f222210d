"""Failures of the newest jobs, grouped by status and reason: what goes wrong, how often, and where to look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nicegui import ui

from broker.console.api import sent_as
from broker.console.components import (
    command_button,
    confirmed,
    empty,
    heading,
    send,
    status_chip,
    tag,
    words,
)
from broker.console.copies import job_as_created
from broker.console.links import execution_path, job_path, with_query
from broker.console.viewer import Viewer
from broker.console.words import counted, counts, grouped
from schema.lifecycle import Status

_JOBS: Final = 100
_LOOKED_AT: Final = 20
_PAGE: Final = 250
_BAD: Final = (Status.FAILED, Status.TIMED_OUT, Status.REJECTED)
_REASONS: Final = ("reason", "error", "message", "why", "code", "step")
_SHOWN: Final = 6
_TARGETS: Final = 100


@dataclass(slots=True)
class Group:
    """Executions that ended alike."""

    status: str
    reason: str
    things: list[tuple[str, str]] = field(default_factory=list)  # job, thing


def reason_of(details: Mapping[str, Any]) -> str:
    """What a thing says went wrong: the member that is called so, or all it says."""
    for name in _REASONS:
        if name in details:
            return f"{name}: {details[name]}"
    return (
        ", ".join(f"{key}: {value}" for key, value in sorted(details.items())) or "no reason given"
    )


def grouped_by_reason(found: Mapping[str, list[dict[str, Any]]]) -> list[Group]:
    """Executions by job as groups, the largest first."""
    groups: dict[tuple[str, str], Group] = {}
    for job_id, executions in found.items():
        for one in executions:
            key = (one["status"], reason_of(one.get("statusDetails", {})))
            group = groups.setdefault(key, Group(*key))
            group.things.append((job_id, one["thingName"]))
    return sorted(groups.values(), key=lambda group: -len(group.things))


async def show(viewer: Viewer) -> None:
    """Build the page from the newest jobs that have failures."""
    body = await viewer.call("jobs/list", maxResults=_JOBS)
    bad = [job for job in body["jobs"] if any(counts(job)[status] for status in _BAD)][:_LOOKED_AT]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    cut = False
    for job in bad:
        for status in _BAD:
            if counts(job)[status]:
                page = await viewer.call(
                    "jobs/get",
                    jobId=job["jobId"],
                    status=status,
                    includeDocument=False,
                    maxResults=_PAGE,
                )
                found[job["jobId"]] += page["executions"]
                cut = cut or "nextToken" in page
    with tag("div", "jb-head"):
        heading("Failures").classes("jb-grow")
        said = f"of {counted(len(bad), 'job')} with failures, the newest"
        words(said + (f", {_PAGE} of each kind at most" if cut else ""), "jb-quiet")
    groups = grouped_by_reason(found)
    live = frozenset(job["jobId"] for job in bad if job["status"] == "IN_PROGRESS")
    for group in groups:
        _show_group(viewer, group, live)
    if not groups:
        empty(
            "Nothing has failed",
            "What fails in one of the hundred newest jobs is gathered here, by reason.",
        )


def _show_group(viewer: Viewer, group: Group, live: frozenset[str]) -> None:
    by_job: dict[str, list[str]] = defaultdict(list)
    for job_id, thing in group.things:
        by_job[job_id].append(thing)
    with tag("section", "jb-card", style="margin-bottom:14px", aria_label=group.reason):
        with tag("div", "jb-row"):
            words(grouped(len(group.things)), "jb-number")
            status_chip(group.status)
            words(group.reason, "jb-mono jb-grow")
        for job_id, things in by_job.items():
            with tag("div", "jb-row", style="margin-top:8px"):
                path = with_query(job_path(job_id), {"tab": "things", "status": group.status})
                with tag("a", href=viewer.link(path)):
                    words(f"{job_id} ({grouped(len(things))})")
                for thing in things[:_SHOWN]:
                    with tag("a", "jb-mono", href=viewer.link(execution_path(job_id, thing))):
                        words(thing)
                if len(things) > _SHOWN:
                    words(f"and {grouped(len(things) - _SHOWN)} more", "jb-quiet")
                if job_id in live:
                    _retry_in_job(viewer, job_id, group.status)
                else:
                    _retry_button(viewer, job_id, things)


def _retry_in_job(viewer: Viewer, job_id: str, status: str) -> None:
    """A job that is under way tries all of a kind again itself, whatever their reasons."""

    async def retry() -> None:
        sends = sent_as("jobs/retry-failed", {"jobId": job_id})
        consequence = f"All things of {job_id} that are {status} have another execution of it."
        if await confirmed("Try them again?", consequence, sends, label="Try again"):
            body = await send(viewer, "jobs/retry-failed", jobId=job_id, failureType=status)
            if body is not None:
                ui.navigate.to(job_path(job_id))

    names = {"jobId": job_id}
    command_button(
        viewer, "Retry all of this kind", "jobs/retry-failed", retry, icon="replay", names=names
    )


def _retry_button(viewer: Viewer, job_id: str, things: list[str]) -> None:
    async def retry() -> None:
        first = things[:_TARGETS]
        if not await confirmed(
            f"Try {counted(len(first), 'thing')} again?",
            f"They are sent the document of {job_id} again, as one new job.",
            "sends jobs/create: POST /api/v1/jobs",
            label="Try again",
        ):
            return
        body = await viewer.call("jobs/get", jobId=job_id, includeExecutions=False)
        again = f"{job_id[:40]}-retry-{body['timestamp']}"
        made = job_as_created(body["job"], body["document"], job_id=again)
        made |= {
            "targets": [viewer.arn("thing", one) for one in first],
            "targetSelection": "SNAPSHOT",
            "description": f"{job_id} again, where it failed",
        }
        made.pop("schedulingConfig", None)
        await viewer.call("jobs/create", **made)
        ui.navigate.to(job_path(again))

    command_button(viewer, "Retry these", "jobs/create", retry, icon="replay")
