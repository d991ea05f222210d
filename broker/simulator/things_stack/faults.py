"""Faults on command: the next so many requests that match, or some at random from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final


class Kind(StrEnum):
    """What goes wrong. The first group happens in front of the server, the second in it, the third after the work."""

    DROP_BEFORE = "drop_before"  # the connection is cut, nothing was done
    BAD_GATEWAY = "bad_gateway"  # 502 with a page of HTML
    MAINTENANCE = "maintenance"  # 503 with a page of HTML
    QUOTING = "quoting"  # 502 with a page that quotes the request, its key included
    SLOW = "slow"  # `seconds` later than usual

    RATE_LIMITED = "rate_limited"  # 429, X-Rate-Limit-Retry says `retry`
    ABORTED = "aborted"  # 409 with code 10: a transaction met another
    UNAVAILABLE = "unavailable"  # 503 with details
    INTERNAL = "internal"  # 500 with details
    NO_RIGHTS = "no_rights"  # 403, as a regional host that remembers an earlier refusal

    DROP_AFTER = "drop_after"  # the work is done, the connection is cut
    DONE_BUT_ERROR = "done_but_error"  # the work is done, 500
    THEN = "then"  # the answer is as ever; `action` runs after it was made


IN_FRONT: Final = frozenset(
    {Kind.DROP_BEFORE, Kind.BAD_GATEWAY, Kind.MAINTENANCE, Kind.QUOTING, Kind.SLOW}
)
AFTERWARDS: Final = frozenset({Kind.DROP_AFTER, Kind.DONE_BUT_ERROR, Kind.THEN})
INSIDE: Final = frozenset(Kind) - IN_FRONT - AFTERWARDS
_ON_REGISTRIES: Final = frozenset({"ns", "as", "js"})

# What the server does on a bad day, each where it can happen.
USUAL: Final = (
    Kind.DROP_BEFORE,
    Kind.BAD_GATEWAY,
    Kind.MAINTENANCE,
    Kind.QUOTING,
    Kind.RATE_LIMITED,
    Kind.ABORTED,
    Kind.UNAVAILABLE,
    Kind.INTERNAL,
    Kind.NO_RIGHTS,
    Kind.DROP_AFTER,
    Kind.DONE_BUT_ERROR,
)


@dataclass(slots=True)
class Fault:
    """One fault that is planned for the next `times` matching requests; `times` None is until it is cleared."""

    method: str
    path: str
    kind: Kind
    times: int | None = 1
    host: str = "*"
    retry: int = 0
    seconds: float = 0.0
    action: Callable[[], None] | None = None

    def matches(self, host: str, method: str, path: str) -> bool:
        """Whether it is for this request; `path` is what follows /api/v3."""
        return (
            fnmatchcase(method, self.method)
            and fnmatchcase(path, self.path)
            and fnmatchcase(host, self.host)
        )


@dataclass(slots=True)
class _Random:
    rng: random.Random
    rate: float
    kinds: tuple[Kind, ...]
    left: int | None


class Faults:
    """The plan. Requests take from it in the order in which it was made."""

    def __init__(self) -> None:
        """Start without any."""
        self._planned: list[Fault] = []
        self._random: _Random | None = None
        self.happened: list[tuple[Kind, str, str]] = []

    def next(  # noqa: PLR0913 - a fault has so many sides, from the fifth on by keyword
        self,
        method: str,
        path: str,
        kind: Kind | str,
        times: int | None = 1,
        *,
        host: str = "*",
        retry: int = 0,
        seconds: float = 0.0,
        action: Callable[[], None] | None = None,
    ) -> None:
        """Let the next `times` requests that match go wrong; `method`, `path` and `host` may hold `*`."""
        fault = Fault(method, path, Kind(kind), times, host, retry, seconds, action)
        self._planned.append(fault)

    def at_random(
        self, seed: int, rate: float, kinds: Iterable[Kind] = USUAL, most: int | None = None
    ) -> None:
        """Let each request go wrong with probability `rate`, until `most` did or `stop` is called."""
        rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._random = _Random(rng, rate, tuple(kinds), most)

    def stop(self) -> None:
        """No more faults."""
        self._planned.clear()
        self._random = None

    def take(
        self, among: frozenset[Kind], host: str, component: str, method: str, path: str
    ) -> Fault | None:
        """The fault of one of these kinds for this request, if there is one; it counts as happened."""
        fault = self._take_planned(among, host, method, path)
        if fault is None:
            fault = self._take_random(among, component, method, path)
        if fault is not None:
            self.happened.append((fault.kind, method, path))
        return fault

    def _take_planned(
        self, among: frozenset[Kind], host: str, method: str, path: str
    ) -> Fault | None:
        for fault in self._planned:
            if fault.kind in among and fault.matches(host, method, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._planned.remove(fault)
                return fault
        return None

    def _take_random(
        self, among: frozenset[Kind], component: str, method: str, path: str
    ) -> Fault | None:
        plan = self._random
        if plan is None or plan.left == 0:
            return None
        # Each stage has the share of its kinds, so that `rate` holds for the request as a whole.
        kinds = [kind for kind in plan.kinds if kind in among]
        if not kinds or plan.rng.random() >= plan.rate * len(kinds) / len(plan.kinds):
            return None
        kind = plan.rng.choice(kinds)
        if not _can_happen(kind, component, method, path):
            return None
        if plan.left is not None:
            plan.left -= 1
        return Fault(method, path, kind, retry=plan.rng.choice((0, 1)))


def _can_happen(kind: Kind, component: str, method: str, path: str) -> bool:
    """Whether the server has this fault at this place: not everything goes wrong everywhere."""
    if kind in {Kind.ABORTED, Kind.NO_RIGHTS}:
        return component in _ON_REGISTRIES
    if kind is Kind.DONE_BUT_ERROR:
        return component == "as" and method == "DELETE" and "/devices/" in path
    return True
