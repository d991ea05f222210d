"""Applications: routes of the identity server (reference/the-things-stack.md 2.1, 2.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.things_stack.keys import ApiKeys
from broker.things_stack.paths import path
from broker.things_stack.transport import Call, Transport
from schema.things_stack_outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Applications:
    """`/applications`."""

    transport: Transport
    host: str

    async def create_for_user(
        self, user_id: str, application_id: str, fields: Mapping[str, object] | None = None
    ) -> Outcome:
        """Make an application that a user owns. Repeated after it was done: 409 id_taken."""
        return await self._create(path("users", user_id), application_id, fields)

    async def create_for_organization(
        self, organization_id: str, application_id: str, fields: Mapping[str, object] | None = None
    ) -> Outcome:
        """Make an application that an organization owns."""
        return await self._create(path("organizations", organization_id), application_id, fields)

    async def get(self, application_id: str, fields: Sequence[str] = ()) -> Outcome:
        """An application; without fields, its public ones: the existence probe (5.5)."""
        query = {"field_mask": ",".join(fields)} if fields else None
        return await self.transport.call(
            Call("GET", self.host, path("applications", application_id), query)
        )

    async def delete(self, application_id: str) -> Outcome:
        """Soft: its id stays taken. Refused while the identity server has devices of it (4.2)."""
        return await self.transport.call(
            Call("DELETE", self.host, path("applications", application_id))
        )

    async def restore(self, application_id: str) -> Outcome:
        """Within the restore window, 24 h by default; all its old keys and collaborators are back too."""
        where = path("applications", application_id, "restore")
        return await self.transport.call(Call("POST", self.host, where, body={}))

    async def purge(self, application_id: str) -> Outcome:
        """Hard, for admins alone; its id is free then."""
        return await self.transport.call(
            Call("DELETE", self.host, path("applications", application_id, "purge"))
        )

    def keys(self, application_id: str) -> ApiKeys:
        """Its API keys."""
        return ApiKeys(self.transport, self.host, path("applications", application_id))

    async def _create(
        self, owner: str, application_id: str, fields: Mapping[str, object] | None
    ) -> Outcome:
        body = {"application": {"ids": {"application_id": application_id}, **(fields or {})}}
        return await self.transport.call(
            Call("POST", self.host, f"{owner}/applications", body=body)
        )
