"""The quiet panels of a job's page: facts, document, settings, the same elsewhere, audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.console.components import Moment, Tag, at, code_block, facts, section, tag, words
from broker.console.copies import as_boto3, as_cli, as_curl, as_mosquitto, job_as_created
from broker.console.draft_texts import pretty
from broker.console.viewer import Viewer


def show_facts(viewer: Viewer, job: Mapping[str, Any]) -> None:
    """Who made it, when, for whom."""
    rows = [
        ("Targets", ", ".join(arn.rpartition(":")[2] for arn in job.get("targets", []))),
        ("Selection", job.get("targetSelection", "").lower()),
        ("Created", Moment(job["createdAt"])),
        ("By", job.get("createdBy")),
        ("Completed", job.get("completedAt") and Moment(job["completedAt"])),
        ("Template", job.get("jobTemplateArn", "").rpartition("/")[2]),
        ("Reason", job.get("reasonCode")),
        ("Comment", job.get("comment")),
        ("Priority", job.get("priority")),
        ("Exclusive", "yes" if job.get("exclusive") else None),
    ]
    facts(viewer, rows)


def show_document(document: str) -> None:
    """The document as things are given it."""
    with tag("div", "jb-card"):
        section("The document, as things are given it")
        code_block(pretty(document), "the document")


def show_settings(job: Mapping[str, Any]) -> None:
    """Its configurations, as they were sent."""
    shown = {
        name: job[name]
        for name in (
            *("jobExecutionsRolloutConfig", "abortConfig", "jobExecutionsRetryConfig"),
            *("timeoutConfig", "schedulingConfig", "presignedUrlConfig", "stages", "holds"),
            *("targets", "targetSelection", "documentParameters", "jobTemplateArn"),
        )
        if job.get(name)
    }
    with tag("div", "jb-card"):
        section("Settings, in AWS's words")
        code_block(json.dumps(shown, indent=2, ensure_ascii=False), "the settings")


def show_copies(viewer: Viewer, job: Mapping[str, Any], document: str) -> None:
    """A job like this one, in other hands."""
    job_id = str(job["jobId"])
    made = job_as_created(job, document, job_id=f"{job_id[:58]}-again")
    api = viewer.api.url
    with tag("div", "jb-card"):
        section("Another job like this one")
        for name, text in (
            ("Command line", as_cli(made)),
            ("curl", as_curl(api, "jobs/create", made)),
            ("mosquitto_rr", as_mosquitto(viewer.name, "jobs/create", made)),
            ("boto3", as_boto3(api, made)),
        ):
            words(name, "jb-quiet", as_="p")
            code_block(text, name)


async def show_audit(viewer: Viewer, place: Tag, job_id: str) -> None:
    """Who did what with it, for those who may know. Raises ApiError."""
    place.clear()
    with place:
        section("Who did what")
        if lacking := viewer.lacks("audit/list"):
            words(f"The audit log {lacking}.", "jb-quiet")
            return
        body = await viewer.call("audit/list", subject=f"job/{job_id}", maxResults=100)
        for line in body["lines"]:
            with tag("div", "jb-log-line"):
                at(viewer, line["at"])
                words(f"{line['actor']} ({line['role']})")
                words(f"{line['action']} {_said(line['details'])}", "jb-mono")


def _said(details: Mapping[str, Any]) -> str:
    """What an entry of the audit log holds, as words where it is words."""
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in details.items()
    )
