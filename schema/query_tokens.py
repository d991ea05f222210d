"""The words, quotes and signs of a dynamic group's query, each with its place (see `schema.thing_query`)."""

from __future__ import annotations

import string
from enum import Enum
from typing import Final, Literal, NamedTuple

from schema.errors import Code, Rejected

OPERATORS: Final = frozenset({":", "<", ">", "<=", ">="})
_VALUE_DUE: Final = OPERATORS | {"[", "{", "TO"}
_ENDS_WORD: Final = frozenset('()[]{}"<>')
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(text: str) -> str:
    """A text as it is compared: ASCII letters small, all else as it is (PostgreSQL: lower() in collation C)."""
    return text.translate(_LOWER)


class Wild(Enum):
    """Wildcards of a pattern."""

    ONE = "?"
    SOME = "*"


TokenKind = Literal["word", "quoted", "symbol", "end"]


class Token(NamedTuple):
    """kind and place; a word's text is a pattern, a symbol's is itself. tight: nothing stands before it."""

    kind: TokenKind
    at: int
    raw: str
    pattern: tuple[str | Wild, ...] = ()
    tight: bool = False


def wrong(at: int, what: str) -> Rejected:
    """The refusal of a query for what is at this place (counted from 0 here, told from 1)."""
    return Rejected(Code.INVALID_REQUEST, f"queryString: at character {at + 1}: {what}")


def tokens(text: str) -> list[Token]:
    """The query's tokens, the last being its end. Raises Rejected with the place of a quote or a sign that is wrong."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        here = text[at]
        if here.isspace():
            at += 1
            continue
        tight = at > 0 and not text[at - 1].isspace()
        if here == '"':
            if tight and found[-1].kind in ("word", "quoted") and found[-1].raw != "-":
                raise wrong(at, 'a quote begins inside of a value; write \\" for the character')
            token, at = _quoted(text, at)
        elif here in "()[]{}":
            token, at = Token("symbol", at, here), at + 1
        elif here in "<>":
            size = 1 + text.startswith("=", at + 1)
            token, at = Token("symbol", at, text[at : at + size]), at + size
        elif here == ":":
            token, at = Token("symbol", at, ":"), at + 1
        else:
            # Where a value is due, a colon belongs to it: thingName:a:b.
            token, at = _word(text, at, value=bool(found) and found[-1].raw in _VALUE_DUE)
        found.append(token._replace(tight=tight))
    return [*found, Token("end", len(text), "the end")]


def _quoted(text: str, start: int) -> tuple[Token, int]:
    value: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        value.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise wrong(start, "a quote is opened and not closed")
    return Token("quoted", start, text[start : at + 1], (folded("".join(value)),)), at + 1


def _word(text: str, start: int, *, value: bool) -> tuple[Token, int]:
    pattern: list[str | Wild] = []
    at = start
    while at < len(text) and not text[at].isspace() and text[at] not in _ENDS_WORD:
        here = text[at]
        if here == ":" and not value:
            break
        if here == "=" and not value:
            raise wrong(at, "= compares nothing; write field:value, or \\= for the character")
        if here == "\\":
            at += 1
            if at == len(text):
                raise wrong(at - 1, "\\ has no character behind it")
            pattern.append(text[at])
        else:
            pattern.append(Wild(here) if here in "*?" else here)
        at += 1
    return Token("word", start, text[start:at], _joined(pattern)), at


def _joined(pattern: list[str | Wild]) -> tuple[str | Wild, ...]:
    """Neighbouring characters as one text, and neighbouring `*` as one."""
    joined: list[str | Wild] = []
    for part in pattern:
        last = joined[-1] if joined else None
        if isinstance(part, str) and isinstance(last, str):
            joined[-1] = last + part
        elif part is not Wild.SOME or last is not Wild.SOME:
            joined.append(part)
    return tuple(joined)
