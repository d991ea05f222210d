"""Which call a method and a path are; and what the gateway says when they are none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import (
    NOT_FOUND,
    UNIMPLEMENTED,
    WEB,
    StackError,
    gateway_error,
)

BASE: Final = "/api/v3"
Handler = Callable[[Call], Reply]
Check = Callable[[Call], None]
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Route:
    """One call: `checks` are what is looked at before the sender's rights are."""

    component: str
    method: str
    pattern: str
    handler: Handler
    checks: tuple[Check, ...] = ()
    since_batches: bool = False
    compiled: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Make the pattern once."""
        expression = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.pattern)
        object.__setattr__(self, "compiled", re.compile(expression))

    def params(self, path: str) -> dict[str, str] | None:
        """The ids in the path, None when it is another route's."""
        match = self.compiled.fullmatch(path)
        return None if match is None else {k: unquote(v) for k, v in match.groupdict().items()}


class Router:
    """The routes of one host."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Take the routes, those with literal words before those with a parameter in the same place."""
        self._by_shape: dict[tuple[str, int], list[Route]] = defaultdict(list)
        for route in sorted(routes, key=lambda route: route.pattern.count("{")):
            self._by_shape[_shape(route.pattern)].append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route, and the ids in the path.

        Raises StackError: 404 without details for a path that is none, 501 for one that has no such method, and 404
        with details outside /api/v3.
        """
        if not path.startswith(f"{BASE}/"):
            text = "route `{route}` not found"
            raise StackError(NOT_FOUND, WEB, "route_not_found", text, {"route": path})
        rest = path.removeprefix(BASE)
        known = False
        for route in self._by_shape.get(_shape(rest), ()):
            params = route.params(rest)
            if params is not None and route.method == method:
                return route, params
            known = known or params is not None
        if known:
            raise gateway_error(UNIMPLEMENTED, "Method Not Allowed")
        raise gateway_error(NOT_FOUND, "Not Found")


def _shape(path: str) -> tuple[str, int]:
    """What most routes differ in already: the first word, which is never a parameter, and how many there are."""
    return path.split("/")[1], path.count("/")
