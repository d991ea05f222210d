"""What must hold of anything the product says, whatever it was given. Written from AWS's tables, not from our code."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from schema.errors import Code, Rejected

ACCEPTED: Final = "accepted"
NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
JOB_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DEVICE_CODES: Final = frozenset(
    {
        "InvalidTopic",
        "InvalidJson",
        "InvalidRequest",
        "InvalidStateTransition",
        "ResourceNotFound",
        "VersionMismatch",
        "TerminalStateReached",
    }
)
_MOST_MESSAGE: Final = 1000


def strict_json(data: bytes | str) -> Any:  # noqa: ANN401 - JSON may be anything
    """What strict JSON in UTF-8 means; raises ValueError for NaN, lone surrogates, and all that is not JSON."""

    def no_constant(name: str) -> NoReturn:
        msg = f"{name} is no JSON"
        raise ValueError(msg)

    text = data if isinstance(data, str) else data.decode()
    found = json.loads(text, parse_constant=no_constant)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def check_refusal(error: Rejected) -> str:
    """A refusal has a code and says in one short printable line what is wrong; returns the code."""
    assert isinstance(error.code, Code), error.code
    assert error.code is not Code.INTERNAL_ERROR
    check_message(error.message)
    return str(error.code)


def check_message(message: object) -> None:
    """One line for a person: not empty, not long, nothing that a terminal would act on."""
    assert isinstance(message, str)
    assert message
    assert len(message) <= _MOST_MESSAGE, f"{len(message)} characters: {message[:80]!r}"
    assert message.isprintable(), ascii(message)


def check_details(text: str | None) -> None:
    """StatusDetails as AWS limits them (reference 1.5), in one line."""
    if text is None:
        return
    assert "\n" not in text
    found = strict_json(text)
    assert isinstance(found, dict)
    assert len(found) <= 10
    for key, value in found.items():
        assert NAME.fullmatch(key), ascii(key)
        assert isinstance(value, str)
        assert 1 <= len(value) <= 1024
        assert not any(unicodedata.category(one).startswith("C") for one in value), ascii(value)


def check_members(body: object, allowed: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """The object has no members but these, each of its type; returns it."""
    assert isinstance(body, dict), body
    for name, value in body.items():
        assert name in allowed, f"{name} is no member"
        assert isinstance(value, allowed[name]), f"{name}: {value!r}"
        assert not isinstance(value, bool) or allowed[name] is bool, name
    return body


_EXECUTION: Final = {
    "jobId": str,
    "thingName": str,
    "status": str,
    "statusDetails": dict,
    "queuedAt": int,
    "startedAt": int,
    "lastUpdatedAt": int,
    "versionNumber": int,
    "executionNumber": int,
    "approximateSecondsBeforeTimedOut": int,
    "jobDocument": dict,
}
_STATE: Final = {"status": str, "versionNumber": int, "statusDetails": dict}
_SUMMARY: Final = {
    name: _EXECUTION[name]
    for name in (
        "jobId",
        "queuedAt",
        "lastUpdatedAt",
        "startedAt",
        "versionNumber",
        "executionNumber",
    )
}
_ENVELOPE: Final = {"timestamp": int, "clientToken": str}
_REFUSED: Final = {**_ENVELOPE, "code": str, "message": str, "executionState": dict}
_GIVEN: Final = {
    **_ENVELOPE,
    "execution": dict,
    "executionState": dict,
    "jobDocument": dict,
    "inProgressJobs": list,
    "queuedJobs": list,
}
_TOLD: Final = {"timestamp": int, "jobs": dict, "execution": dict}


def check_device_answer(payload: bytes, *, accepted: bool) -> dict[str, Any]:
    """An answer of the device plane has AWS's members and no others (reference 1.3 to 1.6); returns it."""
    body = check_members(strict_json(payload), _GIVEN if accepted else _REFUSED)
    assert "timestamp" in body
    if not accepted:
        assert body["code"] in DEVICE_CODES, body
        check_message(body["message"])
    _check_parts(body)
    return body


def check_notification(payload: bytes) -> None:
    """A notify or notify-next has AWS's members and no others (reference 1.8)."""
    body = check_members(strict_json(payload), _TOLD)
    assert "timestamp" in body
    _check_parts(body)
    for status, entries in body.get("jobs", {}).items():
        assert status in {"QUEUED", "IN_PROGRESS"}
        assert entries
        for one in entries:
            check_members(one, _SUMMARY)


def _check_parts(body: dict[str, Any]) -> None:
    if "execution" in body:
        check_members(body["execution"], _EXECUTION)
    if "executionState" in body:
        check_members(body["executionState"], _STATE)
    for one in (*body.get("inProgressJobs", ()), *body.get("queuedJobs", ())):
        check_members(one, _SUMMARY)
