"""API keys that are made: shown by the server only once, so what is lost on the way is deleted by its name (7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.things_stack.keys import ApiKeys
from broker.things_stack.provision_work import StepFailed, Work, require
from schema.things_stack_outcomes import Target, is_gone

_APPLICATION: Final = (
    "RIGHT_APPLICATION_INFO",
    "RIGHT_APPLICATION_SETTINGS_BASIC",
    "RIGHT_APPLICATION_DEVICES_READ",
    "RIGHT_APPLICATION_DEVICES_WRITE",
    "RIGHT_APPLICATION_DEVICES_READ_KEYS",
    "RIGHT_APPLICATION_DEVICES_WRITE_KEYS",
    "RIGHT_APPLICATION_TRAFFIC_READ",
    "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
)
_GATEWAY: Final = (
    "RIGHT_GATEWAY_INFO",
    "RIGHT_GATEWAY_SETTINGS_BASIC",
    "RIGHT_GATEWAY_TRAFFIC_READ",
    "RIGHT_GATEWAY_TRAFFIC_DOWN_WRITE",
    "RIGHT_GATEWAY_LINK",
    "RIGHT_GATEWAY_STATUS_READ",
    "RIGHT_GATEWAY_LOCATION_READ",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A key's word in its name, whose it is, the rights it gets, and which entity it must turn out to be of."""

    word: str
    keys: Callable[[Work], ApiKeys]
    rights: Callable[[Work], tuple[str, ...]]
    entity: Callable[[Work], tuple[str, str]]


def _of_application(work: Work) -> ApiKeys:
    return work.stack.applications.keys(work.application_id)


def _of_organization(work: Work) -> ApiKeys:
    return work.stack.organizations.keys(str(work.found.ttn_org_id))


def _of_owner(work: Work) -> ApiKeys:
    if work.found.row["owner_kind"] == "organization":
        return _of_organization(work)
    return work.stack.accounts.keys(str(work.found.row["ttn_user_id"]))


def _owner(work: Work) -> tuple[str, str]:
    if work.found.row["owner_kind"] == "organization":
        return "organization", str(work.found.ttn_org_id)
    return "user", str(work.found.row["ttn_user_id"])


def _gateway_rights(work: Work) -> tuple[str, ...]:
    owner = _owner(work)[0].upper()
    return (*_GATEWAY, f"RIGHT_{owner}_GATEWAYS_LIST", f"RIGHT_{owner}_GATEWAYS_CREATE")


# What a full tear-down needs (6.1), so that it works when the key that was brought in is gone.
_ORGANIZATION: Final = (
    "RIGHT_ORGANIZATION_INFO",
    "RIGHT_ORGANIZATION_SETTINGS_BASIC",
    "RIGHT_ORGANIZATION_SETTINGS_API_KEYS",
    "RIGHT_ORGANIZATION_APPLICATIONS_LIST",
    "RIGHT_ORGANIZATION_APPLICATIONS_CREATE",
    "RIGHT_ORGANIZATION_GATEWAYS_LIST",
    "RIGHT_ORGANIZATION_DELETE",
    *_APPLICATION,
    "RIGHT_APPLICATION_SETTINGS_API_KEYS",
    "RIGHT_APPLICATION_DELETE",
)
KEYS: Final[Mapping[str, _Plan]] = {
    "org_api_key": _Plan(
        "organization",
        _of_organization,
        lambda _: _ORGANIZATION,
        lambda work: ("organization", str(work.found.ttn_org_id)),
    ),
    "app_api_key": _Plan(
        "application",
        _of_application,
        lambda _: _APPLICATION,
        lambda work: ("application", work.application_id),
    ),
    "gateway_api_key": _Plan("gateway", _of_owner, _gateway_rights, _owner),
}
"""The keys by the names of their columns."""


async def ensure_key(work: Work, name: str) -> None:
    """Have one key of a kind, stored and good, and none of ours beside it.

    One that is stored and still at the server stays. Whatever else has our name is deleted: its secret was lost with
    the process or the answer that had it. Raises StepFailed.
    """
    plan = KEYS[name]
    keys, label = plan.keys(work), f"{_PREFIX}-{work.mark}-{plan.word}"
    stored, stored_id = work.secret(name), work.found.row[f"{name}_id"]
    is_there = False
    for key_id, key_name in await _listed(keys, plan.word):
        if stored is not None and key_id == stored_id:
            is_there = True
        elif key_name == label:
            outcome = await keys.delete(key_id)
            if not is_gone(outcome, Target.API_KEY):
                require(outcome, f"delete {plan.word} key", Target.API_KEY)
    if stored is None or not is_there:
        stored = await _make(work, name, keys, label)
    await _check(work, plan, stored)


_PREFIX: Final = "jobbroker"


async def _listed(keys: ApiKeys, word: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async for page in keys.list():
        require(page.outcome, f"list {word} keys")
        found += [(str(one.get("id")), str(one.get("name"))) for one in page.items]
    return found


async def _make(work: Work, name: str, keys: ApiKeys, label: str) -> str:
    plan = KEYS[name]
    outcome = await keys.create(label, plan.rights(work))
    key, key_id = outcome.body.get("key"), outcome.body.get("id")
    if outcome.ok and isinstance(key, str) and isinstance(key_id, str):
        await work.note({name: key, f"{name}_id": key_id})
        return key
    lost = outcome.ok or (outcome.status is None and not outcome.unsent)
    if lost or (outcome.status or 0) >= _SERVER_BROKE:
        # It may have been made; the next try deletes it by its name.
        raise StepFailed(f"create {plan.word} key: the answer was lost", may_heal=True)
    require(outcome, f"create {plan.word} key")
    raise StepFailed(f"create {plan.word} key: the answer has no key", may_heal=True)


_SERVER_BROKE: Final = 500


async def _check(work: Work, plan: _Plan, key: str) -> None:
    """The key is known to the server, and of the entity that it is to be of."""
    async with work.seen_with(key) as stack:
        body = require(await stack.accounts.auth_info(), f"check {plan.word} key").body
    held = body.get("api_key")
    entity = held.get("entity_ids") if isinstance(held, dict) else None
    kind, entity_id = plan.entity(work)
    ids = entity.get(f"{kind}_ids") if isinstance(entity, dict) else None
    if not isinstance(ids, dict) or ids.get(f"{kind}_id") != entity_id:
        raise StepFailed(f"check {plan.word} key: it is no key of the {kind} {entity_id}")
