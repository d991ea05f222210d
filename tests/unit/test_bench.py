"""The bench's arithmetic, its schedule, its packets and what it writes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.bench import report, usage
from broker.bench.annoying import Annoyance
from broker.bench.figures import (
    difference,
    interval_of_median,
    latency,
    median,
    medians,
    percentile,
    ratio,
    spread,
)
from broker.bench.measuring import Alternated
from broker.bench.pace import Pace, steady, watched
from broker.bench.packets import Template, member, token_in, token_of
from broker.bench.run import PARTS
from broker.bench.schedule import Schedule, arrivals
from broker.bench.slow_http import told, told_latency
from broker.cli.bench import bench
from broker.mqtt.codec import PublishPacket, encode_publish, read_packets
from tests.helpers import eventually


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1, 100), (0.07, 7)]
)
def test_percentile_is_a_value_of_nearest_rank(share: float, expected: int) -> None:
    """Of 1 to 100 the percentile p is p: at least that share is not above it."""
    assert percentile(range(1, 101), share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_percentile_covers_its_share(values: list[float], share: float) -> None:
    """The values not above it are at least the share, and those below it are fewer."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_slow_spans_reach_from_the_look_before_to_the_one_after() -> None:
    """Looks that took more than twice the usual time are slow; spans that touch are one."""
    pace = Pace()
    for number, took in enumerate([1, 1, 2, 5, 1, 9, 3, 1, 1, 1, 7]):
        pace.note(float(number), took * 1e-6)
    assert pace.slow_spans() == [(2.0, 7.0), (9.0, 10.0)]
    assert pace.as_json() == {"usual_us": 1.0, "slow_share": round(4 / 11, 4), "slowest": 9.0}
    assert Pace().slow_spans() == []
    assert Pace().as_json() == {"usual_us": None, "slow_share": None, "slowest": None}


def test_when_a_request_was_due_decides_whether_the_machine_was_steady() -> None:
    """Left out is what was due in a slow span or 20 ms before, however long it took; what came after counts."""
    due = [0.9, 0.979, 0.981, 1.5, 2.0, 2.001, 2.981, 3.5, 4.0]
    took = [float(number) for number in range(len(due))]
    assert steady(due, took, [(1.0, 2.0), (3.0, 3.2)]) == [0.0, 1.0, 5.0, 7.0, 8.0]
    assert steady(due, took, []) == took


async def test_the_pace_is_watched_until_the_block_is_left() -> None:
    """Looks come while something else is awaited, each with a CPU time above 0; none comes afterwards."""
    async with watched(every=0.0) as pace:
        await eventually(lambda: len(pace.at) >= 20)
    seen = len(pace.at)
    assert min(pace.took) > 0
    assert pace.at[0] < pace.at[-1]
    await asyncio.sleep(0)
    assert len(pace.at) == seen


