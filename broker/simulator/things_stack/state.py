"""What the installation holds: entities on the identity server, and each regional host's own registries."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from broker.simulator.things_stack.errors import ALREADY_EXISTS, UTIL_STORE, StackError, not_found
from broker.simulator.things_stack.options import HostPlan, Options
from broker.simulator.things_stack.rights import EVERYTHING, Rights
from broker.simulator.things_stack.tokens import ApiKey, digest_of, joined, new_parts

REGISTRIES: Final = ("ns", "as", "js")
Account = tuple[str, str]
Document = dict[str, Any]
DeviceKey = tuple[str, str]  # application id, device id


@dataclass(slots=True)
class Entity:
    """A user, organization, application or gateway. `fields` is what its message holds besides ids and times."""

    kind: str
    id: str
    created_at: datetime
    updated_at: datetime
    fields: Document = field(default_factory=dict)
    deleted_at: datetime | None = None
    admin: bool = False
    state: str = "STATE_APPROVED"
    email_validated: bool = True
    collaborators: dict[Account, Rights] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)

    @property
    def account(self) -> Account:
        """Kind and id: what a collaborator is known by."""
        return self.kind, self.id

    @property
    def ids(self) -> Document:
        """Its identifiers as the API writes them."""
        return {f"{self.kind}_id": self.id, **self.fields.get("ids", {})}


@dataclass(slots=True)
class Registry:
    """End devices of one component on one host, and who holds which pair of EUIs there."""

    devices: dict[DeviceKey, Document] = field(default_factory=dict)
    by_euis: dict[tuple[str, str], DeviceKey] = field(default_factory=dict)

    def put(self, key: DeviceKey, document: Document) -> None:
        """Keep a device; its EUIs, when it has both, are its own from now on."""
        self.devices[key] = document
        pair = euis_of(document)
        if pair is not None:
            self.by_euis[pair] = key

    def remove(self, key: DeviceKey) -> bool:
        """Forget a device and free its EUIs here; whether it was there."""
        document = self.devices.pop(key, None)
        if document is None:
            return False
        pair = euis_of(document)
        if pair is not None and self.by_euis.get(pair) == key:
            del self.by_euis[pair]
        return True

    def other_holder(self, key: DeviceKey, pair: tuple[str, str] | None) -> DeviceKey | None:
        """Who else holds these EUIs."""
        holder = self.by_euis.get(pair) if pair is not None else None
        return None if holder == key else holder


@dataclass(slots=True)
class Host:
    """One host: its plan, its address once it listens, and what its regional components keep."""

    plan: HostPlan
    address: str = ""
    registries: dict[str, Registry] = field(
        default_factory=lambda: {name: Registry() for name in REGISTRIES}
    )
    # By application id, whether or not there is such an application (any more).
    webhooks: dict[str, dict[str, Document]] = field(default_factory=dict)
    pubsubs: dict[str, dict[str, Document]] = field(default_factory=dict)
    links: dict[str, Document] = field(default_factory=dict)
    associations: dict[str, dict[str, Document]] = field(default_factory=dict)
    device_associations: dict[DeviceKey, dict[str, Document]] = field(default_factory=dict)
    join_settings: dict[str, Document] = field(default_factory=dict)
    cached_rights: dict[tuple[str, str], tuple[datetime, Rights | StackError]] = field(
        default_factory=dict
    )

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.plan.name

    def components(self) -> frozenset[str]:
        """Which components answer here."""
        regional = {*REGISTRIES, "dcs"} if self.plan.regional else set()
        return frozenset(regional | ({"is"} if self.plan.identity else set()))


class Clock:
    """Now, with what a test has added to it."""

    def __init__(self) -> None:
        """Start with the real time."""
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The server's time, UTC."""
        return datetime.now(UTC) + self._ahead

    def move(self, by: timedelta) -> None:
        """Let time have passed."""
        self._ahead += by


