r"""The query language of dynamic groups, from text to a tree (AWS: fleet indexing, "Query syntax").

    query   = either { either }            side by side is AND, as is the word
    either  = ...                          NOT binds tighter than AND, AND tighter than OR; `-x` is NOT x
    term    = field:value | field:(query of values) | field<5 | field:[5 TO 9} | value

Fields are thingName, thingTypeName, thingGroupNames and attributes.NAME, spelled exactly; values compare without
regard to case, as on AWS. `*` in a value is any text, `?` any one character; `field:*` is true where the field is
there. Quotes take everything as it is; `\` takes the next character as it is, in field names too. [ ] include a
range's ends, { } exclude them, and `*` leaves one open; a range between unquoted numbers is numeric and holds no text.
A value without a field is looked for in every field. What AWS indexes beyond the registry (shadow, connectivity,
deviceDefender) is refused.

`schema.thing_matching` evaluates the tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from schema.errors import Code, Rejected, shorten
from schema.limits import ATTRIBUTE_NAME, QUERY_CHARS, QUERY_DEPTH, QUERY_TERMS
from schema.query_tokens import OPERATORS, Token, Wild, folded, tokens, wrong

# What counts as a number on both sides of a numeric comparison; PostgreSQL's regular expressions read it alike.
NUMBER: Final = "-?[0-9]+([.][0-9]+)?"
_ATTRIBUTES: Final = "attributes."


class Kind(StrEnum):
    """What of a thing a term looks at; ANY is all of it."""

    NAME = "thingName"
    TYPE = "thingTypeName"
    GROUP = "thingGroupNames"
    ATTRIBUTE = "attributes"
    ANY = ""


class Field(NamedTuple):
    """A field of a thing; `attribute` is the name of one."""

    kind: Kind
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """True where the field's text fits the pattern of folded texts and wildcards."""

    field: Field
    pattern: tuple[str | Wild, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range: its folded text, or number as text."""

    value: str
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Range:
    """True where the field's value lies between the bounds; None leaves an end open. numeric: texts never do."""

    field: Field
    low: Bound | None
    high: Bound | None
    numeric: bool


@dataclass(frozen=True, slots=True)
class Not:
    """True where the other is not."""

    inner: Query


@dataclass(frozen=True, slots=True)
class And:
    """True where all are."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where one is."""

    parts: tuple[Query, ...]


Query = Match | Range | Not | And | Or


def parse(text: str) -> Query:
    """The tree of a query. Raises Rejected (InvalidRequest) with the place, counted from 1, and what is expected."""
    if not 1 <= len(text) <= QUERY_CHARS:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"queryString: has {len(text)} characters, 1 to {QUERY_CHARS} are allowed",
        )
    if "\0" in text:
        raise wrong(text.index("\0"), "U+0000, which no value has")
    return _Parser(tokens(text)).whole()


def looks_at(query: Query, kind: Kind) -> bool:
    """Whether what a thing has of this kind may decide about the query; ANY terms look at every kind."""
    match query:
        case Not():
            return looks_at(query.inner, kind)
        case And() | Or():
            return any(looks_at(part, kind) for part in query.parts)
        case _:
            return query.field.kind in (kind, Kind.ANY)


