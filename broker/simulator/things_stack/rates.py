"""Rate limits, where an installation has them: for each method, entity and key so many calls a minute."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta

from broker.simulator.things_stack.errors import RATE_LIMIT, RESOURCE_EXHAUSTED, StackError
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Stack

_WINDOW = timedelta(minutes=1)


class Rates:
    """Who called what in the last minute."""

    def __init__(self, stack: Stack) -> None:
        """Take the installation whose options say how much is too much."""
        self._stack = stack
        self._calls: dict[str, deque[datetime]] = defaultdict(deque)

    def count(self, route: Route, params: Mapping[str, str], key_id: str) -> dict[str, str]:
        """Count a call; returns the headers that tell how many are left. Raises StackError (429)."""
        limit = self._stack.options.rate_per_minute
        if limit is None:
            return {}
        entity = next(iter(params.values()), "")
        key = f"{route.method}:{route.pattern}:{entity}:{key_id}"
        now = self._stack.clock.now()
        calls = self._calls[key]
        while calls and calls[0] <= now - _WINDOW:
            calls.popleft()
        left = limit - len(calls)
        wait = (calls[0] + _WINDOW - now).total_seconds() if calls else 0.0
        if left <= 0:
            raise self.refusal(key, limit, wait)
        calls.append(now)
        return headers(limit, left - 1, wait, 0.0)

    @staticmethod
    def refusal(key: str, limit: int, wait: float = 0.0) -> StackError:
        """The 429, with its headers."""
        text = "rate limit of `{rate}` requests per minute exceeded for `{key}`"
        attributes = {"key": key, "rate": limit}
        error = StackError(RESOURCE_EXHAUSTED, RATE_LIMIT, "rate_limit_exceeded", text, attributes)
        error.headers = headers(limit, 0, wait, wait)
        return error


def headers(limit: int, left: int, reset: float, retry: float) -> dict[str, str]:
    """The four headers; whole seconds, cut off, so that half a second reads 0."""
    return {
        "X-Rate-Limit-Limit": str(limit),
        "X-Rate-Limit-Available": str(left),
        "X-Rate-Limit-Reset": str(int(reset)),
        "X-Rate-Limit-Retry": str(int(retry)),
    }
