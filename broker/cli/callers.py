"""Two ways to hand a command to the broker's handlers: beside them in this process, or over MQTT.

Both take the same verb and payload and give the same answer (architecture law 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.cli.outcome import Exit, Failure, Refused

if TYPE_CHECKING:
    import aiomqtt

    from broker.local_settings import LocalSettings
    from handlers.context import Outside
    from handlers.database import Pool

ANSWER_SECONDS: Final = 15.0
# How often a job that is watched is looked at: without events, and beside them.
LOOK_SECONDS: Final = 1.0
SLOW_LOOK_SECONDS: Final = 5.0
_ENDS: Final = ("succeeded", "failed", "timed_out", "rejected", "canceled", "removed", "deleted")
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """What the options and the environment say about whom to talk to.

    operator_url: mqtt://name:token@host:port; ca_file trusts its server with mqtts://.
    database_url and tenant are for the local way; data_dir is where a running `up` is looked for.
    """

    operator_url: str | None
    ca_file: Path | None
    database_url: str | None
    tenant: str
    data_dir: Path


class Caller(Protocol):
    """Somebody who has commands done."""

    async def call(self, verb: str, payload: Body, *, job_id: str = "", thing: str = "") -> Body:
        """Have a command done and return what was accepted.

        verb as in `schema.topics.OperatorTopic` (jobs/create, jobs/executions/cancel, ...).
        Raises Refused with the code when it is rejected, Failure when there is no answer.
        """
        ...

    async def wait(self, job_id: str) -> None:
        """Wait until a job may have changed: until an event of it is heard, or for a while.

        Raises Failure when nothing can be heard any more.
        """
        ...


class DatabaseCaller:
    """Does commands in this process, on the database; as the owner, named after the local user."""

    def __init__(self, pool: Pool, tenant: str, outside: Outside | None = None) -> None:
        self.pool = pool
        self.tenant = tenant
        self._outside = outside
        self.actor_name = f"cli:{local_user()}"

    async def call(self, verb: str, payload: Body, *, job_id: str = "", thing: str = "") -> Body:
        """Do a command; a running broker hears of what must be told from the outbox."""
        from handlers.context import NOTHING
        from handlers.operator_plane import Actor, execute
        from schema.rights import Role
        from schema.topics import OperatorTopic

        actor = Actor(self.tenant, self.actor_name, Role.OWNER)
        topic = OperatorTopic(self.tenant, actor.name, verb, job_id, thing)
        answer = await execute(
            self.pool,
            actor,
            topic,
            json.dumps(payload).encode(),
            slot=None,
            outside=self._outside or NOTHING,
        )
        return _accepted(answer.body, accepted=answer.accepted)

    async def wait(self, job_id: str) -> None:  # noqa: ARG002 - it hears of none
        """Wait a second: events leave by the MQTT server, which is not asked here."""
        await asyncio.sleep(LOOK_SECONDS)


class MqttCaller:
    """Asks the broker over MQTT, as an operator, in the operator's own room."""

    def __init__(self, client: aiomqtt.Client, operator: str) -> None:
        self._client = client
        self._room = f"operators/{operator}/"
        self._waiting: dict[str, asyncio.Future[tuple[bool, Body]]] = {}
        self._followed: set[str] = set()
        self._heard = asyncio.Event()
        self._lost: Failure | None = None

    async def call(self, verb: str, payload: Body, *, job_id: str = "", thing: str = "") -> Body:
        """Publish a command with a clientToken and wait for the answer that echoes it."""
        token = str(payload.get("clientToken") or secrets.token_hex(16))
        answer: asyncio.Future[tuple[bool, Body]] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        topic = self._room + command_path(verb, job_id=job_id, thing=thing)
        try:
            await self._client.publish(
                topic, json.dumps({**payload, "clientToken": token}), qos=1, timeout=ANSWER_SECONDS
            )
            async with asyncio.timeout(ANSWER_SECONDS):
                accepted, body = await answer
        except TimeoutError:
            raise Failure(
                f"no answer to {topic} within {ANSWER_SECONDS:g} s: is the broker running?",
                Exit.TIMEOUT,
            ) from None
        finally:
            del self._waiting[token]
        if "clientToken" not in payload:
            body.pop("clientToken", None)
        return _accepted(body, accepted=accepted)

    async def wait(self, job_id: str) -> None:
        """Wait for an event of the job: of itself, or that an execution ended; five seconds at most.

        Not for those that executions make on their way: they would be made for nobody else, and a large job has many.
        """
        if job_id not in self._followed:
            topics = [f"$aws/events/job/{job_id}/#"]
            topics += [f"$aws/events/jobExecution/{job_id}/{one}" for one in _ENDS]
            await self._client.subscribe([(topic, 0) for topic in topics])
            self._followed.add(job_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOW_LOOK_SECONDS):
                await self._heard.wait()
        self._heard.clear()
        if self._lost is not None:
            raise self._lost

    async def listen(self) -> None:
        """Hand each answer to the call that waits for it; until cancelled, or disconnected."""
        import aiomqtt

        try:
            async for message in self._client.messages:
                self._answer(str(message.topic), _read(message.payload))
        except aiomqtt.MqttError as error:
            self._lost = Failure(f"MQTT connection lost: {error}")
            self._heard.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._lost)

    def _answer(self, topic: str, body: Body) -> None:
        if topic.startswith("$aws/events/"):
            self._heard.set()
            return
        accepted = topic.endswith("/accepted")
        if accepted or topic.endswith("/rejected"):
            waiting = self._waiting.get(str(body.get("clientToken")))
            if waiting is not None and not waiting.done():
                waiting.set_result((accepted, body))


