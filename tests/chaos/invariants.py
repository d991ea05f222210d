"""What must be true after healing: pure functions from what was seen to what is wrong with it.

`Seen` holds the ledger's side and the database's side; each check compares one thing and knows nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from schema.lifecycle import TERMINAL
from tests.chaos.ledger import Key, Known, Shown, Story, Waiting

ENDED_BY_SERVICE: Final = frozenset({"CANCELED", "TIMED_OUT", "REMOVED"})
LIVE: Final = ("IN_PROGRESS", "QUEUED")
# What a device may hear of an execution that was taken back under its hands.
_TAKEN_BACK: Final = frozenset(
    {"InvalidStateTransition", "TerminalStateReached", "VersionMismatch", "ResourceNotFound"}
)
OUTBOX_SECONDS: Final = 10.0
_NOTIFY_SHOWS: Final = 10


class Violation(NamedTuple):
    """One broken promise: which, about what, and what shows it."""

    promise: str
    about: str
    evidence: str


class Row(NamedTuple):
    """An execution as the database has it."""

    status: str
    version: int
    token: str | None


class JobRow(NamedTuple):
    """A job as the database has it; counts by status as its counters say."""

    status: str
    pending_work: str | None
    counts: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class Seen:
    """Both sides. `gets` and `nexts`: what the broker answers each thing now. Times in seconds."""

    stories: Mapping[Key, Story] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    contradictions: Sequence[str] = ()
    created: Mapping[str, bool] = field(default_factory=dict)
    gets: Mapping[str, Shown] = field(default_factory=dict)
    nexts: Mapping[str, Shown] = field(default_factory=dict)
    rows: Mapping[Key, Row] = field(default_factory=dict)
    jobs: Mapping[str, JobRow] = field(default_factory=dict)
    outbox_oldest: float | None = None
    slots: Mapping[str, int] = field(default_factory=dict)
    living: frozenset[int] = frozenset()
    findings: Sequence[Mapping[str, Any]] = ()
    faults_logged: Sequence[str] = ()
    ended_alone: Sequence[str] = ()


def accepted_is_stored(seen: Seen) -> Iterator[Violation]:
    """Every update answered accepted is in the database: its version, its status, its details."""
    promise = "accepted is stored"
    for key, story in seen.stories.items():
        if story.last is None:
            continue
        token, says = story.last
        row = seen.rows.get(key)
        if row is None:
            yield Violation(promise, _name(key), f"no row; accepted last: {says} by {token}")
            continue
        about = f"row {row}; accepted last: {says} by {token}; {_tale(story)}"
        if (
            row.version < 1 + story.effects
            or (row.status not in ENDED_BY_SERVICE and row.status != says)
            or (row.token is not None and row.token != token)
            or (row.token is None and story.effects > 1)
        ):
            yield Violation(promise, _name(key), about)


def applied_once(seen: Seen) -> Iterator[Violation]:
    """None applied twice: as many versions as accepted requests, one of its own for each, without gaps."""
    for key, story in seen.stories.items():
        told = [one.version for one in story.entries if one.version is not None]
        if story.settled is None and told != list(range(2, len(told) + 2)):
            yield Violation("versions without gaps", _name(key), _tale(story))
        row = seen.rows.get(key)
        if row is None:
            continue
        expected = 1 + story.effects + (row.status in ENDED_BY_SERVICE)
        if row.version > expected:
            evidence = f"row {row}, {expected} is the version by the ledger; {_tale(story)}"
            yield Violation("applied once", _name(key), evidence)


def untouched_is_untouched(seen: Seen) -> Iterator[Violation]:
    """What no device asked for has not moved, but for what the operator did; a late start-next may have begun it."""
    allowed = {("QUEUED", 1), ("CANCELED", 2), ("IN_PROGRESS", 2), ("CANCELED", 3)}
    for key, row in seen.rows.items():
        if key not in seen.stories and (row.status, row.version) not in allowed:
            yield Violation("applied once", _name(key), f"row {row}, and no device asked for it")


def refused_with_reason(seen: Seen) -> Iterator[Violation]:
    """No correct request is refused: only one about an execution that the operator took back."""
    for key, story in seen.stories.items():
        for entry in story.entries:
            if entry.code is None:
                continue
            row = seen.rows.get(key)
            taken_back = row is None or row.status in ENDED_BY_SERVICE
            if entry.code not in _TAKEN_BACK or not taken_back:
                yield Violation("refused with reason", _name(key), f"{entry}; row {row}")
    for text in seen.contradictions:
        yield Violation("refused with reason", "", text)


def all_are_answered(seen: Seen) -> Iterator[Violation]:
    """Every device that asked again without an answer got one in the end."""
    for token, waiting in seen.waiting.items():
        evidence = f"{waiting.topic} sent {waiting.times_sent} times, no answer"
        yield Violation("answered in the end", token, evidence)


def counters_equal_rows(seen: Seen) -> Iterator[Violation]:
    """Each job's counters are what its executions add up to."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, job, _), row in seen.rows.items():
        counted[job][row.status] += 1
    for job, told in seen.jobs.items():
        counters = {status: count for status, count in told.counts.items() if count}
        if counters != dict(counted[job]):
            evidence = f"counters {counters}, rows {dict(counted[job])}"
            yield Violation("counters equal rows", job, evidence)


