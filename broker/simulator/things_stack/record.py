"""What was asked of the server, in order, without keys and bodies."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(slots=True)
class Request:
    """One request; `status` 0 is one that got no answer, `key_id` the public part of the key that it came with."""

    number: int
    host: str
    component: str
    method: str
    path: str
    query: str
    key_id: str
    status: int = 0
    error: str = ""


@dataclass(slots=True)
class Record:
    """All requests, and how many were under way at once at most."""

    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0

    def begin(self, request: Request) -> None:
        """A request came in."""
        self.requests.append(request)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)

    def end(self) -> None:
        """It was answered, or not."""
        self.under_way -= 1

    def of(self, method: str, path: str, host: str = "*") -> list[Request]:
        """The requests of a method on paths after /api/v3; all three may hold `*`."""
        return [
            request
            for request in self.requests
            if fnmatchcase(request.method, method)
            and fnmatchcase(request.path, path)
            and fnmatchcase(request.host, host)
        ]

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.requests.clear()
        self.most_at_once = self.under_way
