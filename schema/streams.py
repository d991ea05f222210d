"""Where somebody is in a tenant's events, and what of them they want: the text that comes back as Last-Event-ID.

Events are kept in rows of several. An id is `ROW` when all of a row was seen, `ROW.N` when the first N of it were.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from schema.errors import Code, Rejected, shorten

_ID: Final = re.compile(r"([0-9]{1,18})(?:[.]([0-9]{1,6}))?")
_JOB: Final = re.compile(r"\$aws/events/job(?:Execution)?/([^/]+)/[^/]+")


def is_event(topic: str) -> bool:
    """Whether a message is an event for all, by its topic without tenant."""
    return topic.startswith("$aws/events/")


class Position(NamedTuple):
    """What comes next: rows from `row` on, and of that one, should it be there, all but the first `skip`."""

    row: int
    skip: int = 0

    def __str__(self) -> str:
        """The id that leads back here."""
        return f"{self.row}.{self.skip}" if self.skip else str(self.row - 1)


class Event(NamedTuple):
    """One event, and the position behind it."""

    behind: Position
    topic: str  # without tenant
    payload: str

    @property
    def job_id(self) -> str | None:
        """The job it is about, or None."""
        found = _JOB.fullmatch(self.topic)
        return None if found is None else found[1]


class Row(NamedTuple):
    """Events that were kept together, in order."""

    row: int
    topics: list[str]
    payloads: list[str]

    def events(self, since: Position) -> list[Event]:
        """Those of them that are not before a position."""
        skip = since.skip if since.row == self.row else 0
        last = len(self.topics)
        return [
            Event(
                Position(self.row + 1) if number == last else Position(self.row, number),
                topic,
                payload,
            )
            for number, (topic, payload) in enumerate(
                zip(self.topics, self.payloads, strict=True), start=1
            )
            if number > skip
        ]


def read_position(text: str) -> Position:
    """The position behind an event's id. Raises Rejected for what is no id."""
    found = _ID.fullmatch(text)
    if found is None:
        raise Rejected(
            Code.INVALID_REQUEST, f"lastEventId: {shorten(text)} is not the id of an event"
        )
    row, skip = int(found[1]), int(found[2] or 0)
    return Position(row, skip) if skip else Position(row + 1)
