"""`jobbroker check` and `jobbroker health`: what the broker depends on, examined without changing it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import asyncpg
from cryptography import x509

from broker.cli.callers import Where, caller
from broker.cli.outcome import Failure, expected
from broker.mqtt.connection import ConnectError
from broker.mqtt.probe import Probe, probe
from broker.settings import Settings
from handlers.database import SERVING_ROLE, connect
from handlers.inspection import Session, describe_session, unprotected_tables, visible_tenants
from handlers.migrate import SchemaTooNewError, SchemaTooOldError, require_current

State = Literal["ok", "warn", "fail"]
_OLDEST_POSTGRES: Final = 150000
_OLDEST_MOSQUITTO: Final = (2, 0, 12)
_SKEW_WARN, _SKEW_FAIL = 1.0, 30.0
_EXPIRY_WARN: Final = timedelta(days=30)
_SMALLEST_PACKET: Final = 131072
_FEWEST_IN_FLIGHT: Final = 100
_SPARE_CONNECTIONS: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined: what it is, how it is, what was found, and what to do when it is not well."""

    what: str
    state: State
    said: str
    remedy: str = ""


async def answers(settings: Settings) -> str | None:
    """Say what keeps the broker from working, or None: the database has our structure, MQTT lets us in."""
    try:
        async with asyncio.timeout(5):
            connection = await connect(settings.database_url.get_secret_value())
            try:
                await require_current(connection)
            finally:
                await connection.close()
            await probe(settings, seconds=0)
    except Exception as error:
        if (failure := expected(error)) is not None:
            return failure.message
        raise
    return None


async def examine(
    settings: Settings, *, operator_url: str | None = None, http_url: str | None = None
) -> AsyncIterator[Finding]:
    """Examine everything, one finding after the other; nothing is changed.

    operator_url: who asks the broker something over MQTT, to see the whole way. http_url: where HTTP is to answer.
    None leaves that out.
    """
    yield Finding("settings", "ok", "all known and within their limits")
    async for finding in _database(settings):
        yield finding
    async for finding in _mqtt(settings):
        yield finding
    for finding in _files(settings):
        yield finding
    if operator_url is not None:
        yield await _round_trip(settings, operator_url)
    if http_url is not None:
        yield await _http(http_url)


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        connection = await connect(settings.database_url.get_secret_value())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        remedy = "is the server there, is the login right, has `jobbroker migrate` run?"
        yield Finding("database", "fail", str(error), remedy)
        return
    try:
        before = time.time()
        session = await describe_session(connection)
        took = time.time() - before
        for finding in (_server(session, settings), _login(session), _clock(session, before, took)):
            yield finding
        yield await _structure(connection)
        yield await _walls(connection)
    finally:
        await connection.close()


def _server(session: Session, settings: Settings) -> Finding:
    version = f"PostgreSQL {session.version // 10000}.{session.version % 10000}"
    if session.version < _OLDEST_POSTGRES:
        return Finding("database", "fail", version, "PostgreSQL 15 or newer is needed")
    needed = settings.pool_size + _SPARE_CONNECTIONS
    said = f"{version}, {session.max_connections} connections"
    if session.max_connections < needed:
        remedy = f"one process takes {needed}: raise max_connections or lower JOBBROKER_POOL_SIZE"
        return Finding("database", "warn", said, remedy)
    return Finding("database", "ok", said)


def _login(session: Session) -> Finding:
    said = f"{session.login} acts as {session.role}"
    if session.role != SERVING_ROLE or session.superuser or session.bypasses or session.owned:
        remedy = f"{SERVING_ROLE} must own nothing and be neither SUPERUSER nor BYPASSRLS"
        return Finding("database role", "fail", f"{said}, which could see all tenants", remedy)
    if session.strong_login:
        remedy = "give JOBBROKER_DATABASE_URL a login of its own; `jobbroker migrate` makes it"
        return Finding("database role", "warn", f"{said}, and could stop doing so", remedy)
    return Finding("database role", "ok", said)


def _clock(session: Session, before: float, took: float) -> Finding:
    skew = abs(session.now.timestamp() - before - took / 2)
    said = f"{skew:.3f} s apart from the database, within {took / 2:.3f} s"
    remedy = "set both clocks by NTP"
    if skew - took / 2 > _SKEW_FAIL:
        return Finding("clock", "fail", said, remedy)
    if skew - took / 2 > _SKEW_WARN:
        return Finding("clock", "warn", said, remedy)
    return Finding("clock", "ok", said)