@pytest.mark.parametrize("arguments", [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_percentile_of_nothing_or_beyond_is_an_error(arguments: tuple[list[float], float]) -> None:
    """No values have no percentile, and a share is from 0 to 1."""
    with pytest.raises(ValueError, match=r"no values|not from 0 to 1"):
        percentile(*arguments)


def test_latency_is_in_milliseconds_whatever_the_order() -> None:
    """A thousand times of 1 to 1000 ms come to their percentiles; none come to None."""
    times = [number % 1000 / 1000 + 0.001 for number in range(0, 7000, 7)]
    assert times != sorted(times)
    found = latency(times)
    assert found is not None
    assert found.as_json() == {
        "p50": 500,
        "p99": 990,
        "p999": 999,
        "longest": 1000,
        "samples": 1000,
    }
    assert latency([]) is None


def test_runs_come_to_medians() -> None:
    """The middle run is reported, with how far the runs lie apart."""
    assert median([3, 1, 2]) == 2
    assert median([]) == 0
    assert spread([90, 100, 110]) == pytest.approx(0.2)
    assert spread([0, 0]) == 0
    runs = [
        {"cpu_s": {"broker": 1.0}},
        {"cpu_s": {"broker": 3.0}},
        {"cpu_s": {"broker": 2.0, "x": 9}},
    ]
    assert medians(runs, "cpu_s") == {"broker": 2.0, "x": 0.0}
    assert difference({"a": 3.0, "new": 1.0}, {"a": 1.0}) == {"a": 2.0, "new": 1.0}
    assert ratio(10, 4) == 2.5
    assert ratio(None, 4) is None
    assert ratio(4, 0) is None


def test_arrivals_have_their_rate_and_are_the_same_again() -> None:
    """Ten thousand arrivals at 200 a second take 50 s, give or take; a seed repeats them."""
    times = list(itertools.islice(arrivals(200, seed=1), 10_000))
    assert times == sorted(times)
    assert times[-1] == pytest.approx(50, rel=0.05)
    assert times == list(itertools.islice(arrivals(200, seed=1), 10_000))
    assert times[:10] != list(itertools.islice(arrivals(200, seed=2), 10))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap > 1 / 200 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)
    with pytest.raises(ValueError, match="not above 0"):
        next(arrivals(0, seed=1))


@given(st.lists(st.floats(0, 0.2), max_size=20))
def test_a_schedule_leaves_nothing_out_when_it_is_asked_late(steps: list[float]) -> None:
    """However seldom it is asked, each due time is given once, in order: no coordinated omission."""
    schedule = Schedule(500, seed=7, start=100.0)
    now, taken = 100.0, []
    for step in steps:
        now += step
        taken += schedule.take(now)
        assert schedule.next_at > now
    expected = itertools.takewhile(lambda at: 100.0 + at <= now, arrivals(500, seed=7))
    assert taken == [100.0 + at for at in expected]


def test_a_template_is_the_packet_that_the_codec_would_make() -> None:
    """Only packet id and clientToken differ, and both are put where they belong."""
    template = Template("$aws/things/a/jobs/b/update", b'{"status":"IN_PROGRESS"}')
    for number in (1, 0x7F7E, 65_535):
        token = token_of(number)
        payload = b'{"status":"IN_PROGRESS","clientToken":"' + token + b'"}'
        made = template.packet(number, token)
        assert made == encode_publish(
            "$aws/things/a/jobs/b/update", payload, qos=1, packet_id=number
        )
        packet = read_packets(made, 1000).packets[0]
        assert isinstance(packet, PublishPacket)
        assert token_in(packet.payload) == token


def test_tokens_and_members_are_found_in_answers() -> None:
    """With or without spaces behind the colon; empty and None where there is none."""
    assert token_in(b'{"timestamp":1,"clientToken":"0000002a"}') == b"0000002a"
    assert token_in(b'{"clientToken": "0000002a", "jobId": "x"}') == b"0000002a"
    assert token_in(b'{"timestamp":1}') == b""
    assert member(b'{"execution":{"jobId":"fw-7"}}', b"jobId") == b"fw-7"
    assert member(b'{"timestamp":1}', b"jobId") is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_cpu_and_memory_of_a_process_are_seen() -> None:
    """Our own CPU time grows as the process clock does, and our peak is at least a megabyte."""
    pids = {"us": os.getpid()}
    before = os.times()
    seen = usage.cpu_seconds(pids)["us"]
    assert seen >= before.user + before.system + before.children_user - 0.02
    assert usage.peak_megabytes(pids)["us"] > 1
    assert usage.cpu_seconds({"gone": 2**30}) == {"gone": 0.0}


def test_the_command_knows_all_parts() -> None:
    """--only takes what can be measured, and the help says of each what it is."""
    only = next(parameter for parameter in bench.params if parameter.name == "only")
    assert list(getattr(only.type, "choices", ())) == list(PARTS)
    assert all(f" {name} " in (bench.help or "") for name in PARTS)


def test_updates_beside_slow_http_clients_are_told_with_what_they_are_compared_to() -> None:
    """The rate, its ratio to the runs without, and the clients' own CPU seconds each have their place."""
    part = {
        "per_s": 8700.0,
        "runs": [{"seconds": 2.0}],
        "cpu_s": {"broker": 1.4, "slow_clients": 0.2},
        "ratio": 0.97,
        "ratio_interval": [0.95, 0.99],
        "ratios": [0.95, 0.97, 0.99],
        "verdict": "no difference shown",
        "at_rest_cpu": {"without": 0.01, "beside": 0.02},
        "broker_us": {"beside": 81.0, "without": 80.0, "ratio_interval": [1.0, 1.02]},
        "at_load": {
            "asked_per_s": 4350.0,
            "p50_ms": {"beside": 9.1, "without": 9.0, "ratio_interval": [0.98, 1.03]},
            "p99_ms": {"beside": 31.0, "without": 30.0, "ratio_interval": [0.9, 1.1]},
        },
    }
    measured = {
        **RESULT,
        "slow_http_updates_per_s": 8700.0,
        "ratios": {"updates_with_slow_http": 0.97},
        "parts": {"slow_http": part},
    }
    page = report.markdown(measured)
    again = "`jobbroker bench --quick --only slow_http`"
    assert f"| updates a second beside slow HTTP clients | 8,700 | {again} |" in page
    assert f"(where its median lies) | 0.97 (0.95 to 0.99) | {again} |" in page
    assert "Slow HTTP clients, 3 rounds: no difference shown." in page
    assert "used 1.0 % of a core, 2.0 % with all of them there." in page
    assert "81.0 microseconds beside them,\n80.0 without: 1.00 to 1.02 times as much." in page
    assert "At 4,350 updates a second" in page
    assert "p50 9.1 ms beside them and 9.0 without (0.98 to 1.03 times) and" in page
    assert "| | broker | slow_clients | all | at most |" in page


def test_the_median_lies_between_two_of_the_values_whatever_their_distribution() -> None:
    """Nine values: the second and the eighth hold it with 96 %; too few give what they can."""
    nine = interval_of_median([9, 1, 2, 3, 4, 5, 6, 7, 8])
    assert (nine.low, nine.high, round(nine.confidence, 3)) == (2, 8, 0.961)
    three = interval_of_median([3.0, 1.0, 2.0])
    assert (three.low, three.high, three.confidence) == (1.0, 3.0, 0.75)
    assert interval_of_median([1.0]).confidence == 0.0
    with pytest.raises(ValueError, match="no values"):
        interval_of_median([])


def _windows(rates: list[float], clients: float = 0.0) -> list[dict[str, Any]]:
    spent = {"broker": 0.8, "load": 1.2 - clients, "slow_clients": clients}
    return [{"per_s": rate, "seconds": 1.0, "cpu_s": spent} for rate in rates]


def _rate(run: dict[str, Any]) -> float:
    return float(run["per_s"])


def test_a_machine_that_slows_down_steadily_is_not_taken_for_the_clients_doing() -> None:
    """In each round the windows beside lie between those without, so the drift cancels."""
    falling = [1000.0, 950.0, 900.0, 850.0, 800.0, 750.0, 700.0, 650.0]
    without, beside = ([falling[at] for at in places] for places in ((0, 3, 4, 7), (1, 2, 5, 6)))
    assert Alternated(_windows(without), _windows(beside)).ratios(_rate) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("beside", "clients", "said"),
    [
        ([890.0, 900.0, 910.0, 900.0, 905.0, 895.0], 0.0, "slower by 9.0 to 11.0 % with 97 %"),
        ([950.0, 1010.0, 990.0, 1000.0, 980.0, 1020.0], 0.0, "slower by at most 5.0 % with 97 %"),
        ([930.0, 940.0, 920.0, 935.0, 925.0, 938.0], 0.2, "not slower with 97 %"),
    ],
)
def test_what_rounds_of_windows_prove_is_said_with_its_uncertainty(
    beside: list[float], clients: float, said: str
) -> None:
    """The clients' own share of the CPU is put apart: it is the harness's, not the broker's."""
    twice = [rate for rate in beside for _ in range(2)]
    part = told(Alternated(_windows([1000.0] * 12), _windows(twice, clients)))
    assert said in part["verdict"]
    assert part["clients_cpu_share"] == clients / 2
    assert part["broker_us"]["without"] == 800.0


