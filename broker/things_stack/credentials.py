"""With whose key The Things Stack is spoken to, and where: what a run needs of an organization's connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from handlers.stack_connections import StackConnection, UnreadableSecretError
from schema.things_stack_hosts import Hosts

# The one that may do most first: an application's own key ends with the application.
_KEYS: Final = ("main_key", "org_api_key", "app_api_key")


class CredentialsError(Exception):
    """There is no connection or no key; the text says which, and no secret."""


class UnreadableCredentialsError(CredentialsError):
    """There is a key, and none of ours opens it: another process, or an older secret key, may."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An organization's connection, decrypted.

    application_id, ttn_organization_id and user_id are ids of The Things Stack, None where it has none. other_keys:
    what else is stored. No key ever shows in a repr.
    """

    api_key: str = field(repr=False)
    hosts: Hosts
    region: str | None = None
    application_id: str | None = None
    ttn_organization_id: str | None = None
    user_id: str | None = None
    other_keys: tuple[str, ...] = field(default=(), repr=False)


def credentials_of(connection: StackConnection | None) -> Credentials:
    """What a stored connection comes to. Raises CredentialsError: no key, or one that does not decrypt."""
    if connection is None:
        raise CredentialsError("the organization has no connection to The Things Stack any more")
    try:
        found = [key for name in _KEYS if (key := connection.secret(name)) is not None]
    except UnreadableSecretError as error:
        raise UnreadableCredentialsError(str(error)) from error
    if not found:
        raise CredentialsError("the organization's connection has no API key")
    hosts = connection.hosts
    return Credentials(
        found[0],
        Hosts(hosts.identity, hosts.network, hosts.application, hosts.join),
        connection.row["ttn_region"],
        connection.application_id,
        connection.ttn_org_id,
        connection.row["ttn_user_id"],
        tuple(found[1:]),
    )
