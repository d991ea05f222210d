"""What is measured: servers, a fleet of things with tokens, brokers, and the load beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.bench import annoying
from broker.bench.answering import DATABASE, MQTT
from broker.bench.children import LoadProcess, Served, load_process
from broker.bench.plan import Plan
from broker.bench.usage import cpu_seconds, peak_megabytes
from broker.cli.callers import DatabaseCaller
from broker.cli.kinds import target_arn
from broker.cli.outcome import Failure, remark
from broker.embedded.directory import Secrets
from broker.embedded.ports import LOOPBACK
from broker.embedded.postgres import connected
from broker.embedded.servers import EmbeddedServers, UpOptions
from broker.embedded.up import settings_for
from broker.serving import access_files
from broker.settings import Settings
from broker.simulator.registration import join, register
from handlers.database import Connection, Pool, create_pool
from schema.topics import DEFAULT_TENANT

EVERYTHING, DEVICES = "bench-all", "bench-devices"
OPERATOR: Final = "bench-operator"
JOB: Final = "bench"
_THINGS_HEAR: Final = [
    "$aws/things/{name}/jobs/notify-next",
    "$aws/things/{name}/jobs/start-next/+",
    "$aws/things/{name}/jobs/+/update/+",
]
_OPERATORS_HEAR: Final = ["operators/{name}/jobs/create/+"]
# With the operators' remembered answers: the load's clientTokens begin anew with each workload.
# Whatever belongs to a job goes with it.
_EMPTY: Final = "TRUNCATE jobs, outbox, operator_requests CASCADE"
_POLL_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 600.0


@dataclass(slots=True)
class Stage:
    """Everything that parts measure with; made by `staged`.

    most_updates: what was done a second at most, once that has been measured.
    http_port: where brokers that are started from now on listen for HTTP; None for nowhere.
    beside: further processes whose use is counted, by what they are.
    """

    plan: Plan
    directory: Path
    servers: EmbeddedServers
    settings: Settings
    pool: Pool
    admin: Connection
    load: LoadProcess
    tokens: dict[str, str]
    operator_token: str
    brokers: list[Served] = field(default_factory=list)
    answerer: Served | None = None
    annoyer: Served | None = None
    http_port: int | None = None
    beside: dict[str, int] = field(default_factory=dict)
    most_updates: float | None = None

    @property
    def things(self) -> list[str]:
        """The names of all things with tokens."""
        return list(self.tokens)

    @property
    def devices(self) -> list[str]:
        """The names of those that report progress."""
        return self.things[: self.plan.devices]

    @property
    def caller(self) -> DatabaseCaller:
        """Somebody who may do everything, on the database."""
        return DatabaseCaller(self.pool, DEFAULT_TENANT)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of all that takes part, by what they are."""
        found = {"mosquitto": "Mosquitto", "postgres": "PostgreSQL"}
        running = self.servers.pids
        pids = {name: running[own] for name, own in found.items() if own in running}
        pids["load"] = self.load.pid
        if self.answerer is not None:
            pids["answerer"] = self.answerer.process_id
        if self.annoyer is not None:
            pids["slow_clients"] = self.annoyer.process_id
        for number, broker in enumerate(self.brokers, start=1):
            pids["broker" if number == 1 else f"broker_{number}"] = broker.process_id
        return pids | self.beside

    async def connect(self, names: Sequence[str], *, operator: bool = False) -> None:
        """Have the load connect these things, and the operator."""
        where = self.plan.things_mqtt or f"mqtt://127.0.0.1:{self._plain_port()}"
        tokens = {name: self.tokens[name] for name in names}
        await self.load.tell("connect", mqtt=where, things=tokens, filters=_THINGS_HEAR)
        if operator:
            token = {OPERATOR: self.operator_token}
            await self.load.tell("connect", mqtt=where, things=token, filters=_OPERATORS_HEAR)

    def _plain_port(self) -> int:
        if self.servers.ports is None:
            raise Failure("--things-mqtt says where things connect to JOBBROKER_MQTT_URL's server")
        return self.servers.ports.plain

    async def need_brokers(self, count: int) -> None:
        """Have exactly so many brokers serve."""
        while len(self.brokers) > count:
            await self.brokers.pop().finish()
        while len(self.brokers) < count:
            number = len(self.brokers) + 1
            broker = Served(f"broker {number}", self.directory / f"broker-{number}.log")
            self.brokers.append(broker)
            await broker.serve(["broker", "serve"], self._broker_environment())

    async def answer_with(self, how: str) -> None:
        """Have `echo`, `echo0` or `seed` answer updates; to be ended by `stop_answering`."""
        self.answerer = Served(how, self.directory / f"{how}.log")
        urls = {MQTT: self.servers.mqtt_url, DATABASE: self.servers.database_url}
        await self.answerer.serve(["broker.bench.answering", how], urls)

    async def stop_answering(self) -> None:
        """End the answerer."""
        if self.answerer is not None:
            await self.answerer.finish()
            self.answerer = None

    async def annoy(self) -> None:
        """Have clients hold connections for HTTP and send a huge body; to be ended by `stop_annoying`."""
        self.annoyer = Served("slow HTTP clients", self.directory / "annoying.log")
        told = {
            annoying.PORT: self.http_port,
            annoying.TOKEN: self.operator_token,
            annoying.HOLDERS: self.plan.slow_clients,
        }
        env = {name: str(value) for name, value in told.items()}
        await self.annoyer.serve(["broker.bench.annoying"], env)

    async def stop_annoying(self) -> Path:
        """End them; returns their log, which says what became of them. Raises Failure."""
        if self.annoyer is None:
            raise Failure("there are no slow HTTP clients")
        annoyer, self.annoyer = self.annoyer, None
        await annoyer.finish()
        return annoyer.log

    async def empty(self) -> None:
        """Remove all jobs, so that each part begins with the same tables."""
        await self.outbox_empty()
        await self.admin.execute(_EMPTY)

    async def settle(self) -> None:
        """Bring the tables into the state that they have in operation, after they were filled.

        Autovacuum would do so within a minute; till then plans are made for empty tables.
        """
        await self.admin.execute("VACUUM (ANALYZE) executions, jobs, job_counts, things, outbox")
        await self.admin.execute("CHECKPOINT")

    async def publish_job(self, job: str, group: str) -> None:
        """Create a job for a group."""
        await self.caller.call(
            "jobs/create",
            {
                "jobId": job,
                "targets": [target_arn("thinggroup", group)],
                "document": {"operation": "install", "version": "2.4.1"},
            },
        )

    async def create_job(self, job: str, group: str) -> None:
        """Create a job for a group and wait until all of it is durable and told."""
        await self.publish_job(job, group)
        await self.rolled_out(job)
        await self.outbox_empty()

    async def rolled_out(self, job: str) -> None:
        """Wait until every execution of a job is durable."""
        await self._until("SELECT pending_work IS NULL FROM jobs WHERE job_id = $1", job)

    async def outbox_empty(self) -> None:
        """Wait until the MQTT server has acknowledged all notifications."""
        await self._until("SELECT NOT EXISTS (SELECT FROM outbox)")

    async def _until(self, query: str, *arguments: object) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await self.admin.fetchval(query, *arguments):  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(_POLL_SECONDS)

    def _broker_environment(self) -> dict[str, str]:
        instead: dict[str, Any] = {
            "DATABASE_URL": self.servers.database_url,
            "MQTT_URL": self.servers.mqtt_url,
            "DATA_DIR": self.settings.data_dir,
            "ACCESS_DIR": self.settings.access_dir,
            "CA_DIR": self.settings.ca_dir,
            "MQTT_PID_FILE": self.settings.mqtt_pid_file,
            "LOG_LEVEL": "warning",
            "HTTP_HOST": self.http_port and LOOPBACK,
            "HTTP_PORT": self.http_port or "off",
        }
        return {f"JOBBROKER_{name}": str(value) for name, value in instead.items() if value}


