"""The results for people: a table on the terminal, and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Final

Result = dict[str, Any]
Row = tuple[str, str, str]

_COMPARED: Final = {
    "updates_to_seed_design": ("the seeds' design", "seed"),
    "updates_to_echo": ("the echo", "echo"),
    "updates_to_echo_qos0": ("the echo with answers of QoS 0", "echo"),
    "updates_to_postgres": ("PostgreSQL alone", "postgres"),
}
_ENOUGH_FOR_P999: Final = 1000


def rows(result: Result) -> list[Row]:
    """What was measured, how much, and by which part or parts: one row for each number."""
    return [*_rates(result), *_ratios(result), *_latencies(result), *_growth(result)]


def _rates(result: Result) -> Iterator[Row]:
    names = {
        "updates_per_s": ("updates", "durable updates a second"),
        "cycles_per_s": ("cycles", "full cycles a second"),
        "echo_per_s": ("echo", "echo through Mosquitto, QoS 1 both ways, a second"),
        "echo_qos0_per_s": ("echo", "echo through Mosquitto, answers of QoS 0, a second"),
        "postgres_per_s": ("postgres", "PostgreSQL alone, rows a second"),
        "seed_design_per_s": ("seed", "the seeds' design, updates a second"),
        "fanout_things_per_s": ("fanout", "fan-out, things a second"),
        "two_processes_per_s": ("two", "two processes, updates a second"),
        "slow_http_updates_per_s": ("slow_http", "updates a second beside slow HTTP clients"),
    }
    for key, (part, words) in names.items():
        if key in result:
            yield words, f"{result[key]:,.0f}", part
    if "takeover_s" in result:
        yield "a killed process's share taken over", f"{result['takeover_s']:.1f} s", "two"


def _ratios(result: Result) -> Iterator[Row]:
    for key, (words, part) in _COMPARED.items():
        if key in result["ratios"]:
            value = f"{result['ratios'][key]:.2f}"
            yield f"updates, as a multiple of {words}", value, f"{part} updates"
    if "two_processes_to_one" in result["ratios"]:
        value = f"{result['ratios']['two_processes_to_one']:.2f}"
        yield "two processes, as a multiple of one", value, "updates two"
    if "updates_with_slow_http" in result["ratios"]:
        value = f"{result['ratios']['updates_with_slow_http']:.2f}"
        low, high = result["parts"]["slow_http"]["ratio_interval"]
        words = "updates beside slow HTTP clients, as a multiple of without (where its median lies)"
        yield words, f"{value} ({low:.2f} to {high:.2f})", "slow_http"


def _latencies(result: Result) -> Iterator[Row]:
    names = {
        "create_to_notify_ms": "create to notify-next",
        "update_to_accepted_ms": "update to accepted",
    }
    for key, words in names.items():
        for load, found in result.get(key, {}).items():
            if found is not None:
                enough = found["samples"] >= _ENOUGH_FOR_P999
                rare = f"{found['p999']:.1f}" if enough else "-"
                value = f"{found['p50']:.1f} / {found['p99']:.1f} / {rare} ms"
                yield f"{words} at {load}, p50 / p99 / p99.9", value, "latency"
    yield from _steady(result, names)


def _steady(result: Result, names: Mapping[str, str]) -> Iterator[Row]:
    """What was asked at the lowest load while the machine kept its speed."""
    for load, level in list(result["parts"].get("latency", {}).items())[:1]:
        for key, words in names.items():
            found = level[key.replace("_ms", "_steady_ms")]
            if found is not None:
                value = f"{found['p50']:.1f} / {found['p99']:.1f} ms"
                yield (
                    f"{words} at {load} while the machine kept its speed, p50 / p99",
                    value,
                    "latency",
                )


def _growth(result: Result) -> Iterator[Row]:
    levels = result.get("growth", [])
    first = levels[0]["machine"]["usual_us"] if levels else None
    for level in levels:
        jobs = "1 job" if level["jobs"] == 1 else f"{level['jobs']:,} jobs"
        value = f"{level['updates_per_s']:,.0f}"
        if level["broker_peak_mb"]:
            value += f", broker {level['broker_peak_mb']:.0f} MB"
        if first and level is not levels[0] and level["machine"]["usual_us"]:
            value += f", the machine at {first / level['machine']['usual_us']:.2f} of its speed"
        yield f"updates a second, {level['executions']:,} executions in {jobs}", value, "growth"


def machine_line(result: Result) -> str:
    """The machine in one sentence."""
    one = result["machine"]
    return (
        f"{one['cpu']}, {one['cores']} cores, {one['memory_gb']:g} GB; {one['system']};"
        f" {one['filesystem']}, a synced page in {one['sync_ms']:g} ms;"
        f" PostgreSQL {one['postgresql']}, Mosquitto {one['mosquitto']}, Python {one['python']}"
    )


def markdown(result: Result) -> str:
    """The measured section of docs/performance.md."""
    quick = " --quick" if result["quick"] else ""
    plan = result["plan"]
    lines = [
        "## Measured",
        "",
        (
            f"Written by `jobbroker bench{quick} --write docs/performance.md` on {result['at'][:10]}; the"
            " servers, the broker and the load shared this one machine:"
        ),
        "",
        f"> {machine_line(result)}.",
        f"> Load average before it began: {result['machine']['load_average_before']:g}.",
        "",
        (
            f"PostgreSQL ran with `fsync`, `synchronous_commit` and `full_page_writes` on. {plan['devices']}"
            f" devices had {plan['outstanding']} requests each on their way over QoS 1 and awaited the"
            f" answers. Rates are medians of {plan['runs']} runs of {plan['seconds']:g} s after"
            f" {plan['warm_up_s']:g} s of warm-up. The ratios are the claim: absolute figures move with the"
            " machine."
        ),
        "",
        "| What | Measured | Again with |",
        "|---|---|---|",
        *(
            f"| {words} | {value} | `jobbroker bench{quick}{_options(parts)}` |"
            for words, value, parts in rows(result)
        ),
        "",
        "## What each number is",
        "",
        *_MEANING,
        "",
        *_cpu(result),
        *_slow_http(result),
        *_pace(result),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _options(parts: str) -> str:
    return "".join(f" --only {part}" for part in parts.split())


_MEANING: Final = (
    "- **Durable updates**: `UpdateJobExecution` with IN_PROGRESS and two status details; counted when",
    "  the device has `accepted` with its clientToken, which the broker sends after the commit. Nobody",
    "  listens to live events meanwhile, so one is made every two seconds, to see whether somebody does.",
    "- **Full cycles**: `start-next` answered with an execution, then SUCCEEDED accepted; the notifications",
    "  that follow are published as well.",
    "- **Echo**: the same requests through the same Mosquitto to a process that answers them unread over",
    "  the broker's own MQTT link: what servers, load and link leave room for. Once with QoS 1 both ways,",
    "  once with answers of QoS 0, which are what the broker sends (and AWS).",
    "- **PostgreSQL alone**: `UPDATE ... FROM unnest` of 500 executions a commit, four connections, on the",
    "  broker's own table with its indexes, checks and row security. Nothing is read, locked or decided.",
    "- **The seeds' design**: one transaction for each message with the statements and tables that the",
    "  product was first asked for in, ten connections, the same MQTT link and the same load.",
    "- **Fan-out**: from the operator's create until every execution is committed and Mosquitto has",
    "  acknowledged every notification.",
    "- **Latency**: requests leave by a schedule drawn beforehand (Poisson) that waits for no answer, and",
    "  each counts from when it was due: no coordinated omission. Loads are shares of the updates above.",
    "  p99.9 is left out below a thousand samples; `--json` has how many there were.",
    "- **While the machine kept its speed**: all that time a small piece of computing, always the same, is",
    "  timed every 5 ms by the CPU time that it takes. Left out are requests that were due while it took",
    "  more than twice its usual time, or in the 20 ms before: a processor may be slowed for a while by what",
    "  is outside of the machine. How much that was is said below.",
    "- **Growth**: all things update, each among executions of its own and others', after a fresh start of",
    "  the broker. The machine's speed is that of the same piece of computing, compared with the first size.",
    "- **Taken over**: from SIGKILL of one of two processes until its last request was answered by the other.",
    "- **Slow HTTP clients**: the same updates while 100 connections never finish their headers or their",
    "  body, a byte a second, and one client sends 1 GB again and again, refused with 413; in rounds of four",
    "  windows, without, beside, beside and without them, each round giving one ratio. Once as many updates as",
    "  can be, once half of that by a schedule that waits for no answer. The clients are other machines' work:",
    "  they are one more process on the same cores at the lowest priority (nice 19), whose CPU time",
    "  (slow_clients below) is not the broker's.",
)


def _slow_http(result: Result) -> Iterator[str]:
    """What the pairs of windows prove, and what the clients cost a broker that has nothing else to do."""
    part = result["parts"].get("slow_http")
    if part is None:
        return
    rest, cost, load = part["at_rest_cpu"], part["broker_us"], part["at_load"]
    yield ""
    yield f"Slow HTTP clients, {len(part['ratios'])} rounds: {part['verdict']}."
    yield f"The broker's CPU time for one update was {cost['beside']:.1f} microseconds beside them,"
    yield f"{cost['without']:.1f} without: {_interval(cost)} times as much. A broker that devices leave in peace"
    yield f"used {100 * rest['without']:.1f} % of a core, {100 * rest['beside']:.1f} % with all of them there."
    yield f"At {load['asked_per_s']:,.0f} updates a second, asked whatever the answers do, these took"
    for name, end in (("p50", " and"), ("p99", ".")):
        took = load[f"{name}_ms"]
        both = f"{took['beside']:.1f} ms beside them and {took['without']:.1f} without"
        yield f"{name} {both} ({_interval(took)} times){end}"


def _pace(result: Result) -> Iterator[str]:
    """How much of the time the machine was slow while latencies were measured."""
    for load, level in result["parts"].get("latency", {}).items():
        machine = level["machine"]
        if machine["usual_us"]:
            yield ""
            yield f"At {load}, {100 * machine['slow_share']:.1f} % of the looks found the machine at less than half its"
            yield f"speed; the same computing took {machine['slowest']:.1f} times its usual CPU time at worst."


def _interval(compared: Result) -> str:
    low, high = compared["ratio_interval"]
    return f"{low:.2f} to {high:.2f}"


def _cpu(result: Result) -> Iterator[str]:
    """Where the CPU time went: seconds of each process in a run, and what that is for one request."""
    parts = {
        name: result["parts"][name]
        for name in ("echo", "seed", "updates", "cycles", "two", "slow_http")
        if name in result["parts"]
    }
    if not parts:
        return
    names = list(dict.fromkeys(name for part in parts.values() for name in part["cpu_s"]))
    yield "## Where the CPU time went"
    yield ""
    yield "CPU seconds of each process in a run, median; in brackets, microseconds"
    yield "for one request (for cycles: one cycle). The last column is what the cores could do at most at that price,"
    yield "were none of them ever idle."
    yield ""
    yield f"| | {' | '.join(names)} | all | at most |"
    yield f"|---|{'---|' * (len(names) + 2)}"
    cores = result["machine"]["cores"]
    for part, found in parts.items():
        # A part may be over before its time is, as cycles are when their executions are used up.
        count = found["per_s"] * median(run["seconds"] for run in found["runs"])
        spent = found["cpu_s"]
        cells = [_spent(spent[name], count) if name in spent else "" for name in names]
        total = sum(spent.values())
        most = f"{cores * count / total:,.0f}/s" if total else ""
        yield f"| {part} | {' | '.join(cells)} | {_spent(total, count)} | {most} |"
    if "updates" in parts:
        peak = ", ".join(
            f"{name} {value:.0f} MB" for name, value in parts["updates"]["peak_mb"].items()
        )
        yield ""
        yield f"Most memory during the updates: {peak}."


def _spent(seconds: float, count: float) -> str:
    return f"{seconds:.1f} ({1e6 * seconds / count:.0f})" if count else f"{seconds:.1f}"
