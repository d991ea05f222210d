"""A job as it is being written: from the fields of the form to the command, and back from a job that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

_ARN_TIME: Final = "%Y-%m-%d %H:%M"
BLANK: Final = '{\n  "operation": "reboot"\n}'


@dataclass(slots=True)
class Draft:
    """The form's fields as they stand; numbers may be None, texts empty. Times are the reader's, YYYY-MM-DDTHH:MM."""

    job_id: str = ""
    description: str = ""
    document: str = BLANK
    template: str = ""
    parameters: str = ""
    targets: list[str] = field(default_factory=list)
    continuous: bool = False
    per_minute: float | None = None
    ramp_base: float | None = None
    ramp_factor: float | None = 2
    ramp_every: float | None = None
    abort_type: str = "FAILED"
    abort_percent: float | None = None
    abort_least: float | None = 10
    timeout: float | None = None
    retry_type: str = "ALL"
    retries: float | None = None
    start: str = ""
    end: str = ""
    end_behavior: str = "STOP_ROLLOUT"
    priority: float | None = None
    stages: str = ""  # per cent of all things, by commas
    stage_success: float | None = 95
    stage_soak: float | None = None
    stage_errors: float | None = None
    approvals: float | None = None
    exclusive: bool = False

    def command(self, zone: ZoneInfo) -> dict[str, Any]:
        """What jobs/create and jobs/preview are told. Raises DraftError for what cannot be one."""
        made: dict[str, Any] = {"targets": list(self.targets)}
        said = {
            "jobId": self.job_id.strip(),
            "description": self.description.strip(),
            "targetSelection": "CONTINUOUS" if self.continuous else "",
            "jobExecutionsRolloutConfig": self._rollout(),
            "abortConfig": self._abort(),
            "timeoutConfig": _if(self.timeout, "inProgressTimeoutInMinutes"),
            "jobExecutionsRetryConfig": self._retry(),
            "schedulingConfig": self._schedule(zone),
            "stages": self._stages(),
            "approvalConfig": _if(self.approvals, "requiredApprovals"),
            "priority": _whole(self.priority),
            "exclusive": self.exclusive,
        }
        made |= {name: value for name, value in said.items() if value}
        if self.template:
            made["jobTemplateArn"] = self.template
            if parameters := parameters_of(self.parameters):
                made["documentParameters"] = parameters
        else:
            made["document"] = document_of(self.document)
        return made

    def _rollout(self) -> dict[str, Any]:
        made: dict[str, Any] = _if(self.per_minute, "maximumPerMinute")
        if self.ramp_base:
            made["exponentialRate"] = {
                "baseRatePerMinute": _whole(self.ramp_base),
                "incrementFactor": self.ramp_factor or 2,
                "rateIncreaseCriteria": {
                    "numberOfNotifiedThings": _whole(self.ramp_every or self.ramp_base)
                },
            }
        return made

    def _abort(self) -> dict[str, Any]:
        if not self.abort_percent:
            return {}
        one = {
            "failureType": self.abort_type,
            "action": "CANCEL",
            "thresholdPercentage": self.abort_percent,
            "minNumberOfExecutedThings": _whole(self.abort_least) or 1,
        }
        return {"criteriaList": [one]}

    def _retry(self) -> dict[str, Any]:
        if not self.retries:
            return {}
        one = {"failureType": self.retry_type, "numberOfRetries": _whole(self.retries)}
        return {"criteriaList": [one]}

    def _stages(self) -> list[dict[str, Any]]:
        shares = [one.strip() for one in self.stages.replace("%", "").split(",") if one.strip()]
        made: list[dict[str, Any]] = []
        for share in shares:
            try:
                one: dict[str, Any] = {"percentage": float(share)}
            except ValueError:
                raise DraftError(f"stages: {share[:40]!r} is no number of per cent") from None
            one["successPercentage"] = 100 if self.stage_success is None else self.stage_success
            one |= _if(self.stage_soak, "soakMinutes") | _if(self.stage_errors, "errorPercentage")
            made.append(one)
        return made

    def _schedule(self, zone: ZoneInfo) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.start:
            made["startTime"] = in_utc(self.start, zone)
        if self.end:
            made |= {"endTime": in_utc(self.end, zone), "endBehavior": self.end_behavior}
        return made


class DraftError(Exception):
    """A field of the form that cannot be taken: its words, and where in the document, if it is there."""

    def __init__(self, message: str, where: str = "") -> None:
        """Take the words, and an excerpt with a mark."""
        super().__init__(message)
        self.message = message
        self.where = where


def document_of(text: str) -> dict[str, Any]:
    """A document as it is sent. Raises DraftError with the place of what is wrong."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DraftError(
            f"document: line {error.lineno}, column {error.colno}: {error.msg}",
            marked(text, error.lineno, error.colno),
        ) from None
    if not isinstance(found, dict):
        raise DraftError("document: a JSON object is needed: { ... }")
    return found


