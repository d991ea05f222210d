"""PostgreSQL and Mosquitto for `up`: started with what they need of each other, watched, described."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import structlog
from cryptography import x509

from broker.access import AccessFiles
from broker.atomic import replace_file
from broker.ca import CertificateAuthority
from broker.embedded.accounts import EmbeddedServerError, unprivileged_account
from broker.embedded.directory import Secrets
from broker.embedded.mosquitto import EmbeddedMosquitto, find_mosquitto, listeners
from broker.embedded.ports import LOOPBACK, free_ports, is_free
from broker.embedded.postgres import EmbeddedPostgres, connected
from broker.mosquitto_config import Bind, MosquittoConfig, render_config
from broker.mqtt.address import parse_url
from handlers.logins import ensure_serving_login
from handlers.migrate import migrate
from schema.access import BROKER_USER, AccessSnapshot
from schema.topics import DEFAULT_TENANT, TopicMode

LOGIN: Final = "jobbroker"
_CRASHES: Final = 3
_CRASH_SECONDS: Final = 60.0
_BIND_TRIES: Final = 3
_NOT_NAMES: Final = (LOOPBACK, "0.0.0.0", "::")  # noqa: S104 - what is no name of a machine

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `up` can be told: its directory, and ports that are else free ones, kept once chosen.

    database_url and mqtt_url name running servers, of which none is started then. The listeners
    with TLS listen on host, all else on loopback; server_names are further names of this machine
    for the MQTT server's certificate. Without http nothing listens for HTTP.
    """

    data_dir: Path
    host: str = LOOPBACK
    server_names: tuple[str, ...] = ()
    topics: TopicMode = TopicMode.MOUNTED
    database_url: str | None = None
    migration_url: str | None = None
    mqtt_url: str | None = None
    mqtt_port: int | None = None
    mqtts_port: int | None = None
    operators_port: int | None = None
    postgres_port: int | None = None
    http_port: int | None = None
    http: bool = True
    console_port: int | None = None
    console: bool = True  # start it, where it is installed
    durable: bool = True


