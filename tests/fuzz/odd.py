"""Values and bytes that have broken programs before, and strategies that put them where something valid stood."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

TEXTS: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "\n",
    "\\N",
    "a\nb",
    "\n\\N\n",
    "\r\n",
    "\t",
    "\ud800",
    "\udfff\ud800",
    "\u2028",
    "\u202ecba",
    "\ufeff",
    "\ufffe",
    "\x7f",
    "\x85",
    "\ue000",
    "\U0010ffff",
    "\u00e9",
    "e\u0301",
    "\u0661",
    "\U0001f980",
    "$next",
    "null",
    "'; DROP TABLE jobs; --",
    "{}",
    '"',
    "\\",
    "\\u0000",
    "\\\\u0000",
    "..",
    "%",
    "{0}",
    "true",
    "1",
    "9" * 19,
    "9" * 20,
    "x" * 64,
    "x" * 65,
    "x" * 128,
    "x" * 129,
    "x" * 1024,
    "x" * 1025,
    "\u00e9" * 1024,
    "\U0001f980" * 512,
    "x" * 2029,
    "x" * 70_000,
)
# As they stand in JSON; the last line is no JSON.
NUMBERS: Final = (
    *("0", "-0", "-1", "1", "2", "1.0", "1.5", "1e2", "-0.0", "0.1e-400", "1e999", "-1e999"),
    *(str(10080), str(10081), str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63)),
    *(str(-(2**63)), str(-(2**63) - 1), str(2**64), "9" * 4300, "9" * 4301, "-" + "9" * 4300),
    *("NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10", "1_000", "--1", "\u0661"),
)


@dataclass(frozen=True, slots=True)
class Raw:
    """JSON text as it is to be sent, or what is meant to look like it."""

    text: str


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object by its members, in which a name may come twice."""

    pairs: tuple[tuple[str, Any], ...]


def _nested(depth: int) -> list[Raw]:
    return [
        Raw("[" * depth + "]" * depth),
        Raw('{"a":' * depth + "1" + "}" * depth),
        Raw("[" * depth),
    ]


NESTED: Final = tuple(one for depth in (20, 190, 199, 201, 5000) for one in _nested(depth))


def write(value: object, *, ascii_only: bool) -> str:
    """JSON text of a value that may hold `Raw` and `Members`."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        value = Members(tuple(value.items()))
    if isinstance(value, Members):
        inside = (
            f"{json.dumps(name, ensure_ascii=ascii_only)}:{write(one, ascii_only=ascii_only)}"
            for name, one in value.pairs
        )
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(write(one, ascii_only=ascii_only) for one in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def texts() -> st.SearchStrategy[str]:
    """Texts of every kind, lone surrogates among them."""
    return _TEXTS


def values() -> st.SearchStrategy[Any]:
    """JSON values, a few levels deep or far too deep."""
    return _VALUES


def corpus(make: Callable[[Random], dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some hundred valid objects, the same each time: what is drawn of them costs one choice, not thirty."""
    rng = Random(_CORPUS_SEED)  # noqa: S311 - no secret
    return st.sampled_from(
        sorted((make(rng) for _ in range(_CORPUS)), key=lambda one: len(repr(one)))
    )


def some(rng: Random, fields: Mapping[str, Callable[[Random], Any]]) -> dict[str, Any]:
    """A few of the fields, each with a value of its own or, seldom, with null."""
    share = rng.choice((0.1, 0.5, 1.0))
    chosen = [name for name in fields if rng.random() < share]
    return {name: None if rng.random() < _NULLS else fields[name](rng) for name in chosen}


def plain_text(rng: Random, most: int) -> str:
    """A text of at least one character, none of Unicode's category C; now and then as long as may be."""
    if rng.random() < _LONG:
        return rng.choice(_FINE) * most
    return "".join(rng.choices(_FINE, k=rng.randint(1, min(most, 12))))


def _flat(rng: Random) -> Any:  # noqa: ANN401 - JSON may be anything
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return Raw(rng.choice(NUMBERS))
    return rng.choice((None, True, False)) if kind == 2 else rng.randint(-2, 12_000)


def _composed(rng: Random) -> Any:  # noqa: ANN401 - as above
    size = rng.choice((0, 1, 2, 11, 101))
    if rng.random() < 0.5:
        return [_flat(rng) for _ in range(size)]
    names = [rng.choice(("a", "b:c-d_1", rng.choice(TEXTS))) for _ in range(size)]
    members = Members(tuple((name, _flat(rng)) for name in names))
    return {"a": members} if rng.random() < 0.2 else members


def _all_values() -> list[Any]:
    rng = Random(_CORPUS_SEED)  # noqa: S311 - no secret
    alone: list[Any] = [*TEXTS, *map(Raw, NUMBERS), None, True, False, 0, 1, -1, 0.5, [], {}]
    return [*alone, *NESTED, *(_composed(rng) for _ in range(_CORPUS))]


_CORPUS_SEED: Final = 20_260
_CORPUS: Final = 300
_NULLS: Final = 0.1
_LONG: Final = 0.05
_FINE: Final = "abcXYZ019 :_-./\\\"'{}\u00e9\u00df\u0416\u4e2d\u2028\u00a0\U0001f980"
_TEXTS: Final = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))
_VALUES: Final = st.one_of(st.sampled_from(_all_values()), st.text("\\N\n\0\"'", max_size=4))


