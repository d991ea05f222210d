"""Where one is in a tenant's events: the id that comes back leads to the event after it, whatever the rows are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.errors import Rejected
from schema.streams import Event, Position, Row, read_position


def rows_of(sizes: list[tuple[int, int]]) -> list[Row]:
    """Rows with ids that leave gaps, each with so many events."""
    rows, at = [], 0
    for gap, size in sizes:
        at += gap
        topics = [f"$aws/events/job/j{at}-{n}/completed" for n in range(size)]
        rows.append(Row(at, topics, ["{}"] * size))
    return rows


def read_on(rows: list[Row], since: Position) -> list[Event]:
    """All that is behind a position, as the database and the feed find it."""
    return [event for row in rows if row.row >= since.row for event in row.events(since)]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=8), st.data())
def test_a_resumed_stream_goes_on_behind_the_last_id(
    sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Stop after any event, come back with its id: exactly those behind it follow."""
    rows = rows_of(sizes)
    everything = read_on(rows, Position(1))
    seen = data.draw(st.integers(1, len(everything)))
    back = read_position(str(everything[seen - 1].behind))
    assert read_on(rows, back) == everything[seen:]


@given(st.integers(1, 10**17), st.integers(0, 999_999))
def test_ids_lead_back(row: int, skip: int) -> None:
    """A position is what its text is read as."""
    assert read_position(str(Position(row, skip))) == Position(row, skip)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.", ".1", "1.2.3", "1" * 19, "1 ", "\u0661"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """The message names the field."""
    with pytest.raises(Rejected, match="lastEventId"):
        read_position(text)


@pytest.mark.parametrize(
    ("topic", "job"),
    [
        ("$aws/events/job/j1/completed", "j1"),
        ("$aws/events/jobExecution/j1/succeeded", "j1"),
        ("$aws/events/other/j1/succeeded", None),
        ("$aws/events/job/j1", None),
    ],
)
def test_which_job_an_event_is_about(topic: str, job: str | None) -> None:
    """By its topic, as it was published."""
    assert Event(Position(1), topic, "{}").job_id == job
