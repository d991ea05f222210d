"""Where The Things Stack is: its hosts by region, and the only ones that may ever be shown a key.

Devices name their servers themselves, so hosts are remote data (reference/the-things-stack.md 6.3): one that is not on
the list is not called at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from schema.errors import shorten

DEFAULT_HOSTS: Final = "*.cloud.thethings.network,*.cloud.thethings.industries"
_PORTS: Final = {"http": 80, "https": 443}
_PORT_MOST: Final = 65535
# An address in a registry may have gRPC's port, with TLS or without; HTTP is at the scheme's own.
_GRPC_PORTS: Final = frozenset({1884, 8884})
_HOST: Final = r"(?P<name>(\*\.)?[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*)"
_ADDRESS: Final = re.compile(_HOST + r"(:(?P<port>[1-9][0-9]{0,4}))?")
_REGION: Final = re.compile(r"[a-z0-9]{1,16}")


class HostNotAllowedError(Exception):
    """A host that no key may be sent to; the text names it and the setting."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """One deployment: the identity server's host, and those of the other servers for devices that name none."""

    identity: str
    network: str
    application: str
    join: str

    @classmethod
    def of_region(cls, region: str, *, tenant: str | None = None) -> Self:
        """The public clusters: TTN Sandbox, or a tenant of The Things Stack Cloud. Raises ValueError."""
        if _REGION.fullmatch(region) is None or (
            tenant and not re.fullmatch(r"[a-z0-9-]+", tenant)
        ):
            msg = f"{shorten(region if not tenant else f'{tenant}.{region}')} is no region"
            raise ValueError(msg)
        if tenant is None:
            return cls("eu1.cloud.thethings.network", *[f"{region}.cloud.thethings.network"] * 3)
        cloud = "cloud.thethings.industries"
        return cls(f"{tenant}.eu1.{cloud}", *[f"{tenant}.{region}.{cloud}"] * 3)

    @classmethod
    def own(cls, host: str) -> Self:
        """A stack of one's own, with everything on one host."""
        return cls(host, host, host, host)


@dataclass(frozen=True, slots=True)
class _Place:
    scheme: str
    name: str  # `*.` before it: any name below
    port: int

    def has(self, name: str, port: int) -> bool:
        if port != self.port:
            return False
        return name.endswith(self.name[1:]) if self.name.startswith("*") else name == self.name


@dataclass(frozen=True, slots=True)
class StackHosts:
    """JOBBROKER_THINGS_STACK_HOSTS: to whom keys may be shown."""

    places: tuple[_Place, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Entries `HOST`, `HOST:PORT`, `*.DOMAIN`, by commas, with http:// before one that has no TLS.

        Raises ValueError that names the wrong one.
        """
        entries = filter(None, (one.strip().lower() for one in text.split(",")))
        return cls(tuple(_place(entry) for entry in entries))

    def named(self) -> list[str]:
        """The entries that name one host, as addresses."""
        return [
            place.name if place.port == _PORTS[place.scheme] else f"{place.name}:{place.port}"
            for place in self.places
            if not place.name.startswith("*")
        ]

    def base_url(self, address: str) -> str:
        """`scheme://host:port` of an address as registries have it. Raises HostNotAllowedError."""
        found = _ADDRESS.fullmatch(address.strip().lower())
        if found is not None and "*" not in found["name"]:
            name, given = found["name"], int(found["port"] or 0)
            for place in self.places:
                for port in _ports(place, given):
                    if place.has(name, port):
                        return f"{place.scheme}://{name}:{port}"
        msg = f"{shorten(address)} is not one of JOBBROKER_THINGS_STACK_HOSTS: no key is sent there"
        raise HostNotAllowedError(msg)


def _ports(place: _Place, given: int) -> tuple[int, ...]:
    usual = _PORTS[place.scheme]
    if given in _GRPC_PORTS:
        return (given, usual)
    return (given or usual,)


def _place(entry: str) -> _Place:
    scheme, _, rest = entry.rpartition("://")
    found = _ADDRESS.fullmatch(rest.rstrip("/"))
    scheme = scheme or "https"
    if found is None or scheme not in _PORTS or int(found["port"] or 1) > _PORT_MOST:
        msg = f"{shorten(entry)} is not HOST, HOST:PORT or *.DOMAIN, with http:// or https:// or without"
        raise ValueError(msg)
    return _Place(scheme, found["name"], int(found["port"] or _PORTS[scheme]))


_CLUSTERS: Final = {
    "cloud.thethings.network": ("eu1", "nam1", "au1"),
    "cloud.thethings.industries": ("eu1", "eu2", "nam1", "au1", "as1"),
}


def siblings(host: str) -> list[str]:
    """The regional hosts beside one of a public deployment; none for a stack of one's own (reference 6.3)."""
    for domain, regions in _CLUSTERS.items():
        before, found, rest = host.lower().rpartition(f".{domain}")
        if found and not rest:
            tenant, _, _ = before.rpartition(".")
            prefix = f"{tenant}." if tenant else ""
            return [f"{prefix}{region}.{domain}" for region in regions]
    return []
