"""With whose key The Things Stack is spoken to, and where: what the worker needs of an organization's connection."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from schema.things_stack_hosts import Hosts


class CredentialsError(Exception):
    """There is no connection, or its key cannot be read; the text says which, and no secret."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An organization's connection, decrypted.

    application_id, ttn_organization_id and user_id are ids of The Things Stack, None where it has none. api_key never
    shows in a repr.
    """

    api_key: str = field(repr=False)
    hosts: Hosts
    region: str | None = None
    application_id: str | None = None
    ttn_organization_id: str | None = None
    user_id: str | None = None


class CredentialsReader(Protocol):
    """Reads the connection of one of a tenant's organizations, outside any transaction of the caller."""

    def __call__(self, tenant_id: str, organization_id: UUID) -> Awaitable[Credentials]:
        """The credentials. Raises CredentialsError; a key that cannot be decrypted is never taken for a missing one."""
        ...
