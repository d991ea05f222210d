"""Claims of devices on join servers that are not the installation's own."""

from __future__ import annotations

from typing import Final

from broker.simulator.things_stack.access import require_authenticated
from broker.simulator.things_stack.call import Call, Reply, as_object
from broker.simulator.things_stack.errors import (
    ABORTED,
    CLAIMING,
    NOT_FOUND,
    STORE,
    StackError,
    invalid,
)
from broker.simulator.things_stack.identity_devices import READ, WRITE
from broker.simulator.things_stack.ids import check_id, eui_of_json
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import DeviceKey, Document, device_ids
from broker.simulator.things_stack.validation import check_batch

_DEVICES: Final = "/edcs/claim/{application_id}/devices"


def routes() -> list[Route]:
    """Claim, ask whether claiming is possible, look, unclaim one or many."""
    return [
        Route("dcs", "POST", "/edcs/claim", claim, (_check_claim,)),
        Route("dcs", "POST", "/edcs/claim/info", info),
        Route("dcs", "GET", f"{_DEVICES}/{{device_id}}", get),
        Route("dcs", "DELETE", f"{_DEVICES}/{{device_id}}", unclaim),
        Route(
            "dcs", "DELETE", f"{_DEVICES}/batch", unclaim_batch, (check_batch,), since_batches=True
        ),
    ]


def _identifiers(call: Call) -> Document:
    return as_object("authenticated_identifiers", call.body.get("authenticated_identifiers"))


def _target(call: Call) -> DeviceKey:
    target = as_object("target_application_ids", call.body.get("target_application_ids"))
    return str(target.get("application_id")), str(call.body.get("target_device_id"))


def _check_claim(call: Call) -> None:
    application_id, device_id = _target(call)
    check_id("target_application_ids.application_id", application_id)
    check_id("target_device_id", device_id)
    identifiers = _identifiers(call)
    for name in ("join_eui", "dev_eui"):
        if eui_of_json(name, identifiers.get(name)) is None:
            raise invalid(f"authenticated_identifiers.{name}", "value is required")


def claim(call: Call) -> Reply:
    """Claim a device; registering it is another matter."""
    key = _target(call)
    call.require("application", key[0], WRITE)
    identifiers = _identifiers(call)
    join_eui = str(eui_of_json("join_eui", identifiers["join_eui"]))
    _require_claimable(call, join_eui)
    dev_eui = str(eui_of_json("dev_eui", identifiers["dev_eui"]))
    call.stack.claims[key] = {"join_eui": join_eui, "dev_eui": dev_eui}
    return Reply({**device_ids(key), **call.stack.claims[key]})


def _require_claimable(call: Call, join_eui: str) -> None:
    if join_eui not in call.stack.options.claimable_join_euis:
        text = "JoinEUI `{eui}` does not support claiming"
        raise StackError(ABORTED, CLAIMING, "claiming_not_supported", text, {"eui": join_eui})


def info(call: Call) -> Reply:
    """Whether the join server of this JoinEUI takes claims."""
    require_authenticated(call.caller)
    join_eui = eui_of_json("join_eui", call.body.get("join_eui"))
    claimable = join_eui in call.stack.options.claimable_join_euis
    return Reply({"join_eui": join_eui or "", **({"supports_claiming": True} if claimable else {})})


def get(call: Call) -> Reply:
    """Whose claim it is."""
    call.require("application", call.application_id, READ)
    _require_claimable(call, _join_eui(call, call.device_key))
    ids = {**device_ids(call.device_key), **call.stack.claims.get(call.device_key, {})}
    return Reply({"end_device_ids": ids})


def unclaim(call: Call) -> Reply:
    """Give a claim up; the device is looked up on the identity server, so before it goes from there."""
    call.require("application", call.application_id, WRITE)
    _unclaim(call, call.device_key)
    return Reply()


def unclaim_batch(call: Call) -> Reply:
    """Up to 20; those that failed are in the answer, which is 200 all the same."""
    call.require("application", call.application_id, WRITE)
    failed: Document = {}
    for device_id in call.every("device_ids"):
        try:
            _unclaim(call, (call.application_id, device_id))
        except StackError as error:
            failed[device_id] = error.body(f"{call.stack.rng.getrandbits(128):032x}")["details"][0]
    return Reply({"failed": failed} if failed else {})


def _unclaim(call: Call, key: DeviceKey) -> None:
    _require_claimable(call, _join_eui(call, key))
    call.stack.claims.pop(key, None)


def _join_eui(call: Call, key: DeviceKey) -> str:
    found = call.stack.identity_devices.devices.get(key)
    if found is None:
        attributes = {"application_id": key[0], "device_id": key[1]}
        text = "end device `{application_id}:{device_id}` not found"
        raise StackError(NOT_FOUND, STORE, "end_device_not_found", text, attributes)
    return str(found["ids"].get("join_eui", ""))
