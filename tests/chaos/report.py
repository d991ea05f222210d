"""What a run came to: lines for the terminal, one object for programs, a section of docs/reliability.md."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from broker.bench.figures import median
from broker.bench.machine import describe
from tests.chaos.invariants import CHECKS
from tests.chaos.outcome import Outcome, Struck
from tests.chaos.schedule import DELAYS, Kind

SECTION: Final = "chaos"


def recovery(outcome: Outcome) -> Iterator[tuple[Kind, list[Struck]]]:
    """The faults that were done, by kind."""
    for kind in Kind:
        found = [one for one in outcome.struck if one.fault.kind is kind]
        if found:
            yield kind, found


def lines(outcome: Outcome) -> list[str]:
    """The figures for the terminal."""
    width = max(map(len, Kind))
    told = [f"{'':{width}}  times  first accepted (s)  all answered (s)"]
    told += [
        f"{kind:{width}}  {len(found):5d}  {_spread(one.first for one in found):>18}"
        f"  {_spread(one.all for one in found):>16}"
        for kind, found in recovery(outcome)
    ]
    told += [f"not run: {fault.kind}: {why}" for fault, why in outcome.not_run]
    told += ["", *_figures(outcome)]
    verdict = f"{len(outcome.violations)} violations" if outcome.violations else "no violation"
    return [*told, f"{len(outcome.struck)} faults, {outcome.audits} audits: {verdict}"]


def _figures(outcome: Outcome) -> list[str]:
    ledger = outcome.ledger
    return [
        (
            f"{ledger.updates:,} updates accepted ({outcome.updates_per_s:,.0f} a second over "
            f"{outcome.load_seconds:,.0f} s, outages included; {outcome.well_per_s:,.0f} a second "
            f"between recovery and the next fault, of {outcome.plan.rate:,.0f} asked for)"
        ),
        (
            f"{ledger.retried:,} requests sent again for want of an answer, {ledger.repeated_answers:,} answers "
            f"came again; the longest that a request waited was {ledger.longest_wait:.1f} s"
        ),
        (
            f"{outcome.executions:,} executions of {outcome.jobs:,} jobs, {outcome.cancelled} cancelled; "
            f"{outcome.notified:,} notifications heard over {outcome.connections:,} connections"
        ),
        *_crashes(outcome),
    ]


def _crashes(outcome: Outcome) -> list[str]:
    """What no fault of ours did: Mosquitto 2.0.21 falls now and then when it comes back from a kill -9."""
    if not outcome.mosquitto_crashes:
        return []
    codes = ", ".join(str(code) for code in sorted(set(outcome.mosquitto_crashes)))
    return [
        f"{len(outcome.mosquitto_crashes)} times Mosquitto ended by itself (exit {codes}) and was started again"
    ]


def _spread(values: Iterator[float | None]) -> str:
    found = list(values)
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return "never"
    return f"{median(known):.2f} / {max(known):.2f}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All figures as one object; times in seconds."""
    ledger = outcome.ledger
    return {
        "seed": outcome.plan.seed,
        "faults": len(outcome.struck),
        "not_run": [{"kind": str(fault.kind), "why": why} for fault, why in outcome.not_run],
        "violations": [one._asdict() for one in outcome.violations],
        "audits": outcome.audits,
        "spot_checks": outcome.spot_checks,
        "updates": ledger.updates,
        "updates_per_s": round(outcome.updates_per_s, 1),
        "updates_per_s_between_faults": round(outcome.well_per_s, 1),
        "load_s": round(outcome.load_seconds, 1),
        "retried": ledger.retried,
        "repeated_answers": ledger.repeated_answers,
        "longest_wait_s": round(ledger.longest_wait, 2),
        "executions": outcome.executions,
        "jobs": outcome.jobs,
        "mosquitto_crashes": outcome.mosquitto_crashes,
        "recovery_s": {
            str(kind): {
                "times": len(found),
                "first": [_rounded(one.first) for one in found],
                "all": [_rounded(one.all) for one in found],
            }
            for kind, found in recovery(outcome)
        },
        "disk": outcome.disk,
        "machine": _machine(),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _machine() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        return describe(Path(name))


def markdown(outcome: Outcome, command: str) -> str:
    """The section of the document."""
    return "\n".join([*_head(outcome, command), *_table(outcome), *_promises(outcome)])


def _head(outcome: Outcome, command: str) -> Iterator[str]:
    plan, machine = outcome.plan, _machine()
    verdict = (
        f"**{len(outcome.violations)} promises were broken**"
        if outcome.violations
        else "**every promise was kept**"
    )
    yield "## Faults under load"
    yield ""
    yield (
        f"{len(outcome.struck)} faults in {outcome.load_seconds / 60:.0f} minutes, under "
        f"{plan.rate:,.0f} updates a second asked for by {plan.things} devices, with {plan.brokers} brokers, "
        f"one PostgreSQL and one Mosquitto: {verdict}, in {outcome.audits} audits and "
        f"{outcome.spot_checks} looks at what listeners were told after a server or all brokers died."
    )
    yield ""
    yield from (f"- {figure}" for figure in _figures(outcome))
    yield (
        f"- Machine: {machine['cpu']}, {machine['cores']} cores for all of it, {machine['memory_gb']} GB, "
        f"{machine['system']}; Python {machine['python']}, Mosquitto {machine['mosquitto']}; "
        f"PostgreSQL with fsync and synchronous_commit on, its disk: {outcome.disk}; "
        "Mosquitto saves its sessions every 5 s, so that it comes back from a kill with what it knew some seconds ago."
    )
    yield f"- Made on {datetime.now(UTC):%Y-%m-%d} by this command, which does all of it again:"
    yield f"\n```bash\n{command}\n```\n"


def _table(outcome: Outcome) -> Iterator[str]:
    yield "Seconds from the moment healing begins (the process is started again, the connection is there again):"
    yield "median / longest, until the first accepted answer, and until each request that waited then was answered."
    yield ""
    yield "| fault | times | lasted | first accepted | all answered |"
    yield "|---|---:|---:|---:|---:|"
    for kind, found in recovery(outcome):
        lasted = [one.fault.lasts for one in found]
        first, last = (_spread(getattr(one, name) for one in found) for name in ("first", "all"))
        span = f"{min(lasted):.1f} to {max(lasted):.1f} s"
        yield f"| {kind} | {len(found)} | {span} | {first} | {last} |"
    yield ""
    slow = [one.fault for one in outcome.struck if one.fault.kind in DELAYS]
    if slow:
        most = max(fault.latency + fault.jitter for fault in slow)
        yield (
            f"Delayed: by up to {1000 * most:.0f} ms each way, with jitter. "
            "Silent: nothing is forwarded, and nothing is closed."
        )
    for (kind, why), count in Counter((fault.kind, why) for fault, why in outcome.not_run).items():
        yield f"\nNot run: {kind}, {count} times: {why}."


def _promises(outcome: Outcome) -> Iterator[str]:
    yield ""
    yield "What each audit holds against the ledger, in which every request and answer of every device stands:"
    yield ""
    for check in CHECKS:
        told = (check.__doc__ or "").partition("\n")[0]
        yield f"- {told}"
    yield ""
    if outcome.violations:
        yield "Broken:"
        yield ""
        for promise, count in Counter(one.promise for one in outcome.violations).items():
            yield f"- {promise}: {count}"
