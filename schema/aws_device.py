"""A device's answers as the data plane of AWS has them over HTTP: without the envelope, the document as text.

Source: reference 4: no `timestamp`, no `clientToken`, and `jobDocument` is a string of JSON, as it was uploaded.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DOCUMENT: Final = "jobDocument"


def as_http(payload: bytes) -> dict[str, Any]:
    """An accepted answer of `schema.device` as HTTP has it."""
    text = payload.decode()
    body: dict[str, Any] = json.loads(text)
    body.pop("timestamp", None)
    body.pop("clientToken", None)
    if _DOCUMENT in body:
        body[_DOCUMENT] = _text_of(text, 0, _DOCUMENT)[0]
    execution = body.get("execution")
    if execution is not None and _DOCUMENT in execution:
        _, at = _text_of(text, 0, "execution")
        execution[_DOCUMENT] = _text_of(text, at, _DOCUMENT)[0]
    return body


def _text_of(text: str, at: int, name: str) -> tuple[str, int]:
    """The text of a member's value, to the letter, and where it begins; the object begins at `at`.

    Reading and writing it again would change numbers that Python does not hold as they are.
    """
    at = _after_space(text, at + 1)  # behind the brace
    while True:
        key, at = _DECODER.raw_decode(text, at)
        begin = _after_space(text, _after_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        if key == name:
            return text[begin:end], begin
        at = _after_space(text, _after_space(text, end) + 1)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # noqa: S101 - it matches nothing at all, too
    return found.end()
