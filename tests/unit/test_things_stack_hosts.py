"""Who may be shown a key of The Things Stack (reference/the-things-stack.md 6.3)."""

from __future__ import annotations

import pytest

from broker.things_stack.devices import Registry
from broker.things_stack.places import Places
from schema.things_stack_hosts import (
    DEFAULT_HOSTS,
    HostNotAllowedError,
    Hosts,
    StackHosts,
    siblings,
)

PUBLIC = StackHosts.parse(DEFAULT_HOSTS)
OWN = StackHosts.parse("tts.example, lab.example:8443, http://127.0.0.1:1885")


@pytest.mark.parametrize(
    ("hosts", "address", "url"),
    [
        (PUBLIC, "eu1.cloud.thethings.network", "https://eu1.cloud.thethings.network:443"),
        (PUBLIC, "NAM1.cloud.thethings.network", "https://nam1.cloud.thethings.network:443"),
        (
            PUBLIC,
            "a.eu1.cloud.thethings.industries",
            "https://a.eu1.cloud.thethings.industries:443",
        ),
        (PUBLIC, "eu1.cloud.thethings.network:8884", "https://eu1.cloud.thethings.network:443"),
        (OWN, "tts.example", "https://tts.example:443"),
        (OWN, "lab.example:8443", "https://lab.example:8443"),
        (OWN, "127.0.0.1:1885", "http://127.0.0.1:1885"),
    ],
)
def test_an_allowed_host_has_a_url(hosts: StackHosts, address: str, url: str) -> None:
    """By name or domain, at its scheme's port; gRPC's port in a registry means the same server's HTTP."""
    assert hosts.base_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "evil.example",
        "cloud.thethings.network",
        "cloud.thethings.network.evil.example",
        "evilcloud.thethings.network",
        "eu1.cloud.thethings.network@evil.example",
        "evil.example/eu1.cloud.thethings.network",
        "evil.example#.cloud.thethings.network",
        "eu1.cloud.thethings.network:8080",
        "eu1.cloud.thethings.network:0",
        "*.cloud.thethings.network",
        "https://eu1.cloud.thethings.network",
        "eu1.cloud.thethings.network\n",
        "169.254.169.254",
    ],
)
def test_no_other_host_is_called(address: str) -> None:
    """Addresses are remote data; the refusal names the setting."""
    if address.strip() != address:
        assert PUBLIC.base_url(address) == "https://eu1.cloud.thethings.network:443"
        return
    with pytest.raises(HostNotAllowedError, match="JOBBROKER_THINGS_STACK_HOSTS"):
        PUBLIC.base_url(address)


@pytest.mark.parametrize("text", ["ftp://a", "a/b", "a:99999", "a:b", "*", "a*.b", "http://"])
def test_a_wrong_entry_is_named(text: str) -> None:
    """The whole setting is refused with the entry that is wrong."""
    with pytest.raises(ValueError, match="is not HOST"):
        StackHosts.parse(f"good.example,{text}")


def test_regions_have_their_hosts() -> None:
    """The Sandbox's identity server is in eu1 whatever the region; a tenant's too; one's own has all on one host."""
    assert Hosts.of_region("nam1") == Hosts(
        "eu1.cloud.thethings.network", *["nam1.cloud.thethings.network"] * 3
    )
    assert Hosts.of_region("au1", tenant="acme") == Hosts(
        "acme.eu1.cloud.thethings.industries", *["acme.au1.cloud.thethings.industries"] * 3
    )
    assert Hosts.own("tts.example") == Hosts(*["tts.example"] * 4)
    for region, tenant in [("nam1.evil", None), ("", None), ("eu1", "a.b")]:
        with pytest.raises(ValueError, match="is no region"):
            Hosts.of_region(region, tenant=tenant)


def test_public_clusters_have_siblings() -> None:
    """The Sandbox's three, the Cloud's five with the tenant in front; a stack of one's own has none."""
    assert siblings("eu1.cloud.thethings.network") == [
        f"{region}.cloud.thethings.network" for region in ("eu1", "nam1", "au1")
    ]
    assert "acme.as1.cloud.thethings.industries" in siblings("acme.eu1.cloud.thethings.industries")
    assert siblings("tts.example") == []
    assert siblings("eu1.cloud.thethings.network.evil.example") == []


def test_where_a_device_is_looked_for() -> None:
    """On the hosts recorded for it, and the configured one; where none is recorded, on all that it could be on."""
    hosts = Hosts.of_region("nam1")
    eu1, nam1, au1 = siblings(hosts.network)
    places = Places(hosts, PUBLIC, {"ns": [au1]})

    def asked(registry: Registry, recorded: dict[str, list[str]]) -> list[tuple[str, bool]]:
        return [(one.host, one.certain) for one in places.of(registry, recorded)]

    assert asked(Registry.IS, {"ns": [au1]}) == [(eu1, True)]
    assert asked(Registry.NS, {"ns": [au1]}) == [(au1, True), (nam1, False)]
    assert asked(Registry.NS, {"ns": ["evil.example"]}) == [("evil.example", True), (nam1, False)]
    assert asked(Registry.NS, {}) == [(nam1, True), (au1, False), (eu1, False)]
    # A join server of others is none of ours: no key goes there, and its devices are unclaimed.
    assert asked(Registry.JS, {"js": ["evil.example"]}) == [
        (nam1, True),
        (eu1, False),
        (au1, False),
    ]
    assert places.foreign_join_hosts({"js": ["evil.example", eu1]}) == ["evil.example"]
