"""Continuous jobs over a real Mosquitto: a thing hears of a job because an attribute of it changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.acceptance.mqtt_probe import Probe
from tests.acceptance.running_broker import RunningBroker, running_served
from tests.helpers import eventually
from tests.servers import Choice


@pytest.fixture(scope="module")
async def served(
    servers: Choice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBroker]:
    """A broker of this module's own."""
    async with running_served(servers, tmp_path_factory.mktemp("groups")) as broker:
        yield broker


async def test_a_changed_attribute_is_a_job_for_the_thing(served: RunningBroker) -> None:
    """By the command line alone: a dynamic group, a job for it, an attribute that comes and goes; told each time."""
    heard: list[dict[str, Any]] = []

    def told(device: Probe) -> list[dict[str, Any]]:
        while not device.received.empty():
            heard.append(json.loads(device.received.get_nowait()[1]))
        return heard

    login = await served.add_thing("pump-1", "--attribute", "model=y")
    made = await served.cli("groups", "create", "new", "--query", "attributes.model:x*")
    assert made["queryString"] == "attributes.model:x*"
    job = ("--job-id", "c1", "--group", "new", "--document-json", '{"a":1}', "--continuous")
    created = await served.cli("jobs", "create", *job)
    assert (created["status"], created["execution_count"]) == ("IN_PROGRESS", 0)
    async with Probe(login) as device:
        await device.subscribe("$aws/things/pump-1/jobs/notify-next")
        await served.cli("things", "update", "pump-1", "--attribute", "model=x9")
        await eventually(lambda: told(device))
        assert heard[0]["execution"]["jobId"] == "c1"
        assert heard[0]["execution"]["jobDocument"] == {"a": 1}
        await served.cli("things", "update", "pump-1", "--without", "model")
        await eventually(lambda: len(told(device)) == 2)
        assert "execution" not in heard[1]
        await served.cli("jobs", "associate", "c1", "--target", "thing/pump-1")
        await eventually(lambda: len(told(device)) == 3)
        assert heard[2]["execution"]["executionNumber"] == 2
    shown = await served.cli("jobs", "show", "c1")
    assert shown["job"]["targetSelection"] == "CONTINUOUS"
    assert [one["status"] for one in shown["executions"]] == ["REMOVED", "QUEUED"]
    assert (await served.cli("groups", "list"))[0]["queryString"] == "attributes.model:x*"
    assert (await served.cli("groups", "update", "new", "--query", "thingName:pump*"))[
        "version"
    ] == 2
    assert await served.cli("groups", "show", "new") == ["pump-1"]
