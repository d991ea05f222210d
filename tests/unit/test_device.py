"""Requests decoded from bytes, answers encoded to JSON."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schema import device, lifecycle
from schema.errors import Code, Rejected
from schema.limits import is_plain_text
from schema.pending import arranged, first_changed, list_changed, listed, notified
from schema.topics import DeviceTopic, Operation

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "status", "statusDetails", "expectedVersion", "executionNumber", "includeJobExecutionState",
        "includeJobDocument", "stepTimeoutInMinutes", "clientToken", "unknown",
    ],
)  # fmt: skip


def outcome(operation: Operation, payload: bytes) -> device.Request | Rejected:
    """What a payload is decoded to."""
    try:
        data = device.read_object(payload)
        token = device.read_token(data)
        return device.decode(DeviceTopic("default", "t1", operation, "j1"), data, token)
    except Rejected as error:
        return error


@given(st.binary(max_size=300), st.sampled_from(Operation))
def test_any_bytes_are_a_request_or_rejected(payload: bytes, operation: Operation) -> None:
    """Whatever arrives is decoded or refused with a code; nothing else is raised."""
    assert isinstance(outcome(operation, payload), device.Request | Rejected)


@given(st.dictionaries(FIELDS, JSON), st.sampled_from(Operation))
def test_any_object_is_a_request_or_rejected_by_field(
    data: dict[str, object], operation: Operation
) -> None:
    """A refusal names one of the fields, or says that the payload is no JSON object."""
    found = outcome(operation, json.dumps(data).encode())

    if isinstance(found, Rejected) and found.code is not Code.INVALID_JSON:
        assert found.code is Code.INVALID_REQUEST
        assert found.message.split(":")[0].split(".")[0] in {*data, "status"}


@given(
    st.dictionaries(
        st.from_regex(r"[a-zA-Z0-9:_-]{1,128}", fullmatch=True),
        st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=1024),
        max_size=10,
    )
)
def test_legal_details_survive_the_way_to_json_and_back(details: dict[str, str]) -> None:
    """Details within AWS's limits are taken as they are, whatever script they are written in."""
    assert json.loads(device.check_details(details)) == details


@given(st.text())
def test_plain_text_is_what_has_no_control_character(text: str) -> None:
    """The quick way for ASCII and the slow way agree."""
    assert is_plain_text(text) == (
        not any(unicodedata.category(one).startswith("C") for one in text)
    )


@given(st.text(max_size=50), st.text(max_size=200))
def test_a_rejection_is_json_whatever_it_quotes(token: str, message: str) -> None:
    """Messages and tokens are escaped."""
    body = json.loads(device.rejected_reply(Rejected(Code.INVALID_REQUEST, message), NOW, token))

    assert body == {
        "code": "InvalidRequest",
        "message": message,
        "timestamp": int(NOW.timestamp()),
        "clientToken": token,
    }


def test_lists_are_capped_and_ordered() -> None:
    """At most ten of each status are listed, ten in all notified; IN_PROGRESS before QUEUED."""
    started = [
        lifecycle.start(lifecycle.queued("t1", f"s{number:02d}", NOW), NOW, timeout_minutes=None)
        for number in range(3)
    ]
    waiting = [lifecycle.queued("t1", f"q{number:02d}", NOW) for number in range(12)]
    queue = arranged([*waiting, *started])

    assert [one.job_id for one in listed(queue)] == [
        "s00",
        "s01",
        "s02",
        *(f"q{number:02d}" for number in range(10)),
    ]
    assert [one.job_id for one in notified(queue)] == [
        "s00",
        "s01",
        "s02",
        *(f"q{number:02d}" for number in range(7)),
    ]


def test_what_a_change_of_the_list_is() -> None:
    """Starting the first changes neither list nor first; a retry under a new number changes both."""
    first, second = lifecycle.queued("t1", "a", NOW), lifecycle.queued("t1", "b", NOW)
    started = lifecycle.start(first, NOW, timeout_minutes=None)
    retried = lifecycle.queued("t1", "a", NOW, execution_number=2)

    assert not list_changed(first, started)
    assert not first_changed([first, second], [started, second])
    assert list_changed(None, retried)
    assert list_changed(started, None)
    assert first_changed([started], [retried])