@st.composite
def mutated(draw: st.DrawFn, source: bytes) -> bytes:
    """The bytes with one to four places cut, replaced, repeated or filled with others."""
    data = source
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(_SIZES)
        kept, cut, rest = data[:at], data[at : at + size], data[at + size :]
        new = draw(_PIECES)
        data = kept + (cut * 3 if new is None else new) + rest
    return data


_SIZES: Final = st.sampled_from((0, 0, 1, 1, 2, 8, 64))


_FRAGMENTS: Final = (
    *(b"\x00", b"\n", b"\\N", b"\\", b'"', b",", b":", b"{", b"}", b"[", b"]", b"null", b"\\u0000"),
    *(b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf"),
    *(b"\\ud800", b"\\ud83d\\ude00", b"/*", b"NaN", b"1e999", b"\x00" * 32, b" " * 64),
)
_PIECES: Final = st.sampled_from(
    (None, None, b"", b"", *(bytes([one]) for one in range(256)), *_FRAGMENTS * 3)
)


@st.composite
def payloads(draw: st.DrawFn, valid: st.SearchStrategy[dict[str, Any]]) -> tuple[bytes, bool]:
    """A payload, and whether it is valid as it is: about a third is, a third nearly."""
    kind = draw(_KINDS)
    ascii_only = kind % 2 == 0
    if kind == 31:
        return draw(st.sampled_from(_LARGE)), False
    if kind == 30:
        return draw(st.binary(max_size=64)), False
    if kind >= 28:
        return _encoded(draw(_VALUES), ascii_only=ascii_only), False
    fields = draw(valid)
    if kind < 8:
        spaces = (b"", b"", b" ", b"\r\n\t")[kind // 2]
        return spaces + _encoded(fields, ascii_only=ascii_only) + spaces, True
    if kind < 20:
        return _encoded(draw(_nearly(fields)), ascii_only=ascii_only), False
    return draw(mutated(_encoded(fields, ascii_only=ascii_only))), False


_KINDS: Final = st.integers(0, 31)


def written(valid: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Payloads that are all valid."""
    return valid.map(lambda fields: _encoded(fields, ascii_only=False))


def _encoded(value: object, *, ascii_only: bool) -> bytes:
    return write(value, ascii_only=ascii_only).encode("utf-8", "surrogatepass")


@st.composite
def _nearly(draw: st.DrawFn, fields: dict[str, Any]) -> Members:
    """The members with one or two of them replaced, doubled, dropped, or joined by others."""
    pairs = list(fields.items())
    for _ in range(draw(_TIMES)):
        at, what = draw(st.integers(0, max(0, len(pairs) - 1))), draw(_EDITS)
        if what == 0:
            del pairs[at : at + 1]
        elif what <= 4 or not pairs:
            pairs.insert(at, (draw(_MEMBER), draw(values())))
        elif what == 5:
            pairs.append((pairs[at][0], draw(values())))  # a name that comes twice
        elif what == 6 and isinstance(pairs[at][1], dict):
            inner = (*pairs[at][1].items(), (draw(texts()), draw(values())))
            pairs[at] = (pairs[at][0], Members(inner))
        else:
            pairs[at] = (pairs[at][0], draw(values()))
    return Members(tuple(pairs))


_TIMES: Final = st.sampled_from((1, 1, 2))
_MEMBERS: Final = (
    *("status", "statusDetails", "expectedVersion", "executionNumber", "stepTimeoutInMinutes"),
    *("includeJobDocument", "includeJobExecutionState", "clientToken", "jobId", "thingName"),
    *("targets", "document", "description", "timeoutConfig", "targetSelection", "force", "comment"),
    *("reasonCode", "maxResults", "nextToken", "attributePayload", "attributes", "thingNames"),
    *("thingGroupName", "parentGroupName", "thingGroupProperties", "operatorName", "role"),
    *("document_type", "document_params", "target_all", "expires_in_hours", "abortConfig"),
)
_MEMBER: Final = st.one_of(st.sampled_from(_MEMBERS), st.sampled_from(_MEMBERS), _TEXTS)
_EDITS: Final = st.integers(0, 10)


# Of the size that the broker's link takes at most, and around our own limit.
_LARGE: Final = (
    b"{}" + b" " * (262_144 - 2),
    b"{}" + b" " * (262_144 - 1),
    b" " * 262_144,
    b'{"clientToken":"' + b"x" * 262_000 + b'"}',
    b'{"status":"' + b"\xf0\x9f\xa6\x80" * 65_000 + b'"}',
    b'{"statusDetails":{' + b",".join(b'"k%d":"v"' % n for n in range(20_000)) + b"}}",
    b'{"statusDetails":{"k":"' + b"\\u0000" * 40_000 + b'"}}',
    b'{"targets":[' + b",".join([b'"arn:aws:iot:a:b:thing/t"'] * 9_000) + b"]}",
    b'{"document":{"a":"' + b'\\"' * 100_000 + b'"}}',
    b"[" * 262_144,
    b'{"a":' * 50_000,
    b"9" * 262_144,
    b'{"executionNumber":' + b"9" * 262_000 + b"}",
    b"\x00" * 262_144,
    b"\xff" * 262_144,
)
