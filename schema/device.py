"""A device's four requests, decoded once from bytes into slotted values, and the answers they get.

The hot path of the project: plain code instead of a model library, because each message is decoded and answered here
some thousand times a second. Rules: AWS "Jobs device MQTT API"; reference 1.2 to 1.7; limits in schema.limits.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic_core import from_json, to_json

from schema.errors import Code, Rejected, shorten
from schema.lifecycle import REPORTS, Status
from schema.limits import (
    DETAIL_KEY,
    DETAIL_PAIRS,
    DETAIL_VALUE_CHARS,
    STEP_MINUTES,
    TOKEN_BYTES,
    is_plain_text,
)
from schema.topics import DeviceTopic, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schema.lifecycle import Execution, Move

_LARGEST: Final = 2**63 - 1
_LARGEST_DIGITS: Final = 19


class Request(NamedTuple):
    """One decoded request. Fields an operation does not have keep their defaults.

    details is a JSON object of strings as compact text, or None when the request has none.
    """

    topic: DeviceTopic
    client_token: str | None = None
    details: str | None = None
    step_minutes: int | None = None
    move: Move | None = None
    expected_version: int | None = None
    execution_number: int | None = None
    include_document: bool = False
    include_state: bool = False


def read_object(payload: bytes) -> dict[str, object]:
    """The JSON object in a payload; an empty payload counts as `{}` (AWS answers a zero-byte get).

    Raises Rejected (InvalidJson) for anything that is not a JSON object in UTF-8.
    """
    if not payload:
        return {}
    try:
        data = from_json(payload, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error)[:200]
        raise Rejected(Code.INVALID_JSON, f"payload: not JSON in UTF-8: {reason}") from None
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise Rejected(Code.INVALID_JSON, f"payload: must be a JSON object, is a {kind}")
    return data


def read_token(data: dict[str, object]) -> str | None:
    """The clientToken, absent or null being None. Raises Rejected when it is no string or too long to echo."""
    token = data.get("clientToken")
    if token is None:
        return None
    if not isinstance(token, str):
        raise Rejected(Code.INVALID_REQUEST, f"clientToken: must be a string, is {shorten(token)}")
    if len(token.encode()) > TOKEN_BYTES:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"clientToken: {len(token.encode())} bytes, at most {TOKEN_BYTES} are allowed",
        )
    return token


def decode(topic: DeviceTopic, data: dict[str, object], client_token: str | None) -> Request:
    """The request in a payload's object. Unknown fields are ignored, as AWS does.

    Raises Rejected (InvalidRequest) naming the field, the value and the limit.
    """
    match topic.operation:
        case Operation.UPDATE:
            # By position, and without a call for what is not there: it is nearly all of the load.
            return Request(
                topic,
                client_token,
                _details(data) if "statusDetails" in data else None,
                _step_minutes(data) if "stepTimeoutInMinutes" in data else None,
                _reported(data),
                _version(data) if "expectedVersion" in data else None,
                _number(data) if "executionNumber" in data else None,
                "includeJobDocument" in data and _flag(data, "includeJobDocument", default=False),
                "includeJobExecutionState" in data
                and _flag(data, "includeJobExecutionState", default=False),
            )
        case Operation.START_NEXT:
            return Request(
                topic,
                client_token,
                details=_details(data),
                step_minutes=_step_minutes(data),
                include_document=True,
            )
        case Operation.DESCRIBE:
            return Request(
                topic,
                client_token,
                execution_number=_number(data),
                include_document=_flag(data, "includeJobDocument", default=True),
            )
        case Operation.GET_PENDING:
            return Request(topic, client_token)


def _reported(data: dict[str, object]) -> Move:
    status = data.get("status")
    move = REPORTS.get(status) if isinstance(status, str) else None
    if move is not None:
        return move
    if status == Status.QUEUED:
        raise Rejected(
            Code.INVALID_REQUEST,
            "status: QUEUED is where an execution begins; a device cannot set it",
        )
    allowed = ", ".join(REPORTS)
    if status is None:
        raise Rejected(Code.INVALID_REQUEST, f"status: is required, one of {allowed}")
    raise Rejected(Code.INVALID_REQUEST, f"status: {shorten(status)} is not one of {allowed}")


def _flag(data: dict[str, object], field: str, *, default: bool) -> bool:
    value = data.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Rejected(Code.INVALID_REQUEST, f"{field}: must be true or false, is {shorten(value)}")
    return value


def _version(data: dict[str, object]) -> int | None:
    value = data.get("expectedVersion")
    # AWS's own examples and its C SDK send expectedVersion as a string of digits (reference 1.4).
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= _LARGEST_DIGITS
    ):
        value = int(value)
    return _integer("expectedVersion", value, least=0)


def _number(data: dict[str, object]) -> int | None:
    return _integer("executionNumber", data.get("executionNumber"), least=1)


def _integer(field: str, value: object, *, least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"{field}: must be a whole number from {least} to 2^63-1, is {shorten(value)}",
        )
    return value


def _step_minutes(data: dict[str, object]) -> int | None:
    value = data.get("stepTimeoutInMinutes")
    if value is None:
        return None
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and (value == -1 or 1 <= value <= STEP_MINUTES)
    ):
        return value
    raise Rejected(
        Code.INVALID_REQUEST,
        f"stepTimeoutInMinutes: must be 1 to {STEP_MINUTES}, or -1 to cancel the timer, is {shorten(value)}",
    )


def _details(data: dict[str, object]) -> str | None:
    value = data.get("statusDetails")
    if value is None:
        return None
    return check_details(value)


def check_details(value: object) -> str:
    """StatusDetails as compact JSON text, checked against AWS's limits.

    Raises Rejected (InvalidRequest): not a map of strings, over 10 pairs, a bad key, a value too long or with control
    characters.
    """
    if not isinstance(value, dict):
        raise Rejected(
            Code.INVALID_REQUEST, f"statusDetails: must be a map of strings, is {shorten(value)}"
        )
    if len(value) > DETAIL_PAIRS:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"statusDetails: {len(value)} pairs, at most {DETAIL_PAIRS} are allowed",
        )
    for key, text in value.items():
        if DETAIL_KEY.fullmatch(key) is None:
            raise Rejected(
                Code.INVALID_REQUEST,
                f"statusDetails: key {shorten(key)} does not match {DETAIL_KEY.pattern}",
            )
        if not isinstance(text, str):
            raise Rejected(
                Code.INVALID_REQUEST, f"statusDetails.{key}: must be a string, is {shorten(text)}"
            )
        if not 1 <= len(text) <= DETAIL_VALUE_CHARS:
            raise Rejected(
                Code.INVALID_REQUEST,
                f"statusDetails.{key}: {len(text)} characters, 1 to {DETAIL_VALUE_CHARS} are allowed",
            )
        if not is_plain_text(text):
            raise Rejected(
                Code.INVALID_REQUEST,
                f"statusDetails.{key}: has control characters: {shorten(text)}",
            )
    return to_json(value).decode()


def seconds(at: datetime) -> int:
    """A time as the wire has it: whole epoch seconds (reference 1.2, "Timestamps")."""
    return int(at.timestamp())


# All answers of a batch say the same time.
_stamp = lru_cache(maxsize=64)(seconds)

# The writers below join text instead of building a dict: documents and details are JSON already and are passed through.


def _envelope(now: datetime, client_token: str | None) -> str:
    if client_token is None:
        return f'"timestamp":{_stamp(now)}'
    return f'"timestamp":{_stamp(now)},"clientToken":{encode_basestring_ascii(client_token)}'


def execution_json(execution: Execution, now: datetime, document: str | None) -> str:
    """A JobExecution (reference 1.3). document is the job's JSON text, or None to leave it out."""
    parts = [
        f'{{"jobId":"{execution.job_id}","thingName":"{execution.thing_name}","status":"{execution.status}"',
        f'"queuedAt":{seconds(execution.queued_at)},"lastUpdatedAt":{seconds(execution.updated_at)}',
        f'"versionNumber":{execution.version},"executionNumber":{execution.execution_number}',
    ]
    if execution.details is not None and execution.details != "{}":
        parts.append(f'"statusDetails":{execution.details}')
    if execution.started_at is not None:
        parts.append(f'"startedAt":{seconds(execution.started_at)}')
    if (deadline := execution.timeout_at) is not None:
        left = max(0, int((deadline - now).total_seconds()))
        parts.append(f'"approximateSecondsBeforeTimedOut":{left}')
    if document is not None:
        parts.append(f'"jobDocument":{document}')
    return ",".join(parts) + "}"