def parameters_of(text: str) -> dict[str, str]:
    """Parameters by name, from lines of name=value. Raises DraftError."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise DraftError(f"parameters: {line[:60]!r} is no name=value")
        found[name.strip()] = value.strip()
    return found


def in_utc(text: str, zone: ZoneInfo) -> str:
    """A moment of the reader's in AWS's words, UTC. Raises DraftError."""
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=zone)
    except ValueError:
        raise DraftError(f"schedule: {text[:40]!r} is no time") from None
    return moment.astimezone(UTC).strftime(_ARN_TIME)


def marked(text: str, line: int, column: int) -> str:
    """A line of a text with its neighbours, and a mark under a place in it."""
    lines = text.splitlines() or [""]
    at = min(max(line, 1), len(lines))
    shown = []
    for number in range(max(1, at - 1), min(len(lines), at + 1) + 1):
        shown.append(f"{number:>4} | {lines[number - 1]}")
        if number == at:
            shown.append("     | " + " " * (column - 1) + "^")
    return "\n".join(shown)


def placeholder_marked(document: str, message: str) -> str:
    """The excerpt for a refusal that names a placeholder; "" when it names none that is in the document."""
    begin = message.find("'${")
    end = message.find("}'", begin)
    if begin < 0 or end < 0:
        return ""
    at = document.find(message[begin + 1 : end + 1])
    if at < 0:
        return ""
    before = document[:at]
    return marked(document, before.count("\n") + 1, at - before.rfind("\n"))


def draft_of(job: Mapping[str, Any], document: str) -> Draft:
    """A draft that begins as a job that is there (as jobs/get shows it), under no id yet."""
    draft = Draft(
        description=job.get("description", ""),
        targets=list(job.get("targets", [])),
        continuous=job.get("targetSelection") == "CONTINUOUS",
        priority=job.get("priority"),
        exclusive=bool(job.get("exclusive")),
        timeout=job.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes"),
    )
    if job.get("jobTemplateArn"):
        draft.template = job["jobTemplateArn"]
        given = job.get("documentParameters", {})
        draft.parameters = "\n".join(f"{name}={value}" for name, value in given.items())
    else:
        draft.document = json.dumps(json.loads(document or "{}"), indent=2, ensure_ascii=False)
    rollout = job.get("jobExecutionsRolloutConfig") or {}
    draft.per_minute = rollout.get("maximumPerMinute")
    if ramp := rollout.get("exponentialRate"):
        draft.ramp_base, draft.ramp_factor = ramp["baseRatePerMinute"], ramp["incrementFactor"]
        draft.ramp_every = ramp["rateIncreaseCriteria"].get("numberOfNotifiedThings")
    for one in (job.get("abortConfig") or {}).get("criteriaList", [])[:1]:
        draft.abort_type, draft.abort_percent = one["failureType"], one["thresholdPercentage"]
        draft.abort_least = one["minNumberOfExecutedThings"]
    stages = job.get("stages") or []
    if stages and all("percentage" in one for one in stages):
        draft.stages = ", ".join(f"{one['percentage']:g}" for one in stages)
        draft.stage_success = stages[0].get("successPercentage", 100)
        draft.stage_soak, draft.stage_errors = (
            stages[0].get("soakMinutes"),
            stages[0].get("errorPercentage"),
        )
    draft.approvals = (job.get("approvalConfig") or {}).get("requiredApprovals")
    for one in (job.get("jobExecutionsRetryConfig") or {}).get("criteriaList", [])[:1]:
        draft.retry_type, draft.retries = one["failureType"], one["numberOfRetries"]
    return draft


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _if(number: float | None, name: str) -> dict[str, Any]:
    return {name: int(number)} if number else {}
