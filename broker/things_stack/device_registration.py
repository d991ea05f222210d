"""One device into all four registries: verified, undone when one refuses it, gone on with when half-made.

Identity server first, then join, network and application server; undone the other way round, since the identity server
is the one that can list, and that gives the rights (reference/the-things-stack.md 2.4, 2.5, 6.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.things_stack.device_lines import LineFailed, LineWork
from broker.things_stack.devices import Registry
from schema.secrets import SecretStatus
from schema.things_stack_hosts import Hosts
from schema.things_stack_outcomes import Outcome, Target, is_gone

MADE_BY: Final = "jobbroker-batch"
"""The attribute that says in which batch a device was made, so that only what this one made is undone."""
_IN: Final = (Registry.IS, Registry.JS, Registry.NS, Registry.AS)
_OUT: Final = (Registry.AS, Registry.NS, Registry.JS, Registry.IS)
_TARGETS: Final = {
    Registry.IS: Target.IS_DEVICE,
    Registry.NS: Target.NS_DEVICE,
    Registry.AS: Target.AS_DEVICE,
    Registry.JS: Target.JS_DEVICE,
}
_ADDRESSES: Final = {
    Registry.NS: "network_server_address",
    Registry.AS: "application_server_address",
    Registry.JS: "join_server_address",
}
_TAKEN: Final = 409
_WORDS: Final = {Registry.IS: "is", Registry.NS: "ns", Registry.AS: "as", Registry.JS: "js"}


@dataclass(slots=True)
class DeviceRegistration(LineWork):
    """A line that registers a device; `carry_out` once."""

    hosts: Hosts

    async def carry_out(self) -> None:
        """Into all four, and read back from each. Raises LineFailed, having undone what this batch made of it.

        What time may heal is not undone: the next try goes on with it.
        """
        self._require_keys()
        known = await self.batch.recorded(self.device_id)
        self.has = list(known.registered_in) if known is not None else []
        await self.batch.record(self.line, self.hosts)
        try:
            for registry in _IN:
                await self._into(registry)
            for registry in _IN:
                await self._verify(registry)
        except LineFailed as failure:
            if failure.may_heal or failure.stops:
                raise
            raise await self._undone(failure) from failure

    async def _into(self, registry: Registry) -> None:
        if registry is Registry.IS:
            outcome = await self.stack.devices.create(self.application, self._for_identity())
            self.ours = outcome.ok
            if outcome.status == _TAKEN:
                await self._require_same(outcome)
            elif not outcome.ok:
                raise self.failed("is", outcome)
        else:
            device, mask = self._for_region(registry)
            outcome = await self.stack.devices.set(
                registry, self._host(registry), self.application, self.device_id, device, mask
            )
            if not outcome.ok:
                raise self.failed(_WORDS[registry], outcome)
        if _WORDS[registry] not in self.has:
            self.has.append(_WORDS[registry])
        await self.batch.state(self.device_id, "registering", self.has)

    async def _require_same(self, refused: Outcome) -> None:
        """A 409 of the identity server is all right when what it has is this very device (9, item 10)."""
        where = (Registry.IS, self.hosts.identity, self.application, self.device_id)
        found = await self.stack.devices.get(*where, ["ids", "attributes"])
        if found.ok:
            ids, attributes = _object(found.body.get("ids")), _object(found.body.get("attributes"))
            if self._has_our_euis(ids):
                self.ours = attributes.get(MADE_BY) == str(self.batch.batch_id)
                return
            raise LineFailed(
                f"is: {self.device_id} is registered with DevEUI {ids.get('dev_eui')} and JoinEUI"
                f" {ids.get('join_eui')}, which cannot be changed; remove it first",
                _TAKEN,
            )
        if not is_gone(found, Target.IS_DEVICE):
            raise self.failed("is", found)
        held = refused.error.attributes
        holder = f"{held.get('application_id', '?')}/{held.get('device_id', '?')}"
        raise LineFailed(f"is: the EUIs are taken by {holder} ({refused.error.name})", _TAKEN)

    async def _verify(self, registry: Registry) -> None:
        where = (registry, self._host(registry), self.application, self.device_id)
        outcome = await self.stack.devices.get(*where)
        if not outcome.ok:
            raise self.failed(f"verify {_WORDS[registry]}", outcome)
        if not self._has_our_euis(_object(outcome.body.get("ids"))):
            raise LineFailed(f"verify {_WORDS[registry]}: it has other EUIs", outcome.status)

    async def _undone(self, failure: LineFailed) -> LineFailed:
        """The failure, with what is left of the device."""
        if not self.ours:
            return LineFailed(f"{failure}; it was there before, and stays as it is", failure.status)
        left: list[str] = []
        for registry in _OUT:
            if _WORDS[registry] not in self.has:
                continue
            try:
                await self._out(registry, self._host(registry))
            except LineFailed as problem:
                left.append(f"{_WORDS[registry]} ({problem})")
                if registry is not Registry.IS:
                    break  # the identity server must know of it for as long as another has it
        if left:
            return LineFailed(f"{failure}; not undone: {', '.join(left)}", failure.status)
        return LineFailed(f"{failure}; undone", failure.status)

    async def _out(self, registry: Registry, host: str) -> None:
        outcome = await self.stack.devices.delete(registry, host, self.application, self.device_id)
        if not outcome.ok and not is_gone(outcome, _TARGETS[registry]):
            raise self.failed(f"delete {_WORDS[registry]}", outcome)
        self._forget(registry)

    def _for_identity(self) -> dict[str, Any]:
        addresses = {name: self._host(registry) for registry, name in _ADDRESSES.items()}
        device = {
            "ids": self._ids(),
            **addresses,
            "attributes": {MADE_BY: str(self.batch.batch_id)},
        }
        name = self.line.device.get("name")
        return {**device, "name": name} if name else device

    def _for_region(self, registry: Registry) -> tuple[dict[str, Any], list[str]]:
        fields: dict[str, Any] = {}
        match registry:
            case Registry.JS:
                keys = {"app_key": {"key": self.line.app_key.value}}
                if self.line.nwk_key.value:
                    keys["nwk_key"] = {"key": self.line.nwk_key.value}
                fields = {
                    "network_server_address": self.hosts.network,
                    "application_server_address": self.hosts.application,
                    "root_keys": keys,
                }
            case Registry.NS:
                names = ("lorawan_version", "lorawan_phy_version", "frequency_plan_id")
                fields = {name: self.line.device[name] for name in names}
                fields["supports_join"] = True
        mask = ["ids.device_id", "ids.dev_eui", "ids.join_eui"]
        for name in fields:
            mask += (
                [f"root_keys.{key}.key" for key in fields[name]] if name == "root_keys" else [name]
            )
        return {"ids": self._ids(), **fields}, mask

    def _ids(self) -> dict[str, Any]:
        return {
            "device_id": self.device_id,
            "application_ids": {"application_id": self.application},
            "dev_eui": self.line.device["dev_eui"],
            "join_eui": self.line.device["join_eui"],
        }

    def _has_our_euis(self, ids: Mapping[str, Any]) -> bool:
        return all(
            str(ids.get(name, "")).upper() == self.line.device[name]
            for name in ("dev_eui", "join_eui")
        )

    def _require_keys(self) -> None:
        for name, opened in (("app_key", self.line.app_key), ("nwk_key", self.line.nwk_key)):
            if opened.status is SecretStatus.FAILED:
                raise LineFailed(f"{name}: cannot be decrypted: {opened.problem}")
        if self.line.app_key.status is SecretStatus.EMPTY:
            raise LineFailed("app_key: there is none")

    def _forget(self, registry: Registry) -> None:
        if _WORDS[registry] in self.has:
            self.has.remove(_WORDS[registry])

    def _host(self, registry: Registry) -> str:
        hosts = {
            Registry.IS: self.hosts.identity,
            Registry.NS: self.hosts.network,
            Registry.AS: self.hosts.application,
            Registry.JS: self.hosts.join,
        }
        return hosts[registry]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
