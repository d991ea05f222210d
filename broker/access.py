"""Keeps the MQTT server's files (who, what, who no more) equal to the database.

A change of credentials is announced by ``NOTIFY jobbroker_access``; the files are written anew and
the server is told to read them again, once for all changes that came within a fifth of a second,
because a reload re-checks every connected client.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from broker.atomic import replace_file
from broker.ca import PUBLIC, CertificateAuthority
from handlers.database import TRANSIENT
from schema.access import (
    BROKER_USER,
    DEFAULT_TENANT,
    AccessSnapshot,
    Revoked,
    TopicsMode,
    later_claims,
    mosquitto_hash,
    render_acl,
    render_password_file,
    settle_names,
    verify_mosquitto_hash,
)

SECRET: Final = 0o640
"""Owner writes, the MQTT server's group reads; in containers the directory hands the group down."""

SETTLE_SECONDS: Final = 0.2
CHECK_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 5.0
_SALT_BYTES: Final = 12

log = structlog.get_logger(__name__)


class AccessFiles:
    """Renders passwd, acl and each tenant's CA certificate, server pair and CRL into `directory`.

    `load` gives what the database says now, `reload` makes the MQTT server read its files again,
    `authorities` are the tenants' (default's at the top of `directory`, tenant ID's below
    ``tenants/ID``). `broker_password` is what the broker itself connects with. Private keys of
    authorities never come here.

    Several processes may keep one directory: what they write is equal, and each file is replaced
    whole.
    """

    def __init__(
        self,
        directory: Path,
        *,
        load: Callable[[], Awaitable[AccessSnapshot]],
        reload: Callable[[], Awaitable[None] | None],
        broker_password: str,
        authorities: Mapping[str, CertificateAuthority],
        topics_mode: TopicsMode = "mounted",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.directory = directory
        self._load = load
        self._reload = reload
        self._broker_password = broker_password
        self._authorities = dict(authorities)
        self._topics_mode: TopicsMode = topics_mode
        self._clock = clock
        self._changed = asyncio.Event()
        # A process that died between writing and reloading left a reload owed.
        self._owed = True

    def prepare(self) -> None:
        """Write the files that are missing, so that a MQTT server can start before the database.

        Nobody but the broker may connect by what this writes; `run_once` adds the others. Files
        that exist are kept, whoever they let in.
        """
        nobody = AccessSnapshot(tenants=tuple(self._authorities))
        self._write(nobody, only_missing=True)

    async def run_once(self) -> bool:
        """Make the files say what the database says; reload the MQTT server if that changed them.

        Also renews each revocation list at half its life. Returns whether it reloaded. Raises what
        `load` and `reload` raise, and OSError; a reload that failed stays owed to the next call.
        """
        return await self._apply(await self._load())

    async def _apply(self, snapshot: AccessSnapshot) -> bool:
        for claim in later_claims(snapshot.claims):
            log.error("name_taken_by_other_tenant", tenant=claim.tenant_id, name=claim.name)
        # Hundreds of thousands of lines take a while; requests are served meanwhile.
        if await asyncio.to_thread(self._write, settle_names(snapshot)):
            self._owed = True
        if not self._owed:
            return False
        if (reloading := self._reload()) is not None:
            await reloading
        self._owed = False
        log.info("access_reloaded", principals=len(snapshot.principals))
        return True

    def announce(self) -> None:
        """Say that credentials changed; what LISTEN on ``jobbroker_access`` calls."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the files current until cancelled: on each announcement, and every minute.

        A failure is logged and tried again after some seconds; the database being away is no fault, and one line.
        """
        away = False
        while True:
            self._changed.clear()
            seconds = CHECK_SECONDS
            try:
                snapshot = await self._loaded(known_away=away)
                away = snapshot is None
                if snapshot is None:
                    seconds = RETRY_SECONDS
                else:
                    await self._apply(snapshot)
            except ProcessLookupError as error:
                # It reads them when it starts; until then there is nobody to let in.
                log.warning("mqtt_server_not_reloaded", reason=str(error))
                seconds = RETRY_SECONDS
            except Exception:
                log.exception("access_not_current")
                seconds = RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
                # Collects the announcements that belong together, for one reload.
                await asyncio.sleep(SETTLE_SECONDS)

    async def _loaded(self, *, known_away: bool) -> AccessSnapshot | None:
        """What the database says, or None while it is away, which is logged unless known."""
        try:
            return await self._load()
        except TRANSIENT as error:
            if not known_away:
                log.warning("access_waits", error=repr(error))
            return None

    def _write(self, snapshot: AccessSnapshot, *, only_missing: bool = False) -> bool:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        operators = [p for p in snapshot.principals if p.kind == "operator"]
        passwd, acl = self.directory / "passwd", self.directory / "acl"
        users = render_password_file(snapshot.principals, self._broker_hash(passwd))
        rules = render_acl(snapshot.tenants, operators, self._topics_mode)
        changed = [
            replace_file(path, text.encode(), mode=SECRET)
            for path, text in ((passwd, users), (acl, rules))
            if not (only_missing and path.exists())
        ]
        for tenant_id, authority in self._authorities.items():
            place = self._place(tenant_id)
            changed += [
                replace_file(place / "ca.crt", authority.certificate_pem, mode=PUBLIC),
                replace_file(place / "server.crt", authority.server_pem, mode=PUBLIC),
                replace_file(place / "server.key", authority.server_key_pem, mode=SECRET),
            ]
            if not (only_missing and (place / "crl.pem").exists()):
                revoked = [one for one in snapshot.revoked if one.tenant_id == tenant_id]
                changed.append(self._write_crl(place / "crl.pem", authority, revoked))
        return any(changed)

    def _place(self, tenant_id: str) -> Path:
        if tenant_id == DEFAULT_TENANT:
            return self.directory
        place = self.directory / "tenants" / tenant_id
        place.mkdir(parents=True, exist_ok=True, mode=0o755)
        return place

    def _write_crl(
        self, path: Path, authority: CertificateAuthority, revoked: list[Revoked]
    ) -> bool:
        now = self._clock()
        if path.exists() and authority.crl_is_current(path.read_bytes(), revoked, now=now):
            return False
        return replace_file(path, authority.render_crl(revoked, now=now), mode=PUBLIC)

    def _broker_hash(self, passwd: Path) -> str:
        # The line that stands is kept while its password is right: a new salt would be a change.
        with suppress(FileNotFoundError):
            for line in passwd.read_text().splitlines():
                name, _, stored = line.partition(":")
                if name == BROKER_USER and verify_mosquitto_hash(self._broker_password, stored):
                    return stored
        return mosquitto_hash(self._broker_password, secrets.token_bytes(_SALT_BYTES))


def reload_by_pid_file(path: Path) -> None:
    """Send SIGHUP to the Mosquitto whose process id is in `path` (its ``pid_file``).

    Raises:
        ProcessLookupError: no such file, no process id in it, or a process that is not Mosquitto:
            the MQTT server is not running here, and reads its files when it starts.
        PermissionError: it runs under another account.

    """
    try:
        pid = int(path.read_text().strip())
    except (FileNotFoundError, ValueError) as error:
        raise ProcessLookupError(f"no process id in {path}") from error
    if pid < 1 or not _is_mosquitto(pid):
        raise ProcessLookupError(f"{path} names process {pid}, which is not Mosquitto")
    os.kill(pid, signal.SIGHUP)


def _is_mosquitto(pid: int) -> bool:
    # A number left from before a restart, or from another container, may be anybody's by now, and
    # SIGHUP ends most programs. Where there is no /proc the file is believed.
    if not Path("/proc/self/comm").exists():
        return pid != os.getpid()
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "mosquitto"
    return False
