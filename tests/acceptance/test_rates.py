"""A rollout at a rate by real broker processes: the pace is one however many there are, and outlives one that dies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.database import Pool
from tests.acceptance.running_broker import RunningBroker
from tests.acceptance.serving import Site, site
from tests.conftest import Database, StartMosquitto
from tests.factories import add_things
from tests.helpers import eventually
from tests.integration.operator_desk import Desk, aws_job
from tests.integration.test_rates import assert_paced

RATE = 600
THINGS = tuple(f"t{number:02d}" for number in range(100))


@pytest.fixture
async def here(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[Site]:
    """A Mosquitto and a database, and no broker yet."""
    async with site(mosquitto_server, database, tmp_path) as made:
        yield made


async def test_a_rate_is_kept_though_a_process_dies(here: Site, pool: Pool) -> None:
    """600 a minute by two processes, the first of which is killed: by the recorded times within 5 %, and no burst."""
    await add_things(pool, *THINGS)
    first, second = await here.start(), await here.start()
    desk = Desk(pool)
    config = {"jobExecutionsRolloutConfig": {"maximumPerMinute": RATE}}
    await desk.accepted("jobs/create", {**aws_job(*THINGS, jobId="j"), **config})

    async def told(least: int) -> bool:
        return sum((await desk.counts("j")).values()) >= least

    await eventually(lambda: told(20))
    await first.kill()
    await eventually(lambda: told(len(THINGS)))
    assert second.exit_code is None
    rows = await desk.rows("SELECT thing_name, queued_at FROM executions ORDER BY queued_at")
    assert {row["thing_name"] for row in rows} == set(THINGS)
    assert_paced([row["queued_at"].timestamp() for row in rows], RATE)


async def test_the_command_line_says_it_all(running_broker: RunningBroker, tmp_path: Path) -> None:
    """Rate, abort, retries and a ramp from a file are what the job has; with --type they are a usage error."""
    await running_broker.cli("things", "add", "braked")
    ramp = {
        "baseRatePerMinute": 10,
        "incrementFactor": 1.5,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 5},
    }
    config = tmp_path / "ramp.json"
    config.write_text(json.dumps({"jobExecutionsRolloutConfig": {"exponentialRate": ramp}}))
    options = ("--per-minute", "50", "--abort", "FAILED 20% after 10", "--retry", "FAILED=2")
    target = ("--target", "thing/braked", "--job-id", "braked", "--document-json", "{}")
    made = await running_broker.cli("jobs", "create", *target, *options, "--config", str(config))
    assert made["execution_count"] == 1
    job = (await running_broker.cli("jobs", "show", "braked"))["job"]
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 50, "exponentialRate": ramp}
    assert job["abortConfig"]["criteriaList"][0]["thresholdPercentage"] == 20
    assert job["jobExecutionsRetryConfig"] == {
        "criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]
    }
    refused = await running_broker.run(
        *("jobs", "create", "--all", "--type", "reboot", "--per-minute", "5")
    )
    assert refused.code == 2
    assert "do not go with --type" in refused.err
