"""The steps of provisioning, each of which can be done again: it looks what is there, makes what lacks, and verifies.

An id is written down before it is used, and what is ours is known by the connection's mark, so that after a crash
nothing is made twice: an application that exists is adopted when it is marked as ours, a key whose secret was lost is
deleted by its name (reference/the-things-stack.md 7, and 9 items 9 to 11, 13, 19, 20).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from broker.things_stack.devices import Registry
from broker.things_stack.leftovers import read_deletion, state_of
from broker.things_stack.provision_keys import KEYS, ensure_key
from broker.things_stack.provision_webhook import set_webhook, verify_webhook
from broker.things_stack.provision_work import MAKING, MARK, StepFailed, Work, require
from schema.things_stack_connection import (
    ProvisioningStep,
    Remedy,
    candidate,
    is_candidate,
)
from schema.things_stack_outcomes import Outcome, Target
from schema.things_stack_runs import StepStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRIES: Final = 5
_TAKEN: Final = 409
_NOT_OURS: Final = (403, 404)
_KINDS: Final = {
    "user_ids": "user",
    "organization_ids": "organization",
    "application_ids": "application",
}


async def auth_info(work: Work) -> None:
    """Whose key it is: a user's, an organization's, or an application's, which can make nothing beside it."""
    body = require(await work.stack.accounts.auth_info(), "auth_info").body
    held = body.get("api_key")
    entity = held.get("entity_ids") if isinstance(held, dict) else None
    kind = next(
        (kind for name, kind in _KINDS.items() if isinstance(entity, dict) and name in entity), None
    )
    if kind is None or not isinstance(entity, dict):
        raise StepFailed(
            "auth_info: api_key is no key of a user, an organization or an application"
        )
    entity_id = str(entity[f"{kind}_ids"][f"{kind}_id"])
    changes: dict[str, object] = {}
    if kind == "user":
        changes["ttn_user_id"] = entity_id
    elif kind == "organization":
        _must_be(work.found.ttn_org_id, entity_id, "organization")
        changes |= {"owner_kind": "organization", "ttn_org_id": entity_id}
    else:
        _must_be(work.found.application_id, entity_id, "application")
        changes["ttn_application_id"] = entity_id
    await work.note(changes, key_kind=kind, is_admin=bool(body.get("is_admin")))


async def create_organization(work: Work) -> None:
    """The organization that is to own the application, made for the key's user."""
    if work.details.get("key_kind") == "organization":
        return
    user = _user(work)

    async def create(name: str) -> Outcome:
        return await work.stack.organizations.create(user, name, _marked(work, name))

    organizations = work.stack.organizations
    await _make(work, "organization", create, organizations.get)
    outcome = await organizations.get(str(work.found.ttn_org_id))
    require(outcome, "get organization", Target.ORGANIZATION)


async def create_application(work: Work) -> None:
    """The application, of the user or of the organization; a key of an application alone has its own."""
    applications = work.stack.applications
    if work.details.get("key_kind") != "application":
        owner = work.found.ttn_org_id if work.found.row["owner_kind"] == "organization" else None
        user = None if owner else _user(work)

        async def create(name: str) -> Outcome:
            fields = {**_marked(work, name), **_addresses(work)}
            if owner:
                return await applications.create_for_organization(owner, name, fields)
            return await applications.create_for_user(str(user), name, fields)

        await _make(work, "application", create, applications.get)
    require(await applications.get(work.application_id, ["name"]), "get application")
    if work.details.get("created_application") == work.application_id:
        await _clear_inherited(work)


async def _clear_inherited(work: Work) -> None:
    """An application that we made inherits what one of its id left: its data would be sent where it was sent then.

    That of an application that was there before us stays (reference/the-things-stack.md 9, item 19).
    """
    hosts = work.found.hosts
    for name, registry, carry_out in state_of(work.stack.regional, work.application_id):
        outcome = await carry_out(hosts.join if registry is Registry.JS else hosts.application)
        status, _ = read_deletion(outcome)
        if status is StepStatus.ERROR:
            require(outcome, f"{name} of an earlier application", fresh_rights=True)


