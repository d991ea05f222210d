"""A fleet at The Things Stack from its first key to its last device, through a kill; keys are looked for everywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg

from broker.cli.callers import MqttCaller
from broker.secret_keys import new_key
from broker.simulator.things_stack import (
    Kind,
    Options,
    ThingsStackServer,
    running_things_stack,
    seeding,
)
from handlers.database import Pool
from tests.acceptance.serving import Site, site
from tests.conftest import Database, StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import Desk

DEVICES = 12
ROOT_KEY = "0123456789ABCDEF0123456789ABCDEF"
TOLD_BY_RIGHT = "ttn/credentials/get/accepted"


@dataclass(slots=True)
class Ears:
    """Every message of the MQTT server, and a caller in ann's room."""

    client: aiomqtt.Client
    caller: MqttCaller
    heard: list[tuple[str, str]] = field(default_factory=list)

    async def listen(self) -> None:
        """Until cancelled."""
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            self.heard.append((str(message.topic), message.payload.decode()))
            body = json.loads(message.payload) if message.payload else {}
            self.caller._answer(str(message.topic), body if isinstance(body, dict) else {})

    def said(self) -> list[tuple[str, str]]:
        """What the broker published: answers, what is told of runs, events."""
        marks = ("/accepted", "/rejected", "/ttn/runs/", "$aws/events/")
        return [(topic, text) for topic, text in self.heard if any(mark in topic for mark in marks)]

    def end_of(self, job_id: str) -> dict[str, Any] | None:
        """What was told at a run's end."""
        for topic, text in self.heard:
            body = json.loads(text) if topic.endswith(f"ttn/runs/{job_id}") else {}
            if body.get("operation") == "finished":
                found: dict[str, Any] = body
                return found
        return None


@asynccontextmanager
async def ears(port: int) -> AsyncIterator[Ears]:
    """An operator's connection that hears all."""
    async with aiomqtt.Client("127.0.0.1", port, timeout=PATIENCE) as client:
        made = Ears(client, MqttCaller(client, "ann"))
        for topics in ("#", "$aws/#"):
            await client.subscribe(topics, qos=1)
        listening = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            listening.cancel()


async def test_no_key_is_anywhere_it_does_not_belong(
    mosquitto_server: StartMosquitto,
    database: Database,
    pool: Pool,
    admin: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    """Provisioned, registered, torn down through a kill -9: no key in logs, rows or answers, and nothing is left."""
    await Desk(pool).accepted("operators/create", {"operatorName": "ann", "role": "owner"})
    async with (
        running_things_stack(Options(latency=0.01)) as server,
        site(mosquitto_server, database, tmp_path) as here,
        ears(here.device_port) as ann,
    ):
        settings = _settings(server)
        broker = await here.start(settings=settings)
        application = await _provisioned(ann, server)
        seeding.fleet(server.stack, application, DEVICES, hosts=("eu1", "nam1", "au1"))
        secrets = await _secrets(ann, server)
        device = f"/as/applications/{application}/devices/sensor-0012"
        server.faults.next("DELETE", device, Kind.QUOTING, times=3)
        server.faults.next("*", f"/as/webhooks/{application}", Kind.QUOTING, times=1)
        server.record.clear()
        job_id = (await ann.caller.call("ttn/deprovision", {}))["job_id"]
        await eventually(lambda: len(server.record.of("DELETE", "*")) > DEVICES)
        await broker.kill()
        await here.start(settings=settings)
        await eventually(lambda: ann.end_of(job_id), timeout=120)
        end = ann.end_of(job_id) or {}
        assert (end["status"], end["failed_euis"]) == ("SUCCEEDED", []), end
        assert len(end["released_euis"]) == DEVICES + 1
        assert not any(server.stack.holders_of(eui) for eui in end["released_euis"])
        assert 1 < server.record.most_at_once <= 4
        _nowhere(secrets, _logs(here), "a log")
        _nowhere(
            secrets, (text for topic, text in ann.said() if TOLD_BY_RIGHT not in topic), "an answer"
        )
        rows = await _rows(admin)
        _nowhere(secrets, rows, "a row")
        assert any("[key]" in row for row in rows), "no page that quotes a key was met"
        told = [text for topic, text in ann.said() if TOLD_BY_RIGHT in topic]
        assert secrets[0] in "".join(told), "the search would not find a key"


def _settings(server: ThingsStackServer) -> dict[str, str]:
    hosts = [f"http://{host.address}" for host in server.hosts.values()]
    return {
        "JOBBROKER_THINGS_STACK_HOSTS": ",".join(hosts),
        "JOBBROKER_SECRET_KEY": new_key(),
        "JOBBROKER_LOG_LEVEL": "debug",
    }


async def _provisioned(ann: Ears, server: ThingsStackServer) -> str:
    """An organization with all that goes with it, and one device that was registered here; the application's id."""
    owner = seeding.user(server.stack, "acme-owner")
    connection = {
        "api_key": seeding.key(server.stack, owner),
        "identity_host": server.identity.address,
        "regional_host": server.identity.address,
    }
    await ann.caller.call("ttn/credentials/set", connection)
    wanted = {"owner": "organization", "webhook_url": "https://x.example/up", "gateway_key": True}
    await ann.caller.call("ttn/provision", wanted)

    async def ready() -> bool:
        status = await ann.caller.call("ttn/status", {})
        return bool(status["provisioning_status"] == "ready")

    await eventually(ready)
    device = {
        "device_id": "registered-1",
        "dev_eui": "70B3D57ED0FFFFFF",
        "join_eui": seeding.JOIN_EUI,
        "app_key": ROOT_KEY,
        "frequency_plan_id": "EU_863_870_TTN",
    }
    await ann.caller.call("ttn/devices/register", {"devices": [device]})
    await eventually(lambda: len(server.stack.holders_of("70B3D57ED0FFFFFF")) == 4)
    (application,) = server.stack.of_kind("application")
    return application.id


async def _secrets(ann: Ears, server: ThingsStackServer) -> list[str]:
    """All that must not be seen: every key's secret part, the webhook's secret, the device's root key."""
    credentials = await ann.caller.call("ttn/credentials/get", {})
    keys = [token.split(".")[2] for token in server.stack.keys_told]
    return [*keys, str(credentials["webhook_secret"]), ROOT_KEY]


def _logs(here: Site) -> list[str]:
    return [process.text() for process in here.processes]


async def _rows(admin: asyncpg.Connection) -> list[str]:
    """Every row of every table as text; bytes are hexadecimal there."""
    tables = await admin.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    return [
        row["text"]
        for table in tables
        for row in await admin.fetch(f"SELECT t::text AS text FROM {table['name']} AS t")
    ]


def _nowhere(secrets: list[str], texts: Iterable[str], where: str) -> None:
    for text in texts:
        for secret in secrets:
            for spelling in (secret, secret.lower(), secret.encode().hex()):
                assert spelling not in text, f"{secret[:6]}... is in {where}: {text[:400]}"
