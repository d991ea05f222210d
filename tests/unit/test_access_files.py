"""The MQTT server's files follow the database: written on change, and a reload owed is paid."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from broker.access import AccessFiles, reload_by_pid_file
from broker.ca import CRL_LIFETIME, CertificateAuthority
from schema.access import AccessSnapshot, Principal, Revoked, mosquitto_hash
from tests.helpers import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH = mosquitto_hash("token", bytes(12))


class Desk:
    """An AccessFiles with a clock, a snapshot and a reload that the test holds in its hand."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.snapshot = AccessSnapshot(("acme", "default"))
        self.reloads = 0
        self.loads = 0
        self.broken: Exception | None = None
        self.away: Exception | None = None
        self.authorities = {
            tenant: CertificateAuthority.create(directory / "ca" / tenant, now=NOW)
            for tenant in ("default", "acme")
        }
        self.directory = directory / "auth"
        self.files = self.opened()

    def opened(self, *, password: str | None = None) -> AccessFiles:
        """Return the files as another process would open them."""
        return AccessFiles(
            self.directory,
            load=self._load,
            reload=self._reload,
            broker_password=password or "broker",
            authorities=self.authorities,
            clock=lambda: self.now,
        )

    def read(self, name: str) -> str:
        """Return a file's text."""
        return (self.directory / name).read_text()

    async def _load(self) -> AccessSnapshot:
        self.loads += 1
        if self.away:
            raise self.away
        return self.snapshot

    def _reload(self) -> None:
        if self.broken:
            raise self.broken
        self.reloads += 1


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a desk with nothing written yet."""
    return Desk(tmp_path)


def holder(name: str) -> Principal:
    """Return a thing with a token."""
    return Principal("default", name, "thing", mosquitto_hash=HASH)


async def test_reloads_only_when_something_changed(desk: Desk) -> None:
    """The first run always reloads, an unchanged one never does, a new credential does."""
    assert await desk.files.run_once()
    assert not await desk.files.run_once()
    desk.snapshot = AccessSnapshot(desk.snapshot.tenants, (holder("dev1"),))
    assert await desk.files.run_once()
    assert desk.reloads == 2
    assert desk.read("passwd").splitlines()[1] == f"dev1:{HASH}"


async def test_failed_reload_stays_owed(desk: Desk) -> None:
    """When the MQTT server could not be told, the next run tells it though nothing changed."""
    desk.broken = ProcessLookupError("not running")
    with pytest.raises(ProcessLookupError):
        await desk.files.run_once()
    desk.broken = None
    assert await desk.files.run_once()
    assert not await desk.files.run_once()


async def test_crl_is_renewed_at_half_its_life(desk: Desk) -> None:
    """Long before a list ends, which would refuse everybody, both tenants' are written anew."""
    await desk.files.run_once()
    first = desk.read("crl.pem")
    desk.now = NOW + CRL_LIFETIME / 2 - timedelta(minutes=1)
    assert not await desk.files.run_once()
    desk.now = NOW + CRL_LIFETIME / 2
    assert await desk.files.run_once()
    assert desk.read("crl.pem") != first
    for name in ("crl.pem", "tenants/acme/crl.pem"):
        crl = x509.load_pem_x509_crl(desk.read(name).encode())
        assert crl.next_update_utc == desk.now + CRL_LIFETIME


async def test_the_database_away_is_one_line_and_no_fault(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried, an outage is told once, without a traceback; then the files follow again."""
    monkeypatch.setattr("broker.access.RETRY_SECONDS", 0.001)
    desk.away = ConnectionRefusedError("PostgreSQL is down")
    with capture_logs() as logs:
        running = asyncio.create_task(desk.files.run())
        await eventually(lambda: desk.loads > 3)
        desk.away = None
        await eventually(lambda: desk.reloads)
        running.cancel()
    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [("access_waits", "warning"), ("access_reloaded", "info")]


async def test_each_tenant_has_its_own_list(desk: Desk) -> None:
    """A certificate revoked in acme stands on acme's list alone."""
    desk.snapshot = AccessSnapshot(("acme", "default"), revoked=(Revoked("acme", "1f", NOW),))
    await desk.files.run_once()
    mine = x509.load_pem_x509_crl(desk.read("crl.pem").encode())
    theirs = x509.load_pem_x509_crl(desk.read("tenants/acme/crl.pem").encode())
    assert not list(mine)
    assert [entry.serial_number for entry in theirs] == [0x1F]


async def test_prepare_takes_nobody_out(desk: Desk) -> None:
    """At a restart, before the database is asked, the files that stand are kept as they are."""
    desk.files.prepare()
    assert desk.read("passwd").startswith("@jobbroker:$7$101$")
    desk.snapshot = AccessSnapshot(
        desk.snapshot.tenants, (holder("dev1"),), (Revoked("default", "1f", NOW),)
    )
    await desk.files.run_once()
    before = {name: desk.read(name) for name in ("passwd", "acl", "crl.pem")}
    desk.opened().prepare()
    assert {name: desk.read(name) for name in before} == before


async def test_broker_line_changes_with_its_password_only(desk: Desk) -> None:
    """Another process with the same password writes the same line; a new password a new one."""
    await desk.files.run_once()
    line = desk.read("passwd")
    await desk.opened().run_once()
    assert desk.read("passwd") == line
    await desk.opened(password="other").run_once()
    assert desk.read("passwd") != line


async def test_secrets_are_not_for_everybody(desk: Desk) -> None:
    """Hashes and the server's key are for owner and group; authorities' keys never come here."""
    await desk.files.run_once()
    for name in ("passwd", "acl", "server.key", "tenants/acme/server.key"):
        assert stat.S_IMODE((desk.directory / name).stat().st_mode) == 0o640
    assert not list(desk.directory.rglob("ca.key"))


@pytest.mark.parametrize("text", ["", "no number", "0", "-1", "4194305", None])
def test_reload_signals_nobody_but_mosquitto(tmp_path: Path, text: str | None) -> None:
    """A pid file that is missing, broken or of another process raises and signals nobody."""
    file = tmp_path / "mosquitto.pid"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ProcessLookupError):
        reload_by_pid_file(file)


def test_reload_does_not_signal_ourselves(tmp_path: Path) -> None:
    """A number left by another container's Mosquitto may be our own; SIGHUP would end us."""
    file = tmp_path / "mosquitto.pid"
    file.write_text(str(os.getpid()))
    with pytest.raises(ProcessLookupError, match="not Mosquitto"):
        reload_by_pid_file(file)
