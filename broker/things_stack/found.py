"""Devices and hosts as the server's answers have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.things_stack.paging import Item, Page
from handlers.run_ledger import FoundDevice

ADDRESSES: Final = {
    "ns": "network_server_address",
    "as": "application_server_address",
    "js": "join_server_address",
}
"""Where an application or a device says that its servers are, by registry."""


def devices_of(page: Page) -> list[FoundDevice]:
    """The devices on a page."""
    return [one for one in map(device_of, page.items) if one is not None]


def device_of(item: Item) -> FoundDevice | None:
    """A device from its entry in the identity server; None for what is none."""
    ids = item.get("ids")
    device_id = ids.get("device_id") if isinstance(ids, dict) else None
    if not isinstance(ids, dict) or not isinstance(device_id, str):
        return None
    return FoundDevice(
        device_id,
        eui_of(ids.get("dev_eui")),
        eui_of(ids.get("join_eui")),
        hosts_of(item),
        bool(item.get("claim_authentication_code")),
    )


def hosts_of(item: Mapping[str, object]) -> dict[str, list[str]]:
    """By registry, where an application or a device says that its servers are."""
    found = {name: item.get(member) for name, member in ADDRESSES.items()}
    return {name: [host] for name, host in found.items() if isinstance(host, str) and host}


def eui_of(value: object) -> str | None:
    """An EUI as it is kept, 16 capital hex digits; None for what is none."""
    text = value.upper() if isinstance(value, str) else ""
    is_eui = len(text) == 16 and all(one in "0123456789ABCDEF" for one in text)  # noqa: PLR2004 - digits of 64 bits
    return text if is_eui else None
