"""A route that leaves its path in the scope, so that figures and log lines name operations and not names."""

from __future__ import annotations

from starlette.routing import Match, Route
from starlette.types import Scope


class Endpoint(Route):
    """A Starlette route; `scope["operation"]` is its path as it was declared."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette's, with the path beside it."""
        match, child = super().matches(scope)
        return match, {**child, "operation": self.path}
