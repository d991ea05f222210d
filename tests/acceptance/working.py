"""Devices at work on jobs, and what must hold of their work whatever happened to the servers meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.embedded.postgres import connected
from handlers.database import create_pool
from tests.acceptance.devices import Devices
from tests.conftest import Database
from tests.factories import add_job, add_things, counts_equal_rows
from tests.helpers import eventually

THINGS = tuple(f"device-{number:02d}" for number in range(24))
JOBS = ("j1", "j2", "j3")


class Load:
    """Devices that work on their jobs step by step, each sending a request again until it is answered.

    What each was answered is kept: `versions` by thing and job, of accepted updates in order.
    """

    def __init__(self, fleet: Devices) -> None:
        self.fleet = fleet
        self.versions: dict[tuple[str, str], list[int]] = {}
        self.updates = 0
        self._enough = asyncio.Event()

    async def run(self) -> None:
        """Work until `finish`, then end the jobs at hand: the last one of each thing stays QUEUED."""
        async with asyncio.TaskGroup() as group:
            for thing in THINGS:
                group.create_task(self._work(thing))

    async def busy(self, more: int = 200) -> None:
        """Wait until so many more updates were accepted."""
        wanted = self.updates + more
        await eventually(lambda: self.updates >= wanted)

    def finish(self) -> None:
        """Let the devices come to an end."""
        self._enough.set()

    async def _work(self, thing: str) -> None:
        for job in JOBS[:-1]:
            started = await self.fleet.accepted(f"$aws/things/{thing}/jobs/start-next")
            execution = started["execution"]
            assert execution["jobId"] == job
            said = self.versions[thing, job] = [execution["versionNumber"]]
            step = 0
            while not (self._enough.is_set() or (job == JOBS[0] and step > 30)):
                step += 1
                await self._update(thing, job, said, status="IN_PROGRESS", step=step)
            await self._update(thing, job, said, status="SUCCEEDED", step=step + 1)

    async def _update(
        self, thing: str, job: str, said: list[int], *, status: str, step: int
    ) -> None:
        body = await self.fleet.accepted(
            f"$aws/things/{thing}/jobs/{job}/update",
            {
                "status": status,
                "statusDetails": {"step": str(step)},
                "includeJobExecutionState": True,
            },
        )
        said.append(body["executionState"]["versionNumber"])
        self.updates += 1


@asynccontextmanager
async def loaded(fleet: Devices) -> AsyncIterator[Load]:
    """The devices at work; they come to an end with the block."""
    load = Load(fleet)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        yield load
        load.finish()


async def prepare(database: Database) -> None:
    """The things, and for each an execution of each job."""
    pool = await create_pool(database.url, size=2)
    try:
        await add_things(pool, *THINGS)
        for job in JOBS:
            await add_job(pool, job, THINGS)
    finally:
        await pool.close()


async def all_is_well(database: Database, fleet: Devices, load: Load) -> None:
    """Nothing answered is lost or done twice, counters and notifications are true, nothing waits to be told."""
    async with connected(database.admin_url) as admin:
        rows = await admin.fetch("SELECT * FROM executions WHERE job_id <> $1", JOBS[-1])
        assert len(rows) == len(load.versions) == len(THINGS) * (len(JOBS) - 1)
        for row in rows:
            said = load.versions[row["thing_name"], row["job_id"]]
            # One version for each of the device's requests: none lost, none spent twice.
            assert said == list(range(2, len(said) + 2))
            assert (row["status"], row["version_number"]) == ("SUCCEEDED", said[-1])
            assert row["status_details"] == f'{{"step":"{len(said) - 1}"}}'
        waiting = await admin.fetch(
            "SELECT status, version_number FROM executions WHERE job_id = $1", JOBS[-1]
        )
        assert {tuple(row) for row in waiting} == {("QUEUED", 1)}

    await eventually(lambda: nothing_waits(database))
    pool = await create_pool(database.url, size=2)
    try:
        assert await counts_equal_rows(pool)
    finally:
        await pool.close()
    for thing in THINGS:
        assert (await fleet.next_of(thing))["jobId"] == JOBS[-1]
        await fleet.hears_of(thing, JOBS[-1])


async def nothing_waits(database: Database) -> bool:
    """Whether all that was to be told was told."""
    async with connected(database.admin_url) as admin:
        return bool(await admin.fetchval("SELECT count(*) = 0 FROM outbox"))
