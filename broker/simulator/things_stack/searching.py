"""Search on the identity server: devices of one application, and entities, the soft-deleted ones if asked for."""

from __future__ import annotations

from functools import partial
from typing import Final

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.entities import public, shown
from broker.simulator.things_stack.errors import IDENTITY, PERMISSION_DENIED, StackError, invalid
from broker.simulator.things_stack.identity_devices import READ, check_mask
from broker.simulator.things_stack.identity_devices import shown as shown_device
from broker.simulator.things_stack.kinds import ALL, Kind
from broker.simulator.things_stack.paging import check_paging, in_device_order, paged
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Document, Entity

_LONGEST_EUI: Final = 16
_EUI_FILTERS: Final = {"dev_eui_contains": "dev_eui", "join_eui_contains": "join_eui"}


def routes() -> list[Route]:
    """One for devices, and one for each kind of entity."""
    devices = "/search/applications/{application_id}/devices"
    made = [Route("is", "GET", devices, search_devices, (check_paging, check_mask, _check_euis))]
    made += [
        Route(
            "is",
            "GET",
            f"/search/{kind.plural}",
            partial(search_entities, kind),
            (check_paging, partial(_check_mask, kind)),
        )
        for kind in ALL
    ]
    return made


def _check_mask(kind: Kind, call: Call) -> None:
    masks.check(call.mask(), kind.fields)


def _check_euis(call: Call) -> None:
    for name in _EUI_FILTERS:
        if len(call.last(name) or "") > _LONGEST_EUI:
            raise invalid(name, "value length must be at most 16 runes")


def search_devices(call: Call) -> Reply:
    """Devices in whose ids, names or EUIs the text occurs; `dev_addr_contains` is taken and does nothing."""
    call.require("application", call.application_id, READ)
    devices = call.stack.identity_devices.devices
    documents = [devices[key] for key in call.stack.devices_of(call.application_id)]
    found = [document for document in documents if _fits(call, document)]
    page, headers = paged(call, in_device_order(call, found))
    # The hits are read again by id with the default limit, so a page is never longer than that.
    page = page[: call.stack.options.default_limit]
    body = {"end_devices": [shown_device(call, each) for each in page]} if page else {}
    return Reply(body, headers)


def _fits(call: Call, document: Document) -> bool:
    ids = document["ids"]
    return _texts_fit(call, ids["device_id"], str(document.get("name") or "")) and all(
        (call.last(name) or "").upper() in ids.get(key, "") for name, key in _EUI_FILTERS.items()
    )


def _texts_fit(call: Call, own_id: str, name: str) -> bool:
    query = (call.last("query") or "").lower()
    return (
        (query in own_id or query in name.lower())
        and (call.last("id_contains") or "").lower() in own_id
        and (call.last("name_contains") or "").lower() in name.lower()
    )


def search_entities(kind: Kind, call: Call) -> Reply:
    """Entities: all to an administrator, their own to others."""
    account = call.caller.account
    if account is None:
        text = "search is forbidden"
        raise StackError(PERMISSION_DENIED, IDENTITY, "search_forbidden", text)
    deleted = call.last("deleted") == "true"
    found = [
        entity
        for entity in call.stack.of_kind(kind.name, deleted=deleted)
        if (call.caller.is_admin or _own(call, kind, entity))
        and _texts_fit(call, entity.id, str(entity.fields.get("name") or ""))
    ]
    page, headers = paged(call, found)
    page = page[: call.stack.options.default_limit]
    made = [_shown(call, kind, entity) for entity in page]
    return Reply({kind.plural: made} if made else {}, headers)


def _own(call: Call, kind: Kind, entity: Entity) -> bool:
    return bool(call.rights(kind.name, entity.id, deleted=True))


def _shown(call: Call, kind: Kind, entity: Entity) -> Document:
    if kind.right("INFO") in call.rights(kind.name, entity.id, deleted=True):
        return shown(entity, call.mask())
    return public(kind, entity, call.mask())
