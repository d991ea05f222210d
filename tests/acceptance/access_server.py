"""A Mosquitto with our rendered files, two tenants and a cast of things and operators."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.access import AccessFiles
from broker.ca import CertificateAuthority, authority_directory
from broker.mosquitto_config import Bind, MosquittoConfig, render_config
from schema.access import AccessSnapshot, Principal, Revoked, mosquitto_hash
from tests.acceptance.mqtt_probe import Login
from tests.ports import reserved_ports
from tests.servers import Choice, MosquittoServer, make_mosquitto

LOOPBACK = "127.0.0.1"
BROKER_PASSWORD = "of-the-broker-itself"
TESTER = "tester"
TENANTS = ("acme", "default")


@dataclass(slots=True)
class AccessServer:
    """The server, its files and the keys of everybody in the cast."""

    server: MosquittoServer
    files: AccessFiles
    config: MosquittoConfig
    authorities: Mapping[str, CertificateAuthority]
    keys: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def by_token(self, name: str, *, password: str | None = None, tls: bool = False) -> Login:
        """Return the login of a default-tenant principal on the plain or the operators' listener."""
        bind = self.config.operators if tls else self.config.plain
        assert bind
        ca_file = self.authorities["default"].directory / "ca.crt" if tls else None
        return Login(bind.port, name, password or self.tokens[name], ca_file)

    def by_certificate(
        self,
        name: str,
        *,
        tenant: str = "default",
        authority: CertificateAuthority | None = None,
        issued_at: datetime | None = None,
    ) -> Login:
        """Return the login of a certificate made now by the tenant's (or another) authority."""
        maker = authority or self.authorities[tenant]
        issued = maker.issue(name, 1, now=issued_at or datetime.now(UTC))
        assert issued.key_pem
        place = self.keys / secrets.token_hex(4)
        place.mkdir(parents=True)
        certificate, key = place / "cert.pem", place / f"{issued.serial}.key"
        certificate.write_bytes(issued.cert_pem)
        key.write_bytes(issued.key_pem)
        devices = self.config.devices if tenant == "default" else dict(self.config.tenants)[tenant]
        assert devices
        ca_file = self.authorities[tenant].directory / "ca.crt"
        return Login(devices.port, ca_file=ca_file, certificate=(certificate, key))

    def internal(self, name: str = "@jobbroker", password: str = BROKER_PASSWORD) -> Login:
        """Return the login on the unmounted listener, the broker's unless another is named."""
        return Login(self.config.internal.port, name, password)


def serial_of(login: Login) -> str:
    """Return the serial of a login's certificate, which names its key file."""
    assert login.certificate
    return login.certificate[1].stem


async def start_access_server(choice: Choice, directory: Path) -> AccessServer:
    """Start the server with only the broker let in; `snapshot_of` and `install` let in others."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    authorities = {
        tenant: CertificateAuthority.create(authority_directory(directory / "ca", tenant), now=now)
        for tenant in TENANTS
    }
    plain, devices, operators, internal, acme = reserved_ports(5)
    config = MosquittoConfig(
        auth_directory=str(directory / "mosquitto"),
        data_directory=str(directory / "mosquitto" / "data"),
        pid_file=None,
        plain=Bind(plain, LOOPBACK),
        devices=Bind(devices, LOOPBACK),
        operators=Bind(operators, LOOPBACK),
        internal=Bind(internal, LOOPBACK),
        tenants=(("acme", Bind(acme, LOOPBACK)),),
    )
    text = directory / "mosquitto" / "mosquitto.conf"
    text.parent.mkdir(parents=True)
    text.write_text(render_config(config))
    server = make_mosquitto(choice, text)
    files = AccessFiles(
        directory / "mosquitto",
        load=_nobody,
        reload=server.reload,
        broker_password=BROKER_PASSWORD,
        authorities=authorities,
    )
    files.prepare()
    return AccessServer(server, files, config, authorities, directory / "keys")


async def install(access: AccessServer, snapshot: AccessSnapshot, *, tester: bool = False) -> None:
    """Write the files for `snapshot` and reload, as the running broker does.

    With `tester` an all-mighty user is added behind, on the unmounted listener: who publishes and
    hears anything at all, so that what the others may not can be told from what nobody sent.
    """
    access.files._load = lambda: _given(snapshot)
    await access.files.run_once()
    if tester:
        access.tokens[TESTER] = "of-the-tester"
        line = f"{TESTER}:{mosquitto_hash(access.tokens[TESTER], bytes(12))}\n"
        block = (
            f"\nuser {TESTER}\ntopic readwrite #\ntopic readwrite $SYS/#\ntopic readwrite $aws/#\n"
        )
        _append(access.files.directory / "passwd", line)
        _append(access.files.directory / "acl", block)
        await access.server.reload()


def person(access: AccessServer, name: str, kind: str, role: str | None = None) -> Principal:
    """Return a default-tenant principal with a new token, remembered in the cast."""
    token = access.tokens[name] = secrets.token_urlsafe(32)
    hashed = mosquitto_hash(token, secrets.token_bytes(12))
    return Principal("default", name, "thing" if kind == "thing" else "operator", role, hashed)


def revoked(login: Login, tenant: str = "default") -> Revoked:
    """Return the revocation of a login's certificate, as of now."""
    return Revoked(tenant, serial_of(login), datetime.now(UTC))


async def _nobody() -> AccessSnapshot:
    return AccessSnapshot(tenants=TENANTS)


async def _given(snapshot: AccessSnapshot) -> AccessSnapshot:
    return snapshot


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)
