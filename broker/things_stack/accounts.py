"""Whose key it is, users and organizations: routes of the identity server (reference/the-things-stack.md 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from broker.things_stack.keys import ApiKeys
from broker.things_stack.paging import Page, pages
from broker.things_stack.paths import path
from broker.things_stack.transport import Call, Transport
from schema.things_stack_outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Accounts:
    """`/auth_info` and `/users`."""

    transport: Transport
    host: str

    async def auth_info(self) -> Outcome:
        """Whose key it is, its rights, and is_admin, which is absent when false. The key itself is not in it."""
        return await self.transport.call(Call("GET", self.host, "/auth_info", private=True))

    def keys(self, user_id: str) -> ApiKeys:
        """A user's API keys."""
        return ApiKeys(self.transport, self.host, path("users", user_id))


@dataclass(frozen=True, slots=True)
class Organizations:
    """`/organizations`."""

    transport: Transport
    host: str

    async def create(
        self, user_id: str, organization_id: str, fields: Mapping[str, object] | None = None
    ) -> Outcome:
        """Make an organization that a user owns; only users may. Repeated after it was done: 409 already_exists."""
        body = {"organization": {"ids": {"organization_id": organization_id}, **(fields or {})}}
        return await self.transport.call(
            Call("POST", self.host, path("users", user_id, "organizations"), body=body)
        )

    async def get(self, organization_id: str, fields: Sequence[str] = ()) -> Outcome:
        """An organization; without fields, its public ones: the existence probe (5.5)."""
        query = {"field_mask": ",".join(fields)} if fields else None
        return await self.transport.call(
            Call("GET", self.host, path("organizations", organization_id), query)
        )

    async def delete(self, organization_id: str) -> Outcome:
        """Soft: its id stays taken. The server does not look whether it has applications left (4.3)."""
        return await self.transport.call(
            Call("DELETE", self.host, path("organizations", organization_id))
        )

    async def purge(self, organization_id: str) -> Outcome:
        """Hard, for admins alone."""
        return await self.transport.call(
            Call("DELETE", self.host, path("organizations", organization_id, "purge"))
        )

    def applications(self, organization_id: str) -> AsyncIterator[Page]:
        """Its applications that are not deleted."""
        where = path("organizations", organization_id, "applications")
        query = {"order": "application_id"}
        return pages(self.transport, self.host, where, key="applications", query=query)

    def gateways(self, organization_id: str) -> AsyncIterator[Page]:
        """Its gateways."""
        where = path("organizations", organization_id, "gateways")
        return pages(self.transport, self.host, where, key="gateways")

    def keys(self, organization_id: str) -> ApiKeys:
        """Its API keys."""
        return ApiKeys(self.transport, self.host, path("organizations", organization_id))
