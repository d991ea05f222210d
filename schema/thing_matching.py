"""Which things a query of a dynamic group means: for one thing in memory, and for all of them in PostgreSQL.

Both sides give the same answer; tests/integration/test_thing_queries.py holds them against each other.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schema.query_tokens import Wild, folded
from schema.thing_query import NUMBER, And, Kind, Match, Not, Or, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from schema.thing_query import Field, Query

_NUMBER: Final = re.compile(NUMBER)
_OF_PATTERN: Final = {Wild.ONE: "_", Wild.SOME: "%"}


@dataclass(frozen=True, slots=True)
class Thing:
    """What queries look at. groups are the names of the groups that the thing itself is a member of."""

    name: str
    type_name: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()


def matches(query: Query, thing: Thing) -> bool:
    """Whether the query is true of the thing."""
    match query:
        case Match():
            return any(_fits(query.pattern, folded(text)) for text in _texts(query.field, thing))
        case Range():
            return any(_within(query, folded(text)) for text in _texts(query.field, thing))
        case Not():
            return not matches(query.inner, thing)
        case And():
            return all(matches(part, thing) for part in query.parts)
        case Or():
            return any(matches(part, thing) for part in query.parts)


def _texts(wanted: Field, thing: Thing) -> Iterable[str]:
    types = () if thing.type_name is None else (thing.type_name,)
    match wanted.kind:
        case Kind.NAME:
            return (thing.name,)
        case Kind.TYPE:
            return types
        case Kind.GROUP:
            return thing.groups
        case Kind.ATTRIBUTE:
            value = thing.attributes.get(wanted.attribute)
            return () if value is None else (value,)
        case Kind.ANY:
            return (thing.name, *types, *thing.groups, *thing.attributes.values())


def _fits(pattern: tuple[str | Wild, ...], text: str) -> bool:
    """Whether a folded text fits, in time of the pattern's size by the text's: no backtracking to abuse."""
    characters = [one for part in pattern for one in ([part] if isinstance(part, Wild) else part)]
    at = here = 0
    star = resume = -1
    while here < len(text):
        if at < len(characters) and characters[at] in (text[here], Wild.ONE):
            at, here = at + 1, here + 1
        elif at < len(characters) and characters[at] is Wild.SOME:
            star, resume, at = at, here, at + 1
        elif star >= 0:
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return all(one is Wild.SOME for one in characters[at:])


def _within(wanted: Range, text: str) -> bool:
    if not wanted.numeric:
        return _between(wanted, text, str)
    return _NUMBER.fullmatch(text) is not None and _between(wanted, text, Decimal)


def _between(wanted: Range, text: str, kind: Callable[[str], str | Decimal]) -> bool:
    value, low, high = kind(text), wanted.low, wanted.high
    above = low is None or _ABOVE[low.inclusive](value, kind(low.value))
    return above and (high is None or _BELOW[high.inclusive](value, kind(high.value)))


_ABOVE: Final = {True: operator.ge, False: operator.gt}
_BELOW: Final = {True: operator.le, False: operator.lt}


def to_sql(
    query: Query, first: int = 1, *, thing: str = "t", members: str = "thing_group_members"
) -> tuple[str, list[str]]:
    """A condition on `things AS t`, true or false and never null, and its parameters, all text, from `$first` on.

    thing is the alias of things in the caller's query, members the table or view of (tenant_id, group_name, thing_name)
    that counts as membership: names of the caller, never of a user. Nothing of a query stands in the text but numbers
    of parameters.
    """
    writer = _Writer(first, thing, members)
    return writer.condition(query), writer.parameters


class _Writer:
    """The condition's text, and the parameters as they are met."""

    def __init__(self, first: int, thing: str, members: str) -> None:
        self._first, self._thing, self._members = first, thing, members
        self.parameters: list[str] = []

    def condition(self, query: Query) -> str:
        match query:
            case Match():
                return self._of_field(query.field, self._fitting(query.pattern))
            case Range():
                return self._of_field(query.field, self._between(query))
            case Not():
                return f"NOT {self.condition(query.inner)}"
            case And():
                return f"({' AND '.join(map(self.condition, query.parts))})"
            case Or():
                return f"({' OR '.join(map(self.condition, query.parts))})"

    def _parameter(self, value: str) -> str:
        self.parameters.append(value)
        return f"${self._first + len(self.parameters) - 1}::text"

    def _fitting(self, pattern: tuple[str | Wild, ...]) -> str:
        """The test of a text that stands where `{x}` is."""
        if all(isinstance(part, str) for part in pattern):
            return f"{{x}} = {self._parameter(''.join(map(str, pattern)))}"
        escaped = (
            _OF_PATTERN[part] if isinstance(part, Wild) else re.sub(r"([\\%_])", r"\\\1", part)
            for part in pattern
        )
        return f"{{x}} LIKE {self._parameter(''.join(escaped))}"

    def _between(self, wanted: Range) -> str:
        cast = "::numeric" if wanted.numeric else ""
        test = " AND ".join(
            f"{{x}}{cast} {sign}{'=' * bound.inclusive} {self._parameter(bound.value)}{cast}"
            for sign, bound in ((">", wanted.low), ("<", wanted.high))
            if bound is not None
        )
        if wanted.numeric:
            # CASE, because AND promises no order and the cast fails for texts.
            return f"CASE WHEN {{x}} ~ '^{NUMBER}$' THEN {test} ELSE false END"
        return test

    def _of_field(self, wanted: Field, test: str) -> str:
        thing = self._thing
        match wanted.kind:
            case Kind.NAME:
                return f"({_on(test, f'{thing}.thing_name')})"
            case Kind.TYPE:
                return f"coalesce({_on(test, f'{thing}.thing_type')}, false)"
            case Kind.ATTRIBUTE:
                value = f"({thing}.attributes ->> {self._parameter(wanted.attribute)})"
                return f"coalesce({_on(test, value)}, false)"
            case Kind.GROUP:
                return (
                    f"EXISTS (SELECT FROM {self._members} of_thing"
                    f" WHERE of_thing.tenant_id = {thing}.tenant_id"
                    f" AND of_thing.thing_name = {thing}.thing_name"
                    f" AND {_on(test, 'of_thing.group_name')})"
                )
            case Kind.ANY:
                kinds = (Kind.NAME, Kind.TYPE, Kind.GROUP)
                parts = [self._of_field(wanted._replace(kind=kind), test) for kind in kinds]
                parts.append(
                    f"EXISTS (SELECT FROM jsonb_each_text({thing}.attributes) pair"
                    f" WHERE {_on(test, 'pair.value')})"
                )
                return f"({' OR '.join(parts)})"


def _on(test: str, value: str) -> str:
    """The test, of a value folded as `thing_query.folded` does it."""
    return test.replace("{x}", f'lower({value} COLLATE "C")')