async def verify(work: Work) -> None:
    """All that was made is there, and nothing of ours twice: also not what a killed process had still under way."""
    require(await work.stack.applications.get(work.application_id, ["name"]), "get application")
    for name in KEYS:
        if work.found.row[f"{name}_id"] is not None:
            await ensure_key(work, name)
    if work.found.row["webhook_id"] is not None:
        await verify_webhook(work)


STEPS: Final[Mapping[ProvisioningStep, Callable[[Work], Awaitable[None]]]] = {
    ProvisioningStep.AUTH_INFO: auth_info,
    ProvisioningStep.CREATE_ORGANIZATION: create_organization,
    ProvisioningStep.CREATE_ORGANIZATION_KEY: lambda work: ensure_key(work, "org_api_key"),
    ProvisioningStep.CREATE_APPLICATION: create_application,
    ProvisioningStep.CREATE_APPLICATION_KEY: lambda work: ensure_key(work, "app_api_key"),
    ProvisioningStep.SET_WEBHOOK: set_webhook,
    ProvisioningStep.CREATE_GATEWAY_KEY: lambda work: ensure_key(work, "gateway_api_key"),
    ProvisioningStep.VERIFY: verify,
}
_COLUMNS: Final = {"organization": "ttn_org_id", "application": "ttn_application_id"}
_Get = Callable[[str, "Sequence[str]"], Awaitable[Outcome]]


async def _make(
    work: Work, kind: str, create: Callable[[str], Awaitable[Outcome]], get: _Get
) -> None:
    """Make one under the chosen id, or adopt ours; under another id when a chosen one is taken for good.

    Raises StepFailed with start-fresh as its remedy when the operator named the id that is taken.
    """
    column = _COLUMNS[kind]
    if "making" not in work.details:
        await work.note({}, making=secrets.token_hex(6))
    for _ in range(_TRIES):
        abandoned = list(work.found.row["abandoned_ids"])
        name = work.found.row[column] or candidate(kind, work.mark, abandoned)
        named = not is_candidate(name, work.mark)
        if work.found.row[column] is None:
            await work.note({column: name})
        outcome = await create(name)
        if outcome.ok:
            await work.note({}, **{f"created_{kind}": name})
            return
        if outcome.status != _TAKEN:
            require(outcome, f"create {kind} {name}")
        if await _is_ours(work, kind, name, get, named=named):
            return
        if named:
            raise StepFailed(
                f"create {kind} {name}: the id is taken for good, by somebody else or by one that was deleted",
                remedy=Remedy.START_FRESH,
                taken=(name,),
            )
        await work.note({column: None, "abandoned_ids": [*abandoned, name]})
    raise StepFailed(f"create {kind}: {_TRIES} ids in turn were taken", may_heal=True)


async def _is_ours(work: Work, kind: str, name: str, get: _Get, *, named: bool) -> bool:
    """Whether what has the id is ours: by its mark; or because the operator named it, and the key may see into it.

    One that was made since the last fresh start, and whose answer was lost, counts as created now.
    """
    target = Target.APPLICATION if kind == "application" else Target.ORGANIZATION
    outcome = await get(name, ["attributes"])
    if outcome.status in _NOT_OURS and outcome.error.name:
        return False
    found = require(outcome, f"get {kind} {name}", target).body.get("attributes")
    attributes = found if isinstance(found, dict) else {}
    if attributes.get(MAKING) == work.details["making"]:
        await work.note({}, **{f"created_{kind}": name})
    return attributes.get(MARK) == work.mark or named


def _marked(work: Work, name: str) -> dict[str, Any]:
    return {
        "name": work.found.row["organization_name"] or name,
        "attributes": {MARK: work.mark, MAKING: work.details["making"]},
    }


def _addresses(work: Work) -> dict[str, str]:
    hosts = work.found.hosts
    return {
        "network_server_address": hosts.network,
        "application_server_address": hosts.application,
        "join_server_address": hosts.join,
    }


def _user(work: Work) -> str:
    user = work.found.row["ttn_user_id"]
    if user is None or work.details.get("key_kind") != "user":
        raise StepFailed(
            "api_key: a user's key is needed, since only users make organizations and own applications"
        )
    return str(user)


def _must_be(known: str | None, found: str, kind: str) -> None:
    if known not in (None, found):
        raise StepFailed(f"auth_info: api_key is of the {kind} {found}, and not of {known}")
