"""On which hosts a device may be: those recorded for it; where nobody recorded one, every host that it could be on.

A wrong cluster answers a perfectly formed "no such device" (reference/the-things-stack.md 6.3), so one that was guessed
proves nothing by itself: where no address is known, all of them are asked. So they are where the recorded host has no
such device: it may never have been there, and the record be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from broker.things_stack.devices import Registry
from schema.things_stack_hosts import HostNotAllowedError, Hosts, StackHosts, siblings

_GUESSES_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A host to ask. certain: it is recorded or configured; of one that was guessed, not every refusal counts."""

    host: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Places:
    """The hosts of one run. known: by registry, what devices and application say."""

    hosts: Hosts
    allowed: StackHosts
    known: Mapping[str, Sequence[str]]

    def of(self, registry: Registry, recorded: Mapping[str, Sequence[str]]) -> list[Place]:
        """Where to ask for a device; recorded has its own hosts by registry."""
        if registry is Registry.IS:
            return [Place(self.hosts.identity, certain=True)]
        said = [
            one
            for one in dict.fromkeys(recorded.get(registry.value, ()))
            if registry is not Registry.JS or self.is_allowed(one)
        ]
        usual = self.usual(registry)
        if said:
            # What is recorded may be out of date; the configured host costs a call only where it is another one.
            more = [usual] if usual not in said else []
            return [Place(one, certain=one in said) for one in [*said, *more]]
        return [Place(usual, certain=True), *self._guesses(registry, {usual})]

    def elsewhere(self, registry: Registry, asked: Sequence[Place]) -> list[Place]:
        """Where else a device could be that is at none of the places asked, though it is recorded there."""
        if registry is Registry.IS:
            return []
        return self._guesses(registry, {one.host for one in asked})

    def _guesses(self, registry: Registry, besides: AbstractSet[str]) -> list[Place]:
        hosts = [
            self.usual(registry),
            *self.known.get(registry.value, ()),
            *siblings(self.usual(registry)),
            *self.allowed.named(),
        ]
        others = [one for one in dict.fromkeys(hosts) if one not in besides]
        allowed = [one for one in others if self.is_allowed(one)]
        return [Place(one, certain=False) for one in allowed[:_GUESSES_MOST]]

    def foreign_join_hosts(self, recorded: Mapping[str, Sequence[str]]) -> list[str]:
        """Join servers of others that the device is said to be on: no key of ours is sent there."""
        return [one for one in recorded.get("js", ()) if not self.is_allowed(one)]

    def usual(self, registry: Registry) -> str:
        """The configured host of a registry."""
        return {
            Registry.IS: self.hosts.identity,
            Registry.NS: self.hosts.network,
            Registry.AS: self.hosts.application,
            Registry.JS: self.hosts.join,
        }[registry]

    def all_of(self, registry: Registry) -> list[str]:
        """Every host of a registry that something of the application may be on."""
        found = dict.fromkeys([*self.known.get(registry.value, ()), self.usual(registry)])
        return [one for one in found if self.is_allowed(one)]

    def is_allowed(self, host: str) -> bool:
        """Whether a key may be sent there."""
        try:
            self.allowed.base_url(host)
        except HostNotAllowedError:
            return False
        return True
