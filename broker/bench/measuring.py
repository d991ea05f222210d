"""One measurement: a workload warmed up, then watched over some runs."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.bench.children import LoadError
from broker.bench.figures import difference, median, medians, spread
from broker.bench.stage import Stage, peaks, usage
from broker.bench.usage import forget_peaks
from broker.cli.outcome import remark


async def throughput(stage: Stage, what: str, **workload: object) -> dict[str, Any]:
    """Run a closed loop for the planned runs; returns medians, and each run with its CPU seconds.

    Raises LoadError when requests were refused, unanswered or connections lost: what was counted
    would not be what was meant.
    """
    plan = stage.plan
    forget_peaks(stage.pids)
    await stage.load.tell("start", **workload)
    await asyncio.sleep(plan.warm_up)
    await stage.load.tell("mark")
    runs = []
    for number in range(1, plan.runs + 1):
        before = usage(stage)
        await asyncio.sleep(plan.seconds)
        window = await stage.load.tell("mark")
        cpu = difference(usage(stage), before)
        per_second = window["done"] / window["seconds"]
        runs.append({"per_s": round(per_second, 1), "seconds": window["seconds"], "cpu_s": cpu})
        remark(f"  {what}: run {number} of {plan.runs}: {per_second:,.0f} a second")
    told = await stage.load.tell("stop")
    check(told)
    for run, window in zip(runs, told["windows"][1:], strict=False):
        run["took_ms"] = window["took_ms"]
    return summary(runs) | {"peak_mb": peaks(stage)}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over runs, how far they lie apart, and the runs themselves."""
    rates = [run["per_s"] for run in runs]
    return {
        "per_s": round(median(rates), 1),
        "spread": round(spread(rates), 3),
        "cpu_s": medians(runs, "cpu_s"),
        "runs": runs,
    }


def check(told: dict[str, Any]) -> None:
    """Raise LoadError when something went wrong that would make a measurement mean nothing."""
    refused = [window for window in told["windows"] if window["rejected"]]
    if refused:
        raise LoadError(f"requests were rejected: {refused[0]['first_rejection'][:300]}")
    if told["unanswered"]:
        raise LoadError(f"{told['unanswered']} requests were not answered within a minute")
    if told["lost"]:
        raise LoadError(f"connections were lost: {', '.join(told['lost'])}")
