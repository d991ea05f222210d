"""The programs in examples/, run as a user would run them, each doing a real job to its end."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.mqtt_probe import Login, Probe
from tests.acceptance.running_broker import RunningBroker
from tests.helpers import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 120.0
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="an installation without examples/")


@asynccontextmanager
async def example(name: str, *arguments: object) -> AsyncIterator[Process]:
    """Run an example; it is ended when it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *map(str, arguments),
        stdout=PIPE,
        stderr=STDOUT,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: Process) -> str:
    """What it printed, once it ended by itself and well."""
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def line(process: Process, beginning: str) -> str:
    """The next line it prints that begins so."""
    assert process.stdout
    async with asyncio.timeout(PATIENCE):
        async for read in process.stdout:
            if read.decode().startswith(beginning):
                return read.decode()
    raise AssertionError(f"it ended without a line that begins with {beginning!r}")


async def create_job(broker: RunningBroker, thing: str, document: object) -> str:
    """A job for the thing; returns its id."""
    made = await broker.cli(
        *("jobs", "create", "--target", f"thing/{thing}", "--document-json", json.dumps(document))
    )
    return str(made["jobId"])


async def completed(broker: RunningBroker, job_id: str) -> dict[str, object]:
    """The execution of a job of one thing, once the job is completed."""

    async def look() -> dict[str, object] | None:
        found = await broker.cli("jobs", "show", job_id)
        status = found["job"]["status"]
        assert status == "COMPLETED", status
        return dict(found["executions"][0])

    execution = await eventually(look, timeout=PATIENCE)
    assert execution
    return execution


@pytest.fixture
async def pump(running_broker: RunningBroker) -> Login:
    """A thing with a token."""
    return await running_broker.add_thing(f"pump-{secrets.token_hex(4)}")


async def test_the_paho_device_does_what_waits_and_what_comes(
    running_broker: RunningBroker, pump: Login
) -> None:
    """A job that waited is done on connecting, a later one on notify-next; a bad document is FAILED."""
    name, port = str(pump.username), pump.port
    waiting = await create_job(running_broker, name, {"operation": "reboot"})
    arguments = (name, pump.password, "--port", port, "--jobs", 2)
    async with example("paho_device.py", *arguments) as device:
        assert waiting in await line(device, "done:")
        later = await create_job(running_broker, name, {"unknown": "thing"})
        assert later in await ended(device)
    first, second = [await completed(running_broker, one) for one in (waiting, later)]
    assert (first["status"], first["statusDetails"]) == ("SUCCEEDED", {"did": "reboot"})
    assert second["status"] == "FAILED"


async def test_the_paho_device_comes_back_after_its_connection_was_lost(
    running_broker: RunningBroker, pump: Login
) -> None:
    """A job made while the device was thrown off is done after it reconnected by itself."""
    name, port = str(pump.username), pump.port
    first = await create_job(running_broker, name, {"operation": "reboot"})
    async with example(
        "paho_device.py", name, pump.password, "--port", port, "--jobs", 2
    ) as device:
        assert first in await line(device, "done:")
        async with Probe(pump, client_id=name):  # the same client id: the server drops the device
            missed = await create_job(running_broker, name, {"operation": "reboot"})
        assert missed in await ended(device)
    assert (await completed(running_broker, missed))["versionNumber"] == 3


async def test_the_aws_device_does_what_comes(
    running_broker: RunningBroker, tmp_path: Path
) -> None:
    """The device on AWS's SDK does a waiting job and one that it hears of."""
    name = f"aws-{secrets.token_hex(4)}"
    await running_broker.add_thing_with_certificate(name, tmp_path)
    waiting = await create_job(running_broker, name, {"operation": "reboot"})
    port = running_broker.certificate_port
    arguments = (name, "--certs", tmp_path, "--port", port, "--jobs", 2)
    async with example("aws_sdk_device.py", *arguments) as device:
        assert waiting in await line(device, "done:")
        later = await create_job(running_broker, name, {"operation": "reboot"})
        assert later in await ended(device)
    for job_id in (waiting, later):
        assert (await completed(running_broker, job_id))["status"] == "SUCCEEDED"


async def test_the_operator_sees_its_job_through(
    running_broker: RunningBroker, pump: Login
) -> None:
    """The operator's example creates a job and tells every event until a device has done it."""
    name, port = str(pump.username), pump.port
    who = ("admin", running_broker.admin_token)
    async with (
        example("operator_aiomqtt.py", *who, name, "--port", port) as operator,
        example("paho_device.py", name, pump.password, "--port", port, "--jobs", 1),
    ):
        topics = [one.split(" ")[0].split("/")[-1] for one in (await ended(operator)).splitlines()]
    assert sorted(topics) == ["accepted", "completed", "in_progress", "queued", "succeeded"]


async def test_the_operator_is_told_why_it_is_refused(running_broker: RunningBroker) -> None:
    """A job for a thing that is not there ends the operator's example with the broker's words."""
    arguments = ("admin", running_broker.admin_token, "nobody", "--port", running_broker.token_port)
    async with example("operator_aiomqtt.py", *arguments) as operator:
        async with asyncio.timeout(PATIENCE):
            out, _ = await operator.communicate()
    assert operator.returncode == 1
    assert "ResourceNotFound" in out.decode()