class Stack:
    """All state. Calls change it between two awaits, so each is atomic."""

    def __init__(self, options: Options) -> None:
        """Start empty; `options.seed` decides each key and id that is drawn."""
        self.options = options
        self.clock = Clock()
        self.rng = random.Random(options.seed)  # noqa: S311 - keys of a simulated server, repeatable on purpose
        self.hosts = {plan.name: Host(plan) for plan in options.hosts}
        self.entities: dict[Account, Entity] = {}
        self.identity_devices = Registry()
        self.claims: dict[DeviceKey, Document] = {}
        self.key_owners: dict[str, Account] = {}
        self.keys_told: list[str] = []  # each once, for whoever looks where they went
        self.issued_euis: dict[str, int] = {}
        self.next_eui = 0

    def find(self, kind: str, entity_id: str, *, deleted: bool = False) -> Entity | None:
        """The entity, unless it is soft-deleted; with `deleted` also then."""
        entity = self.entities.get((kind, entity_id))
        if entity is None or (entity.deleted_at is not None and not deleted):
            return None
        return entity

    def get(self, kind: str, entity_id: str, *, deleted: bool = False) -> Entity:
        """As `find`; raises StackError (404) when it is not there."""
        entity = self.find(kind, entity_id, deleted=deleted)
        if entity is None:
            raise not_found(kind, entity_id)
        return entity

    def of_kind(self, kind: str, *, deleted: bool = False) -> Iterator[Entity]:
        """Those of one kind, by id; either the living or the soft-deleted."""
        for account in sorted(self.entities):
            entity = self.entities[account]
            if entity.kind == kind and (entity.deleted_at is not None) is deleted:
                yield entity

    def add(self, kind: str, entity_id: str, fields: Document, owner: Account | None) -> Entity:
        """A new entity, its owner a collaborator with every right.

        Raises StackError (409) when the id is taken, if only by a soft-deleted one; users and organizations share ids.
        """
        shared = ("user", "organization")
        kinds = shared if kind in shared else (kind,)
        if any((each, entity_id) in self.entities for each in kinds):
            name = "already_exists" if kind in shared else "id_taken"
            raise StackError(
                ALREADY_EXISTS, UTIL_STORE, name, "ID already taken", {"id": entity_id}
            )
        now = self.clock.now()
        entity = Entity(kind, entity_id, now, now, fields)
        if owner is not None:
            entity.collaborators[owner] = frozenset({EVERYTHING})
        self.entities[entity.account] = entity
        return entity

    def add_key(
        self, entity: Entity, rights: Rights, name: str = "", expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """A new key of an entity, and the secret that is told once, as the client sends it."""
        key_id, secret = new_parts(self.rng)
        now = self.clock.now()
        key = ApiKey(key_id, name, rights, now, now, expires_at, digest_of(secret))
        entity.keys[key_id] = key
        self.key_owners[key_id] = entity.account
        self.keys_told.append(joined(key_id, secret))
        return key, self.keys_told[-1]

    def remove_key(self, entity: Entity, key_id: str) -> bool:
        """Revoke a key for good; whether there was one."""
        self.key_owners.pop(key_id, None)
        return entity.keys.pop(key_id, None) is not None

    def purge(self, entity: Entity) -> None:
        """Remove an entity with its keys and memberships; its id is free at once."""
        for key_id in list(entity.keys):
            self.remove_key(entity, key_id)
        for other in self.entities.values():
            other.collaborators.pop(entity.account, None)
        del self.entities[entity.account]

    def devices_of(self, application_id: str) -> list[DeviceKey]:
        """The application's devices on the identity server, by device id."""
        return sorted(key for key in self.identity_devices.devices if key[0] == application_id)

    def holders_of(self, dev_eui: str) -> list[str]:
        """Every registry that holds the DevEUI: `is`, `<host>/<component>` or `claim`, with the holder's ids."""
        wanted = dev_eui.upper()
        places = [("is", self.identity_devices)]
        for host in self.hosts.values():
            places += [(f"{host.name}/{name}", host.registries[name]) for name in REGISTRIES]
        held = [
            f"{place} {key[0]}/{key[1]}"
            for place, registry in places
            for key, document in registry.devices.items()
            if document["ids"].get("dev_eui") == wanted
        ]
        claims = [key for key, ids in self.claims.items() if ids["dev_eui"] == wanted]
        return held + [f"claim {key[0]}/{key[1]}" for key in claims]


def euis_of(document: Document) -> tuple[str, str] | None:
    """The pair (JoinEUI, DevEUI) of a device that has both."""
    join_eui, dev_eui = document["ids"].get("join_eui"), document["ids"].get("dev_eui")
    return (join_eui, dev_eui) if join_eui and dev_eui else None


def device_ids(key: DeviceKey) -> Document:
    """A device's identifiers without EUIs, as the API writes them."""
    return {"device_id": key[1], "application_ids": {"application_id": key[0]}}