class _Server(Protocol):
    @property
    def pid(self) -> int | None: ...
    @property
    def log(self) -> Path: ...
    async def start(self) -> object: ...
    async def stop(self) -> None: ...
    async def wait(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of Mosquitto's listeners, in the order in which its configuration has them."""

    internal: int
    plain: int
    devices: int
    operators: int


class EmbeddedServers:
    """The servers below one data directory, or the running ones that `options` name instead."""

    def __init__(self, options: UpOptions, secrets: Secrets) -> None:
        self.options = options
        self.data_dir = options.data_dir.absolute()
        self.database_url = options.database_url or ""
        self.admin_url = options.migration_url or options.database_url or ""
        self.mqtt_url = options.mqtt_url or ""
        self.ports: Ports | None = None
        self._secrets = secrets
        self._running: dict[str, _Server] = {}

    @property
    def auth_dir(self) -> Path:
        """Where Mosquitto finds its users, rules and certificates."""
        return self.data_dir / "mosquitto" / "auth"

    @property
    def pid_file(self) -> Path:
        """Mosquitto's process id, for its reload."""
        return self.data_dir / "mosquitto" / "mosquitto.pid"

    @property
    def authority_dir(self) -> Path:
        """Where the certificate authority is."""
        return self.data_dir / "ca"

    @property
    def ca_file(self) -> Path:
        """The authority's certificate, for clients."""
        return self.data_dir / "ca.crt"

    @property
    def tls_host(self) -> str:
        """Where the listeners with TLS are reached from here."""
        return {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(self.options.host, self.options.host)  # noqa: S104 - compared with, not bound to

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what was started here."""
        return {name: one.pid for name, one in self._running.items() if one.pid is not None}

    async def start(self, stack: AsyncExitStack) -> None:
        """Start what is to be started, and have `stack` stop it: Mosquitto first, PostgreSQL last.

        Raises EmbeddedServerError; SchemaTooNewError for data of a newer program.
        """
        if self.options.database_url is None:
            await self._start_postgres(stack)
        async with connected(self.admin_url) as connection:
            if applied := await migrate(connection):
                log.info("migrated", applied=applied)
            if self.options.database_url is None:
                password = self._secrets.made("DATABASE_PASSWORD")
                await ensure_serving_login(connection, LOGIN, password, renew=True)
                self.database_url = _as_login(self.admin_url, LOGIN, password)
        if self.options.mqtt_url is None:
            await self._start_mosquitto(stack)

    def watches(self) -> list[Coroutine[None, None, None]]:
        """One coroutine for each server, which starts it again when it ends by itself.

        Each raises EmbeddedServerError when its server has ended three times within a minute.
        """
        return [self._watch(name, one) for name, one in self._running.items()]

    async def _start_postgres(self, stack: AsyncExitStack) -> None:
        server = EmbeddedPostgres(
            self.data_dir / "postgres",
            port=self.options.postgres_port,
            durable=self.options.durable,
        )
        stack.push_async_callback(server.stop)
        await server.start()
        self.admin_url = server.near_url
        self._running["PostgreSQL"] = server

    async def _start_mosquitto(self, stack: AsyncExitStack) -> None:
        program = find_mosquitto()
        self._prepare_auth_dir()
        for attempt in range(1, _BIND_TRIES + 1):
            config = self._write_config(again=attempt > 1)
            server = EmbeddedMosquitto(config, program=program)
            try:
                await server.start()
            except EmbeddedServerError as problem:
                # Somebody else took a port between our look and Mosquitto's.
                if attempt == _BIND_TRIES or "Address already in use" not in str(problem):
                    raise
            else:
                stack.push_async_callback(server.stop)
                self._running["Mosquitto"] = server
                return

    def _prepare_auth_dir(self) -> None:
        authority = self._authority()
        replace_file(self.ca_file, authority.certificate_pem, mode=0o644)
        password = self._secrets.made("BROKER_MQTT_PASSWORD")
        self.auth_dir.mkdir(parents=True, exist_ok=True)
        if (account := unprivileged_account("mosquitto")) is not None:
            # New files belong to the directory's group, and that group may read them.
            os.chown(self.auth_dir, -1, account.gid)
            self.auth_dir.chmod(0o2750)
        AccessFiles(
            self.auth_dir,
            load=_nobody,
            reload=_nothing,
            broker_password=password,
            authorities={DEFAULT_TENANT: authority},
            topics_mode=self.options.topics.value,
        ).prepare()

    def _authority(self) -> CertificateAuthority:
        now = datetime.now(UTC)
        names = [*self.options.server_names]
        if self.options.host not in _NOT_NAMES:
            names.append(self.options.host)
        try:
            authority = CertificateAuthority.open_or_create(
                self.authority_dir, now=now, server_names=names
            )
            if not set(names) <= _names_in(authority.server_pem):
                authority.renew_server(now=now, server_names=names)
        except ValueError as error:
            raise EmbeddedServerError(f"no certificate for the MQTT server: {error}") from error
        return authority

    def _write_config(self, *, again: bool) -> Path:
        config = self.data_dir / "mosquitto" / "mosquitto.conf"
        self.ports = ports = self._choose_ports(config, again=again)
        text = render_config(
            MosquittoConfig(
                auth_directory=str(self.auth_dir),
                data_directory=str(self.data_dir / "mosquitto" / "data"),
                topics_mode=self.options.topics.value,
                pid_file=None,
                internal=Bind(ports.internal, LOOPBACK),
                plain=Bind(ports.plain, LOOPBACK),
                devices=Bind(ports.devices, self.options.host),
                operators=Bind(ports.operators, self.options.host),
            )
        )
        replace_file(config, text.encode(), mode=0o644)
        password = quote(self._secrets.made("BROKER_MQTT_PASSWORD"), safe="")
        self.mqtt_url = f"mqtt://{quote(BROKER_USER)}:{password}@{LOOPBACK}:{ports.internal}"
        return config

    def _choose_ports(self, config: Path, *, again: bool) -> Ports:
        given = self.options
        wanted = (None, given.mqtt_port, given.mqtts_port, given.operators_port)
        # What was chosen stays, so that a device finds us again after a restart.
        before = [port for _, port in listeners(config)] if config.exists() and not again else []
        kept = before if len(before) == len(wanted) else [0] * len(wanted)
        new = free_ports(len(wanted))
        return Ports(
            *(
                want or (old if old and is_free(old) else fresh)
                for want, old, fresh in zip(wanted, kept, new, strict=True)
            )
        )

    async def _watch(self, name: str, server: _Server) -> None:
        loop = asyncio.get_running_loop()
        ends: list[float] = []
        while True:
            code = await server.wait()
            ends = [at for at in ends if at > loop.time() - _CRASH_SECONDS] + [loop.time()]
            if len(ends) >= _CRASHES:
                raise EmbeddedServerError(
                    f"{name} ended {len(ends)} times within {_CRASH_SECONDS:g} s, the last time"
                    f" with code {code}; its log is {server.log}"
                )
            log.error("server_ended", server=name, code=code, log=str(server.log))
            await server.start()
            log.info("server_started_again", server=name)


def _names_in(certificate: bytes) -> set[str]:
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = names.value.get_values_for_type(x509.IPAddress)
    return {*names.value.get_values_for_type(x509.DNSName), *map(str, addresses)}


def address_of(mqtt_url: str) -> str:
    """An MQTT server's URL without who we are there."""
    address = parse_url(mqtt_url).address
    return f"{'mqtts' if address.tls else 'mqtt'}://{address}"


def _as_login(url: str, login: str, password: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{login}:{quote(password, safe='')}@{where}"))


async def _nobody() -> AccessSnapshot:
    return AccessSnapshot()


def _nothing() -> None:
    return None
