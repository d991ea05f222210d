"""The Things Stack through a real broker process, Mosquitto and PostgreSQL: by CLI, MQTT and HTTP, killed between."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from broker.secret_keys import new_key
from broker.simulator.things_stack import Kind, ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import tenant
from broker.simulator.things_stack.state import Stack
from handlers.database import Pool
from tests.acceptance.http_site import HttpSite, http_site
from tests.acceptance.running_broker import run_command
from tests.conftest import Database, StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import Desk

FLEET = 80
ROOT_KEY = "00112233445566778899AABBCCDDEEFF"


def fleet_csv() -> str:
    """A fleet with one line in the middle that is wrong."""
    rows = [f"pump-{n},70B3D57ED2{n:06X},{ROOT_KEY}" for n in range(FLEET)]
    rows.insert(10, f"pump-x,12,{ROOT_KEY}")
    return "\n".join(["device_id,dev_eui,app_key", *rows, ""])


def registered(stack: Stack) -> list[int]:
    """How many devices the identity server has, and each registry of the first host."""
    regional = next(iter(stack.hosts.values())).registries
    return [len(stack.identity_devices.devices), *(len(one.devices) for one in regional.values())]


async def add_operators(pool: Pool) -> dict[str, dict[str, str]]:
    """An operator of each role, named after it, with the header that proves who asks."""
    desk, found = Desk(pool), {}
    for role in ("owner", "manager", "viewer"):
        made = await desk.accepted("operators/create", {"operatorName": role, "role": role})
        found[role] = {"Authorization": f"Bearer {made['token']}"}
    return found


async def test_a_fleet_is_set_up_whatever_happens_between(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """Credentials by HTTP; provisioning by MQTT, also after a fresh start, and an import: all killed midway. Roles."""
    key = new_key()
    async with running_things_stack() as server:
        there = tenant(server.stack)
        settings = {
            "JOBBROKER_THINGS_STACK_HOSTS": ",".join(server.url(name) for name in server.hosts),
            "JOBBROKER_SECRET_KEY": key,
        }
        operators = await add_operators(pool)
        async with http_site(mosquitto_server, database, tmp_path, **settings) as here:
            await _bring(here, operators["owner"], server.identity.address, there.user_key)
            settings["JOBBROKER_HTTP_PORT"] = "0"
            await _provision(here, server, operators["owner"], settings)
            batch = await _import(here, tmp_path / "fleet.csv")
            await eventually(lambda: registered(server.stack)[0] > 10)
            await here.site.processes[-1].kill()
            assert registered(server.stack)[0] < FLEET
            again = await here.site.start(settings=settings)
            port = again.lines("http_listening")[0]["port"]
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/api/v1/ttn", timeout=PATIENCE
            ) as http:
                await _ended(http, operators["viewer"], batch)
                assert registered(server.stack) == [FLEET] * 4
                await _roles(http, operators)
            logs = "".join(one.text() for one in here.site.processes)
            for secret in (there.user_key.split(".")[2], ROOT_KEY, key):
                assert secret not in logs


async def _bring(here: HttpSite, owner: dict[str, str], host: str, key: str) -> None:
    body = {"api_key": key, "identity_host": host, "organization_name": "Acme"}
    async with httpx.AsyncClient(base_url=here.url, timeout=PATIENCE) as http:
        answer = await http.put("/api/v1/ttn/credentials", headers=owner, json=body)
    assert answer.status_code == 200, answer.text
    assert key not in answer.text


async def _command(here: HttpSite, *arguments: str) -> tuple[int, dict[str, Any]]:
    """A command as the owner over MQTT: its exit code, and what it printed."""
    operator = f"mqtt://owner:any@127.0.0.1:{here.site.device_port}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(here.site.directory)}
    ended = await run_command(environment, "ttn", *arguments, "--as", operator, "--json")
    assert ended.out, ended.err
    return ended.code, json.loads(ended.out)


async def _provision(
    here: HttpSite,
    server: ThingsStackServer,
    owner: dict[str, str],
    settings: dict[str, str],
) -> None:
    """Make it, killed; begin anew, killed: the next process ends it each time, and nothing is there twice."""
    wanted = {"owner": "organization", "webhook_url": "https://fleet.example.net/up"}
    url = here.url
    for number in (1, 2):
        server.faults.next(
            "POST",
            "/applications/*/api-keys",
            Kind.THEN,
            action=lambda: os.kill(here.site.processes[-1].pid, signal.SIGKILL),
        )
        async with httpx.AsyncClient(
            base_url=f"{url}/api/v1/ttn", headers=owner, timeout=PATIENCE
        ) as http:
            assert (await http.post("/provision", json=wanted)).status_code == 202
        # The key is made, and whoever was to be told of it is gone.
        await eventually(lambda: here.site.processes[-1].exit_code is not None)
        process = await here.site.start(settings=settings)
        url = f"http://127.0.0.1:{process.lines('http_listening')[0]['port']}"
        async with httpx.AsyncClient(
            base_url=f"{url}/api/v1/ttn", headers=owner, timeout=PATIENCE
        ) as http:
            await eventually(partial(_is_ready, http))
            made = [one for one in server.stack.of_kind("application") if one.id.startswith("jb-")]
            assert [len(one.keys) for one in made] == [1]
            if number == 1:
                fresh = (await http.post("/start-fresh")).json()
                assert fresh["provisioning_status"] == "idle"
    code, told = await _command(here, "provision", "--wait")
    assert (code, told["provisioning_status"]) == (0, "ready")


async def _is_ready(http: httpx.AsyncClient) -> bool:
    return bool((await http.get("/status")).json()["provisioning_status"] == "ready")


async def _import(here: HttpSite, file: Path) -> str:
    """Begin an import; its wrong line is told, and makes the command end with 5."""
    file.write_text(fleet_csv())
    plan = ("--frequency-plan", "EU_863_870_TTN", "--no-wait")
    code, told = await _command(here, "devices", "import", str(file), *plan)
    assert code == 5
    assert [(one["line"], one["device_id"]) for one in told["failed"]] == [(12, "pump-x")]
    return str(told["batch_id"])


async def _ended(http: httpx.AsyncClient, viewer: dict[str, str], batch: str) -> None:
    async def told() -> dict[str, Any]:
        body: dict[str, Any] = (await http.get(f"/devices/batches/{batch}", headers=viewer)).json()
        assert body["lines_left"] == 0, body
        return body

    body = await eventually(told)
    assert (body["status"], body["lines_ok"]) == ("SUCCEEDED", FLEET)


async def _roles(http: httpx.AsyncClient, operators: dict[str, dict[str, str]]) -> None:
    """A viewer sees the state and no credential, a manager both, and only the owner changes anything."""
    for role, may_read, may_change in (
        ("viewer", 403, 403),
        ("manager", 200, 403),
        ("owner", 200, 202),
    ):
        headers = operators[role]
        read = await http.post("/credentials/reveal", headers=headers)
        state = await http.get("/status", headers=headers)
        removal = await http.post(
            "/devices/remove", headers=headers, json={"device_ids": ["pump-1"]}
        )
        assert (read.status_code, state.status_code) == (may_read, 200)
        assert removal.status_code == may_change
        assert ("NNSXS." in read.text) == (may_read == 200)
        assert "NNSXS." not in state.text + removal.text
