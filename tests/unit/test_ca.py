"""Our certificate authority: chains that verify, requests that are checked, lists that are ours."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from broker.ca import (
    AuthorityExistsError,
    AuthorityMissingError,
    CertificateAuthority,
    authority_directory,
)
from schema.access import Revoked

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Return an authority made at NOW with two more server names."""
    directory = tmp_path_factory.mktemp("ca")
    return CertificateAuthority.create(directory, now=NOW, server_names=["mqtt.test", "10.0.0.7"])


def request(name: str | None, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a signing request in PEM."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM)


def common_name(certificate: x509.Certificate) -> str:
    """Return what Mosquitto takes as the username."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_server_certificate_verifies_for_each_name(authority: CertificateAuthority) -> None:
    """localhost, loopback addresses and the names given all lead to a chain that verifies."""
    leaf = x509.load_pem_x509_certificate(authority.server_pem)
    policy = PolicyBuilder().store(Store([authority.certificate])).time(NOW + timedelta(days=400))
    hosts = [x509.DNSName("localhost"), x509.DNSName("mqtt.test")]
    addresses = [x509.IPAddress(ip_address(a)) for a in ("127.0.0.1", "::1", "10.0.0.7")]
    subjects: list[x509.DNSName | x509.IPAddress] = [*hosts, *addresses]
    for subject in subjects:
        assert policy.build_server_verifier(subject).verify(leaf, [])


def test_issued_certificate_names_the_thing(authority: CertificateAuthority) -> None:
    """CN is the name, the key fits and is PKCS#8, the end is as asked, the chain is ours."""
    issued = authority.issue("dev1", 30, now=NOW)
    certificate = x509.load_pem_x509_certificate(issued.cert_pem)
    assert common_name(certificate) == "dev1"
    certificate.verify_directly_issued_by(authority.certificate)
    assert issued.not_after == NOW + timedelta(days=30)
    assert int(issued.serial, 16) == certificate.serial_number
    assert issued.fingerprint_sha256 == certificate.fingerprint(hashes.SHA256()).hex()
    assert issued.key_pem is not None
    assert issued.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    key = serialization.load_pem_private_key(issued.key_pem, None)
    assert key.public_key() == certificate.public_key()


def test_request_is_signed_without_a_key(authority: CertificateAuthority) -> None:
    """The device keeps its key: what is certified is the request's, under our subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    for asked in ("dev1", None):
        issued = authority.issue("dev1", 30, now=NOW, csr=request(asked, key))
        certificate = x509.load_pem_x509_certificate(issued.cert_pem)
        assert issued.key_pem is None
        assert certificate.public_key() == key.public_key()
        assert common_name(certificate) == "dev1"


def test_bad_requests_are_refused(authority: CertificateAuthority) -> None:
    """Another thing's name, a broken signature, a weak key and no PEM each say what is wrong."""
    key = ec.generate_private_key(ec.SECP256R1())
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak, to be refused
    good = x509.load_pem_x509_csr(request("dev1", key))
    der = bytearray(good.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(PEM)
    cases = [
        (request("dev2", key), "dev2"),
        (forged, "signature"),
        (request("dev1", weak), "RSA"),
        (b"", "PEM"),
        (b"x", "PEM"),
    ]
    for csr, told in cases:
        with pytest.raises(ValueError, match=told):
            authority.issue("dev1", 30, now=NOW, csr=csr)


@pytest.mark.parametrize(
    ("name", "days", "told"),
    [
        ("@jobbroker", 1, "does not match"),
        ("a\nb", 1, "does not match"),
        ("x" * 65, 1, "64"),
        ("dev1", 0, "days"),
    ],
)
def test_impossible_certificates_are_refused(
    authority: CertificateAuthority, name: str, days: int, told: str
) -> None:
    """Nobody is certified as the broker, beyond a common name's length or for no time."""
    with pytest.raises(ValueError, match=told):
        authority.issue(name, days, now=NOW)


def test_certificates_end_with_their_authority(authority: CertificateAuthority) -> None:
    """A hundred years are cut to the authority's own life."""
    issued = authority.issue("dev1", 36500, now=NOW)
    assert issued.not_after == authority.certificate.not_valid_after_utc


def test_crl_lists_exactly_the_revoked(authority: CertificateAuthority) -> None:
    """The list is signed by the authority and holds each revoked serial with its time."""
    gone = authority.issue("dev1", 30, now=NOW)
    at = NOW - timedelta(minutes=5)
    pem = authority.render_crl([Revoked("default", gone.serial, at)], now=NOW)
    crl = x509.load_pem_x509_crl(pem)
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type] # an EC key
    entry = crl.get_revoked_certificate_by_serial_number(int(gone.serial, 16))
    assert entry is not None
    assert entry.revocation_date_utc == at
    assert len(list(crl)) == 1


def test_crl_is_renewed_at_half_its_life(authority: CertificateAuthority) -> None:
    """Current means: ours, these serials, first half; an expired list would refuse everybody."""
    revoked = [Revoked("default", "1f", NOW)]
    pem = authority.render_crl(revoked, now=NOW, lifetime=timedelta(days=10))
    assert authority.crl_is_current(pem, revoked, now=NOW + timedelta(days=4))
    assert not authority.crl_is_current(pem, revoked, now=NOW + timedelta(days=5))
    assert not authority.crl_is_current(pem, [], now=NOW)
    assert not authority.crl_is_current(b"half a fi", revoked, now=NOW)


def test_crl_of_another_authority_is_not_current(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    """A list left from an authority that was replaced is written anew."""
    other = CertificateAuthority.create(tmp_path, now=NOW)
    assert not authority.crl_is_current(other.render_crl([], now=NOW), [], now=NOW)


def test_init_never_overwrites(tmp_path: Path) -> None:
    """A second init changes nothing and says so; opening finds the same authority."""
    made = CertificateAuthority.create(tmp_path / "ca", now=NOW)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()}
    with pytest.raises(AuthorityExistsError, match=r"ca\.key"):
        CertificateAuthority.create(tmp_path / "ca", now=NOW)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()} == before
    again = CertificateAuthority.open_or_create(tmp_path / "ca", now=NOW)
    assert again.certificate == made.certificate


