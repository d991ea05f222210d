"""Whether HTTP clients that hold connections, and a huge body, slow down what the broker does for devices."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from broker.bench.children import LoadError
from broker.bench.device_plane import begin
from broker.bench.figures import difference, interval_of_median, median, spread
from broker.bench.measuring import Alternated, alternating, summary
from broker.bench.stage import JOB, Stage, usage
from broker.cli.outcome import remark
from broker.embedded.ports import free_port


async def slow_http(stage: Stage) -> dict[str, Any]:
    """Durable updates of a broker that listens for HTTP as well, in turn alone and annoyed over HTTP.

    Once as many as it can do, once at half of that by a schedule that waits for nobody, and once at rest. Windows with
    and without take turns, so that a machine that gets slower or faster is not taken for the clients' doing; `verdict`
    says what the rounds prove. The clients are other machines' work: they run at the lowest priority, and their CPU
    seconds are reckoned apart. Raises LoadError when the clients were not refused.
    """
    await stage.need_brokers(0)
    stage.http_port = free_port()
    annoyed = _Annoyed(stage)
    plan = stage.plan
    try:
        await begin(stage)
        at_rest = await _at_rest(stage, annoyed)
        closed = told(
            await alternating(
                stage,
                "slow HTTP clients",
                annoyed.around,
                plan.slow_rounds,
                kind="updates",
                things=stage.devices,
                jobs=[JOB],
                outstanding=plan.outstanding,
            )
        )
        at_load = await _at_load(stage, annoyed, plan.slow_load * closed["without_per_s"])
    finally:
        await stage.need_brokers(0)
        stage.http_port = None
    return closed | {"at_rest_cpu": at_rest, "at_load": at_load, "clients": annoyed.refused()}


async def _at_load(stage: Stage, annoyed: _Annoyed, per_second: float) -> dict[str, Any]:
    """How long updates take at a load that leaves room, with the clients there and without."""
    windows = await alternating(
        stage,
        f"slow HTTP clients, {per_second:,.0f} updates a second asked",
        annoyed.around,
        stage.plan.slow_latency_rounds,
        kind="open",
        things=stage.devices,
        jobs=[JOB],
        per_second=per_second,
        creates_per_second=0.0,
        operator=None,
        notified=[],
    )
    return {"asked_per_s": round(per_second, 1)} | told_latency(windows)


class _Annoyed:
    """Has the clients come and go, and counts what became of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._clients: Counter[str] = Counter()

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        """Have them there, all of them, while the block runs."""
        try:
            await self._stage.annoy()
            yield
        finally:
            log = await self._stage.stop_annoying()
        self._clients.update(_told(log.read_text(errors="replace")))

    def refused(self) -> dict[str, int]:
        """What became of them. Raises LoadError when a huge body was taken, or not refused as it should be."""
        clients = dict(self._clients)
        if not clients.get("huge_answered_413") or clients.get("huge_taken_whole"):
            raise LoadError(f"a body of 10^9 bytes was not refused with 413: {clients}")
        return clients


def _told(log: str) -> dict[str, int]:
    lines = [line for line in log.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(
            f"the slow HTTP clients did not end in order; their log ends:\n{log[-2000:]}"
        )
    found: dict[str, int] = json.loads(lines[-1])
    return found


async def _at_rest(stage: Stage, annoyed: _Annoyed) -> dict[str, float]:
    """CPU seconds of the broker in a second without any devices' requests: alone, and with the clients there."""
    alone = await _broker_cpu(stage)
    async with annoyed.around():
        # The first requests of a process cost more than all that follow.
        await asyncio.sleep(stage.plan.warm_up)
        beside = await _broker_cpu(stage)
    remark(
        f"  slow HTTP clients: a broker at rest uses {alone:.3f} of a core, {beside:.3f} with them"
    )
    return {"without": alone, "beside": beside}


async def _broker_cpu(stage: Stage) -> float:
    before = usage(stage)
    await asyncio.sleep(stage.plan.rest_seconds)
    return round(difference(usage(stage), before)["broker"] / stage.plan.rest_seconds, 4)


def told(windows: Alternated, clients: str = "slow_clients") -> dict[str, Any]:
    """What the windows come to: rates, CPU seconds, and the ratio of the two with how sure that is.

    clients: the process that is reckoned apart, since it stands for machines elsewhere.
    """
    beside, without = summary(windows.beside), summary(windows.without)
    ratios = windows.ratios(lambda run: float(run["per_s"]))
    sure = interval_of_median(ratios)
    harness = _share(windows.beside, clients)
    return beside | {
        "without_per_s": without["per_s"],
        "without_spread": without["spread"],
        "without": without,
        "ratio": round(median(ratios), 3),
        "ratio_interval": [round(sure.low, 3), round(sure.high, 3)],
        "ratio_confidence": round(sure.confidence, 3),
        "ratio_spread": round(spread(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
        "clients_cpu_share": round(harness, 4),
        "broker_us": {
            "beside": round(median(map(_microseconds, windows.beside)), 1),
            "without": round(median(map(_microseconds, windows.without)), 1),
        }
        | _compared(windows, _microseconds),
        "verdict": _verdict(sure.low, sure.high, sure.confidence, harness),
    }


def told_latency(windows: Alternated) -> dict[str, Any]:
    """How long updates took beside and without: medians over windows of p50 and p99, and how sure the ratio is."""
    found: dict[str, Any] = {
        "done_per_s": {
            "beside": round(median(run["per_s"] for run in windows.beside), 1),
            "without": round(median(run["per_s"] for run in windows.without), 1),
        }
    }
    for name in ("p50", "p99"):
        took = partial(_took, name)
        found[f"{name}_ms"] = {
            "beside": round(median(map(took, windows.beside)), 2),
            "without": round(median(map(took, windows.without)), 2),
        } | _compared(windows, took)
    return found


def _took(name: str, run: dict[str, Any]) -> float:
    return float(run["took_ms"][name])


def _compared(windows: Alternated, value: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The ratio of a value beside to that without: the median of the rounds, and between what it lies."""
    ratios = windows.ratios(value)
    sure = interval_of_median(ratios)
    return {
        "ratio": round(median(ratios), 3),
        "ratio_interval": [round(sure.low, 3), round(sure.high, 3)],
    }


def _verdict(low: float, high: float, confidence: float, harness: float) -> str:
    """In words: what is proven with this confidence, the clients' own use of the cores put apart."""
    own_low, own_high = low / (1 - harness), high / (1 - harness)
    sure = f"with {100 * confidence:.0f} % confidence"
    apart = f"(the clients themselves take {100 * harness:.1f} % of the CPU time used)"
    if own_high < 1:
        return f"slower by {100 * (1 - own_high):.1f} to {100 * (1 - own_low):.1f} % {sure} {apart}"
    if own_low > 1:
        return f"not slower {sure} {apart}"
    return f"no difference shown; slower by at most {100 * (1 - own_low):.1f} % {sure} {apart}"


def _share(runs: list[dict[str, Any]], name: str) -> float:
    """The part of all CPU seconds that this process used; of all windows together, for one has few clock ticks."""
    spent: Counter[str] = Counter()
    for run in runs:
        spent.update(run["cpu_s"])
    total = sum(spent.values())
    return spent[name] / total if total else 0.0


def _microseconds(run: dict[str, Any]) -> float:
    """The broker's CPU time for one request."""
    return float(1e6 * run["cpu_s"]["broker"] / (run["per_s"] * run["seconds"]))
