"""`jobbroker bench` on servers of its own: that it measures, never how fast this machine is."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.running_broker import clean_environment, run_command


async def test_a_quick_bench_gives_its_numbers(tmp_path: Path) -> None:
    """--quick --only updates --json prints one object with the keys it promises, and writes the page."""
    page = tmp_path / "performance.md"
    environment = clean_environment(tmp_path / "data")
    options = ("--quick", "--only", "updates", "--data-dir", str(tmp_path), "--write", str(page))
    ended = await run_command(environment, "bench", *options, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["updates_per_s"] > 0
    part = told["parts"]["updates"]
    assert len(part["runs"]) == told["plan"]["runs"] == 3
    assert all(run["took_ms"]["p50"] > 0 for run in part["runs"])
    assert all(part["cpu_s"][name] > 0 for name in ("broker", "load", "mosquitto", "postgres"))
    assert all(value > 1 for value in part["peak_mb"].values())
    assert told["machine"]["cores"] >= 1
    assert told["ratios"] == {}
    assert "jobbroker bench --quick --only updates" in page.read_text()
    assert "run 3 of 3" in ended.err
    assert not list(tmp_path.glob("jobbroker-bench-*")), "its directory goes away"
