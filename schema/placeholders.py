"""Placeholders in job documents: checked when the job is created, filled when a device is given the document.

    ${aws:iot:parameter:NAME}                       documentParameters of the job (AWS)
    ${aws:iot:s3-presigned-url:URL}, -v1:, -v2:     a URL that fetches the object for a while (AWS); v2's is %-encoded
    ${aws:iot:s3-presigned-url-upload:URL}          a URL that stores it (AWS)
    ${thingName} ${jobId} ${executionNumber}        ours for whole documents; AWS knows them in upload URLs only
    ${thing:attributes.NAME}                        ours; empty for a thing without that attribute

They stand inside of JSON strings; the string is decoded, filled and encoded again, so that no value can break the JSON.
`$${` is the way out: devices are given `${`. Anything else that begins with `${` is refused by name and place. A
parameter's value may hold placeholders too, but no parameters; attributes and names are never looked into.
Sources: AWS "Managing jobs" (presigned URLs), "Create a job from AWS managed templates"; reference 5.7.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator
from pydantic_core import from_json

from schema.errors import Code, Rejected, shorten
from schema.limits import (
    DOCUMENT_BYTES,
    PARAMETER_CHARS,
    PARAMETER_NAME,
    PLACEHOLDERS,
    is_plain_text,
)
from schema.placeholder_syntax import (
    PARAMETER,
    Kind,
    Local,
    Part,
    Presigned,
    WrongPlaceholder,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from schema.presign import Signer

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


@dataclass(frozen=True, slots=True)
class Values:
    """What one device's document is filled with."""

    thing_name: str
    job_id: str
    execution_number: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Presigning:
    """With what URLs are signed: expires in seconds from now (AWS: presignedUrlConfig.expiresInSec)."""

    signer: Signer
    now: datetime
    expires: int