class _Parser:
    """Recursive descent over the tokens, one method for each rule."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._terms = 0
        self._depth = 0
        self._field: Field | None = None

    def whole(self) -> Query:
        found = self._or()
        if self._peek.kind != "end":
            raise wrong(self._peek.at, f"{self._peek.raw!r} closes nothing")
        return found

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _is_word(self, word: str) -> bool:
        return self._peek.kind == "word" and self._peek.raw == word

    def _or(self) -> Query:
        parts = [self._and()]
        while self._is_word("OR"):
            self._take()
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Query:
        parts = [self._not()]
        while self._peek.kind != "end" and self._peek.raw != ")" and not self._is_word("OR"):
            if self._is_word("AND"):
                self._take()
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Query:
        token = self._peek
        if self._is_word("NOT"):
            self._take()
        elif token.kind == "word" and token.raw.startswith("-"):
            self._strip_hyphen(token)
        else:
            return self._term()
        with self._deeper(token):
            return Not(self._not())

    def _strip_hyphen(self, token: Token) -> None:
        if len(token.raw) > 1:
            first = token.pattern[0]
            rest = first[1:] if isinstance(first, str) else ""
            pattern = (rest, *token.pattern[1:]) if rest else token.pattern[1:]
            self._tokens[self._next] = Token("word", token.at + 1, token.raw[1:], pattern)
        else:
            self._take()
            if not self._peek.tight:
                raise wrong(token.at, "- has nothing behind it to exclude")

    def _term(self) -> Query:
        token = self._take()
        if token.raw == "(" and token.kind == "symbol":
            return self._group(token)
        if token.kind in ("symbol", "end") or token.raw in ("AND", "OR", "TO"):
            raise wrong(token.at, f"expected a term, found {token.raw}")
        operator = self._peek
        if operator.kind != "symbol" or operator.raw not in OPERATORS:
            return self._match(token)
        if token.kind == "quoted":
            raise wrong(token.at, "a field's name stands without quotes")
        if self._field is not None:
            raise wrong(token.at, "a field inside of another field's parentheses")
        self._take()
        return self._of_field(_field(token), operator)

    def _of_field(self, field: Field, operator: Token) -> Query:
        value = self._peek
        if operator.raw != ":":
            return self._compared(field, operator.raw)
        self._field = field
        try:
            match value.raw if value.kind == "symbol" else "":
                case "(":
                    return self._group(self._take())
                case "[" | "{":
                    return self._range(field)
                case _ if value.kind in ("word", "quoted"):
                    return self._match(self._take())
                case _:
                    raise wrong(value.at, f"expected a value, found {value.raw}")
        finally:
            self._field = None

    def _group(self, opening: Token) -> Query:
        with self._deeper(opening):
            found = self._or()
            if self._take().raw != ")":
                raise wrong(opening.at, "( is opened and not closed")
        return found

    def _match(self, token: Token) -> Query:
        self._count(token)
        pattern = tuple(folded(one) if isinstance(one, str) else one for one in token.pattern)
        return Match(self._field or Field(Kind.ANY), pattern)

    def _compared(self, field: Field, operator: str) -> Query:
        value, number = self._bound_value()
        if value is None:
            raise wrong(
                self._tokens[self._next - 1].at, f"expected a value after {operator}, found *"
            )
        bound = Bound(value, operator.endswith("="))
        above = operator.startswith(">")
        return Range(field, bound if above else None, None if above else bound, number)

    def _range(self, field: Field) -> Query:
        opening = self._take()
        low, low_number = self._bound_value()
        if not self._is_word("TO"):
            raise wrong(self._peek.at, f"expected TO, found {self._peek.raw}")
        self._take()
        high, high_number = self._bound_value(count=False)
        closing = self._take()
        if closing.raw not in ("]", "}"):
            raise wrong(closing.at, f"expected ] or }}, found {closing.raw}")
        if low is None and high is None:
            raise wrong(opening.at, "one end of a range must be a value; write field:* for any")
        return Range(
            field,
            None if low is None else Bound(low, opening.raw == "["),
            None if high is None else Bound(high, closing.raw == "]"),
            low_number and high_number,
        )

    def _bound_value(self, *, count: bool = True) -> tuple[str | None, bool]:
        """A range's end and whether it is a number; (None, True) for `*`."""
        token = self._take()
        if token.kind in ("symbol", "end"):
            raise wrong(token.at, f"expected a value, found {token.raw}")
        if count:
            self._count(token)
        match token.pattern:
            case (Wild.SOME,):
                return None, True
            case (str(text),):
                number = token.kind == "word" and re.fullmatch(NUMBER, text) is not None
                return folded(text), number
            case _:
                raise wrong(
                    token.at, f"{shorten(token.raw)} cannot end a range: wildcards are for texts"
                )

    @contextmanager
    def _deeper(self, token: Token) -> Iterator[None]:
        self._depth += 1
        if self._depth > QUERY_DEPTH:
            raise wrong(token.at, f"more than {QUERY_DEPTH} levels of parentheses and NOT")
        yield
        self._depth -= 1

    def _count(self, token: Token) -> None:
        self._terms += 1
        if self._terms > QUERY_TERMS:
            raise wrong(token.at, f"more than {QUERY_TERMS} terms")


def _field(token: Token) -> Field:
    match token.pattern:
        case (str(name),):
            pass
        case _:
            raise wrong(
                token.at, f"{shorten(token.raw)} is no field: a field's name has no wildcards"
            )
    if name.startswith(_ATTRIBUTES):
        attribute = name.removeprefix(_ATTRIBUTES)
        if ATTRIBUTE_NAME.fullmatch(attribute) is None:
            raise wrong(
                token.at, f"attribute {shorten(attribute)} does not match {ATTRIBUTE_NAME.pattern}"
            )
        return Field(Kind.ATTRIBUTE, attribute)
    if name in (Kind.NAME, Kind.TYPE, Kind.GROUP):
        return Field(Kind(name))
    raise wrong(
        token.at,
        f"{shorten(name)} is no field; there are thingName, thingTypeName, thingGroupNames and"
        " attributes.NAME (a : in a value needs \\ before it, or quotes around)",
    )
