"""Operators whom an OpenID issuer vouches for: what its verified tokens say of role and tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.http.issuer_keys import IssuerKeys
from broker.http.refusal import Refusal
from broker.http.signed_tokens import verified
from handlers.operator_plane import Actor
from schema.limits import TENANT_ID, is_plain_text
from schema.rights import Role
from schema.topics import DEFAULT_TENANT

_NAME_CHARS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Where a token says what: claims by name, or `outer.inner` for one inside another.

    Each value of `role` that is a role's name behind `role_prefix` counts; the strongest is taken. Without `tenant`
    everybody is of `fixed_tenant`.
    """

    role: str = "roles"
    role_prefix: str = ""
    tenant: str | None = None
    fixed_tenant: str = DEFAULT_TENANT
    name: str = "sub"


class OidcTokens:
    """Who is behind an issuer's token. Keeps nothing of tokens; see `IssuerKeys` for what it keeps of keys."""

    def __init__(self, issuer: str, audience: str, claims: Claims, keys: IssuerKeys) -> None:
        self._issuer = issuer
        self._audience = audience
        self._claims = claims
        self._keys = keys

    async def identify(self, token: str) -> Actor:
        """The operator `oidc/NAME` with the role that the token gives.

        Raises Refusal: 401 for a token that is not good, 403 for one without a role or a tenant, 503 when the issuer
        would have to be asked for its key and is away.
        """
        said = await verified(token, self._issuer, self._audience, self._keys)
        tenant = self._claims.fixed_tenant
        if self._claims.tenant is not None:
            named = _claim(said, self._claims.tenant)
            if not isinstance(named, str) or TENANT_ID.fullmatch(named) is None:
                raise _forbidden(f"token: its claim {self._claims.tenant} names no tenant")
            tenant = named
        name = _claim(said, self._claims.name)
        if not isinstance(name, str) or not 0 < len(name) <= _NAME_CHARS or not is_plain_text(name):
            raise _forbidden(f"token: its claim {self._claims.name} is no name")
        return Actor(tenant, f"oidc/{name}", self._role(said))

    def _role(self, said: Mapping[str, Any]) -> Role:
        given = _claim(said, self._claims.role)
        values = given.split() if isinstance(given, str) else given
        names = set(map(str, values)) if isinstance(values, list) else set()
        for role in Role:  # the strongest first
            if self._claims.role_prefix + role in names:
                return role
        wanted = ", ".join(self._claims.role_prefix + role for role in Role)
        raise _forbidden(f"token: its claim {self._claims.role} has none of {wanted}")


def _claim(said: Mapping[str, Any], path: str) -> object:
    """A claim by its name; else by its path, as Keycloak's realm_access.roles."""
    if path in said:
        return said[path]
    at: object = said
    for name in path.split("."):
        at = at.get(name) if isinstance(at, Mapping) else None
    return at


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "Unauthorized", message)
