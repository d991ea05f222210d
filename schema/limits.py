"""Names and sizes that the field has agreed on (AWS: API reference patterns, "AWS IoT Device Management quotas")."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from schema.errors import Code, Rejected, shorten

THING_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
GROUP_NAME: Final = THING_NAME
OPERATOR_NAME: Final = THING_NAME
JOB_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TENANT_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
REASON_CODE: Final = re.compile(r"[A-Z0-9_]{1,128}")
DETAIL_KEY: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")

# AWS: thing and group attributes; fifty with a type, three without: here always fifty.
ATTRIBUTE_NAME: Final = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
ATTRIBUTE_VALUE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
ATTRIBUTES: Final = 50
GROUP_DEPTH: Final = 7
MEMBERS_PER_COMMAND: Final = 1000

DETAIL_PAIRS: Final = 10
DETAIL_VALUE_CHARS: Final = 1024
DOCUMENT_BYTES: Final = 32768
TEXT_CHARS: Final = 2028  # description and comment
TARGETS_PER_JOB: Final = 100
DOCUMENT_TYPE_CHARS: Final = 128
EXPIRY_HOURS: Final = 8760  # a year
COMMAND_BYTES: Final = (
    262144  # an operator's payload: a full document, all its characters escaped, fits
)
STEP_MINUTES: Final = 10080  # seven days; also the in-progress timeout's limit
PENDING_LISTED: Final = 10  # entries in each pending list and in notify, without scheduling
TOKEN_BYTES: Final = 1024  # clientToken; AWS documents no limit for jobs, 64 for shadows

# \p{C} of AWS's patterns: control, format, surrogate, private use and unassigned characters.
_ASCII_TEXT = re.compile(r"[ -~]*")


def is_plain_text(text: str) -> bool:
    r"""Whether a text has no character of Unicode's category C (AWS pattern `[^\p{C}]+`)."""
    if _ASCII_TEXT.fullmatch(text) is not None:
        return True
    return not any(unicodedata.category(character)[0] == "C" for character in text)


def check_name(field: str, value: object, pattern: re.Pattern[str]) -> str:
    """The value, when it is a string that fits the pattern. Raises Rejected naming the field otherwise."""
    if isinstance(value, str) and pattern.fullmatch(value) is not None:
        return value
    raise Rejected(
        Code.INVALID_REQUEST, f"{field}: {shorten(value)} does not match {pattern.pattern}"
    )
