"""Which parts are measured, in which order, and what all of it comes to."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from broker.bench import ceilings, device_plane, fleet_wide, slow_http
from broker.bench.figures import ratio
from broker.bench.machine import describe
from broker.bench.plan import Plan
from broker.bench.stage import Stage, staged
from broker.cli.outcome import remark

# In the order in which they run. What answers in the broker's place comes before the broker: once
# a broker has subscribed, its session takes a copy of every request, served or not.
PARTS: Final[dict[str, tuple[str, Callable[[Stage], Awaitable[Any]]]]] = {
    "postgres": ("PostgreSQL alone: batches of updates", ceilings.postgres),
    "echo": ("an echo through Mosquitto", ceilings.echo),
    "seed": ("the seeds' design: a message, a transaction", ceilings.seeds),
    "updates": ("progress reports, made durable and answered", device_plane.updates),
    "cycles": ("start-next and SUCCEEDED", device_plane.cycles),
    "latency": ("create to notify-next, update to accepted", device_plane.latency),
    "fanout": ("one job for very many things", fleet_wide.fanout),
    "growth": ("updates with up to a million executions", device_plane.growth),
    "two": ("two broker processes, and one killed", device_plane.two),
    "slow_http": ("updates beside slow HTTP clients and a 1 GB body", slow_http.slow_http),
}
LATENCIES: Final = (
    "create_to_notify_ms",
    "update_to_accepted_ms",
    "create_to_notify_steady_ms",
    "update_to_accepted_steady_ms",
)
Result = dict[str, Any]


async def bench(plan: Plan, only: Sequence[str], directory: Path | None) -> Result:
    """Measure the parts named (all when none is) in a directory of its own, or below this one.

    Returns the object that --json prints. Raises LoadError, EmbeddedServerError and Failure.
    """
    wanted = [name for name in PARTS if not only or name in only]
    async with _place(directory) as place:
        machine = describe(place)
        async with staged(plan, place) as stage:
            version = await stage.admin.fetchval("SHOW server_version")
            parts = await _measure(stage, wanted)
    result = _headlines(parts) | {
        "ratios": _ratios(parts),
        "quick": plan.quick,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine | {"postgresql": version},
        "plan": _told(plan),
        "parts": parts,
    }
    return {name: value for name, value in result.items() if value is not None}


@asynccontextmanager
async def _place(directory: Path | None) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jobbroker-bench-", dir=directory) as name:
        # Root's servers run under other accounts, which must be able to walk in.
        Path(name).chmod(0o711)  # noqa: ASYNC240 - before anything runs
        yield Path(name)


async def _measure(stage: Stage, wanted: Sequence[str]) -> Result:
    parts: Result = {}
    for name in wanted:
        words, measure = PARTS[name]
        remark(f"{name}: {words}")
        parts[name] = await measure(stage)
    return parts


def _headlines(parts: Result) -> Result:
    """The numbers by the names that they are compared by; None for a part that was left out."""
    latency = parts.get("latency")
    found: Result = {
        "updates_per_s": _rate(parts, "updates"),
        "cycles_per_s": _rate(parts, "cycles"),
        "echo_per_s": _rate(parts, "echo"),
        "postgres_per_s": _rate(parts, "postgres"),
        "echo_qos0_per_s": parts["echo"]["qos0"]["per_s"] if "echo" in parts else None,
        "seed_design_per_s": _rate(parts, "seed"),
        "fanout_things_per_s": parts["fanout"]["things_per_s"] if "fanout" in parts else None,
        "growth": parts.get("growth"),
        "two_processes_per_s": _rate(parts, "two"),
        "slow_http_updates_per_s": _rate(parts, "slow_http"),
        "takeover_s": parts["two"]["takeover"]["takeover_s"] if "two" in parts else None,
    }
    for name in LATENCIES:
        found[name] = latency and {load: level[name] for load, level in latency.items()}
    return found


def _rate(parts: Result, name: str) -> float | None:
    return parts[name]["per_s"] if name in parts else None


def _ratios(parts: Result) -> Result:
    """What is claimed: absolute figures move with the machine, these much less."""
    ours = _rate(parts, "updates")
    found = {
        "updates_to_seed_design": ratio(ours, _rate(parts, "seed")),
        "updates_to_echo": ratio(ours, _rate(parts, "echo")),
        "updates_to_echo_qos0": ratio(
            ours, parts["echo"]["qos0"]["per_s"] if "echo" in parts else None
        ),
        "updates_to_postgres": ratio(ours, _rate(parts, "postgres")),
        "two_processes_to_one": ratio(_rate(parts, "two"), ours),
        "updates_with_slow_http": parts["slow_http"]["ratio"] if "slow_http" in parts else None,
        "most_executions_to_fewest": _grown(parts.get("growth")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _grown(levels: Sequence[Result] | None) -> float | None:
    one_job = [level for level in levels or [] if level["jobs"] == 1]
    if len(one_job) < 2:  # noqa: PLR2004 - a ratio has two sides
        return None
    return ratio(one_job[-1]["updates_per_s"], one_job[0]["updates_per_s"])


def _told(plan: Plan) -> Result:
    return {
        "things": plan.things,
        "devices": plan.devices,
        "outstanding": plan.outstanding,
        "warm_up_s": plan.warm_up,
        "seconds": plan.seconds,
        "runs": plan.runs,
    }
