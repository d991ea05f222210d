"""What concerns the whole fleet: a job for very many things, and a broker that is killed."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from broker.bench.children import LoadError
from broker.bench.figures import difference, median, spread
from broker.bench.measuring import check
from broker.bench.stage import JOB, Stage, peaks, usage
from broker.bench.usage import forget_peaks
from broker.cli.outcome import remark
from broker.simulator.registration import join
from handlers.database import tenant_transaction
from handlers.things import create_things
from schema.limits import MEMBERS_PER_COMMAND
from schema.topics import DEFAULT_TENANT

_GROUP: Final = "fanout"
_BEFORE_SECONDS: Final = 3.0
_AFTER_SECONDS: Final = 25.0


async def fanout(stage: Stage) -> dict[str, Any]:
    """A job for very many things: from create to the last execution durable and the last notify told.

    Told is what the MQTT server has acknowledged; the things are not connected.
    """
    plan = stage.plan
    await stage.need_brokers(1)
    await stage.empty()
    await _register(stage, plan.fanout_things)
    forget_peaks(stage.pids)
    runs = []
    for number in range(1, plan.runs + 1):
        await stage.empty()
        run = await _fan_out(stage, f"fanout-{number}")
        runs.append(run)
        remark(f"  fanout: run {number} of {plan.runs}: {run['things_per_s']:,.0f} things a second")
    rates = [run["things_per_s"] for run in runs]
    return {
        "things": plan.fanout_things,
        "things_per_s": median(rates),
        "durable_s": median(run["durable_s"] for run in runs),
        "told_s": median(run["told_s"] for run in runs),
        "spread": round(spread(rates), 3),
        "runs": runs,
        "peak_mb": peaks(stage),
    }


async def _register(stage: Stage, count: int) -> None:
    remark(f"  fanout: registering {count:,} things ...")
    names = [f"fanout-{number:07}" for number in range(count)]
    for start in range(0, count, MEMBERS_PER_COMMAND):
        some = names[start : start + MEMBERS_PER_COMMAND]
        async with stage.pool.acquire() as raw, tenant_transaction(raw, DEFAULT_TENANT) as one:
            await create_things(one, DEFAULT_TENANT, some)
    await join(stage.caller, _GROUP, names)


async def _fan_out(stage: Stage, job: str) -> dict[str, Any]:
    before, began = usage(stage), time.monotonic()
    await stage.publish_job(job, _GROUP)
    await stage.rolled_out(job)
    durable = time.monotonic() - began
    await stage.outbox_empty()
    told = time.monotonic() - began
    made = await stage.admin.fetchval("SELECT count(*) FROM executions WHERE job_id = $1", job)
    if made != stage.plan.fanout_things:
        raise LoadError(f"{made} executions were made for {stage.plan.fanout_things} things")
    return {
        "things_per_s": round(made / told, 1),
        "durable_s": round(durable, 3),
        "told_s": round(told, 3),
        "cpu_s": difference(usage(stage), before),
    }


async def takeover(stage: Stage) -> dict[str, Any]:
    """Kill one of two brokers under load: how long until its last request is answered by the other.

    Two must serve, and the devices have executions of the bench's job.
    """
    plan = stage.plan
    await stage.load.tell(
        "start",
        kind="open",
        things=stage.devices,
        jobs=[JOB],
        per_second=plan.takeover_per_second,
        creates_per_second=0.0,
        operator="",
        notified=[],
    )
    await asyncio.sleep(_BEFORE_SECONDS)
    await stage.load.tell("mark")
    killed = time.monotonic()
    victim = stage.brokers.pop()
    victim.kill()
    await victim.wait()
    await asyncio.sleep(_AFTER_SECONDS)
    await stage.load.tell("mark")
    told = await stage.load.tell("stop")
    check(told)
    last = max(window["last_late_answer"] for window in told["windows"][1:])
    seconds = round(last - killed, 3) if last else 0.0
    remark(f"  two: the killed one's share was taken over after {seconds:g} s")
    return {
        "takeover_s": seconds,
        "per_s": plan.takeover_per_second,
        "answered": sum(window["done"] for window in told["windows"]),
        "longest_ms": max(
            window["took_ms"]["longest"] for window in told["windows"] if window["took_ms"]
        ),
    }
