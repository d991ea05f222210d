"""Loads the SQL that ships with the package: named queries and numbered migrations.

The only reading of files that `schema` does, and only of its own.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def split_queries(text: str) -> dict[str, str]:
    """Split a `.sql` text at its `-- name: verb_object` headers.

    Returns name -> statement, in file order. Raises ValueError for a name used twice and for an empty statement.
    """
    found: dict[str, str] = {}
    parts = _HEADER.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        statement = body.strip().rstrip(";")
        if name in found:
            msg = f"query {name!r} is defined twice"
            raise ValueError(msg)
        if not any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
            msg = f"query {name!r} is empty"
            raise ValueError(msg)
        found[name] = statement
    return found


@cache
def queries(subject: str) -> Mapping[str, str]:
    """The named queries of `queries/{subject}.sql`. Raises FileNotFoundError when there is no such file."""
    return split_queries((files("schema") / "queries" / f"{subject}.sql").read_text("utf-8"))


@cache
def migrations() -> Mapping[str, str]:
    """Every migration, name (`0001_init`) -> script, in the order in which they apply."""
    folder = files("schema") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return {name.removesuffix(".sql"): (folder / name).read_text("utf-8") for name in names}
