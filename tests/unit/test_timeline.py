"""An execution's timeline: what is written of each change, and what is read from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import lifecycle
from schema.changes import Change
from schema.lifecycle import Execution, Move, Report, Status
from schema.timeline import SEPARATOR, Entry, read, written

NOW = datetime(2026, 11, 28, 12, 0, 0, 123_000, tzinfo=UTC)
QUEUED = lifecycle.queued("t1", "j1", NOW)


def reported(one: Execution, details: dict[str, str] | None, move: Move | None = None) -> Execution:
    """What a report makes of an execution, a second later."""
    text = None if details is None else json.dumps(details, ensure_ascii=False)
    said = Report(move or Move.REPORT_IN_PROGRESS, text)
    return lifecycle.report(one, said, one.updated_at + timedelta(seconds=1), timeout_minutes=None)


def told(*steps: Execution) -> str:
    """The timeline of an execution that went through these."""
    changes = [Change(was, after) for was, after in pairwise(steps)]
    return written(changes).get(steps[0].key, "")


def test_each_change_is_an_entry() -> None:
    """Started, a report, one that says nothing new, the end: when, status, version and what changed of the details."""
    started = reported(QUEUED, {"percent": "0", "file": "a"})
    further = reported(started, {"percent": "40", "file": "a"})
    same = reported(further, None)
    ended = reported(same, {"percent": "100"}, Move.REPORT_SUCCEEDED)
    at = [NOW + timedelta(seconds=n) for n in range(1, 5)]
    assert read(told(QUEUED, started, further, same, ended)) == [
        Entry(at[0], Status.IN_PROGRESS, 2, {"percent": "0", "file": "a"}),
        Entry(at[1], Status.IN_PROGRESS, 3, {"percent": "40"}),
        Entry(at[2], Status.IN_PROGRESS, 4, {}),
        Entry(at[3], Status.SUCCEEDED, 5, {"percent": "100", "file": None}),
    ]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lifecycle.expire, Status.TIMED_OUT),
        (lambda one, now: lifecycle.cancel(one, now, force=False), Status.CANCELED),
        (lifecycle.remove, Status.REMOVED),
    ],
)
def test_what_ends_without_the_device_is_in_it(end, status) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - one of lifecycle's
    """Whoever ended it: the timeline says so."""
    [entry] = read(told(QUEUED, end(QUEUED, NOW)))
    assert (entry.status, entry.version, entry.at) == (status, 2, NOW)


def test_new_deleted_and_kept_alive_ones_have_no_entry() -> None:
    """That it was queued is in the row; a repeated heartbeat is no change."""
    started = reported(QUEUED, None)
    kept = lifecycle.keep_alive(started, 5, NOW + timedelta(minutes=1))
    assert written([Change(None, QUEUED), Change(started, kept), Change(started, None)]) == {}


def test_long_details_are_kept_as_what_changed_and_bounded() -> None:
    """Of 10 KB of details only those that changed are kept, cut short; more than fits is marked."""
    big = {f"log{n}": "x" * 1000 for n in range(10)}
    started = reported(QUEUED, {**big, "percent": "1"})
    further = reported(started, {**big, "percent": "2"})
    wide = reported(further, {**big, "log3": "y" * 1000, "percent": "3"})
    text = told(QUEUED, started, further, wide)
    first, second, third = read(text)
    assert first.is_cut
    assert second == Entry(second.at, Status.IN_PROGRESS, 3, {"percent": "2"})
    assert (third.details, third.is_cut) == ({"log3": "y" * 40, "percent": "3"}, True)
    assert len(text) < 600


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.dictionaries(st.text(max_size=12), st.text(max_size=120), max_size=8),
        ),
        max_size=12,
    )
)
def test_whatever_devices_say_can_be_read_again(said: list[dict[str, str] | None]) -> None:
    """Any details: one entry a report, in order, each of bounded size; the changes add up to what was said last."""
    steps = [QUEUED]
    for details in said:
        steps.append(reported(steps[-1], details))
    text = told(*steps)
    entries = read(text)
    assert [one.version for one in entries] == [one.version for one in steps[1:]]
    assert all(len(one) < 450 for one in text.split(SEPARATOR))
    known: dict[str, str | None] = {}
    for one in entries:
        known |= one.details
    if not any(one.is_cut for one in entries):
        last = json.loads(steps[-1].details or "{}")
        assert {name: value for name, value in known.items() if value is not None} == last
