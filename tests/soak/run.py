"""A soak: servers and a broker of its own, a fleet that stays connected, jobs without end, samples all the time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from broker.bench.machine import describe
from broker.bench.measuring import check
from broker.bench.plan import Plan
from broker.bench.stage import Stage, staged
from broker.cli.kinds import target_arn
from handlers import outbox, retention
from tests.helpers import elapse
from tests.soak.levels import Level, judge_all, settled_after
from tests.soak.sampling import BOUNDS, largest_tables, sample

_MOST_TARGETS: Final = 100
_DELETE_SECONDS: Final = 5.0
_REMEMBERED: Final = (outbox.LATELY + timedelta(minutes=2)).total_seconds()
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """How long, how many things, how many job lives a second, how often a sample, how long an ended job is kept."""

    seconds: float
    things: int
    per_second: float
    sample_seconds: float
    keep_seconds: float


@dataclass(slots=True)
class Outcome:
    """What came of it. times: seconds since the load began; series: each quantity's samples."""

    soak: Soak
    machine: dict[str, Any]
    settled: float
    times: list[float] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    levels: list[Level] = field(default_factory=list)
    tables: list[dict[str, float | str]] = field(default_factory=list)
    lives: int = 0
    took_ms: dict[str, float] | None = None

    @property
    def lives_per_s(self) -> float:
        """Whole job lives a second, over all of the run."""
        return self.lives / self.soak.seconds

    @property
    def is_level(self) -> bool:
        """Whether nothing grew."""
        return all(one.level for one in self.levels)


async def run(soak: Soak, directory: Path, say: Say) -> Outcome:
    """Soak in a directory of its own.

    Raises LoadError, EmbeddedServerError and Failure, OSError when a process ended; in groups once the load began.
    """
    machine = describe(directory)
    async with staged(Plan(things=soak.things, devices=1), directory) as stage:
        await stage.need_brokers(1)
        say(f"connecting {soak.things:,} things ...")
        await stage.connect(stage.things)
        outcome = Outcome(soak, machine, settled_after(soak.seconds, remembered=_REMEMBERED))
        await stage.load.tell("start", kind="lives", things=stage.things)
        async with asyncio.TaskGroup() as group:
            busy = [
                group.create_task(_create_jobs(stage, soak)),
                group.create_task(_delete_jobs(stage, soak)),
            ]
            await _watch(stage, outcome, say)
            for task in busy:
                task.cancel()
        outcome.tables = await largest_tables(stage.admin)
        window = await stage.load.tell("mark")
        told = await stage.load.tell("stop")
        check(told)
        outcome.lives = window["done"]
        outcome.took_ms = told["windows"][0]["took_ms"]
    outcome.levels = judge_all(
        outcome.times, outcome.series, settled=outcome.settled, bounds=BOUNDS
    )
    return outcome


async def _watch(stage: Stage, outcome: Outcome, say: Say) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    soak = outcome.soak
    for number in itertools.count(1):
        now = loop.time() - began
        pids = stage.pids
        seen = await sample(stage.admin, broker=pids["broker"], mosquitto=pids["mosquitto"])
        outcome.times.append(now)
        for name, value in seen.items():
            outcome.series.setdefault(name, []).append(round(value, 3))
        say(", ".join(f"{name} {value:,.0f}" for name, value in seen.items()))
        if now >= soak.seconds:
            return
        due = min(number * soak.sample_seconds, soak.seconds)
        await elapse(began + due - loop.time())


async def _create_jobs(stage: Stage, soak: Soak) -> None:
    """One job after the other, each for the next hundred things or fewer, so that each thing gets its turn."""
    loop = asyncio.get_running_loop()
    size = max(1, min(_MOST_TARGETS, round(soak.per_second), soak.things))
    things = itertools.cycle(stage.things)
    began = loop.time()
    for number in itertools.count():
        due = began + number * size / soak.per_second
        await elapse(due - loop.time())
        targets = [target_arn("thing", next(things)) for _ in range(size)]
        body = {
            "jobId": f"soak-{number}",
            "targets": targets,
            "document": {"operation": "install", "version": "2.4.1"},
        }
        await stage.caller.call("jobs/create", body)


async def _delete_jobs(stage: Stage, soak: Soak) -> None:
    """What the broker's retention does once in ten minutes for jobs of years ago, for those of a minute ago."""
    older_than = timedelta(seconds=soak.keep_seconds)
    while True:
        _, more = await retention.run_once(stage.pool, older_than=older_than, slot=None)
        if not more:
            await elapse(_DELETE_SECONDS)