@asynccontextmanager
async def staged(plan: Plan, directory: Path) -> AsyncIterator[Stage]:
    """Start the servers, register the fleet and start the load; all ends with the block.

    Raises EmbeddedServerError; Failure for a database that is in use.
    """
    async with AsyncExitStack() as stack:
        options = UpOptions(
            data_dir=directory,
            database_url=plan.database_url,
            migration_url=plan.migration_url,
            mqtt_url=plan.mqtt_url,
        )
        remark("starting PostgreSQL (fsync and synchronous_commit on) and Mosquitto ...")
        kept = Secrets(directory)
        servers = EmbeddedServers(options, kept)
        await servers.start(stack)
        settings = settings_for(servers, kept)
        pool = await create_pool(servers.database_url, size=4)
        stack.push_async_callback(pool.close)
        admin = await stack.enter_async_context(connected(servers.admin_url))
        await _require_unused(admin)
        load = await stack.enter_async_context(load_process(directory))
        tokens, operator_token = await _register(pool, plan)
        if settings.access_dir is not None:
            files = access_files(settings, pool)
            files.prepare()
            await files.run_once()
        stage = Stage(plan, directory, servers, settings, pool, admin, load, tokens, operator_token)
        stack.push_async_callback(stage.need_brokers, 0)
        stack.push_async_callback(stage.stop_answering)
        yield stage


async def _require_unused(admin: Connection) -> None:
    # A superuser sees all tenants' rows; a plain owner is kept to a tenant's, and that one is ours.
    await admin.execute(f"SET app.tenant_id = '{DEFAULT_TENANT}'")
    if await admin.fetchval("SELECT EXISTS (SELECT FROM things) OR EXISTS (SELECT FROM jobs)"):
        raise Failure("the database holds things or jobs: bench empties tables, give it its own")


async def _register(pool: Pool, plan: Plan) -> tuple[dict[str, str], str]:
    remark(f"registering {plan.things} things ...")
    caller = DatabaseCaller(pool, DEFAULT_TENANT)
    names = [f"bench-{number:05}" for number in range(plan.things)]
    tokens = await register(caller, names, group=EVERYTHING)
    await join(caller, DEVICES, names[: plan.devices])
    answer = await caller.call(
        "operators/create",
        {"operatorName": OPERATOR, "role": "manager", "issueToken": True},
    )
    return tokens, str(answer["token"])


def usage(stage: Stage) -> dict[str, float]:
    """CPU seconds of all processes so far."""
    return cpu_seconds(stage.pids)


def peaks(stage: Stage) -> dict[str, float]:
    """The most memory of all processes, in 10^6 bytes."""
    return peak_megabytes(stage.pids)
