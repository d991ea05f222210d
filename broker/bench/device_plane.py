"""What the broker does for devices: updates, cycles, how long each takes, and how that grows."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.bench.ceilings import ADD_JOB
from broker.bench.figures import difference, median
from broker.bench.fleet_wide import takeover
from broker.bench.measuring import check, summary, throughput
from broker.bench.pace import watched
from broker.bench.stage import DEVICES, EVERYTHING, JOB, OPERATOR, Stage, peaks, usage
from broker.bench.usage import forget_peaks
from broker.cli.outcome import remark
from schema.topics import DEFAULT_TENANT

_FILL_GROWTH = """
INSERT INTO executions (tenant_id, thing_name, job_id, status, queued_at, started_at, last_updated_at)
SELECT $1, CASE WHEN n < cardinality($2::text[]) THEN $2[n + 1]
                ELSE $2[n % cardinality($2::text[]) + 1] || ':' || n END,
       'grown-' || n % $4::integer, 'IN_PROGRESS', now(), now(), now()
FROM generate_series(0, $3::integer - 1) AS n
"""
# Seldom enough to take nothing from what is measured at the machine's limit.
_LOOK_SECONDS = 0.02
_COUNT_GROWTH = """
INSERT INTO job_counts (tenant_id, job_id, in_progress)
SELECT tenant_id, job_id, count(*) FROM executions GROUP BY 1, 2
"""


async def updates(stage: Stage) -> dict[str, Any]:
    """Durable IN_PROGRESS updates: 200 devices, 4 requests each on their way, answers awaited."""
    await begin(stage)
    done = await updates_of(stage, stage.devices, [JOB], "updates")
    stage.most_updates = done["per_s"]
    return done


async def begin(stage: Stage) -> None:
    """Have one broker serve, and each device connected with one execution."""
    await stage.need_brokers(1)
    await stage.empty()
    await stage.connect(stage.devices)
    await stage.create_job(JOB, DEVICES)
    await stage.settle()


async def updates_of(
    stage: Stage, devices: list[str], jobs: list[str], what: str
) -> dict[str, Any]:
    """Progress reports by these devices for these jobs, as `throughput` measures them."""
    return await throughput(
        stage,
        what,
        kind="updates",
        things=devices,
        jobs=jobs,
        outstanding=stage.plan.outstanding,
    )


async def two(stage: Stage) -> dict[str, Any]:
    """The same updates with two broker processes that share them; then one of them is killed."""
    await begin(stage)
    await stage.need_brokers(2)
    done = await updates_of(stage, stage.devices, [JOB], "two processes")
    return done | {"takeover": await takeover(stage)}


async def cycles(stage: Stage) -> dict[str, Any]:
    """Full cycles: start-next, then SUCCEEDED, each answered; a thing at a time does one.

    Each run begins with as many jobs queued as the plan says and ends with them, or in time.
    """
    plan = stage.plan
    await stage.need_brokers(1)
    await stage.connect(stage.things)
    forget_peaks(stage.pids)
    runs = []
    for number in range(plan.runs + 1):
        await stage.empty()
        for job in range(plan.cycle_depth):
            await stage.create_job(f"cycle-{number}-{job}", EVERYTHING)
        await stage.settle()
        run = await _cycle_run(stage)
        if number:  # the first one warms up
            runs.append(run)
            remark(f"  cycles: run {number} of {plan.runs}: {run['per_s']:,.0f} a second")
    return summary(runs) | {"peak_mb": peaks(stage)}


async def _cycle_run(stage: Stage) -> dict[str, Any]:
    before = usage(stage)
    await stage.load.tell("start", kind="cycles", things=stage.things)
    # The jobs of a device may be done before the time is up.
    await asyncio.sleep(stage.plan.seconds)
    window = await stage.load.tell("mark")
    cpu = difference(usage(stage), before)
    told = await stage.load.tell("stop")
    check(told)
    per_second = window["done"] / window["seconds"]
    return {
        "per_s": round(per_second, 1),
        "seconds": window["seconds"],
        "cpu_s": cpu,
        "took_ms": told["windows"][0]["took_ms"],
    }


async def latency(stage: Stage) -> dict[str, Any]:
    """Latency at shares of the ceiling, by a schedule that waits for nobody."""
    if stage.most_updates is None:
        remark("  the loads are shares of what can be done at most:")
        await updates(stage)
    ceiling = stage.most_updates or 1.0
    await begin(stage)
    creators = stage.things[-stage.plan.creators :]
    await stage.connect(creators, operator=True)
    levels: dict[str, Any] = {}
    for load in stage.plan.loads:
        await stage.empty()
        await stage.create_job(JOB, DEVICES)
        await stage.settle()
        levels[f"{load:.0%}"] = await _level(stage, creators, load * ceiling)
    return levels


async def _level(stage: Stage, creators: list[str], per_second: float) -> dict[str, Any]:
    plan = stage.plan
    remark(f"  latency: {per_second:,.0f} updates a second for {plan.load_seconds:g} s")
    await stage.load.tell(
        "start",
        kind="open",
        things=stage.devices,
        jobs=[JOB],
        per_second=per_second,
        creates_per_second=plan.creates_per_second,
        operator=OPERATOR,
        notified=creators,
    )
    await asyncio.sleep(plan.warm_up)
    await stage.load.tell("mark")
    before = usage(stage)
    async with watched() as pace:
        await asyncio.sleep(plan.load_seconds)
        window = await stage.load.tell("mark")
    cpu = difference(usage(stage), before)
    told = await stage.load.tell("stop", slow=pace.slow_spans())
    check(told)
    return {
        "asked_per_s": round(per_second, 1),
        "done_per_s": round(window["done"] / window["seconds"], 1),
        "update_to_accepted_ms": told["took_ms"],
        "create_to_notify_ms": told["notified_ms"],
        "update_to_accepted_steady_ms": told["took_steady_ms"],
        "create_to_notify_steady_ms": told["notified_steady_ms"],
        "machine": pace.as_json(),
        "sent_late_ms": told["sent_late_ms"],
        "cpu_s": cpu,
    }


async def growth(stage: Stage) -> list[dict[str, Any]]:
    """Updates by all things, with more and more executions around theirs, and in more jobs."""
    await stage.need_brokers(1)
    await stage.connect(stage.things)
    return [await _grown(stage, executions, jobs) for executions, jobs in stage.plan.growth]


async def _grown(stage: Stage, executions: int, jobs: int) -> dict[str, Any]:
    remark(f"  growth: {executions:,} executions in {jobs:,} jobs ...")
    await stage.empty()
    # A fresh process: what it holds is then owed to this size alone.
    await stage.need_brokers(0)
    names = [f"grown-{number}" for number in range(jobs)]
    await stage.admin.executemany(
        ADD_JOB, [(DEFAULT_TENANT, name, executions // jobs) for name in names]
    )
    await stage.admin.execute(_FILL_GROWTH, DEFAULT_TENANT, stage.things, executions, jobs)
    await stage.admin.execute(_COUNT_GROWTH)
    await stage.settle()
    await stage.need_brokers(1)
    async with watched(every=_LOOK_SECONDS) as pace:
        done = await updates_of(stage, stage.things, names, f"{executions:,} in {jobs:,}")
    took = [run["took_ms"]["p99"] for run in done["runs"]]
    return {
        "executions": executions,
        "jobs": jobs,
        "updates_per_s": done["per_s"],
        "p99_ms": round(median(took), 3),
        "broker_peak_mb": done["peak_mb"].get("broker"),
        "cpu_s": done["cpu_s"],
        "machine": pace.as_json(),
    }
