"""One measurement: a workload warmed up, then watched over some runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from broker.bench.children import LoadError
from broker.bench.figures import difference, median, medians, spread
from broker.bench.plan import Rounds
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
    """Windows of one workload in rounds of four: without, beside, beside, without something else."""

    without: list[dict[str, Any]]
    beside: list[dict[str, Any]]

    def ratios(self, value: Callable[[dict[str, Any]], float]) -> list[float]:
        """For each round, the two windows beside as a multiple of the two without: a steady drift cancels."""
        without, beside = ([value(run) for run in runs] for runs in (self.without, self.beside))
        return [
            sum(beside[at : at + 2]) / sum(without[at : at + 2]) for at in range(0, len(beside), 2)
        ]


async def alternating(
    stage: Stage,
    what: str,
    something: Callable[[], AbstractAsyncContextManager[None]],
    rounds: Rounds,
    **workload: object,
) -> Alternated:
    """Have the load do something for so many rounds, in turn without and beside something else. Raises LoadError."""
    done = Alternated([], [])
    in_turn = []
    await stage.load.tell("start", **workload)
    await asyncio.sleep(stage.plan.warm_up)
    for number in range(1, rounds.count + 1):
        first = await _fresh_window(stage, rounds.seconds)
        async with something():
            beside = [await _fresh_window(stage, rounds.seconds) for _ in range(2)]
        last = await _fresh_window(stage, rounds.seconds)
        done.without.extend((first, last))
        done.beside.extend(beside)
        in_turn += [first, *beside, last]
        remark(
            f"  {what}: round {number} of {rounds.count}: {_mean(beside):,.0f} a second,"
            f" {_mean([first, last]):,.0f} without"
        )
    told = await stage.load.tell("stop")
    check(told)
    # Between two of those that count lies one that does not.
    for run, window in zip(in_turn, told["windows"][1::2], strict=True):
        run["took_ms"] = window["took_ms"]
    return done


async def _fresh_window(stage: Stage, seconds: float) -> dict[str, Any]:
    await stage.load.tell("mark")
    return await _window(stage, seconds)


def _mean(runs: list[dict[str, Any]]) -> float:
    return sum(float(run["per_s"]) for run in runs) / len(runs)


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
