"""`jobbroker up`: PostgreSQL, Mosquitto and the broker, with their data in one directory.

Started in the order in which they need each other, stopped in the opposite one: the broker first,
so that what it has begun is finished; then Mosquitto, which saves its sessions; PostgreSQL last.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from broker.embedded.accounts import EmbeddedServerError
from broker.embedded.children import Child
from broker.embedded.directory import Secrets, taken, tell
from broker.embedded.http_port import choose_console_port, choose_http_port
from broker.embedded.ports import LOOPBACK
from broker.embedded.servers import EmbeddedServers, UpOptions, address_of
from broker.serving import allow_many_files, serve_with_access
from broker.settings import Settings, load_settings, local_settings
from handlers.credentials import issue_token, verify_token
from handlers.database import create_pool, tenant_transaction
from handlers.operator_plane import Actor, execute
from schema.errors import Code
from schema.rights import Role
from schema.topics import DEFAULT_TENANT, OperatorTopic

ADMIN: Final = "admin"
_SECRET_KEY: Final = "SECRET_KEY"  # noqa: S105 - the name of a line in secrets.env
_CONSOLE_SECONDS: Final = 5.0
_TOKEN: Final = "ADMIN_TOKEN"  # noqa: S105 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """What runs, and where: what `up --json` prints and up.json holds.

    mqtt and operators_mqtts are for names with tokens, mqtts for certificates, broker_mqtt for the
    broker alone, http for HTTP; operator is mqtt with the name and token of the operator `admin`.
    database is the login that serves, database_admin the one that migrates. console is where its
    pages are, None where they are not installed.
    """

    mqtt: str
    mqtts: str | None
    operators_mqtts: str | None
    broker_mqtt: str
    mqtt_topics: str
    http: str | None
    console: str | None
    operator: str
    database: str
    database_admin: str
    data_dir: str
    ca_file: str | None
    access_dir: str | None
    pid: int
    since: str
    pids: dict[str, int]

    @property
    def ready_line(self) -> str:
        """The one line that says that it serves."""
        return " ".join(["ready", *filter(None, (self.mqtt, self.mqtts, self.http))])


async def up(options: UpOptions, *, on_ready: Callable[[Up], None], stop: asyncio.Event) -> None:
    """Run everything until `stop`; `on_ready` is called once, when requests are answered.

    Raises DirectoryTakenError, EmbeddedServerError, SettingsError, or what serving raises.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(taken(options.data_dir))
        allow_many_files()
        secrets = Secrets(options.data_dir)
        servers = EmbeddedServers(options, secrets)
        await servers.start(stack)
        settings = settings_for(servers, secrets)
        token = await _admin_token(settings, secrets)
        told = _describe(servers, settings, token)
        console = await _start_console(options, secrets, told.http, stack)
        told = replace(told, console=console)

        def ready() -> None:
            tell(servers.data_dir, asdict(told))
            on_ready(told)

        await _serve_watched(servers, settings, ready, stop)


async def _start_console(
    options: UpOptions, secrets: Secrets, http: str | None, stack: AsyncExitStack
) -> str | None:
    """Start the console beside us, where it is installed; returns its address. It ends before the servers do."""
    if not options.console or http is None or importlib.util.find_spec("nicegui") is None:
        return None
    directory = options.data_dir.absolute()
    port = choose_console_port(directory, options.console_port)
    child = Child("console", directory / "console.log")
    where = ("--api-url", http, "--port", str(port), "--with-parent")
    command = (sys.executable, "-m", "broker", "console", *where)
    await child.start(command, env={"JOBBROKER_CONSOLE_SECRET": secrets.made("CONSOLE_SECRET")})
    stack.push_async_callback(child.end, (signal.SIGTERM, _CONSOLE_SECONDS))
    return f"http://{LOOPBACK}:{port}{local_settings().console_prefix}/"


