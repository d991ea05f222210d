"""Page tokens and ARNs: what an operator gets from us and sends back, or writes by hand."""

from __future__ import annotations

import base64
import json
from typing import Final

from hypothesis import strategies as st

from schema import arns, paging
from schema.errors import Rejected
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, NAME, check_message, check_refusal

Example = tuple[str, str]

_KINDS: Final[dict[str, tuple[type, ...]]] = {"jobs": (int,), "things": (str,), "both": (str, int)}
_ARN_PARTS: Final = (
    *("arn", "aws", "aws-cn", "iot", "us-east-1", "000000000000", "thing/t1", "thinggroup/g:1"),
    *("", "*", "thing/", "thing/*", "thing/a/b", "thing/x\n", "group/x", "THING/x", "x" * 65),
)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """`token` or `arn`, and a text."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        parts = draw(st.lists(st.sampled_from(_ARN_PARTS), min_size=1, max_size=8))
        return "arn", ":".join(parts)
    if kind == 1:
        name = draw(_NAMES)
        return "arn", f"arn:aws:iot:us-east-1:000000000000:{draw(_TARGETS)}/{name}"
    if kind == 2:
        return "token", draw(_TOKENS)
    listing = draw(st.sampled_from(tuple(_KINDS)))
    key = draw(st.lists(odd.values(), max_size=3))
    text = odd.write([listing, *key], ascii_only=draw(st.booleans()))
    raw = text.encode("utf-8", "surrogatepass")
    if kind == 3:
        raw = draw(odd.mutated(raw))
    token = base64.urlsafe_b64encode(raw).decode()
    return "token", draw(st.sampled_from((token, token.rstrip("="), token + "=")))


_NAMES: Final = st.one_of(st.sampled_from(("t1", "x" * 128, "x" * 129)), odd.texts())
_TOKENS: Final = st.one_of(
    odd.texts(),
    st.sampled_from(
        [
            *(paging.encode("jobs", number) for number in (0, 1, 2**63 - 1, 2**63, -1)),
            *(paging.encode("things", name) for name in ("t1", "x" * 128, "x" * 129, "", "a b")),
            *(paging.encode("both", "t1", number) for number in (1, 2**63)),
        ]
    ),
)
_TARGETS: Final = st.sampled_from(("thing", "thinggroup", "job"))


def check(example: Example) -> list[str]:
    """A token gives a key that the database can hold, or is refused; an ARN a name, or says which form is expected."""
    kind, text = example
    if kind == "arn":
        return [_check_arn(text)]
    return [_check_token(listing, text) for listing in _KINDS]


def _check_arn(text: str) -> str:
    try:
        target = arns.parse_target(text)
    except ValueError as error:
        check_message(str(error))
        return "refused"
    assert target.arn == text
    assert target.kind in {"thing", "thinggroup"}
    assert NAME.fullmatch(target.name)
    assert text.endswith(f":{target.kind}/{target.name}")
    assert len(text) <= 2048
    return ACCEPTED


def _check_token(listing: str, text: str) -> str:
    try:
        key = paging.decode(listing, text, _KINDS[listing])
    except Rejected as error:
        return check_refusal(error)
    assert key is not None
    assert tuple(map(type, key)) == _KINDS[listing]
    for part in key:
        fits = NAME.fullmatch(part) if isinstance(part, str) else 0 <= part < 2**63
        assert fits, part
    assert paging.decode(listing, paging.encode(listing, *key), _KINDS[listing]) == key
    assert len(json.dumps(key)) <= 1024
    return ACCEPTED
