"""End devices in their four registries, and the search for one (reference/the-things-stack.md 2.4, 2.5, 2.7, 2.8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.things_stack.paging import PAGE, Page, pages
from broker.things_stack.paths import path
from broker.things_stack.transport import Call, Transport
from schema.things_stack_outcomes import Outcome

LISTED: Final = (
    "ids",
    "name",
    "network_server_address",
    "application_server_address",
    "join_server_address",
    "claim_authentication_code",
)


class Registry(StrEnum):
    """Which server's registry of devices, as routes spell it; the identity server's has no prefix."""

    IS = ""
    NS = "ns"
    AS = "as"
    JS = "js"


@dataclass(frozen=True, slots=True)
class Devices:
    """`/applications/{A}/devices` of the identity server and of the regional ones, each with its own host."""

    transport: Transport
    identity: str

    def list(self, application_id: str, fields: Sequence[str] = LISTED) -> AsyncIterator[Page]:
        """All devices in the identity server by id: the only registry that can be listed."""
        query = {"field_mask": ",".join(fields), "order": "device_id"}
        where = path("applications", application_id, "devices")
        return pages(self.transport, self.identity, where, key="end_devices", query=query)

    async def create(self, application_id: str, device: Mapping[str, object]) -> Outcome:
        """Register in the identity server; device has ids with device_id. Repeated after it was done: 409 id_taken."""
        where = path("applications", application_id, "devices")
        return await self.transport.call(
            Call("POST", self.identity, where, body={"end_device": dict(device)})
        )

    async def set(
        self,
        registry: Registry,
        host: str,
        application_id: str,
        device_id: str,
        device: Mapping[str, object],
        mask: Sequence[str],
    ) -> Outcome:
        """Register in a regional server, or change it there: an upsert. device may hold keys: none is shown."""
        body = {"end_device": dict(device), "field_mask": {"paths": list(mask)}}
        where = _at(registry, application_id, device_id)
        return await self.transport.call(Call("PUT", host, where, body=body, private=True))

    async def get(
        self,
        registry: Registry,
        host: str,
        application_id: str,
        device_id: str,
        fields: Sequence[str] = ("ids",),
    ) -> Outcome:
        """A device as one registry has it; fields must name no key where the outcome is recorded."""
        query = {"field_mask": ",".join(fields)}
        where = _at(registry, application_id, device_id)
        return await self.transport.call(Call("GET", host, where, query))

    async def delete(
        self, registry: Registry, host: str, application_id: str, device_id: str
    ) -> Outcome:
        """Take a device out of one registry, for good."""
        return await self.transport.call(
            Call("DELETE", host, _at(registry, application_id, device_id))
        )

    async def search(self, application_id: str, dev_eui: str) -> Outcome:
        """Devices of one application whose DevEUI contains `dev_eui`: compare exactly yourself."""
        where = path("search", "applications", application_id, "devices")
        query: dict[str, str | int] = {
            "dev_eui_contains": dev_eui,
            "field_mask": "ids",
            "limit": PAGE,
        }
        return await self.transport.call(Call("GET", self.identity, where, query))

    async def claiming(self, host: str, join_eui: str) -> Outcome:
        """Whether the join server of a JoinEUI takes claims: supports_claiming, absent when false."""
        body = {"join_eui": join_eui}
        return await self.transport.call(Call("POST", host, "/edcs/claim/info", body=body))

    async def unclaim(self, host: str, application_id: str, device_id: str) -> Outcome:
        """Give a claimed device back; the identity server must still have it."""
        where = path("edcs", "claim", application_id, "devices", device_id)
        return await self.transport.call(Call("DELETE", host, where))


def _at(registry: Registry, application_id: str, device_id: str) -> str:
    prefix = path(registry.value) if registry.value else ""
    return prefix + path("applications", application_id, "devices", device_id)
