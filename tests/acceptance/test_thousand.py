"""A thousand simulated things do one job, started and watched from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.running_broker import RunningBroker
from tests.helpers import eventually

DEVICES = 1000
BROKER_MEGABYTES = 400
BROKER_FILES = 200


def megabytes(pid: int) -> int:
    """The most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def open_files(pid: int) -> int:
    """How many files a process has open now."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_thousand_things_complete_a_job(
    running_broker: RunningBroker, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """All are registered, connect, are told and finish; the broker's memory and files stay small."""
    mqtt = f"mqtt://127.0.0.1:{running_broker.token_port}"
    fleet = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker", "simulate", "--json", "--mqtt", mqtt, "--seed", "1"),
        *("--devices", str(DEVICES), "--prefix", "thousand-", "--group", "thousand"),
        *("--fail", "3%", "--latency", "50ms..2s", "--until-idle", "40s"),
        env=running_broker.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def registered() -> bool:
        ended = await running_broker.run("groups", "show", "thousand", "--json")
        return ended.code == 0 and len(json.loads(ended.out)) == DEVICES

    try:
        await eventually(registered, timeout=180)
        create = ("jobs", "create", "--group", "thousand", "--job-id", "thousand")
        watched = await running_broker.run(
            *create, "--document-json", "{}", "--watch", "--timeout", "170s", "--json"
        )
        assert watched.code == 5, watched.err
        counts = json.loads(watched.out)["jobProcessDetails"]
        used, held = megabytes(running_broker.pid), open_files(running_broker.pid)
        assert fleet.stdout
        async with asyncio.timeout(180):
            summary = json.loads(await fleet.stdout.read())
    finally:
        if fleet.returncode is None:
            fleet.terminate()
        await fleet.wait()
    record_testsuite_property("broker", f"{used} MiB at most, {held} open files")
    record_testsuite_property("fleet", summary)
    assert counts["numberOfSucceededThings"] + counts["numberOfFailedThings"] == DEVICES
    assert 0 < counts["numberOfFailedThings"] < DEVICES / 10
    assert summary["outcomes"]["FAILED"] == counts["numberOfFailedThings"]
    assert summary["rejected"] == {}
    assert used < BROKER_MEGABYTES
    assert held < BROKER_FILES
