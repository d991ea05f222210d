"""End devices on the identity server: the one place that lists them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import (
    ALREADY_EXISTS,
    IDENTITY,
    INVALID_ARGUMENT,
    NOT_FOUND,
    STORE,
    UTIL_STORE,
    StackError,
    failed,
)
from broker.simulator.things_stack.ids import check_id, check_not_blocked, eui_of_json
from broker.simulator.things_stack.paging import check_paging, in_device_order, listed
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import DeviceKey, Document, Entity, device_ids, euis_of
from broker.simulator.things_stack.timestamps import read, written
from broker.simulator.things_stack.validation import (
    check_batch,
    check_query_identifiers,
    check_texts,
)

READ: Final = "RIGHT_APPLICATION_DEVICES_READ"
WRITE: Final = "RIGHT_APPLICATION_DEVICES_WRITE"
_DEVICES: Final = "/applications/{application_id}/devices"
_DEVICE: Final = f"{_DEVICES}/{{device_id}}"
_OUTPUT_ONLY: Final = frozenset({"ids", "created_at", "updated_at"})


def routes() -> list[Route]:
    """Create, get, list, filter, update, delete, and the two batches."""
    route = partial(Route, "is")
    return [
        route("POST", _DEVICES, create, (check_new,)),
        route("GET", _DEVICES, list_devices, (check_paging, check_mask)),
        route(
            "POST", f"{_DEVICES}/filter", filter_devices, (_query_of_body, check_paging, check_mask)
        ),
        route("GET", _DEVICE, get, (check_query_identifiers, check_mask)),
        route("PUT", _DEVICE, update, (_check_update,)),
        route("DELETE", _DEVICE, delete, (check_query_identifiers,)),
        route("GET", f"{_DEVICES}/batch", get_batch, (check_batch, check_mask), since_batches=True),
        route("DELETE", f"{_DEVICES}/batch", delete_batch, (check_batch,), since_batches=True),
        route("POST", "/applications/{application_id}/dev-eui", issue_eui),
    ]


def check_mask(call: Call) -> None:
    """Raises StackError (400) for a path that the identity server does not keep."""
    masks.check(call.mask(), masks.IDENTITY_DEVICE)


def check_new(call: Call) -> None:
    """A device to create has an id, and EUIs that are some."""
    message = call.message("end_device")
    check_id("end_device.ids.device_id", (message.get("ids") or {}).get("device_id"))
    device_identifiers(message, call.application_id)
    check_texts("end_device", message)


def _check_update(call: Call) -> None:
    allowed = frozenset(path for path in masks.IDENTITY_DEVICE if not path.startswith("ids."))
    masks.check(call.mask(), allowed - _OUTPUT_ONLY)
    check_texts("end_device", call.message("end_device"))


def device_identifiers(message: Document, application_id: str) -> Document:
    """A device's identifiers out of a body, EUIs in capitals; the application is the path's."""
    ids = message.get("ids") or {}
    found = device_ids((application_id, str(ids.get("device_id") or "")))
    for name in ("dev_eui", "join_eui"):
        eui = eui_of_json(f"ids.{name}", ids.get(name))
        if eui is not None:
            found[name] = eui
    return found


def create(call: Call) -> Reply:
    """Register a device here; the network, application and join server know nothing of it yet."""
    call.require("application", call.application_id, WRITE)
    application = call.stack.get("application", call.application_id)
    message = call.message("end_device")
    key = (call.application_id, str(message["ids"]["device_id"]))
    check_not_blocked(key[1])
    _require_same_servers(application, message)
    now = written(call.stack.clock.now())
    kept = {
        name: value for name, value in message.items() if masks.allows(masks.IDENTITY_DEVICE, name)
    }
    document = {
        **kept,
        "ids": device_identifiers(message, call.application_id),
        "created_at": now,
        "updated_at": now,
    }
    _require_free(call, key, document)
    call.stack.identity_devices.put(key, document)
    return Reply(masks.without_empty(document))


def _require_same_servers(application: Entity, message: Document) -> None:
    for name in masks.SERVER_ADDRESSES:
        wanted, given = application.fields.get(name), message.get(name)
        if wanted and given and wanted != given:
            text = f"{name} does not match that of the application"
            raise StackError(INVALID_ARGUMENT, IDENTITY, f"{name}_mismatch", text)


def _require_free(call: Call, key: DeviceKey, document: Document) -> None:
    registry = call.stack.identity_devices
    holder = registry.other_holder(key, euis_of(document))
    if holder is not None:
        raise euis_taken(IDENTITY, document["ids"], holder)
    if key in registry.devices:
        text = "ID already taken"
        raise StackError(ALREADY_EXISTS, UTIL_STORE, "id_taken", text, {"id": key[1]})


def euis_taken(namespace: str, ids: Document, holder: DeviceKey) -> StackError:
    """The conflict names who holds the EUIs, somebody else's application too."""
    attributes = {
        "join_eui": ids["join_eui"],
        "dev_eui": ids["dev_eui"],
        "device_id": holder[1],
        "application_id": holder[0],
    }
    text = (
        "an end device with JoinEUI `{join_eui}` and DevEUI `{dev_eui}` is already registered as"
        " `{device_id}` in application `{application_id}`"
    )
    return StackError(ALREADY_EXISTS, namespace, "end_device_euis_taken", text, attributes)