def summary_json(execution: Execution) -> str:
    """A JobExecutionSummary: what the pending lists and notify show (reference 1.3)."""
    started = (
        "" if execution.started_at is None else f'"startedAt":{seconds(execution.started_at)},'
    )
    return (
        f'{{"jobId":"{execution.job_id}","queuedAt":{seconds(execution.queued_at)},{started}'
        f'"lastUpdatedAt":{seconds(execution.updated_at)},"executionNumber":{execution.execution_number},'
        f'"versionNumber":{execution.version}}}'
    )


def state_json(execution: Execution) -> str:
    """A JobExecutionState: status, versionNumber, and statusDetails when there are any (reference 1.3)."""
    details = "" if execution.details in (None, "{}") else f',"statusDetails":{execution.details}'
    return f'{{"status":"{execution.status}","versionNumber":{execution.version}{details}}}'


def pending_reply(queue: Sequence[Execution], now: datetime, client_token: str | None) -> bytes:
    """The accepted answer of GetPendingJobExecutions; both lists are there even when empty."""
    lists = _listed(queue)
    return (
        f'{{"inProgressJobs":[{lists[Status.IN_PROGRESS]}],"queuedJobs":[{lists[Status.QUEUED]}],'
        f"{_envelope(now, client_token)}}}"
    ).encode()


