"""Paths below /api/v3 from ids, which may be remote data."""

from __future__ import annotations

from urllib.parse import quote


def path(*parts: str) -> str:
    """`/a/b/c`; no part can leave its place, whatever is in it."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)
