"""Pictures of every screen, dark and light, wide and phone: `python -m tests.console.screens`.

A fleet of its own is run for it, with jobs in all states; nothing else is looked at. The pictures go into a directory
that is not committed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx
from playwright.async_api import Browser

from tests.console.browser import CHROMIUM, WITHOUT, Reader, chromium, reader
from tests.helpers import eventually
from tests.ports import reserved_ports

SIZES: Final = {"wide": (1360, 860), "phone": (390, 800)}
SCREENS: Final = {
    "jobs": "/",
    "job": "/jobs/firmware-7-1",
    "job-things": "/jobs/firmware-7-1?tab=things",
    "job-document": "/jobs/firmware-7-1?tab=document",
    "job-audit": "/jobs/firmware-7-1?tab=audit",
    "job-copy": "/jobs/firmware-7-1?tab=copy",
    "staged": "/jobs/calibrate",
    "execution": "/jobs/firmware-7-1/things/pump-002",
    "new": "/new?target=thinggroup/pumps",
    "things": "/things",
    "thing": "/things/pump-002",
    "groups": "/groups",
    "group": "/groups/roof",
    "templates": "/templates",
    "failures": "/failures",
    "filters": "/?group=pumps&since=2020-01-01",
    "clone": "/new?clone=calibrate",
    "things-stack": "/things-stack",
    "events": "/events",
    "system": "/system",
    "nothing": "/?search=no-such-job",
}
_THINGS: Final = 240
_SETTLE_MILLISECONDS: Final = 1500


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs: addresses, and the token of `admin`."""

    http: str
    console: str
    token: str


@asynccontextmanager
async def running_fleet(directory: Path) -> AsyncIterator[Fleet]:
    """Run `jobbroker up` with its console on a directory."""
    http_port, console_port = reserved_ports(2)
    ports = ("--http-port", str(http_port), "--console-port", str(console_port))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker", "up", "--json", "--data-dir", str(directory), *ports),
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


async def populate(fleet: Fleet) -> None:
    """Things, groups, templates, and jobs that are under way, paused, canceled, in stages, and over."""
    async with httpx.AsyncClient(
        base_url=f"{fleet.http}/api/v1",
        headers={"Authorization": f"Bearer {fleet.token}"},
        timeout=30,
    ) as http:

        async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = await http.post(path, json=body)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

        names = [f"pump-{number:03}" for number in range(1, _THINGS + 1)]
        tokens = {}
        for number, name in enumerate(names):
            site = ("basement", "roof", "yard")[number % 3]
            made = {"thingName": name, "attributes": {"site": site}, "issueToken": True}
            tokens[name] = (await post("/things", made))["token"]
        await post("/groups", {"thingGroupName": "pumps"})
        await post("/groups/pumps/members", {"thingNames": names})
        await post("/groups", {"thingGroupName": "roof", "queryString": "attributes.site:roof"})
        await _jobs(post)
        await _work(fleet, tokens)


async def _jobs(post: Any) -> None:  # noqa: ANN401 - a function inside another
    pumps = "arn:aws:iot:us-east-1:000000000000:thinggroup/pumps"
    template = {
        "jobTemplateId": "firmware",
        "description": "Install firmware from our store",
        "document": {
            "operation": "install",
            "url": "https://firmware.example/${aws:iot:parameter:version}.bin",
        },
    }
    await post("/templates", template)
    firmware = {
        "jobId": "firmware-7-1",
        "description": "Firmware 7.1 for all pumps",
        "targets": [pumps],
        "document": {"operation": "install", "version": "7.1", "for": "${thingName}"},
        "abortConfig": {
            "criteriaList": [
                {
                    "failureType": "FAILED",
                    "action": "CANCEL",
                    "thresholdPercentage": 40,
                    "minNumberOfExecutedThings": 50,
                }
            ]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    }
    stages = [{"percentage": 5, "successPercentage": 95}, {"percentage": 25}, {"percentage": 100}]
    await post(
        "/jobs",
        {
            "jobId": "logs",
            "description": "Send logs",
            "targets": [pumps],
            "document": {"operation": "logs"},
        },
    )
    await post(
        "/jobs", {"jobId": "old-config", "targets": [pumps], "document": {"operation": "config"}}
    )
    await post("/jobs/old-config/cancel", {"force": True, "comment": "a newer one is out"})
    await post(
        "/jobs",
        {
            "jobId": "calibrate",
            "description": "Calibrate the sensors, step by step",
            "targets": [pumps],
            "document": {"operation": "calibrate"},
            "stages": stages,
        },
    )
    await post(
        "/jobs", {"jobId": "night-reboot", "targets": [pumps], "document": {"operation": "reboot"}}
    )
    await post("/jobs/night-reboot/pause", {"comment": "somebody is at the pumps"})
    await post("/jobs", firmware)


async def _work(fleet: Fleet, tokens: dict[str, str]) -> None:
    """Most things do the firmware, some of them badly, and all send their logs."""
    chance = Random(4)  # noqa: S311 - the same pictures each time
    async with httpx.AsyncClient(base_url=fleet.http, timeout=30) as http:

        async def report(name: str, job: str, status: str, details: dict[str, str]) -> None:
            path = f"/device/v1/jobs/{job}/execution"
            headers = {"X-Provision-Token": tokens[name]}
            said = {"status": status, "status_details": details}

            async def is_taken() -> bool:
                answer = await http.put(path, json=said, headers=headers)
                if answer.status_code != 404:
                    answer.raise_for_status()
                return answer.status_code != 404  # 404: the job has not come to it yet

            await eventually(is_taken)

        for number, name in enumerate(tokens):
            await report(name, "logs", "IN_PROGRESS", {"step": "packing"})
            await report(name, "logs", "SUCCEEDED", {"bytes": str(chance.randrange(10**6))})
            if number > 0.7 * _THINGS:
                continue
            await report(name, "firmware-7-1", "IN_PROGRESS", {"step": "download"})
            if chance.random() < 0.85:
                bad = chance.random() < 0.12 or number == 1
                why = {"reason": chance.choice(("no space left", "checksum differs"))}
                ended = ("FAILED", why) if bad else ("SUCCEEDED", {"version": "7.1"})
                await report(name, "firmware-7-1", *ended)


async def take(browser: Browser, fleet: Fleet, out: Path, only: Sequence[str] | None) -> list[str]:
    """Take the pictures; returns what browsers complained of."""
    complaints = []
    for theme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            async with reader(
                browser,
                fleet.console,
                fleet.token,
                dark=theme == "dark",
                width=width,
                height=height,
            ) as found:
                for name, path in SCREENS.items():
                    if only is None or name in only:
                        await _picture(found, path, out / f"{name}-{theme}-{size}.png")
                complaints += found.complaints
    return complaints


async def _picture(found: Reader, path: str, file: Path) -> None:
    await found.open(path)
    await found.page.wait_for_timeout(_SETTLE_MILLISECONDS)
    await found.page.screenshot(path=file, full_page=True)


async def main() -> int:
    """Run the fleet, take the pictures, say where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.screens", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="where they go")
    parser.add_argument("--only", choices=[*SCREENS], nargs="+", help="some screens alone")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.stderr.write(f"{WITHOUT}\n")
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jobbroker-screens-") as directory:
        Path(directory).chmod(0o711)
        async with running_fleet(Path(directory)) as fleet, chromium() as browser:
            await populate(fleet)
            complaints = await take(browser, fleet, arguments.out, arguments.only)
    sys.stdout.write(f"{len([*arguments.out.glob('*.png')])} pictures in {arguments.out}\n")
    for one in complaints:
        sys.stderr.write(f"browser: {one}\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
