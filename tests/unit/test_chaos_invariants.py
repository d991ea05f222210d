"""The audit of the survival suite finds every kind of broken promise, and nothing where none is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.invariants import JobRow, Row, Seen, settle, violations
from tests.chaos.ledger import Entry, Known, Story, Waiting

KEY = ("t1", "j1", 1)
PARKED = ("t2", "j2", 1)
_NONE = dict.fromkeys(
    ("IN_PROGRESS", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "SUCCEEDED", "QUEUED"), 0
)


def _entries() -> list[Entry]:
    return [
        Entry("t1.1", "IN_PROGRESS", 2),
        Entry("t1.2", "IN_PROGRESS", 3, times_sent=3),
        Entry("t1.3", "SUCCEEDED", 4),
    ]


def _well() -> Seen:
    """A thing that did its job, and one that was told of a job and has not begun."""
    return Seen(
        stories={KEY: Story(_entries())},
        known={
            "t1": Known((), (), by="notify"),
            "t2": Known((("j2", 1),), (("j2", 1),), by="get"),
        },
        created={"j1": False, "j2": False},
        gets={"t1": (), "t2": (("j2", 1),)},
        nexts={"t1": (), "t2": (("j2", 1),)},
        rows={KEY: Row("SUCCEEDED", 4, "t1.3"), PARKED: Row("QUEUED", 1, None)},
        jobs={
            "j1": JobRow("COMPLETED", None, _NONE | {"SUCCEEDED": 1}),
            "j2": JobRow("IN_PROGRESS", None, _NONE | {"QUEUED": 1}),
        },
        slots={"slot-00": 7},
        living=frozenset({7}),
        findings=[{"what": "database", "state": "warn", "said": "a superuser"}],
    )


def test_nothing_is_found_where_all_is_well() -> None:
    """Retries, jobs at rest and warnings are no violation."""
    assert violations(_well()) == []


def _row(row: Row | None) -> Callable[[Seen], Seen]:
    def change(seen: Seen) -> Seen:
        rows = {key: one for key, one in seen.rows.items() if key != KEY}
        return replace(seen, rows=rows if row is None else rows | {KEY: row})

    return change


def _story(*entries: Entry) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, stories={KEY: Story(list(entries))})


def _job(name: str, row: JobRow) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, jobs={**seen.jobs, name: row})


def _told(thing: str, known: Known) -> Callable[[Seen], Seen]:
    return lambda seen: replace(seen, known={**seen.known, thing: known})


_DONE = _NONE | {"SUCCEEDED": 1}
_first, _second, _third = _entries()
BROKEN: list[tuple[str, str, Callable[[Seen], Seen]]] = [
    ("no row", "accepted is stored", _row(None)),
    ("an older version", "accepted is stored", _row(Row("IN_PROGRESS", 3, "t1.2"))),
    ("another status", "accepted is stored", _row(Row("FAILED", 4, "t1.3"))),
    ("another's details", "accepted is stored", _row(Row("SUCCEEDED", 4, "t1.2"))),
    ("no details", "accepted is stored", _row(Row("SUCCEEDED", 4, None))),
    ("a version too many", "applied once", _row(Row("SUCCEEDED", 5, "t1.3"))),
    ("a gap", "versions without gaps", _story(_first, _second, _third._replace(version=5))),
    ("one version twice", "versions without gaps", _story(_first, _second, _second, _third)),
    (
        "an effect that nobody asked for",
        "applied once",
        lambda seen: replace(seen, rows={**seen.rows, PARKED: Row("SUCCEEDED", 2, "x")}),
    ),
    (
        "a good request refused",
        "refused with reason",
        _story(_first, _second, Entry("t1.9", "FAILED", None, "VersionMismatch"), _third),
    ),
    (
        "our own fault answered",
        "refused with reason",
        _story(_first, _second, Entry("t1.9", "FAILED", None, "InternalError"), _third),
    ),
    (
        "two answers that differ",
        "refused with reason",
        lambda seen: replace(seen, contradictions=["t1.3 was rejected first"]),
    ),
    (
        "no answer",
        "answered in the end",
        lambda seen: replace(seen, waiting={"t1.4": Waiting("t1", "a/topic", 0.0, 9)}),
    ),
    (
        "counters beside the rows",
        "counters equal rows",
        _job("j1", JobRow("COMPLETED", None, _NONE | {"SUCCEEDED": 2})),
    ),
    ("a job that never ends", "jobs end", _job("j1", JobRow("IN_PROGRESS", None, _DONE))),
    (
        "a job that ended early",
        "jobs end",
        _job("j2", JobRow("COMPLETED", None, _NONE | {"QUEUED": 1})),
    ),
    ("work left owed", "jobs end", _job("j1", JobRow("COMPLETED", "ROLLOUT", _DONE))),
    (
        "cancelled and still queued",
        "jobs end",
        _job("j2", JobRow("CANCELED", None, _NONE | {"QUEUED": 1})),
    ),
    (
        "an accepted create that is lost",
        "accepted is stored",
        lambda seen: replace(seen, created={**seen.created, "j3": False}),
    ),
    (
        "an accepted cancel that is lost",
        "accepted is stored",
        lambda seen: replace(seen, created={**seen.created, "j1": True}),
    ),
    (
        "a notify that is lost",
        "last notify is the list",
        _told("t2", Known((), (("j2", 1),), by="notify")),
    ),
    (
        "a notify that came late",
        "last notify is the list",
        _told("t1", Known((("j1", 1),), (), by="notify")),
    ),
    (
        "a notify-next that is lost",
        "last notify-next is the first",
        _told("t2", Known((("j2", 1),), None, by="notify")),
    ),
    (
        "a get beside the rows",
        "get says the rows",
        lambda seen: replace(seen, gets={**seen.gets, "t1": (("j1", 1),)}),
    ),
    (
        "a $next beside the get",
        "get says the rows",
        lambda seen: replace(seen, nexts={**seen.nexts, "t2": ()}),
    ),
    ("an old outbox row", "outbox is told", lambda seen: replace(seen, outbox_oldest=10.5)),
    (
        "a slot of the dead",
        "slots of the living",
        lambda seen: replace(seen, slots={"slot-00": 7, "slot-01": 8}),
    ),
    ("a broker without a slot", "slots of the living", lambda seen: replace(seen, slots={})),
    (
        "a check that fails",
        "check is ok",
        lambda seen: replace(seen, findings=[{"what": "x", "state": "fail", "said": "y"}]),
    ),
    (
        "an error in the log",
        "no fault in the log",
        lambda seen: replace(seen, faults_logged=["Traceback"]),
    ),
    (
        "an end of its own",
        "no process ends by itself",
        lambda seen: replace(seen, ended_alone=["exit 1"]),
    ),
]


@pytest.mark.parametrize(
    ("promise", "change"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN]
)
def test_each_broken_promise_is_found(promise: str, change: Callable[[Seen], Seen]) -> None:
    """One thing wrong: the promise it breaks is named, with evidence."""
    found = violations(change(_well()))
    assert promise in {one.promise for one in found}
    assert all(one.evidence for one in found)


def test_an_execution_taken_back_may_refuse() -> None:
    """The operator's forced cancel moves the version once and refuses what the device sends then."""
    entries = [_first, Entry("t1.2", "IN_PROGRESS", None, "VersionMismatch")]
    seen = replace(
        _well(),
        stories={KEY: Story(entries)},
        rows={KEY: Row("CANCELED", 3, None), PARKED: Row("QUEUED", 1, None)},
        created={"j1": True, "j2": False},
        jobs={**_well().jobs, "j1": JobRow("CANCELED", None, _NONE | {"CANCELED": 1})},
    )
    assert violations(seen) == []
    twice = replace(seen, rows={**seen.rows, KEY: Row("CANCELED", 4, None)})
    assert [one.promise for one in violations(twice)] == ["applied once"]


def test_what_is_settled_is_still_held_to() -> None:
    """After a good audit the single requests are forgotten; a row that is lost or moved later is found."""
    seen = _well()
    settle(seen.stories, seen.rows)
    story = seen.stories[KEY]
    assert (story.entries, story.settled) == ([], (3, "t1.3", "SUCCEEDED"))
    assert violations(seen) == []
    lost = violations(_row(None)(seen))
    assert "accepted is stored" in {one.promise for one in lost}
    moved = violations(_row(Row("SUCCEEDED", 5, "t1.3"))(seen))
    assert [one.promise for one in moved] == ["applied once"]


def test_what_is_not_over_is_not_settled() -> None:
    """An execution that goes on keeps its requests."""
    story = Story([_first])
    settle({KEY: story}, {KEY: Row("IN_PROGRESS", 2, None)})
    assert story.settled is None