def _device(call: Call) -> Document:
    found = call.stack.identity_devices.devices.get(call.device_key)
    if found is None:
        application_id, device_id = call.device_key
        attributes = {"application_id": application_id, "device_id": device_id}
        text = "end device `{application_id}:{device_id}` not found"
        raise StackError(NOT_FOUND, STORE, "end_device_not_found", text, attributes)
    return found


def shown(call: Call, document: Document) -> Document:
    """Identifiers and times, and what the mask names."""
    return masks.pick(document, [*masks.ALWAYS, *call.mask()])


def get(call: Call) -> Reply:
    """One device."""
    call.require("application", call.application_id, READ)
    return Reply(shown(call, _device(call)))


def list_devices(call: Call) -> Reply:
    """A page of the application's devices."""
    call.require("application", call.application_id, READ)
    return _listed(call, since=None)


def filter_devices(call: Call) -> Reply:
    """The same with `filters`, of which `updated_since` leaves out older ones; the total counts those, too."""
    call.require("application", call.application_id, READ)
    return _listed(call, since=_updated_since(call))


def _listed(call: Call, *, since: datetime | None) -> Reply:
    devices = call.stack.identity_devices.devices
    documents = [devices[key] for key in call.stack.devices_of(call.application_id)]
    total = {"X-Total-Count": str(len(documents))}
    if since is not None:
        documents = [each for each in documents if _is_newer(each, since)]
    reply = listed(call, "end_devices", in_device_order(call, documents), partial(shown, call))
    return Reply(reply.body, total)


def _is_newer(document: Document, since: datetime) -> bool:
    updated = read("updated_at", document["updated_at"])
    return updated is not None and updated > since


def _updated_since(call: Call) -> datetime | None:
    filters = call.body.get("filters") or []
    named = [each["updated_since"] for each in filters if "updated_since" in each]
    return read("updated_since", named[0]) if named else None


def _query_of_body(call: Call) -> None:
    """A POST's parameters are in its body alone."""
    names = ("limit", "page", "order")
    call.query = [(name, str(call.body[name])) for name in names if name in call.body]
    _updated_since(call)


def get_batch(call: Call) -> Reply:
    """Those of the devices that there are; the others are left out without a word."""
    call.require("application", call.application_id, READ)
    devices = call.stack.identity_devices.devices
    keys = [(call.application_id, device_id) for device_id in sorted(set(call.every("device_ids")))]
    found = [shown(call, devices[key]) for key in keys if key in devices]
    return Reply({"end_devices": found} if found else {})


def update(call: Call) -> Reply:
    """What the mask names is set to what the body has; EUIs stay what they are."""
    call.require("application", call.application_id, WRITE)
    document = _device(call)
    masks.apply(call.message("end_device"), document, call.mask())
    document["updated_at"] = written(call.stack.clock.now())
    return Reply(shown(call, document))


def delete(call: Call) -> Reply:
    """Hard and at once; what other registries hold stays."""
    call.require("application", call.application_id, WRITE)
    _device(call)
    call.stack.identity_devices.remove(call.device_key)
    return Reply()


def delete_batch(call: Call) -> Reply:
    """Up to 20; of those that are missing nothing is said."""
    call.require("application", call.application_id, WRITE)
    for device_id in call.every("device_ids"):
        call.stack.identity_devices.remove((call.application_id, device_id))
    return Reply()


def issue_eui(call: Call) -> Reply:
    """A DevEUI off the server's block: a counter that never goes back."""
    call.require("application", call.application_id, WRITE, deleted=True)
    stack, options = call.stack, call.stack.options
    if options.dev_eui_prefix is None:
        raise StackError(
            INVALID_ARGUMENT,
            IDENTITY,
            "dev_eui_issuing_not_enabled",
            "DevEUI issuing not configured",
        )
    issued = stack.issued_euis.get(call.application_id, 0)
    if issued >= options.dev_eui_limit:
        text = "application issued DevEUI limit ({dev_eui_limit}) reached"
        attributes = {"dev_eui_limit": options.dev_eui_limit}
        raise failed("application_dev_eui_limit_reached", text, attributes)
    stack.issued_euis[call.application_id] = issued + 1
    stack.next_eui += 1
    digits = 2 * 8 - len(options.dev_eui_prefix)
    return Reply({"dev_eui": f"{options.dev_eui_prefix}{stack.next_eui:0{digits}X}"})
