"""The soak in its shortest form: that it runs, judges and writes; how level it is takes half an hour to know."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path


async def test_twenty_seconds_of_it(tmp_path: Path) -> None:
    """A hundred things live their jobs at the rate that was asked for, and the verdict is told and written."""
    page = tmp_path / "reliability.md"
    words = ["--minutes", "0.33", "--things", "100", "--rate", "25", "--json", "--write"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak", *words, str(page)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    told = json.loads(out)
    assert told["level"]
    assert told["lives"] > 0.8 * 25 * 20
    assert len(told["times_s"]) >= 20
    assert {one["name"] for one in told["levels"]} <= told["series"].keys()
    assert all(value > 100 for value in told["series"]["Mosquitto files"])
    assert max(told["series"]["jobs"]) < 0.8 * max(25, told["lives"]) / 25, "ended jobs go away"
    assert "**Level: nothing grows.**" in page.read_text()