@dataclass(frozen=True, slots=True)
class Template:
    """A document ready to be filled: JSON text, and between it what is filled in."""

    parts: tuple[Part, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether every device is given the same text, which is then `shown`."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def needs_attributes(self) -> bool:
        """Whether the thing's attributes are filled in."""
        return any(one.kind is Kind.ATTRIBUTE for one in _locals(self.parts))

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes of things that are filled in, each once, in the document's order."""
        named = [one.attribute for one in _locals(self.parts) if one.kind is Kind.ATTRIBUTE]
        return tuple(dict.fromkeys(named))

    @property
    def shown(self) -> str:
        """The document with its parameters filled in and all else as written (AWS: GetJobDocument)."""
        return "".join(part if isinstance(part, str) else _inside(part.text) for part in self.parts)


def _parameters(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if PARAMETER_NAME.fullmatch(name) is None:
            msg = f"parameter name {shorten(name)} does not match {PARAMETER_NAME.pattern}"
            raise ValueError(msg)
        if not 1 <= len(text) <= PARAMETER_CHARS or not is_plain_text(text):
            msg = (
                f"parameter {name} has {len(text)} characters; 1 to {PARAMETER_CHARS}, none of them"
                " a control character, are allowed"
            )
            raise ValueError(msg)
    return value


# AWS: documentParameters.
Parameters = Annotated[dict[str, str], AfterValidator(_parameters)]


def check(
    document: str, parameters: Mapping[str, str] | None = None, *, signer: Signer | None = None
) -> Template:
    """The document of a job that is created, held against all that can be known then.

    document is a JSON object as text; signer None means that no URL can be signed here. Raises Rejected
    (InvalidRequest) naming the first placeholder that is wrong and where it stands.
    """
    offered = parameters or {}
    found = compile_document(document, offered)
    needed = sum(not isinstance(part, str) for part in found.parts)
    if needed > PLACEHOLDERS:
        raise _refused(f"has {needed} placeholders, at most {PLACEHOLDERS} are allowed")
    if offered and (unused := sorted(offered.keys() - _named_parameters(document))):
        raise Rejected(
            Code.INVALID_REQUEST,
            f"documentParameters: the document has no ${{{PARAMETER}{unused[0]}}}",
        )
    if (size := len(found.shown.encode())) > DOCUMENT_BYTES:
        raise _refused(
            f"has {size} bytes with its parameters, at most {DOCUMENT_BYTES} are allowed"
        )
    for part in found.parts:
        if isinstance(part, Presigned):
            _check_url(part, signer, document)
    return found


def check_open(document: str, *, signer: Signer | None = None) -> None:
    """The document of a template, whose parameters are to come with its jobs: all else is held against `check`."""
    check(document, dict.fromkeys(_named_parameters(document), "-"), signer=signer)


def compile_document(document: str, parameters: Mapping[str, str] | None = None) -> Template:
    """The document's text in parts. One without placeholders costs a look for `${`.

    Raises Rejected (InvalidRequest) naming a placeholder that is unknown, unterminated or without its parameter.
    """
    if not _may_have_one(document):
        return Template((document,))
    parts: list[Part] = []
    end = 0
    for found in _STRING.finditer(document):
        pieces = _filled(found[0], parameters or {}, document)
        if pieces is not None:
            parts += [document[end : found.start()], *pieces]
            end = found.end()
    return Template(_joined([*parts, document[end:]]))


def preview(template: Template, values: Values) -> str:
    """The document as one device would be given it, as JSON text, but for its URLs: they stand as they are written.

    A URL that is signed can be used by whoever sees it.
    """
    return "".join(
        part
        if isinstance(part, str)
        else _inside(part.text if isinstance(part, Presigned) else _value(part, values, None))
        for part in template.parts
    )


def fill(template: Template, values: Values, presigning: Presigning | None = None) -> str:
    """The document for one device, as JSON text.

    Raises Rejected (InternalError) when it needs URLs and there is nothing to sign them with, or not any more.
    """
    return "".join(
        part if isinstance(part, str) else _inside(_value(part, values, presigning))
        for part in template.parts
    )


def _value(part: Local | Presigned, values: Values, presigning: Presigning | None) -> str:
    if isinstance(part, Presigned):
        return _signed(part, values, presigning)
    match part.kind:
        case Kind.THING_NAME:
            return values.thing_name
        case Kind.JOB_ID:
            return values.job_id
        case Kind.EXECUTION_NUMBER:
            return str(values.execution_number)
        case Kind.ATTRIBUTE:
            return values.attributes.get(part.attribute, "")


def _signed(part: Presigned, values: Values, presigning: Presigning | None) -> str:
    if presigning is None:
        raise Rejected(Code.INTERNAL_ERROR, f"document: nothing signs {shorten(part.text)} here")
    url = "".join(
        one if isinstance(one, str) else _value(one, values, presigning) for one in part.url
    )
    try:
        target = presigning.signer.find(url, encoded=part.encoded)
    except ValueError as error:
        raise Rejected(Code.INTERNAL_ERROR, f"document: {shorten(part.text)}: {error}") from None
    return presigning.signer.presign(
        part.method, target, presigning.now, expires=presigning.expires
    )


def _may_have_one(json_text: str) -> bool:
    # Both characters are ASCII: as escapes they begin with \u00.
    return "${" in json_text or "\\u00" in json_text


def _filled(token: str, parameters: Mapping[str, str], document: str) -> list[Part] | None:
    """A JSON string's parts; None when it has nothing to fill and stays as it is."""
    if not _may_have_one(token) or "${" not in (text := from_json(token)):
        return None
    try:
        pieces = list(split(text, parameters))
    except WrongPlaceholder as error:
        raise _refused(f"{error}", error.text, document) from None
    inside = (_inside(one) if isinstance(one, str) else one for one in pieces)
    return ['"', *inside, '"']


def _check_url(part: Presigned, signer: Signer | None, document: str) -> None:
    if signer is None:
        why = "no store for presigned URLs is set up here"
        raise _refused(f"{shorten(part.text)}: {why}", part.text, document)
    # No bucket and no host has a NUL: a device's value that stands there is found by it.
    url = "".join(one if isinstance(one, str) else "\0" for one in part.url)
    try:
        signer.find(url, encoded=part.encoded)
    except ValueError as error:
        raise _refused(f"{shorten(part.text)}: {error}", part.text, document) from None


def _refused(what: str, text: str = "", document: str = "") -> Rejected:
    place = _place(document, text) if text else ""
    return Rejected(Code.INVALID_REQUEST, f"document{place}: {what}")


def _place(document: str, text: str) -> str:
    """Where a text stands: `.steps[0].args[1]`; of several places the first. Empty for what a parameter brought in."""
    waiting: list[tuple[str, object]] = [("", from_json(document))]
    while waiting:
        path, value = waiting.pop()
        inner: Iterable[tuple[str, object]] = ()
        if isinstance(value, str) and text in value:
            return path
        if isinstance(value, list):
            inner = [(f"{path}[{index}]", one) for index, one in enumerate(value)]
        elif isinstance(value, dict):
            if any(text in name for name in value):
                return f"{path} (a name)"
            inner = [(f"{path}.{name}", one) for name, one in value.items()]
        waiting += reversed(list(inner))
    return ""


def _named_parameters(document: str) -> set[str]:
    """The parameters that the document's own strings name."""
    found = (from_json(token[0]) for token in _STRING.finditer(document))
    pattern = re.compile(re.escape("${" + PARAMETER) + r"([^}]*)\}")
    return {str(name) for text in found for name in pattern.findall(text)}


def _locals(parts: Iterable[Part]) -> Iterator[Local]:
    for part in parts:
        if isinstance(part, Local):
            yield part
        elif isinstance(part, Presigned):
            yield from _locals(part.url)


def _inside(text: str) -> str:
    """A text as it stands inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, str) and isinstance(last, str):
            joined[-1] = last + part
        elif part != "":
            joined.append(part)
    return tuple(joined)