async def _serve_watched(
    servers: EmbeddedServers, settings: Settings, ready: Callable[[], None], stop: asyncio.Event
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(one) for one in servers.watches()]
            await group.create_task(serve_with_access(settings, on_ready=ready, stop=stop))
            for task in watching:
                task.cancel()
    except* EmbeddedServerError as problems:
        raise problems.exceptions[0] from None


def settings_for(servers: EmbeddedServers, secrets: Secrets) -> Settings:
    """The settings that the broker serves those servers with; what the environment says stays.

    Without JOBBROKER_SECRET_KEY the directory's own seals what is stored, made on the first start.

    Raises SettingsError.
    """
    instead: dict[str, object] = {
        "database_url": servers.database_url,
        "mqtt_url": servers.mqtt_url,
        "data_dir": servers.data_dir,
        "mqtt_topics": servers.options.topics,
    }
    if servers.ports is not None:
        instead |= {
            "access_dir": servers.auth_dir,
            "ca_dir": servers.authority_dir,
            "mqtt_pid_file": servers.pid_file,
        }
    found = load_settings(**instead)
    instead["http_port"] = _http_port(servers, found)
    found = load_settings(**instead)
    if found.secret_key is not None:
        return found
    return load_settings(**instead, secret_key=secrets.made(_SECRET_KEY))


def _http_port(servers: EmbeddedServers, settings: Settings) -> int | None:
    """Where to listen: as the command says, else JOBBROKER_HTTP_PORT, else 8000 or a free port."""
    said = settings.http_port if "http_port" in settings.model_fields_set else None
    is_off = settings.http_port is None
    if not servers.options.http or (is_off and servers.options.http_port is None):
        return None
    return choose_http_port(servers.data_dir, servers.options.http_port or said)


async def _admin_token(settings: Settings, secrets: Secrets) -> str:
    """The token of the operator `admin`, who is made with it on the first start."""
    pool = await create_pool(settings.database_url.get_secret_value(), size=2)
    try:
        token = secrets.get(_TOKEN)
        async with pool.acquire() as raw, tenant_transaction(raw, DEFAULT_TENANT) as connection:
            if token and await verify_token(connection, DEFAULT_TENANT, ADMIN, token):
                return token
        actor = Actor(DEFAULT_TENANT, "cli:up", Role.OWNER)
        topic = OperatorTopic(DEFAULT_TENANT, actor.name, "operators/create")
        payload = json.dumps({"operatorName": ADMIN, "role": Role.OWNER, "issueToken": False})
        answer = await execute(pool, actor, topic, payload.encode(), slot=None)
        if not answer.accepted and answer.body.get("code") != Code.RESOURCE_ALREADY_EXISTS:
            raise EmbeddedServerError(f"no operator `{ADMIN}`: {answer.body.get('message')}")
        async with pool.acquire() as raw, tenant_transaction(raw, DEFAULT_TENANT) as connection:
            token = await issue_token(connection, DEFAULT_TENANT, ADMIN)
        return secrets.keep(_TOKEN, token)
    finally:
        await pool.close()


def _describe(servers: EmbeddedServers, settings: Settings, token: str) -> Up:
    ports, host = servers.ports, servers.tls_host
    mqtt = f"mqtt://{LOOPBACK}:{ports.plain}" if ports else address_of(servers.mqtt_url)
    scheme, _, where = mqtt.partition("://")
    return Up(
        mqtt=mqtt,
        mqtts=f"mqtts://{host}:{ports.devices}" if ports else None,
        operators_mqtts=f"mqtts://{host}:{ports.operators}" if ports else None,
        broker_mqtt=servers.mqtt_url,
        mqtt_topics=servers.options.topics.value,
        console=None,
        http=settings.http_url,
        operator=f"{scheme}://{ADMIN}:{quote(token, safe='')}@{where}",
        database=servers.database_url,
        database_admin=servers.admin_url,
        data_dir=str(servers.data_dir),
        ca_file=str(servers.ca_file) if ports else None,
        access_dir=str(servers.auth_dir) if ports else None,
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        pids=servers.pids,
    )