def command_path(verb: str, *, job_id: str, thing: str) -> str:
    """A command's topic inside an operator's room: the verb with the names it is about in it."""
    group, _, word = verb.rpartition("/")
    if thing:
        return f"jobs/{job_id}/executions/{thing}/{word}"
    return f"{group}/{job_id}/{word}" if job_id else verb


def local_user() -> str:
    """Return the operating system's name for who runs this, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@asynccontextmanager
async def caller(where: Where) -> AsyncIterator[Caller]:
    """Connect the way that is configured: over MQTT, on the database, or to a running `up`.

    Raises Failure when nothing is configured and no `up` runs.
    """
    if where.operator_url is not None:
        async with mqtt_client(where) as (client, operator), AsyncExitStack() as stack:
            asking = MqttCaller(client, operator)
            await client.subscribe(f"operators/{operator}/#", qos=1)
            listening = asyncio.create_task(asking.listen())
            stack.callback(listening.cancel)
            yield asking
        return
    from broker.outside import outside_of

    async with database(where) as pool:
        yield DatabaseCaller(pool, where.tenant, outside_of(settings_at(where)))


@asynccontextmanager
async def database(where: Where) -> AsyncIterator[Pool]:
    """Open a small pool on the database that is configured, checked to have our structure.

    Raises Failure when none is configured and no `up` runs, SchemaTooOldError and SchemaTooNewError.
    """
    from handlers.database import create_pool
    from handlers.migrate import require_current

    pool = await create_pool(database_url(where), size=4)
    try:
        async with pool.acquire() as connection:
            await require_current(connection)
        yield pool
    finally:
        await pool.close()


def database_url(where: Where) -> str:
    """The database to use: the configured one, else that of the `up` that runs in data_dir."""
    if where.database_url is not None:
        return where.database_url
    from broker.embedded.directory import running_up

    running = running_up(where.data_dir)
    if running is None:
        raise Failure(
            f"nothing to talk to: no `jobbroker up` runs in {where.data_dir};"
            " start one, or set JOBBROKER_DATABASE_URL or JOBBROKER_OPERATOR_URL"
        )
    return str(running["database"])


def settings_at(where: Where) -> LocalSettings:
    """The environment's settings; the database of an `up` comes with the key that its directory keeps."""
    from broker.embedded.directory import Secrets
    from broker.settings import local_settings

    found = local_settings()
    if found.secret_key is not None or where.database_url is not None:
        return found
    kept = Secrets(where.data_dir).get("SECRET_KEY")
    return found if kept is None else local_settings(secret_key=kept)


def running_authority_dir(where: Where) -> Path:
    """Where the certificate authority is: that of the directory that is used, else the configured."""
    from broker.settings import local_settings

    local = local_settings()
    return local.ca_dir if local.ca_dir is not None else where.data_dir / "ca"


@asynccontextmanager
async def mqtt_client(where: Where) -> AsyncIterator[tuple[aiomqtt.Client, str]]:
    """Connect as the operator that the URL names; yields the client and the operator's name.

    Raises Failure for a URL without a name and for a server that refuses or does not answer.
    """
    import aiomqtt

    from broker.mqtt.address import parse_url

    try:
        url = parse_url(where.operator_url or "")
    except ValueError as error:
        raise Failure(f"--as: {error}", Exit.USAGE) from error
    if url.username is None:
        raise Failure("--as: the URL names no operator: mqtt://ann:TOKEN@host:port", Exit.USAGE)
    client = aiomqtt.Client(
        hostname=url.address.host,
        port=url.address.port,
        username=url.username,
        password=url.password,
        protocol=aiomqtt.ProtocolVersion.V5,
        identifier=f"cli-{secrets.token_hex(8)}",
        tls_context=_tls(where.ca_file) if url.address.tls else None,
        timeout=ANSWER_SECONDS,
    )
    try:
        async with client:
            yield client, url.username
    except aiomqtt.MqttError as error:
        raise Failure(f"MQTT server at {url.address}: {error}") from error


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _read(payload: object) -> Body:
    try:
        body = json.loads(payload) if isinstance(payload, bytes | str) else None
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _accepted(body: Mapping[str, Any], *, accepted: bool) -> Body:
    if not accepted:
        raise Refused(str(body.get("code", "InternalError")), str(body.get("message", "refused")))
    return dict(body)
