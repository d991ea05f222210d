"""A job as it is being written: from the fields of the form to the command, and back from a job that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from broker.console.draft_rows import (
    AbortRow,
    DraftError,
    RetryRow,
    StageRow,
    WindowRow,
    some,
    whole,
)
from broker.console.draft_texts import document_of, parameters_of

_TIME: Final = "%Y-%m-%d %H:%M"
BLANK: Final = '{\n  "operation": "reboot"\n}'


@dataclass(slots=True)
class Draft:
    """The form's fields as they stand; numbers may be None, texts empty. Times are the reader's, YYYY-MM-DDTHH:MM."""

    job_id: str = ""
    description: str = ""
    tags: str = ""  # name=value, by commas
    document: str = BLANK
    template: str = ""
    parameters: str = ""
    presigned: dict[str, Any] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    continuous: bool = False
    per_minute: float | None = None
    ramp_base: float | None = None
    ramp_factor: float | None = 2
    ramp_every: float | None = None
    ramp_by: str = "numberOfNotifiedThings"
    aborts: list[AbortRow] = field(default_factory=lambda: [AbortRow()])
    timeout: float | None = None
    retries: list[RetryRow] = field(default_factory=lambda: [RetryRow()])
    start: str = ""
    end: str = ""
    end_behavior: str = "STOP_ROLLOUT"
    windows: list[WindowRow] = field(default_factory=list)
    priority: float | None = None
    stages: list[StageRow] = field(default_factory=list)
    approvals: float | None = None
    exclusive: bool = False

    def command(self, zone: ZoneInfo) -> dict[str, Any]:
        """What jobs/create and jobs/preview are told. Raises DraftError for what cannot be one."""
        made: dict[str, Any] = {"targets": list(self.targets)}
        tags = parameters_of("\n".join(self.tags.split(",")))
        said = {
            "jobId": self.job_id.strip(),
            "description": self.description.strip(),
            "targetSelection": "CONTINUOUS" if self.continuous else "",
            "presignedUrlConfig": self.presigned,
            "jobExecutionsRolloutConfig": self._rollout(),
            "abortConfig": _criteria([one.wire() for one in self.aborts]),
            "timeoutConfig": some(self.timeout, "inProgressTimeoutInMinutes"),
            "jobExecutionsRetryConfig": _criteria([one.wire() for one in self.retries]),
            "schedulingConfig": self._schedule(zone),
            "stages": [one.wire() for one in self.stages],
            "approvalConfig": some(self.approvals, "requiredApprovals"),
            "priority": whole(self.priority),
            "exclusive": self.exclusive,
            "tags": [{"Key": name, "Value": value} for name, value in tags.items()],
        }
        made |= {name: value for name, value in said.items() if value}
        parameters = parameters_of(self.parameters)
        if self.template:
            made["jobTemplateArn"] = self.template
        else:
            made["document"] = document_of(self.document)
        return made | ({"documentParameters": parameters} if parameters and self.template else {})

    def _rollout(self) -> dict[str, Any]:
        made: dict[str, Any] = some(self.per_minute, "maximumPerMinute")
        if self.ramp_base:
            made["exponentialRate"] = {
                "baseRatePerMinute": whole(self.ramp_base),
                "incrementFactor": self.ramp_factor or 2,
                "rateIncreaseCriteria": {self.ramp_by: whole(self.ramp_every or self.ramp_base)},
            }
        return made

    def _schedule(self, zone: ZoneInfo) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.start:
            made["startTime"] = in_utc(self.start, zone)
        if self.end:
            made |= {"endTime": in_utc(self.end, zone), "endBehavior": self.end_behavior}
        if self.windows:
            made["maintenanceWindows"] = [one.wire() for one in self.windows]
        return made


def _criteria(found: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    said = [one for one in found if one is not None]
    return {"criteriaList": said} if said else {}


def in_utc(text: str, zone: ZoneInfo) -> str:
    """A moment of the reader's in AWS's words, UTC. Raises DraftError."""
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=zone)
    except ValueError:
        raise DraftError(f"schedule: {text[:40]!r} is no time") from None
    return moment.astimezone(UTC).strftime(_TIME)


def in_zone(text: str, zone: ZoneInfo) -> str:
    """A moment in AWS's words, UTC or with its offset, as the reader's field has it; "" for none."""
    if not text:
        return ""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def draft_of(
    job: Mapping[str, Any], document: str, zone: ZoneInfo, tags: Mapping[str, str] | None = None
) -> Draft:
    """A draft that begins as a job that is there (as jobs/get shows it), under no id yet."""
    draft = Draft(
        description=job.get("description", ""),
        tags=", ".join(f"{name}={value}" for name, value in (tags or {}).items()),
        targets=list(job.get("targets", [])),
        presigned=dict(job.get("presignedUrlConfig") or {}),
        continuous=job.get("targetSelection") == "CONTINUOUS",
        priority=job.get("priority"),
        exclusive=bool(job.get("exclusive")),
        timeout=job.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes"),
        stages=[StageRow.of(one) for one in job.get("stages") or []],
        approvals=(job.get("approvalConfig") or {}).get("requiredApprovals"),
        aborts=[AbortRow.of(one) for one in _listed(job, "abortConfig")] or [AbortRow()],
        retries=[RetryRow.of(one) for one in _listed(job, "jobExecutionsRetryConfig")]
        or [RetryRow()],
    )
    if job.get("jobTemplateArn"):
        draft.template = job["jobTemplateArn"]
        given = job.get("documentParameters", {})
        draft.parameters = "\n".join(f"{name}={value}" for name, value in given.items())
    else:
        draft.document = json.dumps(json.loads(document or "{}"), indent=2, ensure_ascii=False)
    _take_rate(draft, job.get("jobExecutionsRolloutConfig") or {})
    _take_schedule(draft, job.get("schedulingConfig") or {}, zone)
    return draft


def _listed(job: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (job.get(name) or {}).get("criteriaList", [])
    return found


def _take_rate(draft: Draft, rollout: Mapping[str, Any]) -> None:
    draft.per_minute = rollout.get("maximumPerMinute")
    if ramp := rollout.get("exponentialRate"):
        draft.ramp_base, draft.ramp_factor = ramp["baseRatePerMinute"], ramp["incrementFactor"]
        for name, number in ramp["rateIncreaseCriteria"].items():
            draft.ramp_by, draft.ramp_every = name, number


def _take_schedule(draft: Draft, config: Mapping[str, Any], zone: ZoneInfo) -> None:
    draft.start = in_zone(config.get("startTime") or "", zone)
    draft.end = in_zone(config.get("endTime") or "", zone)
    draft.end_behavior = config.get("endBehavior") or "STOP_ROLLOUT"
    draft.windows = [WindowRow.of(one) for one in config.get("maintenanceWindows") or []]
