"""Which request made the broker say something: its traceparent goes along with notifications and events.

Kept in memory from the commit until it is said, where spans are made at all: a notification that another process tells,
or this one after it was started anew, carries none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from handlers.store import Told

_MOST_KEPT: Final = 10_000
_THING_LEVEL: Final = 2  # $aws/things/{thing}/...
_THING_ARN: Final = ":thing/"

asked_by: ContextVar[str | None] = ContextVar("asked_by", default=None)
"""The traceparent of the request over HTTP that is being answered, where spans are made."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The traceparent of the one request behind what was committed; or of several, by the things that sent them.

    A batch has many: what is said of a thing carries that of its own last request, and what is said of a job as a whole
    carries one where the batch has just one. The batch's span is linked to all of them.
    """

    only: str | None = None
    by_thing: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of_batch(asked: Iterable[tuple[str, str | None]], requests: int) -> Cause | None:
        """The causes in a batch of so many requests: (thing, traceparent) of each, in order; None without any."""
        by_thing = {thing: parent for thing, parent in asked if parent is not None}
        if not by_thing:
            return None
        (one, *_) = by_thing.values()
        return Cause(one if requests == 1 else None, by_thing)

    def of(self, thing: str | None) -> str | None:
        """That of what is said of a thing, or of none."""
        return self.only if thing is None else self.by_thing.get(thing, self.only)


class Tell(Protocol):
    """Takes rows of the outbox just committed, and what they were committed for."""

    def __call__(self, told: Iterable[Told], cause: Cause | None = None) -> None:
        """Have them said."""


class Causes:
    """Those of rows of the outbox that are still to be said, at most 10,000."""

    def __init__(self) -> None:
        self._rows: dict[int, Cause] = {}

    def note(self, told: Iterable[Told], cause: Cause) -> None:
        """Keep it for these rows."""
        for one in told:
            if len(self._rows) < _MOST_KEPT:
                self._rows[one.outbox_id] = cause

    def forget(self, told: Iterable[Told]) -> None:
        """These rows are said."""
        if self._rows:
            for one in told:
                self._rows.pop(one.outbox_id, None)

    def of(self, told: Iterable[Told]) -> Carried | None:
        """What the messages of these rows carry; None when that is nothing."""
        if not self._rows:
            return None
        known = [(one, self._rows[one.outbox_id]) for one in told if one.outbox_id in self._rows]
        return Carried(known) if known else None


class Carried:
    """The traceparents of messages. A thing is told once for several rows: then the last one's counts."""

    def __init__(self, known: Iterable[tuple[Told, Cause]]) -> None:
        self._things: dict[str, str] = {}
        self._events: dict[tuple[str, bytes], Cause] = {}
        for one, cause in known:
            for thing in (*one.notify, *one.notify_next):
                if (parent := cause.of(thing)) is not None:
                    self._things[thing] = parent
            for topic, payload in one.messages:
                self._events[topic, payload.encode()] = cause

    def by(self, topic: str, payload: bytes) -> str | None:
        """That of one message; topic as the outbox has it, without the tenant."""
        cause = self._events.get((topic, payload))
        if cause is not None:
            return cause.of(_thing_in(payload))
        levels = topic.split("/")
        return self._things.get(levels[_THING_LEVEL]) if len(levels) > _THING_LEVEL else None


def _thing_in(event: bytes) -> str | None:
    arn = json.loads(event).get("thingArn")
    return str(arn).partition(_THING_ARN)[2] if isinstance(arn, str) else None
