"""The kinds of fields that commands are made of, each with its limit (AWS API reference; schema.limits)."""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import from_json

from schema.arns import parse_target
from schema.device import check_details
from schema.errors import Rejected
from schema.limits import (
    ATTRIBUTE_NAME,
    ATTRIBUTE_VALUE,
    ATTRIBUTES,
    DOCUMENT_BYTES,
    DOCUMENT_TYPE_CHARS,
    GROUP_NAME,
    JOB_ID,
    OPERATOR_NAME,
    REASON_CODE,
    SEARCH_CHARS,
    SOURCE_URL_CHARS,
    TEXT_CHARS,
    THING_NAME,
    TOKEN_BYTES,
    UUID,
    is_plain_text,
)
from schema.paging import PAGE_MOST
from schema.thing_query import parse

_NUL: Final = "\0"


def _fits(pattern: re.Pattern[str]) -> AfterValidator:
    def check(value: str) -> str:
        if pattern.fullmatch(value) is None:
            msg = f"does not match {pattern.pattern}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _plain(most: int) -> AfterValidator:
    def check(value: str) -> str:
        if not 1 <= len(value) <= most:
            msg = f"has {len(value)} characters, 1 to {most} are allowed"
            raise ValueError(msg)
        if not is_plain_text(value):
            msg = "has control characters"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _token(value: str) -> str:
    size = len(value.encode())
    if not 1 <= size <= TOKEN_BYTES or _NUL in value:
        msg = f"has {size} bytes, 1 to {TOKEN_BYTES} without U+0000 are allowed"
        raise ValueError(msg)
    return value


def _target(value: str) -> str:
    parse_target(value)
    return value


def _query(value: str) -> str:
    try:
        parse(value)
    except Rejected as refusal:
        raise ValueError(refusal.message.removeprefix("queryString: ")) from None
    return value


def compact_json(value: object) -> str:
    """A value as JSON text. Raises ValueError for numbers that JSON or the database cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        msg = "has a number that is too large"
        raise ValueError(msg) from None


def document_text(value: object) -> str:
    """A job document as JSON text: AWS has it as text, by hand an object is easier to type.

    Raises ValueError when it is neither, no JSON object, or over 32768 bytes.
    """
    text = compact_json(value) if isinstance(value, dict) else value
    if not isinstance(text, str):
        msg = "must be JSON text or a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports a ValueError as the field's fault
    size = len(text.encode())
    if not 1 <= size <= DOCUMENT_BYTES:
        msg = f"has {size} bytes, 1 to {DOCUMENT_BYTES} are allowed"
        raise ValueError(msg)
    try:
        data = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        msg = f"is not JSON: {str(error)[:200]}"
        raise ValueError(msg) from None
    if not isinstance(data, dict):
        msg = "must hold a JSON object: devices are given it as one"
        raise ValueError(msg)  # noqa: TRY004 - as above
    return text


def _params(value: dict[str, object]) -> dict[str, object]:
    text = compact_json(value)
    if len(text.encode()) > DOCUMENT_BYTES:
        msg = f"has {len(text.encode())} bytes as JSON, at most {DOCUMENT_BYTES} are allowed"
        raise ValueError(msg)
    if "\\u0000" in text.replace("\\\\", ""):
        msg = "has U+0000, which the database cannot hold"
        raise ValueError(msg)
    return value


def _attributes(value: dict[str, str]) -> dict[str, str]:
    if len(value) > ATTRIBUTES:
        msg = f"has {len(value)} attributes, at most {ATTRIBUTES} are allowed"
        raise ValueError(msg)
    for name, text in value.items():
        if ATTRIBUTE_NAME.fullmatch(name) is None:
            msg = f"attribute name {name[:80]!r} does not match {ATTRIBUTE_NAME.pattern}"
            raise ValueError(msg)
        if ATTRIBUTE_VALUE.fullmatch(text) is None:
            msg = f"attribute {name} does not match {ATTRIBUTE_VALUE.pattern}"
            raise ValueError(msg)
    return value


def _details(value: object) -> object:
    try:
        return None if value is None else check_details(value)
    except Rejected as refusal:
        raise ValueError(refusal.message) from None


ThingName = Annotated[str, _fits(THING_NAME)]
GroupName = Annotated[str, _fits(GROUP_NAME)]
GroupId = Annotated[str, Field(pattern=UUID)]
OperatorName = Annotated[str, _fits(OPERATOR_NAME)]
NamePrefix = Annotated[str, _fits(THING_NAME)]
JobId = Annotated[str, _fits(JOB_ID)]
ReasonCode = Annotated[str, _fits(REASON_CODE)]
Text = Annotated[str, _plain(TEXT_CHARS)]
SearchText = Annotated[str, _plain(SEARCH_CHARS)]
DocumentType = Annotated[str, _plain(DOCUMENT_TYPE_CHARS)]
TargetArn = Annotated[str, AfterValidator(_target)]
ClientToken = Annotated[str, AfterValidator(_token)]
# JSON text, whether it came as text or as an object.
Document = Annotated[str, BeforeValidator(document_text)]
# Read once, when the job is created (AWS: documentSource).
SourceUrl = Annotated[str, Field(pattern=r"^[!-~]+$", min_length=1, max_length=SOURCE_URL_CHARS)]
Params = Annotated[dict[str, object], AfterValidator(_params)]
QueryString = Annotated[str, AfterValidator(_query)]
Attributes = Annotated[dict[str, str], AfterValidator(_attributes)]
AttributeName = Annotated[str, _fits(ATTRIBUTE_NAME)]
AttributeValue = Annotated[str, _fits(ATTRIBUTE_VALUE)]
# JSON text of a map of strings, as executions store it.
StatusDetails = Annotated[str, BeforeValidator(_details)]
PageSize = Annotated[int, Field(ge=1, le=PAGE_MOST)]
PageToken = Annotated[str, Field(min_length=1, max_length=1024)]
# Versions are counted from 1 in a bigint.
Version = Annotated[int, Field(ge=0, le=2**63 - 1)]
