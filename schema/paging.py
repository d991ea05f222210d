"""Where a list goes on: opaque tokens that hold the last key of a page (AWS: nextToken)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from schema.errors import Code, Rejected, shorten
from schema.limits import THING_NAME

PAGE_MOST: Final = 250  # AWS: list results per page
PAGE_USUAL: Final = 100


def encode(listing: str, *key: str | int) -> str:
    """A token for the page after `key`. listing names the list, so that one list's token is refused by another."""
    return base64.urlsafe_b64encode(json.dumps([listing, *key]).encode()).decode().rstrip("=")


def decode(
    listing: str, token: str | None, kinds: tuple[type, ...]
) -> tuple[str | int, ...] | None:
    """The key a token holds; None for the first page.

    kinds are the types of its parts. Raises Rejected (InvalidRequest) for anything `encode` has not made for this list.
    """
    if token is None:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        found = None
    match found:
        case [str(name), *key] if (
            name == listing and tuple(map(type, key)) == kinds and all(map(_is_key, key))
        ):
            return tuple(key)
        case _:
            raise Rejected(
                Code.INVALID_REQUEST, f"nextToken: {shorten(token)} is no token of {listing}"
            )


def _is_key(part: str | int) -> bool:
    """A forged token must not reach the database with what it cannot hold."""
    if isinstance(part, str):
        return THING_NAME.fullmatch(part) is not None
    return 0 <= part < 2**63
