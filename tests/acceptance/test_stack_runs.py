"""Deprovisioning through a real broker process, Mosquitto and PostgreSQL: CLI, MQTT and HTTP, killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import aiomqtt
import httpx

from broker.secret_keys import new_key
from broker.simulator.things_stack import Kind, ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import Tenant, tenant
from handlers.database import Pool
from schema.things_stack_runs import JOBS_VERSION
from tests.acceptance.http_site import HttpSite, http_site
from tests.acceptance.running_broker import run_command
from tests.conftest import Database, StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import Desk

FLEET = 60
JOBS = "/functions/v1/ttn-deprovision-jobs"


async def command(here: HttpSite, *arguments: str) -> tuple[int, Any]:
    """A command as the owner over MQTT: its exit code, and what it printed."""
    operator = f"mqtt://owner:any@127.0.0.1:{here.site.device_port}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(here.site.directory)}
    ended = await run_command(environment, "ttn", *arguments, "--as", operator, "--json")
    assert ended.out, ended.err
    return ended.code, json.loads(ended.out)


async def connect(
    here: HttpSite, owner: dict[str, str], server: ThingsStackServer, there: Tenant
) -> None:
    """Bring the key of what exists already in."""
    body = {
        "api_key": there.user_key,
        "identity_host": server.identity.address,
        "application_id": there.application.id,
        "ttn_organization_id": there.organization.id,
    }
    async with httpx.AsyncClient(base_url=here.url, timeout=PATIENCE) as http:
        answer = await http.put("/api/v1/ttn/credentials", headers=owner, json=body)
    assert answer.status_code == 200, answer.text


async def listen(here: HttpSite, heard: list[dict[str, Any]], ready: asyncio.Event) -> None:
    """Hear of runs in the owner's room."""
    async with aiomqtt.Client(
        "127.0.0.1", here.site.device_port, username="owner", timeout=PATIENCE
    ) as client:
        await client.subscribe("operators/owner/ttn/runs/+", qos=1)
        ready.set()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            heard.append(json.loads(message.payload))


async def test_a_fleet_is_taken_out_whatever_happens_between(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """A run begun by CLI, killed in the middle, another at its last call: the next process ends it, all doors agree."""
    async with running_things_stack() as server:
        there = tenant(server.stack, devices=FLEET)
        settings = {
            "JOBBROKER_THINGS_STACK_HOSTS": ",".join(server.url(name) for name in server.hosts),
            "JOBBROKER_SECRET_KEY": new_key(),
        }
        devices = server.stack.identity_devices.devices
        made = await Desk(pool).accepted(
            "operators/create", {"operatorName": "owner", "role": "owner"}
        )
        owner = {"Authorization": f"Bearer {made['token']}"}
        async with http_site(mosquitto_server, database, tmp_path, **settings) as here:
            await connect(here, owner, server, there)
            heard: list[dict[str, Any]] = []
            ready = asyncio.Event()
            listening = asyncio.create_task(listen(here, heard, ready))
            await ready.wait()
            code, queued = await command(here, "deprovision", "--no-wait")
            assert (code, queued["status"]) == (0, "QUEUED")
            run_id = queued["job_id"]
            await eventually(lambda: len(devices) < FLEET - 10, timeout=180)
            await here.broker.kill()
            assert devices
            again = await here.site.start(settings={"JOBBROKER_HTTP_PORT": "0", **settings})
            port = again.lines("http_listening")[0]["port"]

            async def ended() -> dict[str, Any]:
                end = heard[-1]
                assert end["operation"] == "finished"
                assert end["job_id"] == run_id
                return end

            end = await eventually(ended, timeout=180)
            assert (end["success"], end["job_id"], end["status"]) == (True, run_id, "SUCCEEDED")
            assert len(end["released_euis"]) == FLEET
            assert not devices
            code, shown = await command(here, "run", run_id)
            assert (code, shown["job"]["status"]) == (0, "SUCCEEDED")
            purged = [one for one in shown["steps"] if one["step_name"] == "purge_device"]
            assert len(purged) >= FLEET
            url = f"http://127.0.0.1:{port}"
            await _by_http(url, owner, run_id)
            run_id = await _with_its_own_key(url, owner, server, again.pid)
            await here.site.start(settings=settings)
            end = await eventually(ended, timeout=180)
            listening.cancel()
            assert (end["status"], len(end["released_euis"])) == ("SUCCEEDED", 2), end
            logs = "".join(one.text() for one in here.site.processes)
            assert there.user_key.split(".")[2] not in logs


async def _with_its_own_key(
    url: str, owner: dict[str, str], server: ThingsStackServer, broker: int
) -> str:
    """A run with the application's own key, whose process dies when its deletion is done and the answer under way."""
    there = tenant(server.stack, "beta", devices=2)
    organization = {"organization_id": str(UUID(int=8))}
    body = {
        **organization,
        "api_key": there.application_key,
        "identity_host": server.identity.address,
        "application_id": there.application.id,
    }
    died = asyncio.Event()

    def die() -> None:
        os.kill(broker, signal.SIGKILL)
        died.set()

    path = f"/applications/{there.application.id}"
    server.faults.next("DELETE", path, Kind.THEN, action=die)
    async with httpx.AsyncClient(
        base_url=f"{url}/api/v1/ttn", headers=owner, timeout=PATIENCE
    ) as http:
        answer = await http.put("/credentials", json=body)
        assert answer.status_code == 200, answer.text
        wanted = {**organization, "application_id": there.application.id}
        queued = (await http.post("/deprovision", json=wanted)).json()
    async with asyncio.timeout(180):
        await died.wait()
    assert server.stack.find("application", there.application.id) is None
    return str(queued["job_id"])


async def _by_http(url: str, owner: dict[str, str], run_id: str) -> None:
    """The seed's routes, word for word."""
    async with httpx.AsyncClient(base_url=url, headers=owner, timeout=PATIENCE) as http:
        listed = (await http.get(JOBS, params={"status": "SUCCEEDED,FAILED", "limit": 50})).json()
        assert (listed["success"], listed["version"]) == (True, JOBS_VERSION)
        assert [one["id"] for one in listed["jobs"]] == [run_id]
        assert set(listed) == {"success", "version", "jobs", "request_id"}
        one = (await http.get(JOBS, params={"job_id": run_id})).json()
        assert set(one) == {"success", "version", "job", "steps", "next_token", "request_id"}
        assert one["job"]["summary"]["db_cleared"] is True
        assert len(one["steps"]) == 250
        missing = await http.get(JOBS, params={"job_id": "no-such"})
        assert (missing.status_code, set(missing.json())) == (404, {"detail"})
        wrong = await http.get(JOBS, params={"status": "DONE"})
        assert wrong.status_code == 400
        without = await http.get(JOBS, headers={"Authorization": "Bearer nonsense"})
        assert without.status_code == 401
        # The connection is cleared: there is nothing to take out any more, but the run is asked for as ever.
        again = await http.post("/functions/v1/ttn-deprovision", json={"dry_run": True})
        assert (again.status_code, again.json()["success"]) == (202, False)
