"""What a body's fields may hold: checked before anybody's rights are."""

from __future__ import annotations

import re
from typing import Final

from broker.simulator.things_stack.call import Call, as_object
from broker.simulator.things_stack.errors import invalid
from broker.simulator.things_stack.ids import check_id, check_query_bytes
from broker.simulator.things_stack.rights import ALL_RIGHTS
from broker.simulator.things_stack.state import Document
from broker.simulator.things_stack.timestamps import read

_LONGEST: Final = {"name": 50, "description": 2000}
_MOST_ATTRIBUTES: Final = 10
_ATTRIBUTE_KEY: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,}")
_LONGEST_KEY, _LONGEST_VALUE = 36, 200
_LONGEST_KEY_NAME: Final = 50
_MOST_IN_BATCH: Final = 20
_QUERY_BYTES: Final = {"dev_eui": 8, "join_eui": 8, "dev_addr": 4}


def check_texts(field: str, message: Document) -> None:
    """Name, description and attributes of an entity or device."""
    for name, longest in _LONGEST.items():
        value = message.get(name) or ""
        if not isinstance(value, str) or len(value) > longest:
            raise invalid(f"{field}.{name}", f"value length must be at most {longest} runes")
    attributes = as_object("attributes", message.get("attributes"))
    if len(attributes) > _MOST_ATTRIBUTES:
        raise invalid(f"{field}.attributes", "value must contain no more than 10 pair(s)")
    for key, value in attributes.items():
        if len(key) > _LONGEST_KEY or not _ATTRIBUTE_KEY.fullmatch(key):
            raise invalid(f"{field}.attributes[{key}]", "key does not match the pattern of ids")
        if not isinstance(value, str) or len(value) > _LONGEST_VALUE:
            raise invalid(f"{field}.attributes[{key}]", "value length must be at most 200 runes")


def check_rights(field: str, value: object, *, at_least: int) -> list[str]:
    """Names of rights, each once."""
    listed = value if isinstance(value, list) else []
    if len(listed) < at_least:
        raise invalid(field, f"value must contain at least {at_least} item(s)")
    if len(set(map(str, listed))) != len(listed):
        raise invalid(field, "repeated value must contain unique items")
    unknown = [right for right in listed if right not in ALL_RIGHTS]
    if unknown:
        raise invalid(field, f"unknown right {unknown[0]!r}")
    return [str(right) for right in listed]


def check_key(call: Call, field: str, message: Document, *, at_least: int) -> None:
    """An API key's name, rights and expiry."""
    name = message.get("name") or ""
    if not isinstance(name, str) or len(name) > _LONGEST_KEY_NAME:
        raise invalid(f"{field}name", "value length must be at most 50 runes")
    check_rights(f"{field}rights", message.get("rights"), at_least=at_least)
    expires_at = read("expires_at", message.get("expires_at"))
    if expires_at is not None and expires_at <= call.stack.clock.now():
        raise invalid(f"{field}expires_at", "value must be greater than now")


def check_batch(call: Call) -> None:
    """From 1 to 20 device ids."""
    ids = call.every("device_ids")
    if not 1 <= len(ids) <= _MOST_IN_BATCH:
        raise invalid("device_ids", "value must contain between 1 and 20 items, inclusive")
    for device_id in ids:
        check_id("device_ids", device_id)


def check_query_identifiers(call: Call) -> None:
    """EUIs in a device route's query select nothing, but must be base64."""
    for name, length in _QUERY_BYTES.items():
        for value in call.every(name):
            check_query_bytes(name, value, length)
