"""What is drawn of a job, read once however many pages look at it, and read again a part at a time.

A job's things come from jobs/progress in parts of 10,000. The first reading draws them as they come. When the job's
counts change, the parts are read again in turn until each was read since, a few at a time, every two seconds and for no
more than a twentieth of the time: a hundred thousand things under way cost the API as little as ten thousand, and ten
readers as little as one. The curves are read with the parts at first and go on by the job's counts.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from broker.console.words import added, counts, cumulated, ended
from schema.lifecycle import Status

MOST_DRAWN: Final = 200_000
PART: Final = 10_000
_STEP_SECONDS: Final = 0.1  # of reading, at least one part
_REST: Final = 20  # so many times as long as the reading took
_TURN_SECONDS: Final = (
    1.9  # from one reading to the next at least: as one page alone looks, every two seconds
)
_POINTS: Final = 240

Curve = list[tuple[float, int]]


class Call(Protocol):
    """`Viewer.call`."""

    def __call__(self, verb: str, **given: object) -> Awaitable[dict[str, Any]]:
        """Send a command."""


class Watcher(Protocol):
    """Who draws."""

    def patched(self, start: int, letters: str) -> None:
        """These cells from `start` on are others, or new."""

    def changed(self) -> None:
        """All of it is to be drawn again."""


@dataclass(slots=True)
class _Part:
    """Things between two names: the token that leads there, a letter for each."""

    token: str | None
    letters: str = ""


@dataclass(slots=True)
class Picture:
    """One job's cells and curves. `statuses` says what the letters mean."""

    job_id: str
    statuses: dict[str, str] = field(default_factory=dict)
    is_read: bool = False
    is_whole: bool = True
    watchers: list[Watcher] = field(default_factory=list)
    width: int = 0
    _parts: list[_Part] = field(default_factory=lambda: [_Part(None)])
    _at: int = 0
    _curves: list[Mapping[str, Mapping[str, int]]] = field(default_factory=list)
    _counts: Mapping[Status, int] | None = None
    _points: list[tuple[float, int, int]] = field(default_factory=list)
    _named: tuple[str | None, list[str]] = ("", [])
    _stale: int = 1
    _is_busy: bool = False
    _rests_until: float = 0.0

    @property
    def letters(self) -> str:
        """All cells."""
        return "".join(part.letters for part in self._parts)

    async def step(self, call: Call, job: Mapping[str, Any]) -> None:
        """Read on: all of it at first, then what may have changed. Raises ApiError; the next step goes on there."""
        if self._note(job):
            self._stale = len(self._parts)
        began = time.monotonic()
        if self._is_busy or not self._stale or began < self._rests_until:
            return
        self._is_busy = True
        try:
            if not self.is_read:
                await self._begin(call, job)
            else:
                await self._go_on(call, began + _STEP_SECONDS)
                took = time.monotonic() - began
                self._rests_until = began + max(_TURN_SECONDS, _REST * took)
        finally:
            self._is_busy = False

    async def _begin(self, call: Call, job: Mapping[str, Any]) -> None:
        passed = max(60, (job.get("completedAt") or time.time()) - job["createdAt"])
        self.width = self.width or max(1, round(passed / _POINTS))
        while not self.is_read:
            await self._read(call)

    async def _go_on(self, call: Call, until: float) -> None:
        while self._stale:
            await self._read(call)
            if time.monotonic() > until:
                break

    async def _read(self, call: Call) -> None:
        """Read the part whose turn it is."""
        part = self._parts[self._at]
        width = None if self.is_read else self.width
        body = await call(
            "jobs/progress", jobId=self.job_id, bucketSeconds=width, nextToken=part.token
        )
        self.statuses = body["letters"]
        if not self.is_read:
            self._curves.append({kind: body[kind] for kind in ("queued", "ended")})
        start = sum(len(one.letters) for one in self._parts[: self._at])
        behind = sum(len(one.letters) for one in self._parts[self._at + 1 :])
        before, part.letters = part.letters, body["statuses"]
        self._stale = max(0, self._stale - 1)
        self._move(body.get("nextToken"))
        stands = behind == len(self.letters) - start - len(part.letters)
        if before == part.letters and stands:
            return
        fits = stands and (len(before) == len(part.letters) or (not behind and not before))
        for watcher in list(self.watchers):
            if fits:
                watcher.patched(start, part.letters)
            else:
                watcher.changed()

    def _move(self, token: str | None) -> None:
        """To the next part, which begins where this one was found to end; from the last to the first."""
        following = self._at + 1
        if token is None or following * PART >= MOST_DRAWN:
            del self._parts[following:]
            self._at, self.is_read, self.is_whole = 0, True, token is None
            return
        self._at = following
        if following == len(self._parts):
            self._parts.append(_Part(token))
        elif self._parts[following].token == token:
            return
        self._parts[following].token = token
        self._stale = max(self._stale, len(self._parts) - following)

    async def name_of(self, call: Call, number: int) -> str | None:
        """The name of a cell's thing; None when there is none. Raises ApiError."""
        for part in self._parts:
            if number < len(part.letters):
                break
            number -= len(part.letters)
        else:
            return None
        token, names = self._named
        if token != part.token or number >= len(names):
            body = await call(
                "jobs/progress", jobId=self.job_id, includeNames=True, nextToken=part.token
            )
            names = body["things"]
            self._named = (part.token, names)
        return names[number] if number < len(names) else None

    def _note(self, job: Mapping[str, Any]) -> bool:
        """Take a point of the curves, by the job's counts; whether they are others than before."""
        found = counts(job)
        if found == self._counts:
            return False
        self._counts = found
        self._points.append((time.time() - job["createdAt"], sum(found.values()), ended(found)))
        if len(self._points) > 2 * _POINTS:
            del self._points[1::2]
        return True

    def curves(self, until: float) -> tuple[Curve, Curve]:
        """How many had been told, and how many had ended, by each moment in seconds since the job was made."""
        began = self._points[0][0] if self._points else until
        drawn: list[Curve] = []
        for column, kind in enumerate(("queued", "ended"), start=1):
            read = added([one[kind] for one in self._curves])
            before = [one for one in cumulated(read, self.width or 1, 0) if one[0] <= began]
            live = [(one[0], int(one[column])) for one in self._points]
            last = [(until, live[-1][1])] if live and until > live[-1][0] else []
            drawn.append([*before, *live, *last])
        return drawn[0], drawn[1]


class Pictures:
    """The jobs that are looked at, each by tenant and id."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self._pictures: dict[tuple[str, str], Picture] = {}

    def join(
        self, tenant: str, job_id: str, watcher: Watcher
    ) -> tuple[Picture, Callable[[], None]]:
        """Watch a job, whose reader has been asked for by the API; returns what ends that."""
        key = (tenant, job_id)
        picture = self._pictures.setdefault(key, Picture(job_id))
        picture.watchers.append(watcher)

        def leave() -> None:
            if watcher in picture.watchers:
                picture.watchers.remove(watcher)
            if not picture.watchers and self._pictures.get(key) is picture:
                del self._pictures[key]

        return picture, leave
