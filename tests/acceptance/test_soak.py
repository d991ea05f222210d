"""The soak in its shortest form: that it runs, judges and writes; how level it is takes half an hour to know."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import pairwise
from pathlib import Path


async def test_twenty_seconds_of_it(tmp_path: Path) -> None:
    """A hundred things live their jobs, no faster than was asked for, and the verdict is told and written."""
    page = tmp_path / "reliability.md"
    words = ["--minutes", "0.33", "--things", "100", "--rate", "25", "--json", "--write"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak", *words, str(page)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        out, err = await process.communicate()
    assert process.returncode in (0, 1), err.decode()[-3000:]
    told = json.loads(out)
    assert told["level"] == all(one["level"] for one in told["levels"]) == (not process.returncode)
    # No more than was asked for; how much of it a machine manages that has other things to do is its own affair.
    assert 25 <= told["lives"] <= 25 * (told["times_s"][-1] + 2)
    assert len(told["times_s"]) >= 10
    assert {one["name"] for one in told["levels"]} <= told["series"].keys()
    assert all(value > 100 for value in told["series"]["Mosquitto files"])
    jobs = told["series"]["jobs"]
    assert any(after < before for before, after in pairwise(jobs)), "ended jobs go away"
    assert ("**Level: nothing grows.**" in page.read_text()) == told["level"]
