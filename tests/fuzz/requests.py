"""Devices' payloads: bytes to a request or a refusal, for each operation."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from schema import device
from schema.device import Request
from schema.errors import Rejected
from schema.lifecycle import Move
from schema.topics import DeviceTopic, Operation
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, check_details, check_refusal, strict_json

Example = tuple[str, bytes, bool]

_REPORTS: Final = {
    Move.REPORT_IN_PROGRESS,
    Move.REPORT_SUCCEEDED,
    Move.REPORT_FAILED,
    Move.REPORT_REJECTED,
}
_LARGEST: Final = 2**63 - 1
_NAME_CHARACTERS: Final = f"{string.ascii_letters}{string.digits}:_-"


def a_token(rng: Random) -> str:
    """A clientToken, now and then of all the bytes it may have."""
    return rng.choice(
        (odd.plain_text(rng, 256), odd.plain_text(rng, 256), "t" * 1024, "\u00e9" * 512)
    )


def some_details(rng: Random) -> dict[str, str]:
    """StatusDetails within AWS's limits."""
    keys = {
        "".join(rng.choices(_NAME_CHARACTERS, k=rng.choice((1, 4, 8, 128))))
        for _ in range(rng.choice((0, 1, 2, 10)))
    }
    return {key: odd.plain_text(rng, 1024) for key in sorted(keys)}


def _number(rng: Random) -> int:
    return rng.choice((1, 1, 2, _LARGEST))


def _step(rng: Random) -> int:
    return rng.choice((-1, 1, 60, 10_080))


def _version(rng: Random) -> int | str:
    return rng.choice((0, 1, 2, 3, "1", "2", _LARGEST, str(_LARGEST)))


def _flag(rng: Random) -> bool:
    return rng.random() < 0.5


_COMMON: Final = {"clientToken": a_token, "jobId": a_token}
_OPTIONAL: Final[dict[Operation, dict[str, Callable[[Random], Any]]]] = {
    Operation.GET_PENDING: {},
    Operation.START_NEXT: {"statusDetails": some_details, "stepTimeoutInMinutes": _step},
    Operation.DESCRIBE: {"executionNumber": _number, "includeJobDocument": _flag},
    Operation.UPDATE: {
        "statusDetails": some_details,
        "expectedVersion": _version,
        "executionNumber": _number,
        "stepTimeoutInMinutes": _step,
        "includeJobExecutionState": _flag,
        "includeJobDocument": _flag,
    },
}
_STATUSES: Final = ("IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")


def _valid(operation: Operation) -> st.SearchStrategy[dict[str, Any]]:
    def make(rng: Random) -> dict[str, Any]:
        needed = {"status": rng.choice(_STATUSES)} if operation is Operation.UPDATE else {}
        return needed | odd.some(rng, _COMMON | _OPTIONAL[operation])

    return odd.corpus(make)


_VALID: Final = {operation: _valid(operation) for operation in Operation}
PAYLOADS: Final = {operation: odd.payloads(one) for operation, one in _VALID.items()}
VALID_PAYLOADS: Final = {operation: odd.written(one) for operation, one in _VALID.items()}


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """An operation, a payload, and whether it must be accepted."""
    operation = draw(st.sampled_from(tuple(Operation)))
    payload, valid = draw(PAYLOADS[operation])
    return str(operation), payload, valid


def check(example: Example) -> list[str]:
    """Decode as the broker does; what is accepted keeps to AWS's limits, what is valid is accepted."""
    operation, payload, valid = example
    job_id = "j1" if operation in {"get", "update"} else ""
    kind = Operation(operation)
    try:
        data = device.read_object(payload)
        token = device.read_token(data)
        request = device.decode(DeviceTopic("default", "t1", kind, job_id), data, token)
    except Rejected as error:
        if valid:
            raise
        return [check_refusal(error)]
    assert payload == b"" or isinstance(strict_json(payload), dict)
    _check_limits(request)
    return [ACCEPTED]


def _check_limits(request: Request) -> None:
    check_details(request.details)
    assert request.client_token is None or len(request.client_token.encode()) <= 1024
    assert request.step_minutes in {None, -1} or 1 <= (request.step_minutes or 0) <= 10_080
    assert request.expected_version is None or 0 <= request.expected_version <= _LARGEST
    assert request.execution_number is None or 1 <= request.execution_number <= _LARGEST
    assert (request.move in _REPORTS) == (request.topic.operation is Operation.UPDATE)
    assert type(request.include_document) is type(request.include_state) is bool
    for number in (request.step_minutes, request.expected_version, request.execution_number):
        assert number is None or type(number) is int
