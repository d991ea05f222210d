"""Whether HTTP clients that hold connections, and a huge body, slow down what the broker does for devices."""

from __future__ import annotations

import json
from typing import Any

from broker.bench.children import LoadError
from broker.bench.device_plane import begin, updates_of
from broker.bench.figures import median, ratio, spread
from broker.bench.stage import JOB, Stage
from broker.embedded.ports import free_port


async def slow_http(stage: Stage) -> dict[str, Any]:
    """Durable updates of a broker that listens for HTTP as well: alone, annoyed over HTTP, and alone again.

    What is without is the median over the runs before and after, so that a machine that gets slower
    or faster is not taken for the clients' doing. Raises LoadError when the clients were not refused.
    """
    await stage.need_brokers(0)
    stage.http_port = free_port()
    try:
        await begin(stage)
        before = await updates_of(stage, stage.devices, [JOB], "without slow HTTP clients")
        during, clients = await _annoyed(stage)
        after = await updates_of(stage, stage.devices, [JOB], "without them again")
    finally:
        await stage.need_brokers(0)
        stage.http_port = None
    rates = [run["per_s"] for run in (*before["runs"], *after["runs"])]
    without = round(median(rates), 1)
    return during | {
        "without_per_s": without,
        "without_spread": round(spread(rates), 3),
        "ratio": ratio(during["per_s"], without),
        "clients": clients,
        "before": before,
        "after": after,
    }


async def _annoyed(stage: Stage) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        await stage.annoy()
        done = await updates_of(stage, stage.devices, [JOB], "with slow HTTP clients")
    finally:
        log = await stage.stop_annoying()
    clients = _told(log.read_text(errors="replace"))
    if not clients.get("huge_answered_413") or clients.get("huge_taken_whole"):
        raise LoadError(f"a body of 10^9 bytes was not refused with 413: {clients}")
    return done, clients


def _told(log: str) -> dict[str, int]:
    lines = [line for line in log.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(
            f"the slow HTTP clients did not end in order; their log ends:\n{log[-2000:]}"
        )
    told: dict[str, int] = json.loads(lines[-1])
    return told
