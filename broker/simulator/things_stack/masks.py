"""Field masks: what may be asked for, and the part of a message that they pick."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Final

from broker.simulator.things_stack.errors import forbidden_paths
from broker.simulator.things_stack.state import Document

SERVER_ADDRESSES: Final = (
    "network_server_address",
    "application_server_address",
    "join_server_address",
)
# A name stands for itself and for all below it; `ids` is told member by member.
IDENTITY_DEVICE: Final = frozenset(
    {
        "ids.application_ids",
        "ids.device_id",
        "ids.dev_eui",
        "ids.join_eui",
        "name",
        "description",
        "attributes",
        "created_at",
        "updated_at",
        "activated_at",
        "last_seen_at",
        "version_ids",
        "service_profile_id",
        "serial_number",
        "lora_alliance_profile_ids",
        "locations",
        "picture",
        "claim_authentication_code",
    }
) | frozenset(SERVER_ADDRESSES)
ENTITY: Final = frozenset(
    {
        "ids",
        "name",
        "description",
        "attributes",
        "created_at",
        "updated_at",
        "deleted_at",
        "administrative_contact",
        "technical_contact",
        "contact_info",
    }
)
APPLICATION: Final = ENTITY | frozenset((*SERVER_ADDRESSES, "dev_eui_counter"))
USER: Final = ENTITY | frozenset(
    ["primary_email_address", "primary_email_address_validated_at", "state", "admin"]
)
GATEWAY: Final = ENTITY | frozenset(
    {
        "gateway_server_address",
        "auto_update",
        "update_channel",
        "frequency_plan_id",
        "frequency_plan_ids",
        "antennas",
        "status_public",
        "location_public",
        "schedule_downlink_late",
        "enforce_duty_cycle",
        "version_ids",
        "require_authenticated_connection",
        "claim_authentication_code",
    }
)
PUBLIC: Final = frozenset(
    {
        "ids",
        "created_at",
        "updated_at",
        "deleted_at",
        "administrative_contact",
        "technical_contact",
        "contact_info",
    }
)
PUBLIC_NAMED: Final = PUBLIC | {"name"}
ALWAYS: Final = ("ids", "created_at", "updated_at")
_OUTPUT_ONLY: Final = frozenset({"ids", "created_at", "updated_at", "deleted_at"})


def check(paths: Iterable[str], allowed: frozenset[str]) -> None:
    """Raises StackError (400) naming each path that is not allowed."""
    wrong = [path for path in paths if not allows(allowed, path)]
    if wrong:
        raise forbidden_paths(wrong)


def check_update(paths: Iterable[str], allowed: frozenset[str]) -> None:
    """As `check`, for what may be written."""
    check(paths, allowed - _OUTPUT_ONLY)


def allows(allowed: frozenset[str], path: str) -> bool:
    """Whether the path, what is above it or what is below it is among those allowed."""
    return any(
        path == each or path.startswith(f"{each}.") or each.startswith(f"{path}.")
        for each in allowed
    )


def only_public(paths: Iterable[str], public: frozenset[str]) -> bool:
    """Whether nobody's rights are needed to read these."""
    return all(path.split(".")[0] in public for path in paths)


def pick(document: Document, paths: Iterable[str]) -> Document:
    """The parts of a message that the mask names, without what is empty, as proto JSON leaves it out."""
    picked: Document = {}
    for path in paths:
        _copy_path(document, picked, path.split("."))
    return without_empty(picked)


def apply(source: Document, target: Document, paths: Iterable[str]) -> None:
    """Set in `target` what the mask names to what `source` has; what `source` lacks is cleared."""
    for path in paths:
        *above, leaf = path.split(".")
        read, write = source, target
        for name in above:
            read = read.get(name) or {}
            write = write.setdefault(name, {})
        if leaf in read:
            write[leaf] = copy.deepcopy(read[leaf])
        else:
            write.pop(leaf, None)


def without_empty(message: Document) -> Document:
    """The message as proto JSON writes it: no zero, no empty string, list or null.

    A message that is set but empty stays (`"uplink_message": {}` switches a webhook's message type on).
    """
    kept: Document = {}
    for key, value in message.items():
        if isinstance(value, dict):
            kept[key] = without_empty(value)
        elif value:
            kept[key] = value
    return kept


def _copy_path(source: Document, target: Document, path: list[str]) -> None:
    head, *rest = path
    if head not in source:
        return
    if not rest or not isinstance(source[head], dict):
        target[head] = copy.deepcopy(source[head])
    else:
        _copy_path(source[head], target.setdefault(head, {}), rest)
