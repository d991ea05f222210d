"""Applications: routes of the identity server (reference/the-things-stack.md 2.1, 2.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from broker.things_stack.keys import ApiKeys
from broker.things_stack.paging import Page, pages
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

    def list_mine(self, *, deleted: bool = False) -> AsyncIterator[Page]:
        """Those the caller collaborates on; deleted: only the soft-deleted ones."""
        query = {"order": "application_id", **({"deleted": "true"} if deleted else {})}
        return pages(self.transport, self.host, "/applications", key="applications", query=query)

    async def update(
        self, application_id: str, fields: Mapping[str, object], mask: Sequence[str]
    ) -> Outcome:
        """Change an application."""
        body = {
            "application": {"ids": {"application_id": application_id}, **fields},
            "field_mask": {"paths": list(mask)},
        }
        return await self.transport.call(
            Call("PUT", self.host, path("applications", application_id), body=body)
        )

    async def rights(self, application_id: str) -> Outcome:
        """What the caller may do with it; 200 {} when it does not exist."""
        return await self.transport.call(
            Call("GET", self.host, path("applications", application_id, "rights"))
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

    async def issue_dev_eui(self, application_id: str) -> Outcome:
        """The next DevEUI of the server's block; it never goes back to it, so this is not repeated."""
        where = path("applications", application_id, "dev-eui")
        return await self.transport.call(Call("POST", self.host, where, body={}, repeatable=False))

    async def set_collaborator(
        self, application_id: str, collaborator: Mapping[str, object], rights: Sequence[str]
    ) -> Outcome:
        """Give a user or an organization rights; collaborator as {"user_ids": {"user_id": ...}}."""
        body = {"collaborator": {"ids": dict(collaborator), "rights": list(rights)}}
        where = path("applications", application_id, "collaborators")
        return await self.transport.call(Call("PUT", self.host, where, body=body))

    def collaborators(self, application_id: str) -> AsyncIterator[Page]:
        """Who has rights on it."""
        where = path("applications", application_id, "collaborators")
        return pages(self.transport, self.host, where, key="collaborators")

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
