"""One measurement: a workload warmed up, then watched over some runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
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
        run = await _window(stage, plan.seconds)
        runs.append(run)
        remark(f"  {what}: run {number} of {plan.runs}: {run['per_s']:,.0f} a second")
    told = await stage.load.tell("stop")
    check(told)
    for run, window in zip(runs, told["windows"][1:], strict=False):
        run["took_ms"] = window["took_ms"]
    return summary(runs) | {"peak_mb": peaks(stage)}


async def _window(stage: Stage, seconds: float) -> dict[str, Any]:
    """What was done a second in a window that begins now, and the CPU seconds of it."""
    before = usage(stage)
    await asyncio.sleep(seconds)
    window = await stage.load.tell("mark")
    cpu = difference(usage(stage), before)
    per_second = round(window["done"] / window["seconds"], 1)
    return {"per_s": per_second, "seconds": window["seconds"], "cpu_s": cpu}


@dataclass(frozen=True, slots=True)
class Alternated:
    """Windows of one closed loop in turn: `without` has one more than `beside`, each of which lies between two."""

    without: list[dict[str, Any]]
    beside: list[dict[str, Any]]

    def ratios(self) -> list[float]:
        """Each window beside it, as a multiple of the mean of its two neighbours: a steady drift cancels."""
        rates = [run["per_s"] for run in self.without]
        return [
            2 * run["per_s"] / (before + after)
            for run, before, after in zip(self.beside, rates, rates[1:], strict=False)
        ]


async def alternating(
    stage: Stage,
    what: str,
    something: Callable[[], AbstractAsyncContextManager[None]],
    **workload: object,
) -> Alternated:
    """Run a closed loop, in turn without and beside something, for the planned pairs. Raises LoadError."""
    plan = stage.plan
    without, beside, kept = (
        [],
        [],
        [1],
    )  # numbers of the windows that count; the first is the warm-up
    await stage.load.tell("start", **workload)
    await asyncio.sleep(plan.warm_up)
    await stage.load.tell("mark")
    without.append(await _window(stage, plan.pair_seconds))
    for number in range(1, plan.pairs + 1):
        async with something():
            await stage.load.tell("mark")
            beside.append(await _window(stage, plan.pair_seconds))
        await stage.load.tell("mark")
        without.append(await _window(stage, plan.pair_seconds))
        kept += [kept[-1] + 2, kept[-1] + 4]
        remark(
            f"  {what}: pair {number} of {plan.pairs}: {beside[-1]['per_s']:,.0f} a second,"
            f" {without[-1]['per_s']:,.0f} without"
        )
    told = await stage.load.tell("stop")
    check(told)
    for run, at in zip(_in_turn(without, beside), kept, strict=True):
        run["took_ms"] = told["windows"][at]["took_ms"]
    return Alternated(without, beside)


def _in_turn(longer: list[dict[str, Any]], shorter: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pairs = zip(longer[1:], shorter, strict=True)
    return [longer[0], *(run for after, between in pairs for run in (between, after))]


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
