"""What became of an execution, entry by entry: written with each change, cheaply and bounded, and read by operators.

An entry is when (milliseconds since the epoch), the status, the versionNumber, and what was said of statusDetails: all
of them while they are short, else those that changed, cut short. How an execution was queued is not among them: its row
says when.

The entries of an execution are one text, the newest first, each with a separator behind it. That way around, PostgreSQL
need not write what stays of it into its log again. The statement that adds them (`update_executions`) cuts the text at
500 characters when it is longer than 800 bytes; an entry without its separator is one that was cut.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.lifecycle import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.changes import Change
    from schema.lifecycle import Execution

# No compact JSON has it bare.
SEPARATOR: Final = "\x1e"
_DETAILS_CHARS: Final = 160
_VALUE_CHARS: Final = 40
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LETTER: Final = {
    Status.QUEUED: "Q",
    Status.IN_PROGRESS: "I",
    Status.SUCCEEDED: "S",
    Status.FAILED: "F",
    Status.TIMED_OUT: "T",
    Status.REJECTED: "J",
    Status.REMOVED: "M",
    Status.CANCELED: "C",
}
_STATUS: Final = {letter: status for status, letter in _LETTER.items()}
_ENTRY: Final = re.compile(r"(\d+)([A-Z])(\d+)([~+]?)(.*)", re.DOTALL)
_PART, _CUT = "~", "+"


class Entry(NamedTuple):
    """One change. details: the statusDetails that changed (None: taken away); is_cut: there was more than is kept."""

    at: datetime
    status: Status
    version: int
    details: Mapping[str, str | None]
    is_cut: bool = False


def written(changes: Iterable[Change]) -> dict[tuple[str, str, int], str]:
    """What a batch's changes add to the timelines, by execution; for those that are neither new nor deleted."""
    texts: dict[tuple[str, str, int], str] = {}
    times: dict[datetime, int] = {}
    for was, now_is in changes:
        if was is None or now_is is None or was.version == now_is.version:
            continue
        at = now_is.updated_at
        millis = times.get(at)
        if millis is None:
            millis = times[at] = (at - _EPOCH) // _MILLISECOND
        said = _said(was, now_is)
        entry = f"{millis}{_LETTER[now_is.status]}{now_is.version}{said}{SEPARATOR}"
        key = now_is.key
        texts[key] = entry + texts.get(key, "")
    return texts


def _said(was: Execution, now_is: Execution) -> str:
    details = now_is.details
    if details is None or details == was.details:
        return ""
    if len(details) <= _DETAILS_CHARS:
        return details
    return _bounded(_changed(_object(was.details), _object(details)))


def _bounded(changed: Mapping[str, str | None]) -> str:
    """As many of the changed details as fit, with long values cut; marked when something is missing."""
    kept: dict[str, str | None] = {}
    is_cut, left = False, _DETAILS_CHARS
    for name, value in changed.items():
        short = value if value is None else value[:_VALUE_CHARS]
        left -= len(name) + len(short or "") + len('"":"",')
        if left < 0:
            is_cut = True
            break
        is_cut = is_cut or short != value
        kept[name] = short
    return (_CUT if is_cut else _PART) + json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def read(text: str) -> list[Entry]:
    """The entries of a stored timeline, oldest first. Of the first one that is kept, all details are taken for new."""
    entries: list[Entry] = []
    known: dict[str, str] = {}
    for one in reversed(text.split(SEPARATOR)[:-1]):
        found = _ENTRY.fullmatch(one)
        if found is None:
            msg = f"a timeline has an entry {one[:80]!r}"
            raise ValueError(msg)
        millis, letter, version, mark, said = found.groups()
        details: Mapping[str, str | None] = {}
        if mark:
            details = json.loads(said)
            both = {**known, **details}
            known = {name: value for name, value in both.items() if value is not None}
        elif said:
            details, known = _changed(known, json.loads(said)), json.loads(said)
        at = _EPOCH + int(millis) * _MILLISECOND
        entries.append(Entry(at, _STATUS[letter], int(version), details, mark == _CUT))
    return entries


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    gone: Sequence[str] = [name for name in before if name not in after]
    return {
        **{name: value for name, value in after.items() if before.get(name) != value},
        **dict.fromkeys(gone),
    }


def _object(text: str | None) -> dict[str, str]:
    found: dict[str, str] = json.loads(text) if text else {}
    return found
