"""API keys of an application, an organization or a user: five routes (reference/the-things-stack.md 2.1, 7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from broker.things_stack.paging import Page, pages
from broker.things_stack.paths import path
from broker.things_stack.transport import Call, Transport
from schema.things_stack_outcomes import Outcome


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Keys below `owner`, the path of what they belong to."""

    transport: Transport
    host: str
    owner: str

    async def create(
        self, name: str, rights: Sequence[str], *, expires_at: str | None = None
    ) -> Outcome:
        """Make a key; body["key"] is the key itself, in this answer alone, and never in a snippet.

        Not repeatable: of an answer that was lost, the key's secret is lost too. List by name, delete, create again.
        """
        body: dict[str, object] = {"name": name, "rights": list(rights)}
        if expires_at is not None:
            body["expires_at"] = expires_at
        return await self.transport.call(
            Call(
                "POST",
                self.host,
                f"{self.owner}/api-keys",
                body=body,
                repeatable=False,
                private=True,
            )
        )

    def list(self) -> AsyncIterator[Page]:
        """All keys: id, name, rights, and never the key."""
        where = f"{self.owner}/api-keys"
        return pages(self.transport, self.host, where, key="api_keys")

    async def delete(self, key_id: str) -> Outcome:
        """Take a key away, for good."""
        return await self.transport.call(Call("DELETE", self.host, self._at(key_id)))

    def _at(self, key_id: str) -> str:
        return f"{self.owner}/api-keys{path(key_id)}"