def test_private_keys_are_private(authority: CertificateAuthority) -> None:
    """Only the owner reads the authority's and the server's key."""
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((authority.directory / name).stat().st_mode) == 0o600


def test_missing_authority_says_how_to_make_one(tmp_path: Path) -> None:
    """Opening an empty directory names the file and the command."""
    with pytest.raises(AuthorityMissingError, match="jobbroker ca init"):
        CertificateAuthority.open(tmp_path)


def test_bad_server_name_changes_nothing(tmp_path: Path) -> None:
    """A name that cannot stand in a certificate is refused before a key is made."""
    with pytest.raises(ValueError, match="host name"):
        CertificateAuthority.create(tmp_path / "ca", now=NOW, server_names=["a b"])
    assert not (tmp_path / "ca").exists()


def test_renewed_server_certificate_keeps_the_authority(tmp_path: Path) -> None:
    """Clients trust the renewed one by the CA file they have."""
    authority = CertificateAuthority.create(tmp_path, now=NOW)
    before = authority.server_pem
    authority.renew_server(now=NOW, server_names=["new.test"])
    after = x509.load_pem_x509_certificate(authority.server_pem)
    assert authority.server_pem != before
    after.verify_directly_issued_by(authority.certificate)


def test_each_tenant_has_its_own_directory() -> None:
    """The default tenant's authority is at the root, another's below tenants/."""
    assert authority_directory(Path("/ca"), "default") == Path("/ca")
    assert authority_directory(Path("/ca"), "acme") == Path("/ca/tenants/acme")
    with pytest.raises(ValueError, match="tenant"):
        authority_directory(Path("/ca"), "../x")
