"""Everything that is written to devices and operators, from values that can be stored: JSON with AWS's members."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import strategies as st

from schema import device, events
from schema.arns import Home
from schema.errors import Code, Rejected
from schema.fields import document_text
from schema.lifecycle import Execution, Status
from tests.fuzz import odd
from tests.fuzz.oracle import (
    ACCEPTED,
    check_details,
    check_device_answer,
    check_notification,
    strict_json,
)
from tests.fuzz.requests import some_details

# status, details, token, message or description, document, minutes since and until
Example = tuple[str, dict[str, str] | None, str | None, str, str, int]

_NOW: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)
_DOCUMENTS: Final = (
    "{}",
    '{\n  "a": "b\\nc"\n}',
    '{"a":1e999}',
    '{"a":"\\u0000\\\\N"}',
    '{"a":1,"a":2}',
    '{"\u2028":"\U0001f980"}',
    '{"a":' + "[" * 190 + "]" * 190 + "}",
)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "ignore")[:1024].decode("utf-8", "ignore")


def examples() -> st.SearchStrategy[Example]:
    """What an execution and its job may hold, and what a request may be answered with."""
    sendable = odd.texts().map(_sendable)
    return st.tuples(
        st.sampled_from([str(one) for one in Status]),
        st.none() | odd.corpus(some_details),
        st.none() | sendable,
        sendable,
        st.sampled_from(_DOCUMENTS),
        st.sampled_from((0, 1, 10_080, -1, 60 * 24 * 365 * 7000)),
    )


def check(example: Example) -> list[str]:
    """Each writer's output is strict JSON of AWS's form; tokens, details and documents come out as they went in."""
    status, details, token, text, document, minutes = example
    stored = None if details is None else device.check_details(details)
    check_details(stored)
    execution = _execution(Status(status), stored, minutes)
    document = document_text(document)
    _check_answers(execution, token, document)
    for code in (Code.INVALID_REQUEST, Code.VERSION_MISMATCH):
        error = Rejected(code, text, show_state=code is Code.VERSION_MISMATCH)
        body = strict_json(device.rejected_reply(error, _NOW, token, execution))
        assert (body["message"], body.get("clientToken")) == (text, token)
        assert body.get("executionState", {}).get("statusDetails", {}) in ({}, details or {})
    _check_events(execution, text, details)
    return [ACCEPTED]


def _execution(status: Status, details: str | None, minutes: int) -> Execution:
    at = None if status is Status.QUEUED else _NOW
    deadline = _NOW + timedelta(minutes=minutes) if status is Status.IN_PROGRESS else None
    return Execution("t:1", "j_1", 1, status, 3, _NOW, _NOW, details, at, deadline)


def _check_answers(execution: Execution, token: str | None, document: str) -> None:
    queue = [execution, execution]
    for payload in (
        device.pending_reply(queue, _NOW, token),
        device.execution_reply(execution, _NOW, token, document),
        device.execution_reply(None, _NOW, token, None),
        device.update_reply(execution, _NOW, token, document),
        device.update_reply(None, _NOW, token, None),
    ):
        # 1e999 is fine JSON that Python reads as infinity, which is not equal to anything it would write.
        body = check_device_answer(payload, accepted=True)
        assert body.get("clientToken") == token
    if execution.status in {Status.QUEUED, Status.IN_PROGRESS}:
        check_notification(device.notify_message(queue, _NOW))
    check_notification(device.notify_next_message(execution, _NOW, document))
    check_notification(device.notify_next_message(None, _NOW, None))


def _check_events(execution: Execution, text: str, details: dict[str, str] | None) -> None:
    home = Home("us-east-1", "000000000000")
    arn = home.arn("thing", execution.thing_name)
    topic, payload = events.execution_event("progress", execution, arn=arn, event_id="e", now=_NOW)
    assert strict_json(payload)["statusDetails"] == (details or {})
    job = {"jobId": execution.job_id, "description": text, "comment": text, "targets": [arn]}
    job_topic, job_payload = events.job_event("canceled", job, event_id="e", now=_NOW)
    assert strict_json(job_payload)["description"] == text
    for one in (topic, payload, job_topic, job_payload):
        assert "\n" not in one, "columns of the outbox travel as lines"
        assert one != "\\N"
