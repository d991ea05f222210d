"""Who asks, and what they may: credentials, rights through memberships, and what missing rights are answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from broker.simulator.things_stack.errors import (
    IDENTITY,
    PERMISSION_DENIED,
    RIGHTS,
    UNAUTHENTICATED,
    StackError,
    unauthenticated,
)
from broker.simulator.things_stack.rights import (
    ADMIN_RIGHTS,
    ALL_RIGHTS,
    NONE,
    OF_KIND,
    Rights,
    implied,
)
from broker.simulator.things_stack.state import Account, Entity, Host, Stack
from broker.simulator.things_stack.tokens import PREFIX, ApiKey, digest_of, split

_OF_RESTRICTED: Final = {
    "STATE_REQUESTED": frozenset(
        {"RIGHT_USER_INFO", "RIGHT_USER_SETTINGS_BASIC", "RIGHT_USER_DELETE"}
    ),
    "STATE_REJECTED": frozenset({"RIGHT_USER_INFO", "RIGHT_USER_DELETE"}),
    "STATE_SUSPENDED": frozenset({"RIGHT_USER_INFO"}),
}
_REFUSED_STATES: Final = {
    "STATE_REQUESTED": ("user_requested", "user account approval is pending"),
    "STATE_REJECTED": ("user_rejected", "user account was rejected"),
    "STATE_SUSPENDED": ("user_suspended", "user account was suspended"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The key's entity with what the key may at most; no `entity` without credentials."""

    entity: Entity | None = None
    key: ApiKey | None = None
    rights: Rights = NONE
    universal: Rights = NONE
    is_admin: bool = False
    warning: str = ""

    @property
    def account(self) -> Account | None:
        """Whose collaborations count: the key's user or organization."""
        if self.entity is None or self.entity.kind not in {"user", "organization"}:
            return None
        return self.entity.account


def authenticate(stack: Stack, authorization: str | None) -> Caller:
    """Who sent this header; without the word Bearer it is nobody. Raises StackError (400 or 401)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return Caller()
    prefix, key_id, secret = split(token.strip())
    if prefix != PREFIX:
        raise _refused("token_not_found", "token not found")
    owner = stack.key_owners.get(key_id)
    entity = stack.find(*owner) if owner is not None else None
    if entity is None or key_id not in entity.keys:
        raise _refused("api_key_not_found", "API key not found")
    key = entity.keys[key_id]
    if not key.opens_with(secret):
        raise _refused("invalid_authorization", "invalid authorization")
    if key.expires_at is not None and key.expires_at <= stack.clock.now():
        raise _refused("api_key_expired", "API key expired")
    return _caller(stack, entity, key)


def _caller(stack: Stack, entity: Entity, key: ApiKey) -> Caller:
    rights = implied(key.rights)
    if entity.kind != "user":
        return Caller(entity, key, rights)
    restricted = _OF_RESTRICTED.get(entity.state)
    if restricted is not None:
        return Caller(entity, key, rights & restricted, warning="Restricted rights")
    warning = ""
    if not entity.email_validated:
        rights &= _OF_RESTRICTED["STATE_REQUESTED"]
        warning = "Restricted rights until email address validated"
    admin = ALL_RIGHTS if stack.options.admin_rights_all else ADMIN_RIGHTS
    universal = rights & admin if entity.admin else NONE
    return Caller(entity, key, rights, universal, is_admin=entity.admin, warning=warning)


def _refused(name: str, text: str) -> StackError:
    return StackError(UNAUTHENTICATED, IDENTITY, name, text)


def require_authenticated(caller: Caller) -> Entity:
    """Whose key it is. Raises StackError: 401 for nobody, 403 for a user that is not (any more) approved."""
    if caller.entity is None:
        raise unauthenticated()
    if caller.entity.state in _REFUSED_STATES:
        name, text = _REFUSED_STATES[caller.entity.state]
        raise StackError(PERMISSION_DENIED, IDENTITY, name, text)
    return caller.entity


def rights_on(
    stack: Stack, caller: Caller, kind: str, entity_id: str, *, deleted: bool = False
) -> Rights:
    """What the caller may on an entity: none when it is missing, except by being an administrator."""
    entity = stack.find(kind, entity_id, deleted=deleted)
    if entity is None or caller.entity is None:
        return caller.universal
    if caller.entity.account == entity.account:
        return caller.rights | caller.universal
    held = _membership(stack, caller.entity.account, entity)
    return (held & caller.rights) | caller.universal


def _membership(stack: Stack, account: Account, entity: Entity) -> Rights:
    """What collaboration gives, directly and through organizations that still exist."""
    held = implied(entity.collaborators.get(account, NONE))
    for (kind, between), granted in entity.collaborators.items():
        organization = stack.find(kind, between) if kind == "organization" else None
        if organization is not None and account in organization.collaborators:
            held |= implied(organization.collaborators[account]) & implied(granted)
    return held


def rights_at(stack: Stack, host: Host, authorization: str | None, application_id: str) -> Rights:
    """What a regional host believes of the sender's rights on an application.

    It asks the identity server once and remembers the answer for `options.rights_ttl` seconds, good or bad: a key that
    was revoked, or an application that is gone, keeps working for as long, and a new one keeps being refused.
    Raises StackError (400, 401) for credentials that are none.
    """
    if not (authorization or "").lower().startswith("bearer "):
        raise unauthenticated()
    now = stack.clock.now()
    cache_key = (digest_of(str(authorization)).hex(), application_id)
    until, answer = host.cached_rights.get(cache_key, (now, NONE))
    if until <= now:
        answer = _asked(stack, authorization, application_id)
        host.cached_rights[cache_key] = (now + timedelta(seconds=stack.options.rights_ttl), answer)
    if isinstance(answer, StackError):
        raise answer
    return answer


def _asked(stack: Stack, authorization: str | None, application_id: str) -> Rights | StackError:
    try:
        caller = authenticate(stack, authorization)
    except StackError as error:
        return error
    return rights_on(stack, caller, "application", application_id)


def require(rights: Rights, kind: str, entity_id: str, *needed: str) -> None:
    """Raises StackError (403): for no right at all, which a missing entity gives too, or for the one that lacks."""
    if not rights & OF_KIND[kind]:
        text = f"no {kind} rights for `{{uid}}`"
        raise StackError(PERMISSION_DENIED, RIGHTS, f"no_{kind}_rights", text, {"uid": entity_id})
    missing = [right for right in needed if right not in rights]
    if missing:
        text = f"insufficient {kind} rights for `{{uid}}`: missing `{{missing}}`"
        attributes = {"uid": entity_id, "missing": ", ".join(missing)}
        raise StackError(PERMISSION_DENIED, RIGHTS, f"insufficient_{kind}_rights", text, attributes)
