"""The books of the load: what each device asked and was answered, and what it was told."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Key = tuple[str, str, int]
"""Thing, job, executionNumber."""
Shown = tuple[tuple[str, int], ...]
"""Executions of one thing as (job, executionNumber)."""

_REMEMBERED_ANSWERS: Final = 64


class Entry(NamedTuple):
    """One request about an execution and its first answer; times_sent counts the retries in.

    version is None and code is set when it was rejected. token is in statusDetails, too.
    """

    token: str
    says: str
    version: int | None
    code: str | None = None
    times_sent: int = 1


@dataclass(slots=True)
class Story:
    """All that a device asked about one execution, in order. `settled` is what is left of checked ones."""

    entries: list[Entry] = field(default_factory=list)
    settled: tuple[int, str, str] | None = None

    @property
    def effects(self) -> int:
        """How many accepted requests changed it."""
        if self.settled is not None:
            return self.settled[0]
        return sum(one.version is not None for one in self.entries)

    @property
    def last(self) -> tuple[str, str] | None:
        """Token and status of the last accepted request, or None."""
        if self.settled is not None:
            return self.settled[1], self.settled[2]
        done = [one for one in self.entries if one.version is not None]
        return (done[-1].token, done[-1].says) if done else None

    def settle(self) -> None:
        """Forget the single requests: they were checked, and nothing more will come."""
        if self.settled is None and (last := self.last) is not None:
            self.settled = (self.effects, *last)
            self.entries = []


@dataclass(slots=True)
class Waiting:
    """A request that has no answer yet."""

    who: str
    topic: str
    since: float
    times_sent: int = 0


@dataclass(slots=True)
class Known:
    """What one thing knows of its jobs, by the last that it was told; None: nothing yet.

    by: how it learned of it. A get counts only right after a subscription, as a device must ask then.
    """

    pending: Shown | None = None
    first: Shown | None = None
    by: str = "nothing"
    notified: int = 0


@dataclass(slots=True)
class Watch:
    """What the books look out for after a healing: the first accepted answer, and the last one of those waited for."""

    began: float
    waiting: set[str]
    waited: int
    accepted_at: float | None = None
    answered_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether an answer came, and all that were waited for."""
        return self.accepted_at is not None and self.answered_at is not None


class Ledger:
    """Everything the load saw. Times are of time.monotonic()."""

    def __init__(self) -> None:
        self.stories: dict[Key, Story] = {}
        self.waiting: dict[str, Waiting] = {}
        self.known: dict[str, Known] = {}
        self.contradictions: list[str] = []
        self.created: dict[str, bool] = {}
        """Jobs whose create was accepted; true when their cancel was accepted, too."""
        self.accepted = self.rejected = self.retried = self.repeated_answers = 0
        self.updates = 0
        self.longest_wait = 0.0
        self._watch: Watch | None = None
        self._answered: dict[str, deque[tuple[str, str, bool]]] = {}

    # Requests

    def sending(self, token: str, who: str, topic: str) -> None:
        """A request leaves, the first time or again."""
        waiting = self.waiting.setdefault(token, Waiting(who, topic, time.monotonic()))
        waiting.times_sent += 1
        self.retried += waiting.times_sent > 1

    def answered(self, token: str, *, accepted: bool) -> Waiting | None:
        """An answer comes; returns the request it is the first answer of, None when there was one before."""
        waiting = self.waiting.pop(token, None)
        if waiting is None:
            self._again(token, accepted=accepted)
            return None
        now = time.monotonic()
        self.longest_wait = max(self.longest_wait, now - waiting.since)
        self.accepted += accepted
        self.rejected += not accepted
        self._note(token, now, accepted=accepted)
        before = self._answered.setdefault(waiting.who, deque(maxlen=_REMEMBERED_ANSWERS))
        before.append((token, waiting.topic, accepted))
        return waiting

    def _again(self, token: str, *, accepted: bool) -> None:
        self.repeated_answers += 1
        who = token.partition(".")[0]
        for known, topic, was_accepted in self._answered.get(who, ()):
            # Accepted first and refused later is what a forced cancel in between does.
            if known == token and accepted and not was_accepted:
                text = f"{token} to {topic} was rejected first and accepted later"
                self.contradictions.append(text)

    def _note(self, token: str, now: float, *, accepted: bool) -> None:
        watch = self._watch
        if watch is None:
            return
        if accepted and watch.accepted_at is None:
            watch.accepted_at = now
        watch.waiting.discard(token)
        if not watch.waiting and watch.answered_at is None:
            watch.answered_at = now

    def watch(self) -> Watch:
        """Begin to look out: what waits for an answer now must get one."""
        now = time.monotonic()
        self._watch = Watch(
            now, set(self.waiting), len(self.waiting), answered_at=None if self.waiting else now
        )
        return self._watch

    def tell(self, key: Key, entry: Entry) -> None:
        """Write down what came of a request about an execution."""
        story = self.stories.setdefault(key, Story())
        story.entries.append(entry)
        self.updates += entry.version is not None

    # What things are told

    def thing(self, name: str) -> Known:
        """What a thing knows."""
        return self.known.setdefault(name, Known())

    def notified(self, name: str, body: dict[str, Any]) -> None:
        """A thing heard notify."""
        known = self.thing(name)
        jobs = body.get("jobs", {})
        known.pending = shown([*jobs.get("IN_PROGRESS", []), *jobs.get("QUEUED", [])])
        known.by, known.notified = "notify", known.notified + 1

    def next_notified(self, name: str, body: dict[str, Any]) -> None:
        """A thing heard notify-next."""
        known = self.thing(name)
        known.first = first_of(body)
        known.notified += 1


def shown(summaries: list[dict[str, Any]]) -> Shown:
    """Executions of a list as AWS writes them."""
    return tuple((one["jobId"], one["executionNumber"]) for one in summaries)


def first_of(body: dict[str, Any]) -> Shown:
    """The execution of notify-next or of a `$next` get; empty when there is none."""
    return shown([body["execution"]]) if "execution" in body else ()
