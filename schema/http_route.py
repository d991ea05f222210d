"""What a row of the table in `schema.http_routes` says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# A page's example, for whatever is listed.
PAGE: Final[Mapping[str, object]] = {"maxResults": 20}


@dataclass(frozen=True, slots=True)
class Route:
    """How one command is reached; `example` is its body, or its query, without the names in the path."""

    verb: str
    method: str
    path: str
    summary: str
    example: dict[str, object] = field(default_factory=dict)
    status: int = 200

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the path, in order."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def is_of_job(self) -> bool:
        """Whether the path's names are the topic's, and no members of the command."""
        return self.verb.startswith(("jobs/", "ttn/runs/"))

    @property
    def group(self) -> str:
        """Under which heading it is shown."""
        return self.verb.partition("/")[0]
