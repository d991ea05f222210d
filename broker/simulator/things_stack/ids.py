"""Identifiers: which are well-formed, which are reserved words, and EUIs in their two spellings."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from broker.simulator.things_stack.errors import (
    BLOCKLIST,
    INVALID_ARGUMENT,
    StackError,
    gateway_error,
    invalid,
)

_ID: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,}")
_USER_ID: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9])+")
_LONGEST_ID: Final = 36
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
EUI_BYTES: Final = 8

# The words of the built-in list that are of any use to remember; the server has several hundred.
BLOCKED: Final = frozenset(
    {
        "admin",
        "api",
        "app",
        "apps",
        "batch",
        "broker",
        "cloud",
        "data",
        "default",
        "demo",
        "dev",
        "device",
        "devices",
        "example-app",
        "example-device",
        "gateway",
        "org",
        "organization",
        "prod",
        "search",
        "staging",
        "test",
        "ttn",
        "webhook",
    }
)


def check_id(field: str, value: object) -> str:
    """Return the id; raises StackError (400) when it is not one."""
    pattern = _USER_ID if field.endswith("user_id") else _ID
    if not isinstance(value, str) or len(value) > _LONGEST_ID or not pattern.fullmatch(value):
        raise invalid(field, f"value does not match regex pattern {pattern.pattern!r}")
    return value


def check_not_blocked(value: str) -> None:
    """Raises StackError (400) for a word that no new entity may be named by."""
    if value in BLOCKED:
        raise StackError(
            INVALID_ARGUMENT, BLOCKLIST, "forbidden_id", "forbidden ID `{id}`", {"id": value}
        )


def eui_of_json(field: str, value: object) -> str | None:
    """An EUI out of a JSON body, hex in any case or base64, as 16 uppercase hex digits; None when not set."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) == 2 * EUI_BYTES and _HEX.fullmatch(value):
        return value.upper()
    decoded = _base64(value) if isinstance(value, str) else None
    if decoded is None or len(decoded) != EUI_BYTES:
        raise gateway_error(INVALID_ARGUMENT, f"proto: invalid value for bytes field {field}")
    return decoded.hex().upper()


def check_query_bytes(name: str, value: str, length: int) -> None:
    """Bytes in a query are base64, whatever they are in a body: hex is refused."""
    decoded = _base64(value)
    if decoded is None or len(decoded) != length:
        raise gateway_error(INVALID_ARGUMENT, f'invalid value "{value}" for bytes field {name}')


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
