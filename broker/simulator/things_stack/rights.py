"""The rights there are, and which of them others imply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WORDS: Final = {
    "USER": "INFO SETTINGS_BASIC SETTINGS_API_KEYS DELETE AUTHORIZED_CLIENTS"
    " APPLICATIONS_LIST APPLICATIONS_CREATE GATEWAYS_LIST GATEWAYS_CREATE CLIENTS_LIST"
    " CLIENTS_CREATE ORGANIZATIONS_LIST ORGANIZATIONS_CREATE NOTIFICATIONS_READ ALL",
    "APPLICATION": "INFO SETTINGS_BASIC SETTINGS_API_KEYS SETTINGS_COLLABORATORS SETTINGS_PACKAGES"
    " DELETE DEVICES_READ DEVICES_WRITE DEVICES_READ_KEYS DEVICES_WRITE_KEYS TRAFFIC_READ"
    " TRAFFIC_UP_WRITE TRAFFIC_DOWN_WRITE LINK ALL",
    "GATEWAY": "INFO SETTINGS_BASIC SETTINGS_API_KEYS SETTINGS_COLLABORATORS DELETE TRAFFIC_READ"
    " TRAFFIC_DOWN_WRITE LINK STATUS_READ LOCATION_READ WRITE_SECRETS READ_SECRETS ALL",
    "ORGANIZATION": "INFO SETTINGS_BASIC SETTINGS_API_KEYS SETTINGS_MEMBERS DELETE"
    " APPLICATIONS_LIST APPLICATIONS_CREATE GATEWAYS_LIST GATEWAYS_CREATE CLIENTS_LIST"
    " CLIENTS_CREATE ADD_AS_COLLABORATOR ALL",
}

Rights = frozenset[str]

NONE: Final[Rights] = frozenset()
EVERYTHING: Final = "RIGHT_ALL"
OF_KIND: Final[dict[str, Rights]] = {
    kind.lower(): frozenset(f"RIGHT_{kind}_{word}" for word in words.split())
    for kind, words in _WORDS.items()
}
ALL_RIGHTS: Final[Rights] = frozenset({EVERYTHING, "RIGHT_SEND_INVITES"}).union(*OF_KIND.values())

# What being an administrator gives on everything, keys excepted.
ADMIN_RIGHTS: Final[Rights] = frozenset(
    right for right in ALL_RIGHTS if not right.endswith(("_KEYS", "_ALL"))
)


def implied(rights: Iterable[str]) -> Rights:
    """The rights with all that they imply."""
    given = frozenset(rights)
    if EVERYTHING in given:
        return ALL_RIGHTS
    kinds = [kind for kind in OF_KIND if f"RIGHT_{kind.upper()}_ALL" in given]
    return given.union(*(OF_KIND[kind] for kind in kinds))


def for_kind(kind: str, rights: Rights) -> Rights:
    """Those that mean something on an entity of this kind, without the ones that stand for many."""
    return frozenset(right for right in rights & OF_KIND[kind] if not right.endswith("_ALL"))