def jobs_end(seen: Seen) -> Iterator[Violation]:
    """Each job is done or has live executions, owes nothing, and is what the operator was told it is."""
    live: Counter[tuple[str, str]] = Counter()
    for (_, job, _), row in seen.rows.items():
        live[job, row.status] += row.status in LIVE
    for job, told in seen.jobs.items():
        left = sum(live[job, status] for status in LIVE)
        if told.pending_work is not None:
            yield Violation("jobs end", job, f"still owes {told.pending_work}")
        elif told.status == "IN_PROGRESS" and not left:
            yield Violation("jobs end", job, "IN_PROGRESS, and no execution is live")
        elif told.status == "COMPLETED" and left:
            yield Violation("jobs end", job, f"COMPLETED, and {left} executions are live")
        elif told.status == "CANCELED" and live[job, "QUEUED"]:
            yield Violation("jobs end", job, f"CANCELED, and {live[job, 'QUEUED']} are QUEUED")
    for job, cancelled in seen.created.items():
        found = seen.jobs.get(job)
        if found is None or (cancelled and found.status != "CANCELED"):
            wanted = "cancel" if cancelled else "create"
            yield Violation("accepted is stored", job, f"{wanted} was accepted; row: {found}")


def gets_say_the_rows(seen: Seen) -> Iterator[Violation]:
    """What the broker answers to a get, and of `$next`, is what the rows say."""
    pending: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for (thing, job, number), row in seen.rows.items():
        if row.status in LIVE:
            pending[thing].add((job, number))
    for thing, get in seen.gets.items():
        first = seen.nexts.get(thing, ())
        if len(get) < _NOTIFY_SHOWS and set(get) != pending[thing]:
            yield Violation("get says the rows", thing, f"get {get}, rows {pending[thing]}")
        if first != get[:1]:
            yield Violation("get says the rows", thing, f"$next {first}, get {get}")


def told_is_true(seen: Seen) -> Iterator[Violation]:
    """Each thing's last notify is its pending list, and its last notify-next the first of it."""
    for thing, known in seen.known.items():
        get, first = seen.gets.get(thing), seen.nexts.get(thing)
        if get is None or first is None:
            continue
        # A set: who is first tells notify-next; and one that started may stand elsewhere since.
        if set(known.pending or ()) != set(get):
            evidence = f"told {known.pending} by {known.by}, get {get}"
            yield Violation("last notify is the list", thing, evidence)
        if (known.first or ()) != first:
            evidence = f"told {known.first} by {known.by}, $next {first}"
            yield Violation("last notify-next is the first", thing, evidence)


def nothing_is_stuck(seen: Seen) -> Iterator[Violation]:
    """No outbox row is old, slots are held by the living, `jobbroker check` finds no fault, no process failed."""
    if seen.outbox_oldest is not None and seen.outbox_oldest > OUTBOX_SECONDS:
        evidence = f"the oldest row is {seen.outbox_oldest:.1f} s old"
        yield Violation("outbox is told", "outbox", evidence)
    for slot, pid in seen.slots.items():
        if pid not in seen.living:
            evidence = f"held by process {pid}, which does not run; {sorted(seen.living)} do"
            yield Violation("slots of the living", slot, evidence)
    if len(seen.slots) < len(seen.living):
        evidence = f"{len(seen.living)} brokers run, slots: {dict(seen.slots)}"
        yield Violation("slots of the living", "slots", evidence)
    for finding in seen.findings:
        if finding["state"] == "fail":
            yield Violation("check is ok", str(finding["what"]), str(finding["said"]))
    for line in seen.faults_logged:
        yield Violation("no fault in the log", "broker", line)
    for text in seen.ended_alone:
        yield Violation("no process ends by itself", "broker", text)


CHECKS: Final[tuple[Callable[[Seen], Iterator[Violation]], ...]] = (
    accepted_is_stored,
    applied_once,
    untouched_is_untouched,
    refused_with_reason,
    all_are_answered,
    counters_equal_rows,
    jobs_end,
    gets_say_the_rows,
    told_is_true,
    nothing_is_stuck,
)


def violations(seen: Seen) -> list[Violation]:
    """Everything that is wrong, in the order of the checks."""
    return [one for check in CHECKS for one in check(seen)]


def settle(stories: Mapping[Key, Story], rows: Mapping[Key, Row]) -> None:
    """After an audit without violations: keep of each ended execution only what the next audit needs."""
    for key, story in stories.items():
        row = rows.get(key)
        if row is not None and row.status in TERMINAL:
            story.settle()


def _name(key: Key) -> str:
    thing, job, number = key
    return f"{thing} {job} #{number}"


def _tale(story: Story) -> str:
    if story.settled is not None:
        return f"settled: {story.settled}"
    entries = [
        f"{one.token} {one.says} v{one.version}"
        + (f" {one.code}" if one.code else "")
        + (f" (sent {one.times_sent} times)" if one.times_sent > 1 else "")
        for one in story.entries
    ]
    return "ledger: " + ", ".join(entries)