def test_latencies_beside_and_without_are_compared_round_by_round() -> None:
    """Medians of all windows, and where the median of the rounds' ratios lies."""
    took = [{"per_s": 1.0, "took_ms": {"p50": 10.0, "p99": 40.0}} for _ in range(12)]
    more = [{"per_s": 1.0, "took_ms": {"p50": 11.0, "p99": 40.0}} for _ in range(12)]
    part = told_latency(Alternated(took, more))
    assert part["p50_ms"] == {
        "beside": 11.0,
        "without": 10.0,
        "ratio": 1.1,
        "ratio_interval": [1.1, 1.1],
    }
    assert part["p99_ms"]["ratio"] == 1.0


async def test_slow_clients_hold_on_and_a_refused_huge_body_comes_again() -> None:
    """A server that hangs up on all has them back; what it answers to the huge body is counted."""
    seen: Counter[str] = Counter()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"Bearer secret\r\nContent-Type: application/json\r\n")
        huge = await reader.read(100)
        seen["huge" if b"1000000000" in huge or b"chunked" in huge else "held"] += len(head) > 0
        writer.write(b"HTTP/1.1 413 Too Large\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients, holding = Annoyance(port, "secret"), asyncio.Event()
        tasks = [
            asyncio.create_task(clients.hold(headers_done=False, holding=holding)),
            asyncio.create_task(clients.hold(headers_done=True, holding=holding)),
            asyncio.create_task(clients.send_huge()),
        ]
        await eventually(lambda: seen["held"] >= 4 and clients.told["huge_answered_413"] >= 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert holding.is_set()
    assert clients.told["huge_bodies"] >= 2
    assert not clients.told["huge_taken_whole"]


RESULT = {
    "updates_per_s": 9000.0,
    "echo_per_s": 15000.0,
    "seed_design_per_s": 600.0,
    "takeover_s": 7.5,
    "update_to_accepted_ms": {"1%": {"p50": 1.0, "p99": 2.0, "p999": 3.0, "samples": 999}},
    "create_to_notify_ms": {"1%": None},
    "growth": [
        {
            "executions": 10_000,
            "jobs": 1,
            "updates_per_s": 8000.0,
            "broker_peak_mb": 80.0,
            "machine": {"usual_us": 50.0},
        },
        {
            "executions": 20_000,
            "jobs": 1,
            "updates_per_s": 4000.0,
            "broker_peak_mb": 80.0,
            "machine": {"usual_us": 100.0},
        },
    ],
    "ratios": {"updates_to_echo": 0.6, "updates_to_seed_design": 15.0},
    "quick": True,
    "at": "2026-01-02T03:04:05+00:00",
    "machine": {
        "cpu": "A CPU",
        "cores": 2,
        "memory_gb": 8,
        "system": "Linux",
        "filesystem": "ext4",
        "sync_ms": 0.5,
        "postgresql": "18.6",
        "mosquitto": "2.0.21",
        "python": "3.11.7",
        "load_average_before": 0.1,
    },
    "plan": {"devices": 200, "outstanding": 4, "runs": 3, "seconds": 2.0, "warm_up_s": 1.0},
    "parts": {
        "updates": {
            "per_s": 9000.0,
            "runs": [{"seconds": 2.0}],
            "cpu_s": {"broker": 1.5, "load": 0.3},
            "peak_mb": {"broker": 70.0},
        },
        "latency": {
            "1%": {
                "update_to_accepted_steady_ms": {"p50": 0.9, "p99": 1.5},
                "create_to_notify_steady_ms": None,
                "machine": {"usual_us": 50.0, "slow_share": 0.031, "slowest": 10.2},
            }
        },
    },
}


def test_each_claim_has_the_line_that_repeats_it() -> None:
    """The page has the machine and every number, each with its command."""
    page = report.markdown(RESULT)
    assert "A CPU, 2 cores, 8 GB" in page
    assert "| durable updates a second | 9,000 | `jobbroker bench --quick --only updates` |" in page
    assert "update to accepted at 1%, p50 / p99 / p99.9 | 1.0 / 2.0 / - ms |" in page
    assert "at 1% while the machine kept its speed, p50 / p99 | 0.9 / 1.5 ms |" in page
    assert "At 1%, 3.1 % of the looks found the machine at less than half its" in page
    assert "4,000, broker 80 MB, the machine at 0.50 of its speed" in page
    both = "`jobbroker bench --quick --only echo --only updates`"
    assert f"updates, as a multiple of the echo | 0.60 | {both} |" in page
    assert "10,000 executions in 1 job | 8,000, broker 80 MB |" in page
    assert "| updates | 1.5 (83) | 0.3 (17) | 1.8 (100) | 20,000/s |" in page
    table = [line for line in page.splitlines() if line.startswith("| ") and "`jobbroker" in line]
    assert len(table) == len(report.rows(RESULT))
