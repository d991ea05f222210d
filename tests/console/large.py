"""How the console does with one large job: `python -m tests.console.large`.

A fleet of its own is run; the things and executions are written into its database at once, so that nothing but the
looking is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from playwright.async_api import Browser

from tests.console.browser import CHROMIUM, WITHOUT, chromium, reader
from tests.console.populating import Fleet, running_fleet

_THINGS: Final = """
INSERT INTO principals (tenant_id, name, kind)
SELECT 'default', 'thing-' || to_char(n, 'FM0000000'), 'thing' FROM generate_series(1, $1::integer) AS n
"""
_REGISTERED: Final = """
INSERT INTO things (tenant_id, thing_name)
SELECT 'default', name FROM principals WHERE tenant_id = 'default' AND kind = 'thing' AND name LIKE 'thing-%'
"""
_EXECUTIONS: Final = """
INSERT INTO executions (tenant_id, thing_name, job_id, status, queued_at, started_at, last_updated_at)
SELECT 'default', name, 'large', status, at, CASE WHEN status <> 'QUEUED' THEN at END, at + interval '20 s'
FROM (SELECT name, now() - random() * interval '1 h' AS at,
             (ARRAY['QUEUED', 'IN_PROGRESS', 'SUCCEEDED', 'SUCCEEDED', 'FAILED'])[1 + floor(random() * 5)::int]
             AS status
      FROM principals WHERE tenant_id = 'default' AND name LIKE 'thing-%') AS drawn
"""
_COUNTS: Final = """
UPDATE job_counts SET (queued, in_progress, succeeded, failed) = (
    SELECT count(*) FILTER (WHERE status = 'QUEUED'), count(*) FILTER (WHERE status = 'IN_PROGRESS'),
           count(*) FILTER (WHERE status = 'SUCCEEDED'), count(*) FILTER (WHERE status = 'FAILED')
    FROM executions WHERE job_id = 'large')
WHERE job_id = 'large'
"""
_TOTAL: Final = "UPDATE jobs SET status = 'IN_PROGRESS', completed_at = NULL, total_targets = $1 WHERE job_id = 'large'"


async def populate(fleet: Fleet, database: str, things: int) -> None:
    """One job with an execution for each of so many things."""
    bearer = {"Authorization": f"Bearer {fleet.token}"}
    async with httpx.AsyncClient(base_url=f"{fleet.http}/api/v1", headers=bearer) as http:
        (await http.post("/groups", json={"thingGroupName": "none"})).raise_for_status()
        target = "arn:aws:iot:us-east-1:000000000000:thinggroup/none"
        made = {"jobId": "large", "targets": [target], "document": {"operation": "reboot"}}
        (await http.post("/jobs", json=made)).raise_for_status()
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_THINGS, things)
        for statement in (_REGISTERED, _EXECUTIONS, _COUNTS):
            await connection.execute(statement)
        await connection.execute(_TOTAL, things)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def memory_of(pid: int) -> float:
    """Resident memory of a process in MB; the most it ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def console_of(data_dir: Path) -> int:
    """The process id of the console that `up` on a directory has started."""
    parent = json.loads((data_dir / "up.json").read_text(encoding="utf-8"))["pid"]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            stat = (entry / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        if b"console" in words and int(stat[1]) == parent:
            return int(entry.name)
    raise LookupError("no console was started")


async def look(browser: Browser, fleet: Fleet, things: int) -> dict[str, float]:
    """Open the job's page a few times; seconds until it is answered, and until every thing is drawn."""
    answered, drawn = [], []
    async with (
        reader(browser, fleet.console, fleet.token) as found,
        httpx.AsyncClient(timeout=60) as http,
    ):
        cookies = await found.context.cookies()
        header = {"cookie": "; ".join(f"{one.get('name')}={one.get('value')}" for one in cookies)}
        for _ in range(5):
            began = time.perf_counter()
            (await http.get(f"{fleet.console}jobs/large", headers=header)).raise_for_status()
            answered.append(time.perf_counter() - began)
            began = time.perf_counter()
            await found.open("/jobs/large")
            label = f"{things:,} things by name, coloured by status"
            await found.page.get_by_role("img", name=label).wait_for(timeout=60_000)
            drawn.append(time.perf_counter() - began)
    return {"answered_seconds": sorted(answered)[2], "drawn_seconds": sorted(drawn)[2]}


async def main() -> int:
    """Run the fleet, look, and print what was measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.large", description=__doc__)
    parser.add_argument("--things", type=int, default=100_000, help="executions of the one job")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.stderr.write(f"{WITHOUT}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="jobbroker-large-") as directory:
        data_dir = Path(directory)
        data_dir.chmod(0o711)
        async with running_fleet(data_dir) as fleet, chromium() as browser:
            database = json.loads((data_dir / "up.json").read_text())["database_admin"]
            await populate(fleet, database, arguments.things)
            seen = await look(browser, fleet, arguments.things)
            memory = memory_of(console_of(data_dir))
    told = {"things": arguments.things, **seen, "console_most_megabytes": memory}
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in told.items()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
