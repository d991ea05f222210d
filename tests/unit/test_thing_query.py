"""The language of dynamic groups: what a query says, where it is wrong, and which things it means."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.errors import Rejected
from schema.limits import QUERY_CHARS, QUERY_DEPTH, QUERY_TERMS
from schema.query_tokens import Wild
from schema.thing_matching import Thing, matches, to_sql
from schema.thing_query import (
    And,
    Bound,
    Field,
    Kind,
    Match,
    Not,
    Or,
    Query,
    Range,
    parse,
)

NAME = Field(Kind.NAME)
N = Field(Kind.ATTRIBUTE, "n")


def name(*pattern: str | Wild) -> Match:
    """A term on the thing's name."""
    return Match(NAME, pattern)


A, B, C = name("a"), name("b"), name("c")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("thingName:Pump-1", name("pump-1")),
        ("thingName : a", A),
        ("thingName:pump*", name("pump", Wild.SOME)),
        ("thingName:*a**?", name(Wild.SOME, "a", Wild.SOME, Wild.ONE)),
        ("thingName:a:b", name("a:b")),
        (r"thingName:a\*\ \)", name("a*\x20)")),
        (r'thingName:"a * (\"b\" OR c"', name('a * ("b" or c')),
        ("thingName:\\AND", name("and")),
        ("thingTypeName:v2", Match(Field(Kind.TYPE), ("v2",))),
        ("thingGroupNames:g?", Match(Field(Kind.GROUP), ("g", Wild.ONE))),
        ("attributes.Site.Name:B", Match(Field(Kind.ATTRIBUTE, "Site.Name"), ("b",))),
        (r"attributes.a\:b:1", Match(Field(Kind.ATTRIBUTE, "a:b"), ("1",))),
        ("v2", Match(Field(Kind.ANY), ("v2",))),
        ("attributes.n:-5", Match(N, ("-5",))),
        ("attributes.n>5", Range(N, Bound("5", inclusive=False), None, numeric=True)),
        ("attributes.n >= -5.5", Range(N, Bound("-5.5", inclusive=True), None, numeric=True)),
        ("attributes.n<abc", Range(N, None, Bound("abc", inclusive=False), numeric=False)),
        ('attributes.n<="5"', Range(N, None, Bound("5", inclusive=True), numeric=False)),
        (
            "attributes.n:[75 TO 80]",
            Range(N, Bound("75", inclusive=True), Bound("80", inclusive=True), numeric=True),
        ),
        (
            "attributes.n:{75 TO 80]",
            Range(N, Bound("75", inclusive=False), Bound("80", inclusive=True), numeric=True),
        ),
        (
            'attributes.n:["ABCD" TO "abcf"}',
            Range(N, Bound("abcd", inclusive=True), Bound("abcf", inclusive=False), numeric=False),
        ),
        ("attributes.n:[75 TO *]", Range(N, Bound("75", inclusive=True), None, numeric=True)),
        ("attributes.n:[* TO a:b]", Range(N, None, Bound("a:b", inclusive=True), numeric=False)),
        ("thingName:a thingName:b", And((A, B))),
        ("thingName:a AND thingName:b OR thingName:c", Or((And((A, B)), C))),
        ("thingName:a OR thingName:b thingName:c", Or((A, And((B, C))))),
        ("thingName:a (thingName:b OR thingName:c)", And((A, Or((B, C))))),
        ("thingName:(a OR b) thingName:c", And((Or((A, B)), C))),
        ("thingName:(a AND -b)", And((A, Not(B)))),
        ("thingName:(a -(b c))", And((A, Not(And((B, C)))))),
        ('thingName:(a -"b")', And((A, Not(B)))),
        ("NOT thingName:a", Not(A)),
        ("thingName:a NOT thingName:b", And((A, Not(B)))),
        ("NOT NOT thingName:a", Not(Not(A))),
        ("-thingName:a", Not(A)),
        ("thingName:(-*)", Not(name(Wild.SOME))),
    ],
)
def test_what_a_query_says(text: str, wanted: Query) -> None:
    """AWS's examples and the corners of the language."""
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has 0 characters, 1 to 2000"),
        ("a" * (QUERY_CHARS + 1), "has 2001 characters"),
        ("   ", "at character 4: expected a term, found the end"),
        ("thingName:", "at character 11: expected a value, found the end"),
        ("thingName:a AND", "at character 16: expected a term, found the end"),
        ("AND thingName:a", "at character 1: expected a term, found AND"),
        ("thingName:a OR OR thingName:b", "at character 16: expected a term, found OR"),
        ("(thingName:a", "at character 1: ( is opened and not closed"),
        ("thingName:a)", "at character 12: ')' closes nothing"),
        ("()", "at character 2: expected a term, found )"),
        ('thingName:"a', "at character 11: a quote is opened and not closed"),
        ('thingName:a"b"', "at character 12: a quote begins inside of a value"),
        ("thingName:a\\", "at character 12: \\ has no character behind it"),
        ("thingname:a", "at character 1: 'thingname' is no field; there are thingName"),
        ("shadow.reported.x:1", "'shadow.reported.x' is no field"),
        ("thing*:a", "'thing*' is no field: a field's name has no wildcards"),
        ('"thingName":a', "a field's name stands without quotes"),
        ("thingName:(a OR thingTypeName:b)", "at character 17: a field inside of another"),
        ("attributes.:a", "attribute '' does not match"),
        ("attributes.n=5", "at character 13: = compares nothing"),
        ("attributes.n:[1 2]", "at character 17: expected TO, found 2"),
        ("attributes.n:[1 TO 2", "at character 21: expected ] or }, found the end"),
        ("attributes.n:[* TO *]", "at character 14: one end of a range must be a value"),
        ("attributes.n:[a* TO b]", "'a*' cannot end a range"),
        ("attributes.n>*", "at character 14: expected a value after >"),
        ("attributes.n>", "at character 14: expected a value, found the end"),
        ("attributes.a:b<5", "at character 15: expected a term, found <"),
        ("thingName:a -", "at character 13: - has nothing behind it"),
        ("thingName:a\0", "at character 12: U+0000"),
        ("(" * (QUERY_DEPTH + 1), f"at character 17: more than {QUERY_DEPTH} levels"),
        ("NOT " * (QUERY_DEPTH + 1), "at character 65: more than"),
        ("a " * (QUERY_TERMS + 1), f"at character 101: more than {QUERY_TERMS} terms"),
    ],
)
def test_where_a_query_is_wrong(text: str, told: str) -> None:
    """The place, what was found, what is expected."""
    with pytest.raises(Rejected, match=re.escape(told)):
        parse(text)


