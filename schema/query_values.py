"""Members of a command that come in a query string, where there is nothing but text."""

from __future__ import annotations

from typing import Final

_WORDS: Final = {"true": True, "false": False}
_DIGITS: Final = 19  # beyond these it is no number of 64 bits


def read_integer(text: str) -> object:
    """A number where the text is one; else the text, which the command refuses in its own words."""
    bare = text.removeprefix("-")
    return int(text) if bare.isascii() and bare.isdigit() and len(bare) <= _DIGITS else text


def read_flag(text: str) -> object:
    """A truth where the text is one; else the text, as above."""
    return _WORDS.get(text, text)
