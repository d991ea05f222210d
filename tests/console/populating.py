"""A fleet to look at: things, groups, jobs in all states, reports that come in, a simulated Things Stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from broker.simulator.things_stack import ThingsStackServer
from broker.simulator.things_stack.seeding import key, tenant, user
from tests.helpers import elapse, eventually
from tests.ports import reserved_ports

_THINGS: Final = 240
_REPORT_SECONDS: Final = 1.8
_HOSTS: Final = "JOBBROKER_THINGS_STACK_HOSTS"
_JOB: Final = "firmware-7-1"
_PUMPS: Final = "arn:aws:iot:us-east-1:000000000000:thinggroup/pumps"
_ABORT: Final = {
    "failureType": "FAILED",
    "action": "CANCEL",
    "thresholdPercentage": 40,
    "minNumberOfExecutedThings": 50,
}
_JOBS: Final[dict[str, dict[str, Any]]] = {
    "logs": {"description": "Send logs"},
    "old-config": {},
    "calibrate": {
        "description": "Calibrate the sensors, step by step",
        "stages": [
            {"percentage": 5, "successPercentage": 95},
            {"percentage": 25},
            {"percentage": 100},
        ],
    },
    "night-reboot": {},
    _JOB: {
        "description": "Firmware 7.1 for all pumps",
        "document": {"operation": "install", "version": "7.1", "for": "${thingName}"},
        "abortConfig": {"criteriaList": [_ABORT]},
        "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    },
}
_ROOFS: Final = "0b9f9c1e-6c55-4f0e-9a3b-5a8f6f1f2c11"
_PUMPERS: Final = "7d1c3e0a-51b8-4c0e-8f5e-2f1b0a9d6e42"


@dataclass(frozen=True, slots=True)
class Report:
    """What a thing, known by its token, says of a job."""

    token: str
    job: str
    status: str
    details: dict[str, str]

    async def send(self, http: httpx.AsyncClient) -> bool:
        """Over HTTP; whether it was taken. False: the job has not come to the thing yet."""
        answer = await http.put(
            f"/device/v1/jobs/{self.job}/execution",
            json={"status": self.status, "status_details": self.details},
            headers={"X-Provision-Token": self.token},
        )
        if answer.status_code == 404:
            return False
        answer.raise_for_status()
        return True


@dataclass(slots=True)
class Fleet:
    """What runs: addresses, and the token of `admin`. run: a deprovisioning; left: what things have yet to report."""

    http: str
    console: str
    token: str
    run: str = ""
    left: list[Report] = field(default_factory=list)


@asynccontextmanager
async def running_fleet(
    directory: Path, there: ThingsStackServer | None = None
) -> AsyncIterator[Fleet]:
    """Run `jobbroker up` with its console on a directory; it may talk to that Things Stack."""
    hosts = {_HOSTS: ",".join(map(there.url, there.hosts))} if there else {}
    http_port, console_port = reserved_ports(2)
    ports = ("--http-port", str(http_port), "--console-port", str(console_port))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker", "up", "--json", "--data-dir", str(directory), *ports),
        env=os.environ | hosts,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(120):
            told = json.loads(await process.stdout.readline())
        token = unquote(urlsplit(told["operator"]).password or "")
        yield Fleet(told["http"], told["console"], token)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def populate(fleet: Fleet, there: ThingsStackServer) -> None:
    """Things, groups, templates, jobs that are under way, paused, canceled, in stages, and over; connections."""
    async with httpx.AsyncClient(
        base_url=f"{fleet.http}/api/v1",
        headers={"Authorization": f"Bearer {fleet.token}"},
        timeout=30,
    ) as http:

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            method = "PUT" if path == "/ttn/credentials" else "POST"
            answer = await http.request(method, path, json=body)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

        names = [f"pump-{number:03}" for number in range(1, _THINGS + 1)]
        tokens: dict[str, str] = {}
        for number, name in enumerate(names):
            site = ("basement", "roof", "yard")[number % 3]
            made = {"thingName": name, "attributes": {"site": site}, "issueToken": True}
            tokens[name] = (await post("/things", made))["token"]
        await post("/groups", {"thingGroupName": "pumps"})
        await post("/groups/pumps/members", {"thingNames": names})
        await post("/groups", {"thingGroupName": "roof", "queryString": "attributes.site:roof"})
        await _jobs(post)
        fleet.run = await _things_stack(post, there)
        await _work(fleet, tokens)


async def _jobs(post: Any) -> None:  # noqa: ANN401 - a function inside another
    document = {
        "operation": "install",
        "url": "https://firmware.example/${aws:iot:parameter:version}.bin",
    }
    described = {"jobTemplateId": "firmware", "description": "Install firmware from our store"}
    await post("/templates", {**described, "document": document})
    for job_id, more in _JOBS.items():
        job = {"targets": [_PUMPS], "document": {"operation": job_id}, **more}
        await post("/jobs", {"jobId": job_id, **job})
    await post("/jobs/old-config/cancel", {"force": True, "comment": "a newer one is out"})
    await post("/jobs/night-reboot/pause", {"comment": "somebody is at the pumps"})


async def _things_stack(post: Any, there: ThingsStackServer) -> str:  # noqa: ANN401 - as above
    """Two connections: one that is provisioned anew, and one whose fleet is taken out of it; the id of that run."""
    new = user(there.stack, "roof-owner")
    full = tenant(there.stack, devices=40)
    owned = {"ttn_organization_id": full.organization.id, "application_id": full.application.id}
    address = there.identity.address
    for organization, name, api_key, more in (
        (_ROOFS, "Roofs", key(there.stack, new), {}),
        (_PUMPERS, "Pumps", full.user_key, owned),
    ):
        where = {"organization_id": organization, "organization_name": name}
        at = {"identity_host": address, "regional_host": address, "api_key": api_key}
        await post("/ttn/credentials", where | at | more)
    await post("/ttn/provision", {"organization_id": _ROOFS, "owner": "organization"})
    found = await post("/ttn/deprovision", {"organization_id": _PUMPERS})
    return str(found["job_id"])


@asynccontextmanager
async def reporting(fleet: Fleet) -> AsyncIterator[None]:
    """Things that are not done yet go on, one after another, while the block runs."""
    going = asyncio.create_task(_report(fleet))
    try:
        yield
    finally:
        going.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await going


async def _report(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.http, timeout=30) as http:
        for one in fleet.left:
            await one.send(http)
            await elapse(_REPORT_SECONDS)


async def _work(fleet: Fleet, tokens: dict[str, str]) -> None:
    """Most things do the firmware, some of them badly, and all send their logs; what is left is kept for later."""
    chance = Random(4)  # noqa: S311 - the same pictures each time
    done, waiting = {"version": "7.1"}, []
    async with httpx.AsyncClient(base_url=fleet.http, timeout=30) as http:

        async def report(one: Report) -> None:
            await eventually(lambda: one.send(http))

        for number, token in enumerate(tokens.values()):
            await report(Report(token, "logs", "IN_PROGRESS", {"step": "packing"}))
            size = {"bytes": str(chance.randrange(10**6))}
            await report(Report(token, "logs", "SUCCEEDED", size))
            begun = Report(token, _JOB, "IN_PROGRESS", {"step": "download"})
            if number > 0.7 * _THINGS:
                waiting += [begun, Report(token, _JOB, "SUCCEEDED", done)]
                continue
            await report(begun)
            if chance.random() >= 0.85:
                fleet.left.append(Report(token, _JOB, "SUCCEEDED", done))
            else:
                bad = chance.random() < 0.12 or number == 1
                why = {"reason": chance.choice(("no space left", "checksum differs"))}
                ended = ("FAILED", why) if bad else ("SUCCEEDED", done)
                await report(Report(token, _JOB, *ended))
    fleet.left += waiting
