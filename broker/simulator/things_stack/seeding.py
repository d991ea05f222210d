"""Putting things there without asking over HTTP: users, organizations, applications, fleets of devices, keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.simulator.things_stack.rights import EVERYTHING
from broker.simulator.things_stack.state import (
    REGISTRIES,
    DeviceKey,
    Document,
    Entity,
    Stack,
    device_ids,
)
from broker.simulator.things_stack.timestamps import written

JOIN_EUI: Final = "70B3D57ED0000000"
_EUI_PREFIX: Final = "70B3D57ED"
_ADDRESSES: Final = {
    "ns": "network_server_address",
    "as": "application_server_address",
    "js": "join_server_address",
}


def user(stack: Stack, user_id: str, *, admin: bool = False) -> Entity:
    """A user, approved and with a validated address."""
    made = stack.add("user", user_id, {}, None)
    made.admin = admin
    return made


def organization(stack: Stack, organization_id: str, owner: Entity) -> Entity:
    """An organization of a user."""
    return stack.add("organization", organization_id, {"name": organization_id}, owner.account)


def application(stack: Stack, application_id: str, owner: Entity) -> Entity:
    """An application of a user or an organization."""
    return stack.add("application", application_id, {"name": application_id}, owner.account)


def key(stack: Stack, entity: Entity, rights: Iterable[str] = (EVERYTHING,), name: str = "") -> str:
    """A new API key of an entity, as a client sends it."""
    _, token = stack.add_key(entity, frozenset(rights), name)
    return token


def device(
    stack: Stack,
    key: DeviceKey,
    dev_eui: str | None,
    *,
    host: str = "eu1",
    join_eui: str | None = JOIN_EUI,
    registries: Iterable[str] = ("is", *REGISTRIES),
    addresses: bool = True,
) -> Document:
    """A device in the registries named; the identity server's entry tells the hosts, unless not `addresses`."""
    ids = device_ids(key)
    if dev_eui:
        ids["dev_eui"] = dev_eui.upper()
    if join_eui:
        ids["join_eui"] = join_eui.upper()
    now = written(stack.clock.now())
    document: Document = {"ids": ids, "created_at": now, "updated_at": now}
    listed = set(registries)
    for name in listed & set(REGISTRIES):
        stack.hosts[host].registries[name].put(key, {**document, "ids": dict(ids)})
        if addresses:
            document[_ADDRESSES[name]] = stack.hosts[host].address
    if "is" in listed:
        stack.identity_devices.put(key, document)
    return document


def fleet(
    stack: Stack, application_id: str, count: int, *, hosts: tuple[str, ...] = ("eu1",)
) -> list[DeviceKey]:
    """Devices `sensor-0001` and so on in all four registries, taking turns on the hosts."""
    keys = [(application_id, f"sensor-{number:04}") for number in range(1, count + 1)]
    for number, each in enumerate(keys, start=1):
        device(stack, each, eui_of(number), host=hosts[number % len(hosts)])
    return keys


def eui_of(number: int) -> str:
    """The DevEUI of a fleet's device by its number."""
    return f"{_EUI_PREFIX}{number:07X}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """What most uses start with: a user, an organization of theirs, an application of that, and the keys of each."""

    user: Entity
    organization: Entity
    application: Entity
    user_key: str
    organization_key: str
    application_key: str
    devices: list[DeviceKey]


def tenant(
    stack: Stack,
    name: str = "acme",
    *,
    devices: int = 0,
    hosts: tuple[str, ...] = ("eu1",),
    admin: bool = False,
) -> Tenant:
    """`<name>-owner` with the organization `<name>-org`, its application `<name>-sensors` and a fleet."""
    owner = user(stack, f"{name}-owner", admin=admin)
    org = organization(stack, f"{name}-org", owner)
    app = application(stack, f"{name}-sensors", org)
    return Tenant(
        owner,
        org,
        app,
        user_key=key(stack, owner, name="owner"),
        organization_key=key(stack, org, name="worker"),
        application_key=key(stack, app, name="application"),
        devices=fleet(stack, app.id, devices, hosts=hosts),
    )