async def _structure(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    try:
        await require_current(connection)
    except SchemaTooOldError as error:
        return Finding("schema", "fail", str(error), "run `jobbroker migrate`")
    except SchemaTooNewError as error:
        return Finding("schema", "fail", str(error), "upgrade jobbroker")
    return Finding("schema", "ok", "current")


async def _walls(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    remedy = "restore the policies of the migrations: ENABLE and FORCE ROW LEVEL SECURITY"
    try:
        if bare := await unprotected_tables(connection):
            return Finding("row-level security", "fail", f"not on {', '.join(bare)}", remedy)
        if seen := await visible_tenants(connection):
            said = f"{seen} tenants are visible to nobody in particular"
            return Finding("row-level security", "fail", said, remedy)
    except asyncpg.PostgresError as error:
        return Finding("row-level security", "fail", str(error), "run `jobbroker migrate`")
    return Finding("row-level security", "ok", "on for every tenant table, its owner included")


async def _mqtt(settings: Settings) -> AsyncIterator[Finding]:
    try:
        seen = await probe(settings)
    except ConnectError as error:
        yield Finding("MQTT session", "fail", str(error), "is JOBBROKER_MQTT_URL right?")
        return
    address = settings.mqtt.address
    if not seen.shared:
        remedy = "set JOBBROKER_MQTT_TOPICS=plain, or use Mosquitto"
        state: State = "fail" if settings.mqtt_topics == "mounted" else "warn"
        yield Finding("MQTT session", state, "no shared subscriptions", remedy)
    else:
        yield Finding("MQTT session", "ok", f"{address} lets {settings.mqtt.username} in")
    yield _mqtt_version(seen)
    yield _mqtt_limits(seen)
    if seen.wrong_publish_refused:
        yield Finding("MQTT rules", "ok", "what the broker may not publish is refused")
    else:
        remedy = (
            "the ACL file of JOBBROKER_ACCESS_DIR must be Mosquitto's acl_file; see mosquitto.conf"
        )
        yield Finding("MQTT rules", "fail", "a device's request could be forged", remedy)


def _mqtt_version(seen: Probe) -> Finding:
    wanted = ".".join(map(str, _OLDEST_MOSQUITTO))
    if seen.version is None:
        # With retain_available false, as we ship it, Mosquitto tells its version to nobody.
        return Finding("MQTT version", "ok", f"not told over MQTT; Mosquitto needs to be {wanted}")
    if seen.version < _OLDEST_MOSQUITTO:
        remedy = f"older ones than {wanted} do not take a mount point off; install a newer one"
        return Finding("MQTT version", "fail", ".".join(map(str, seen.version)), remedy)
    return Finding("MQTT version", "ok", ".".join(map(str, seen.version)))


def _mqtt_limits(seen: Probe) -> Finding:
    said = f"{seen.in_flight} in flight, packets to {seen.packet_bytes or 'any number of'} bytes"
    if seen.in_flight < _FEWEST_IN_FLIGHT:
        return Finding("MQTT limits", "warn", said, "set max_inflight_messages 1000")
    if seen.packet_bytes is not None and seen.packet_bytes < _SMALLEST_PACKET:
        return Finding("MQTT limits", "warn", said, "set max_packet_size 262144")
    return Finding("MQTT limits", "ok", said)


def _files(settings: Settings) -> Iterator[Finding]:
    if settings.access_dir is None:
        return
    for name in ("ca.crt", "server.crt"):
        yield _certificate(settings.access_dir / name)
    yield _revocations(settings.access_dir / "crl.pem")


def _certificate(path: Path) -> Finding:
    try:
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        remedy = "`jobbroker serve` writes it; is JOBBROKER_ACCESS_DIR right?"
        return Finding(path.name, "fail", str(error), remedy)
    return _validity(
        path.name,
        until,
        "`jobbroker ca renew` makes a new one; the authority itself is good for 20 years",
    )


def _revocations(path: Path) -> Finding:
    try:
        until = x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
    except (OSError, ValueError) as error:
        return Finding(path.name, "fail", str(error), "`jobbroker serve` writes it")
    if until is None:
        return Finding(path.name, "warn", "has no end", "`jobbroker serve` writes a new one")
    if until < datetime.now(UTC):
        said = f"ended {until:%Y-%m-%d %H:%M}: Mosquitto refuses every certificate"
        return Finding(
            path.name, "fail", said, "`jobbroker serve` writes a new one; is it running?"
        )
    return Finding(path.name, "ok", f"good until {until:%Y-%m-%d %H:%M}")


def _validity(what: str, until: datetime, remedy: str) -> Finding:
    left = until - datetime.now(UTC)
    if left < timedelta(0):
        return Finding(what, "fail", f"ended {until:%Y-%m-%d}", remedy)
    state: State = "warn" if left < _EXPIRY_WARN else "ok"
    return Finding(what, state, f"good until {until:%Y-%m-%d}", remedy if state == "warn" else "")


async def _round_trip(settings: Settings, operator_url: str) -> Finding:
    where = Where(operator_url, None, None, "default", settings.data_dir)
    began = time.monotonic()
    try:
        async with caller(where) as asked:
            await asked.call("jobs/list", {"maxResults": 1})
    except Failure as failure:
        remedy = "is `jobbroker serve` running, and the operator's token right?"
        return Finding("round trip", "fail", failure.message, remedy)
    took = (time.monotonic() - began) * 1000
    return Finding("round trip", "ok", f"an operator's request was answered after {took:.0f} ms")


async def _http(url: str) -> Finding:
    import httpx  # noqa: PLC0415 - a fifth of a second, for those who have HTTP

    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            answer = await client.get(f"{url}/readyz")
    except httpx.HTTPError as error:
        remedy = "is `jobbroker serve` running, and JOBBROKER_HTTP_HOST right?"
        return Finding("HTTP", "fail", f"{url} does not answer: {error}", remedy)
    try:
        said = answer.json()
    except ValueError:
        said = None
    match said:
        case {"status": "ready"}:
            return Finding("HTTP", "ok", f"{url} answers")
        case {"lacking": dict(lacking)}:
            why = "; ".join(f"{name}: {text}" for name, text in lacking.items())
            return Finding("HTTP", "fail", f"{url} is not ready", why)
    return Finding("HTTP", "fail", f"{url} answers, but not as jobbroker", "is the port ours?")
