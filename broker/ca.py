"""Our own certificate authority: the names of things and operators, proved by client certificates.

EC P-256 throughout; private keys are PKCS#8 PEM, which the AWS SDKs read. The authority's key stays
in its directory with mode 0600 and is never needed by the MQTT server.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.atomic import replace_file
from schema.access import Revoked, check_name, check_tenant

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
AUTHORITY_DAYS: Final = 20 * 365
SERVER_DAYS: Final = 10 * 365
CRL_LIFETIME: Final = timedelta(days=30)
MAX_COMMON_NAME: Final = 64
"""RFC 5280 appendix A, ub-common-name; thing names may be longer, those use a token."""

_BACKDATE: Final = timedelta(hours=1)
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_MIN_RSA_BITS: Final = 2048
_PEM: Final = serialization.Encoding.PEM
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class AuthorityExistsError(Exception):
    """The directory holds an authority; a second one would orphan every certificate it issued."""


class AuthorityMissingError(Exception):
    """The directory holds no authority, or one whose making was interrupted."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate just issued; `key_pem` is None when it was made from a signing request.

    `serial` and `fingerprint_sha256` are lower-case hex, `not_after` is UTC.
    """

    cert_pem: bytes
    key_pem: bytes | None
    serial: str
    fingerprint_sha256: str
    not_after: datetime


def authority_directory(root: Path, tenant_id: str) -> Path:
    """Return where `tenant_id` has its authority: `root` for default, else ``root/tenants/ID``.

    Each tenant has its own, because a certificate says a name and the listener says the tenant.
    """
    return root if tenant_id == "default" else root / "tenants" / check_tenant(tenant_id)


class CertificateAuthority:
    """An authority in `directory`: ca.crt, ca.key, server.crt, server.key.

    Made by `create`, opened by `open`. All times go in and come out in UTC.
    """

    def __init__(
        self, directory: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.directory = directory
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(
        cls, directory: Path, *, now: datetime, server_names: Sequence[str] = ()
    ) -> CertificateAuthority:
        """Make an authority and the MQTT server's certificate in `directory`.

        `server_names` are host names and addresses by which clients reach the MQTT server, beside
        localhost, 127.0.0.1 and ::1.

        Raises:
            AuthorityExistsError: there is one already; nothing is changed.
            ValueError: a server name that cannot stand in a certificate.

        """
        names = _alternative_names(server_names)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        # Taken exclusively and first: of two at once one wins, and no key is ever overwritten.
        _write_new_private(directory / "ca.key", _key_pem(key))
        certificate = _self_signed(key, now)
        authority = cls(directory, certificate, key)
        authority._write_server_certificate(names, now)
        replace_file(directory / "ca.crt", certificate.public_bytes(_PEM), mode=PUBLIC)
        return authority

    @classmethod
    def open(cls, directory: Path) -> CertificateAuthority:
        """Open the authority in `directory`. Raises AuthorityMissingError when it is not whole."""
        try:
            certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except FileNotFoundError as error:
            raise AuthorityMissingError(
                f"{error.filename} is missing; `jobbroker ca init` makes an authority in an "
                "empty directory"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityMissingError(f"{directory / 'ca.key'} is not an EC private key")
        return cls(directory, certificate, key)

    @classmethod
    def open_or_create(
        cls, directory: Path, *, now: datetime, server_names: Sequence[str] = ()
    ) -> CertificateAuthority:
        """Open the authority in `directory`, made first when there is none (`up` and `demo`)."""
        if (directory / "ca.crt").exists():
            return cls.open(directory)
        return cls.create(directory, now=now, server_names=server_names)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate: what clients are given as the CA file."""
        return self.certificate.public_bytes(_PEM)

    @property
    def server_pem(self) -> bytes:
        """The MQTT server's certificate."""
        return (self.directory / "server.crt").read_bytes()

    @property
    def server_key_pem(self) -> bytes:
        """The MQTT server's private key."""
        return (self.directory / "server.key").read_bytes()

    def issue(self, name: str, days: int, *, now: datetime, csr: bytes | None = None) -> Issued:
        """Issue a client certificate with ``CN=name`` for `days` days from `now`.

        With `csr` (PEM) the key in it is certified and no key is made; its common name must be
        `name` or absent, everything else in it is ignored. `name` is a thing's or an operator's
        name, checked by the caller to be registered. The certificate never outlives the authority.

        Raises:
            ValueError: a name out of pattern or longer than 64, days below 1, or a signing
                request that is unreadable, badly signed, weak, or of another name.

        """
        if len(check_name(name)) > MAX_COMMON_NAME:
            raise ValueError(
                f"name of {len(name)} characters: a certificate's common name holds "
                f"{MAX_COMMON_NAME}; use a token for this thing"
            )
        if days < 1:
            raise ValueError(f"days {days} is below 1")
        key = None if csr is not None else ec.generate_private_key(ec.SECP256R1())
        public = key.public_key() if key else _requested_key(csr or b"", name)
        not_after = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _leaf(subject, _CLIENT, now=now, not_after=not_after)
        certificate = self._sign(builder, public)
        return Issued(
            cert_pem=certificate.public_bytes(_PEM),
            key_pem=_key_pem(key) if key else None,
            serial=f"{certificate.serial_number:x}",
            fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=certificate.not_valid_after_utc,
        )

    def renew_server(self, *, now: datetime, server_names: Sequence[str] = ()) -> None:
        """Replace the MQTT server's key and certificate (new names, or the old one is running out).

        Raises ValueError as `create` does. Clients that trust the authority notice nothing.
        """
        self._write_server_certificate(_alternative_names(server_names), now)

    def render_crl(
        self, revoked: Iterable[Revoked], *, now: datetime, lifetime: timedelta = CRL_LIFETIME
    ) -> bytes:
        """Return the revocation list in PEM, valid from `now` for `lifetime`, sorted by serial.

        A list whose validity has passed makes OpenSSL refuse every client: write a new one well
        then, as `crl_is_current` tells.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + lifetime)
            .add_extension(self._key_identifier(), critical=False)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        )
        when = {int(one.serial, 16): one.revoked_at for one in revoked}
        for serial in sorted(when):
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(when[serial].astimezone(UTC)).build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def crl_is_current(self, pem: bytes, revoked: Iterable[Revoked], *, now: datetime) -> bool:
        """Tell whether the list `pem` is ours, names exactly `revoked` and is in its first half."""
        try:
            crl = x509.load_pem_x509_crl(pem)
        except ValueError:
            return False
        key = self._key.public_key()
        if crl.next_update_utc is None or not crl.is_signature_valid(key):
            return False
        half = crl.last_update_utc + (crl.next_update_utc - crl.last_update_utc) / 2
        listed = {entry.serial_number for entry in crl}
        return now < half and listed == {int(one.serial, 16) for one in revoked}

    def _write_server_certificate(self, names: x509.SubjectAlternativeName, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jobbroker MQTT server")])
        not_after = min(now + timedelta(days=SERVER_DAYS), self.certificate.not_valid_after_utc)
        builder = _leaf(subject, _SERVER, now=now, not_after=not_after)
        certificate = self._sign(builder.add_extension(names, critical=False), key.public_key())
        replace_file(self.directory / "server.key", _key_pem(key), mode=PRIVATE)
        replace_file(self.directory / "server.crt", certificate.public_bytes(_PEM), mode=PUBLIC)

    def _sign(self, builder: x509.CertificateBuilder, public: _PublicKey) -> x509.Certificate:
        return (
            builder.public_key(public)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._key_identifier(), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    # A name of its own for each authority: two of one name and different keys confuse verifiers.
    common = f"jobbroker CA {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    subject: x509.Name, purpose: x509.ObjectIdentifier, *, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(extra: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for name in dict.fromkeys((*_LOCAL_NAMES, *extra)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if _HOST.fullmatch(name) is None:
                raise ValueError(f"server name {name[:40]!r} is no host name or address") from None
            names.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(names)


def _requested_key(csr: bytes, name: str) -> _PublicKey:
    try:
        request = x509.load_pem_x509_csr(csr)
        signed = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise ValueError(f"signing request is not readable PEM: {error}") from error
    if not signed:
        raise ValueError("signing request: its signature is not of the key it carries")
    asked = [str(a.value) for a in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if asked not in ([], [name]):
        raise ValueError(f"signing request is for {asked[0][:40]!r}, not for {name!r}")
    return _checked_key(request.public_key())


def _checked_key(key: object) -> _PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return key
    curves = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curves):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise ValueError("signing request: the key must be EC P-256/384/521, Ed25519 or RSA >= 2048")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_new_private(path: Path, data: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError as error:
        raise AuthorityExistsError(
            f"{path} exists; an authority is never overwritten. If its making was interrupted "
            f"(no ca.crt beside it), remove {path.parent} and run again"
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
