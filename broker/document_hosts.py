"""Which hosts documents may be read from: JOBBROKER_DOCUMENT_HOSTS (see `broker.document_source`)."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from schema.errors import shorten

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

PORTS: Final = {"http": 80, "https": 443}
_PORT_MOST: Final = 65535
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_PLACE: Final = re.compile(
    r"(\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(:(?P<port>[1-9][0-9]{0,4}))?"
)
# Addresses of IPv4 inside of IPv6's: what they lead to is what counts (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """From where documents may be read: names or addresses with the port (None: the scheme's own), and networks."""

    places: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Entries `HOST`, `HOST:PORT`, `ADDRESS` or `NETWORK/BITS`, by commas. Raises ValueError naming the wrong one.

        A host allows its URLs, a network lets allowed hosts lead into it; an address does both.
        """
        places: set[tuple[str, int | None]] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in filter(None, (one.strip().lower() for one in text.split(","))):
            if "/" in entry:
                networks.append(_network(entry))
                continue
            host, port = _place(entry)
            places.add((host, port))
            with contextlib.suppress(ValueError):
                networks.append(ipaddress.ip_network(host))
        return cls(frozenset(places), tuple(networks))

    def __bool__(self) -> bool:
        """Whether any document can be read at all."""
        return bool(self.places)

    def has(self, scheme: str, host: str, port: int) -> bool:
        """Whether URLs of this host and port are allowed."""
        usual = port == PORTS[scheme] and (host, None) in self.places
        return usual or (host, port) in self.places

    def leads_to(self, address: str) -> bool:
        """Whether a host may be at this address: a public one, or one that is allowed itself."""
        found = _unwrapped(ipaddress.ip_address(address))
        if any(found in network for network in self.networks):
            return True
        return found.is_global and not found.is_multicast


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        msg = f"{shorten(entry)} is not a network as 10.1.0.0/16 or fd00::/8"
        raise ValueError(msg) from None


def _place(entry: str) -> tuple[str, int | None]:
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv6Address(entry)), None
    found = _PLACE.fullmatch(entry)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port or 1) > _PORT_MOST:
        msg = f"{shorten(entry)} is not HOST, HOST:PORT, ADDRESS or NETWORK/BITS"
        raise ValueError(msg)
    if found["six"]:
        return str(ipaddress.IPv6Address(found["six"])), port
    if _NAME.fullmatch(found["name"]) is None:
        msg = f"{shorten(entry)} is not the name of a host"
        raise ValueError(msg)
    return found["name"], port


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address
