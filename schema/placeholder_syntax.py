"""How placeholders are written: a text in parts (see `schema.placeholders`)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from schema.errors import shorten
from schema.limits import ATTRIBUTE_NAME, LOCALS_IN_URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schema.presign import Method

_OPENING: Final = re.compile(r"\$\$\{|\$\{")
_BRACES: Final = re.compile(r"\$\{|\}")
PARAMETER: Final = "aws:iot:parameter:"
_ATTRIBUTE: Final = "thing:attributes."
_PRESIGNED: Final = re.compile(r"aws:iot:s3-presigned-url(-v1|-v2|-upload)?:(.*)", re.DOTALL)


class Kind(StrEnum):
    """What a device's own values are."""

    THING_NAME = "thingName"
    JOB_ID = "jobId"
    EXECUTION_NUMBER = "executionNumber"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class Local:
    """A value that differs from device to device. text is the placeholder as it was written."""

    text: str
    kind: Kind
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Presigned:
    """A URL to sign when the document is sent; its key may hold values of the device."""

    text: str
    method: Method
    encoded: bool
    url: tuple[str | Local, ...]


Part = str | Local | Presigned


class WrongPlaceholder(Exception):
    """A placeholder that is wrong, with its text."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{shorten(text)}: {why}")
        self.text = text


def split(text: str, parameters: Mapping[str, str] | None) -> Iterator[Part]:
    """Text and placeholders in turn; parameters are replaced by their values' parts.

    parameters None: those are not offered here. Raises WrongPlaceholder.
    """
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        yield text[at : opening.start()]
        if opening[0] == "$${":
            yield "${"
            at = opening.end()
            continue
        at = _closing(text, opening.start())
        yield from _read(text[opening.start() : at], parameters)
    yield text[at:]


def _closing(text: str, start: int) -> int:
    depth = 0
    for brace in _BRACES.finditer(text, start):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.end()
    raise WrongPlaceholder(text[start:], "has no } at its end; $${ stands for ${ itself")


def _read(placeholder: str, parameters: Mapping[str, str] | None) -> Iterator[Part]:
    body = placeholder[2:-1]
    if body.startswith(PARAMETER):
        yield from _parameter(placeholder, body.removeprefix(PARAMETER), parameters)
    elif (found := _PRESIGNED.fullmatch(body)) is not None:
        yield _presigned(placeholder, found)
    elif (local := _local(placeholder, body)) is not None:
        yield local
    else:
        raise WrongPlaceholder(
            placeholder,
            "is not a placeholder that is offered; write $${ for a ${ that devices are to see",
        )


def _parameter(placeholder: str, name: str, parameters: Mapping[str, str] | None) -> Iterator[Part]:
    if parameters is None:
        raise WrongPlaceholder(placeholder, "a parameter's value cannot hold another parameter")
    if name not in parameters:
        raise WrongPlaceholder(placeholder, "documentParameters has no such parameter")
    yield from split(parameters[name], None)


def _presigned(placeholder: str, found: re.Match[str]) -> Presigned:
    url: list[str | Local] = []
    for part in split(found[2], None):
        if isinstance(part, Presigned):
            raise WrongPlaceholder(placeholder, "a URL cannot hold another URL to sign")
        url.append(part)
    counts = Counter((one.kind, one.attribute) for one in url if isinstance(one, Local))
    if any(count > LOCALS_IN_URL for count in counts.values()):
        raise WrongPlaceholder(placeholder, f"has one placeholder more than {LOCALS_IN_URL} times")
    method: Method = "PUT" if found[1] == "-upload" else "GET"
    return Presigned(placeholder, method, found[1] in ("-v2", "-upload"), tuple(url))


def _local(placeholder: str, body: str) -> Local | None:
    if body.startswith(_ATTRIBUTE):
        name = body.removeprefix(_ATTRIBUTE)
        if ATTRIBUTE_NAME.fullmatch(name) is None:
            raise WrongPlaceholder(placeholder, f"the name does not match {ATTRIBUTE_NAME.pattern}")
        return Local(placeholder, Kind.ATTRIBUTE, name)
    if body in (Kind.THING_NAME, Kind.JOB_ID, Kind.EXECUTION_NUMBER):
        return Local(placeholder, Kind(body))
    return None