PUMP = Thing("Pump-1", "v2", {"site": "Lab", "n": "75", "t": "-5.50"}, frozenset({"east", "all"}))


@pytest.mark.parametrize(
    "text",
    [
        "thingName:pump-1",
        "thingName:p*-?",
        "thingName:*",
        "thingTypeName:V2",
        "thingGroupNames:e*",
        "attributes.site:lab",
        "attributes.site:*",
        "NOT attributes.Site:*",
        "NOT attributes.gone:lab",
        "attributes.n:[75 TO 80]",
        "attributes.n:{74.9 TO *]",
        "attributes.n>9",
        'attributes.n<"9"',
        "attributes.t<-5",
        "attributes.t:[-5.5 TO -5.5]",
        "lab",
        "east v2",
        "l?b OR nothing",
        "*",
        "thingGroupNames:(east AND all)",
    ],
)
def test_a_thing_that_fits(text: str) -> None:
    """True of a pump, and its NOT is not."""
    assert matches(parse(text), PUMP)
    assert not matches(parse(f"NOT ({text})"), PUMP)


@pytest.mark.parametrize(
    "text",
    [
        "thingName:pump",
        "thingName:pump-1?",
        'thingName:"p*"',
        "attributes.n:{75 TO 80]",
        "attributes.n:75.0",
        "attributes.site>5",
        "attributes.gone<5",
        "thingGroupNames:(east AND west)",
        "pump",
        "NOT lab",
    ],
)
def test_a_thing_that_does_not_fit(text: str) -> None:
    """Values are whole, numbers hold no text, and equality is of texts."""
    assert not matches(parse(text), PUMP)


def test_a_thing_with_nothing() -> None:
    """Without a type, groups and attributes no field but the name is there."""
    bare = Thing("x")
    for text in ("thingTypeName:*", "thingGroupNames:*", "attributes.a:*", "attributes.a<5"):
        assert not matches(parse(text), bare)


def test_wildcards_cannot_be_abused() -> None:
    """A pattern that makes a backtracking matcher run for ages is done at once."""
    text = "thingName:" + "*a" * 400 + "b"
    assert not matches(parse(text), Thing("a" * 128))


@given(st.text(st.sampled_from('aT1 "\\()[]{}:<>=-*?\u00e9'), max_size=40))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """Nothing else comes out of any text, and what is parsed can be asked of a thing and written as SQL."""
    try:
        query = parse(f"thingName:a AND {text}")
    except Rejected:
        return
    assert matches(query, PUMP) is False
    condition, parameters = to_sql(query, 3)
    assert {int(found) for found in re.findall(r"\$(\d+)", condition)} == set(
        range(3, 3 + len(parameters))
    )


def test_no_value_stands_in_the_sql() -> None:
    """Values and attribute names are parameters; only their numbers are in the text."""
    condition, parameters = to_sql(parse("attributes.evil:o'x* OR thingName:[o'a TO o'b]"), 2)
    assert "evil" not in condition
    assert "o'" not in condition
    assert parameters == ["o'x%", "evil", "o'a", "o'b"]
    assert "$2" in condition
    assert "$5" in condition
