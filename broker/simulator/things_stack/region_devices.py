"""End devices on network, application and join server: three registries a host, each knowing its own alone."""

from __future__ import annotations

from functools import partial
from typing import Final

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import (
    COMPONENT_NAMESPACE,
    INVALID_ARGUMENT,
    NOT_FOUND,
    REGISTRY,
    StackError,
    redis_not_found,
)
from broker.simulator.things_stack.identity_devices import (
    READ,
    WRITE,
    device_identifiers,
    euis_taken,
)
from broker.simulator.things_stack.ids import check_id
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import (
    REGISTRIES,
    Document,
    Registry,
    euis_of,
)
from broker.simulator.things_stack.timestamps import written
from broker.simulator.things_stack.validation import check_batch, check_query_identifiers

READ_KEYS: Final = "RIGHT_APPLICATION_DEVICES_READ_KEYS"
WRITE_KEYS: Final = "RIGHT_APPLICATION_DEVICES_WRITE_KEYS"
_HOLD_KEYS: Final = frozenset({"root_keys", "session", "pending_session", "mac_state"})
_FACTORY: Final = frozenset({"session", "pending_session", "mac_state", "pending_mac_state"})


def routes() -> list[Route]:
    """Get, set, delete and batch delete on each; the network server resets a session, too."""
    made = [route for name in REGISTRIES for route in _of_component(name)]
    device = "/ns/applications/{application_id}/devices/{device_id}"
    return [*made, Route("ns", "PATCH", device, reset)]


def _of_component(component: str) -> list[Route]:
    route = partial(Route, component)
    devices = f"/{component}/applications/{{application_id}}/devices"
    device = f"{devices}/{{device_id}}"
    return [
        route("GET", device, get, (check_query_identifiers,)),
        route("PUT", device, set_device, (_check_set,)),
        route("POST", devices, set_device, (_check_set,)),
        route("DELETE", device, delete, (check_query_identifiers,)),
        route("DELETE", f"{devices}/batch", delete_batch, (check_batch,), since_batches=True),
    ]


def _check_set(call: Call) -> None:
    message = call.message("end_device")
    ids = message.get("ids") or {}
    check_id("end_device.ids.device_id", call.params.get("device_id", ids.get("device_id")))
    device_identifiers(message, call.application_id)


def _registry(call: Call) -> Registry:
    return call.host.registries[call.component]


def _missing(call: Call) -> StackError:
    namespace = COMPONENT_NAMESPACE[call.component]
    application_id, device_id = call.device_key
    attributes = {"device_uid": f"{application_id}.{device_id}"} if call.component == "as" else {}
    return StackError(NOT_FOUND, namespace, "device_not_found", "device not found", attributes)


def get(call: Call) -> Reply:
    """One device; what lacks is named by the store, except at the join server."""
    mask = call.mask()
    needed = [READ] if mask or call.component != "ns" else []
    if _needs_keys(mask):
        needed.append(READ_KEYS)
    call.require("application", call.application_id, *needed)
    found = _registry(call).devices.get(call.device_key)
    if found is None:
        raise _missing(call) if call.component == "js" else redis_not_found()
    return Reply(masks.pick(found, [*masks.ALWAYS, *mask]))


def _needs_keys(mask: list[str]) -> bool:
    return any(path.split(".")[0] in _HOLD_KEYS for path in mask)


def set_device(call: Call) -> Reply:
    """Create or update: only what the mask names is written, besides the identifiers of a new one."""
    mask, message = call.mask(), call.message("end_device")
    needed = [WRITE, WRITE_KEYS] if _needs_keys(mask) else [WRITE]
    call.require("application", call.application_id, *needed)
    ids = device_identifiers(message, call.application_id)
    ids["device_id"] = call.params.get("device_id", ids["device_id"])
    key, registry = (call.application_id, ids["device_id"]), _registry(call)
    holder = registry.other_holder(key, euis_of({"ids": ids}))
    if holder is not None:
        raise euis_taken(REGISTRY, ids, holder)
    document = _existing(call, registry, key, ids)
    masks.apply(message, document, [path for path in mask if not path.startswith("ids")])
    document["updated_at"] = written(call.stack.clock.now())
    registry.put(key, document)
    return Reply(masks.pick(document, [*masks.ALWAYS, *mask]))


def _existing(call: Call, registry: Registry, key: tuple[str, str], ids: Document) -> Document:
    document = registry.devices.get(key)
    if document is None:
        return {"ids": ids, "created_at": written(call.stack.clock.now())}
    for name in ("dev_eui", "join_eui"):
        if name in ids and document["ids"].get(name) != ids[name]:
            namespace, text = COMPONENT_NAMESPACE[call.component], "read-only field `{field}`"
            attributes = {"field": f"ids.{name}"}
            raise StackError(INVALID_ARGUMENT, namespace, "read_only_field", text, attributes)
    return document


def reset(call: Call) -> Reply:
    """Back to how it left the factory: no session."""
    call.require("application", call.application_id, READ, WRITE)
    found = _registry(call).devices.get(call.device_key)
    if found is None:
        raise _missing(call)
    for name in _FACTORY:
        found.pop(name, None)
    return Reply(masks.pick(found, [*masks.ALWAYS, *call.mask()]))


def delete(call: Call) -> Reply:
    """Hard and at once, here alone; the application server forgets the device's packages, too."""
    call.require("application", call.application_id, WRITE)
    if not _registry(call).remove(call.device_key):
        raise _missing(call)
    if call.component == "as":
        call.host.device_associations.pop(call.device_key, None)
    return Reply()


def delete_batch(call: Call) -> Reply:
    """Up to 20; nothing is said of those missing, and packages stay."""
    call.require("application", call.application_id, WRITE)
    for device_id in call.every("device_ids"):
        _registry(call).remove((call.application_id, device_id))
    return Reply()