def execution_reply(
    execution: Execution | None, now: datetime, client_token: str | None, document: str | None
) -> bytes:
    """The accepted answer of start-next and describe; without `execution` when nothing is pending."""
    if execution is None:
        return f"{{{_envelope(now, client_token)}}}".encode()
    return f'{{"execution":{execution_json(execution, now, document)},{_envelope(now, client_token)}}}'.encode()


def update_reply(
    state: Execution | None, now: datetime, client_token: str | None, document: str | None
) -> bytes:
    """The accepted answer of an update: only what was asked for (reference 1.4)."""
    if state is None and document is None:
        return f"{{{_envelope(now, client_token)}}}".encode()
    parts = [_envelope(now, client_token)]
    if state is not None:
        parts.append(f'"executionState":{state_json(state)}')
    if document is not None:
        parts.append(f'"jobDocument":{document}')
    return f"{{{','.join(parts)}}}".encode()


def rejected_reply(
    error: Rejected, now: datetime, client_token: str | None, state: Execution | None = None
) -> bytes:
    """A rejected answer (reference 1.6); executionState only where AWS sends it."""
    parts = [
        f'"code":"{error.code}","message":{encode_basestring_ascii(error.message)}',
        _envelope(now, client_token),
    ]
    if error.show_state and state is not None:
        parts.append(f'"executionState":{state_json(state)}')
    return f"{{{','.join(parts)}}}".encode()


def notify_message(queue: Sequence[Execution], now: datetime) -> bytes:
    """JobExecutionsChanged: the pending list by status; a status without entries is left out (reference 1.8)."""
    lists = _listed(queue)
    shown = ",".join(f'"{status}":[{entries}]' for status, entries in lists.items() if entries)
    return f'{{"timestamp":{seconds(now)},"jobs":{{{shown}}}}}'.encode()


def notify_next_message(first: Execution | None, now: datetime, document: str | None) -> bytes:
    """NextJobExecutionChanged: the new first execution with its document, or a bare timestamp when none is left."""
    return execution_reply(first, now, None, document)


def _listed(queue: Sequence[Execution]) -> dict[Status, str]:
    return {
        status: ",".join([summary_json(one) for one in queue if one.status is status])
        for status in (Status.IN_PROGRESS, Status.QUEUED)
    }
