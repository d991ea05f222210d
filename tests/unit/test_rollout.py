"""The rate of a rollout to the number, and a pace that keeps to it in every minute."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schema import rollout
from schema.counts import Counts
from schema.rollout import Pace, RolloutConfig, current_rate, due, grant
from tests.unit.configs import told

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RAMP = {
    "baseRatePerMinute": 50,
    "incrementFactor": 2,
    "rateIncreaseCriteria": {"numberOfNotifiedThings": 1000, "numberOfSucceededThings": 1000},
}
TICKS = st.floats(0.1, 2.0)
# Rates of one thing a minute, of a few, where 5 % are no whole thing, and of a large fleet.
RATES = st.one_of(st.integers(1, 60), st.integers(61, 10_000), st.integers(10_001, 2_000_000))


def config(**fields: object) -> RolloutConfig:
    """A rollout configuration in AWS's words."""
    return RolloutConfig.model_validate(fields)


def ramp(**criteria: int) -> RolloutConfig:
    """The worked example's ramp with other criteria."""
    return config(exponentialRate={**RAMP, "rateIncreaseCriteria": criteria})


@pytest.mark.parametrize(
    ("notified", "rate"),
    [
        (0, 50),
        (999, 50),
        (1000, 100),
        (1999, 100),
        (2000, 200),
        (2999, 200),
        (3000, 400),
        (3999, 400),
        (4000, 800),
    ],
)
def test_worked_ramp(notified: int, rate: int) -> None:
    """AWS's table: 50, 100, 200, 400 a minute, rising at 1000, 2000, 3000, 4000 notified things."""
    assert current_rate(config(exponentialRate=RAMP), Counts(queued=notified)) == rate


def test_worked_ramp_under_aws_default() -> None:
    """With AWS's default of 1000 a minute the ramp ends there; the sixth step would be 1600."""
    rates = [
        current_rate(config(exponentialRate=RAMP), Counts(queued=1000 * step), default=1000)
        for step in range(8)
    ]
    assert rates == [50, 100, 200, 400, 800, 1000, 1000, 1000]


@pytest.mark.parametrize(
    ("counts", "steps"),
    [
        (Counts(queued=999, succeeded=0), 0),
        (Counts(queued=0, succeeded=100), 1),
        (Counts(queued=900, succeeded=100), 1),
        (Counts(queued=1700, succeeded=300), 3),
        (Counts(queued=1900, failed=100), 2),
    ],
)
def test_whichever_criterion_is_met_first(counts: Counts, steps: int) -> None:
    """With both criteria the rate rises by the one that is further; both are cumulative."""
    found = current_rate(ramp(numberOfNotifiedThings=1000, numberOfSucceededThings=100), counts)
    assert found == 50 * 2**steps


def test_each_criterion_alone() -> None:
    """A ramp by successes does not look at notified things, and the other way round."""
    assert current_rate(ramp(numberOfSucceededThings=10), Counts(queued=5000, succeeded=9)) == 50
    assert current_rate(ramp(numberOfSucceededThings=10), Counts(succeeded=10)) == 100
    assert current_rate(ramp(numberOfNotifiedThings=10), Counts(queued=1, succeeded=8)) == 50


def test_what_was_told_counts_as_notified_whatever_became_of_it() -> None:
    """Failed, canceled and removed things were notified too."""
    assert Counts(1, 2, 3, 4, 5, 6, 7, 8).notified == 36


@pytest.mark.parametrize(
    ("fields", "default", "rate"),
    [
        ({}, None, None),
        ({}, 1000, 1000),
        ({"maximumPerMinute": 7}, 1000, 7),
        ({"maximumPerMinute": 5000}, 1000, 5000),
        ({"maximumPerMinute": 40, "exponentialRate": RAMP}, None, 40),
        ({"maximumPerMinute": 60, "exponentialRate": RAMP}, 55, 50),
    ],
)
def test_ceilings(fields: dict[str, object], default: int | None, rate: int | None) -> None:
    """A maximumPerMinute comes before the default and caps a ramp; without anything there is no limit."""
    assert current_rate(config(**fields), Counts(), default=default) == rate
    if not fields:
        assert current_rate(None, Counts(), default=default) == rate


def test_fractions_are_cut_off_after_the_power_is_taken() -> None:
    """10 x 1.5^2 is 22.5 and so 22; 1 x 1.1^k stays at one for a while and then rises; 10 x 1.1 is eleven."""
    step = {"numberOfNotifiedThings": 1}

    def rate(base: int, factor: float, steps: int) -> int | None:
        ramped = {
            "baseRatePerMinute": base,
            "incrementFactor": factor,
            "rateIncreaseCriteria": step,
        }
        return current_rate(config(exponentialRate=ramped), Counts(queued=steps))

    assert rate(10, 1.5, 2) == 22
    assert [rate(1, 1.1, steps) for steps in (0, 7, 8, 30)] == [1, 1, 2, 17]
    assert (rate(10, 1.1, 1), rate(100, 1.1, 2)) == (11, 121)


def test_a_ramp_that_outgrows_every_number_is_no_limit() -> None:
    """A million steps are computed at once: no limit without a ceiling, the ceiling with one."""
    steep = ramp(numberOfNotifiedThings=1)
    assert current_rate(steep, Counts(queued=10**6)) is None
    assert current_rate(steep, Counts(queued=10**6), default=900) == 900


@given(
    notified=st.lists(st.integers(0, 100_000), min_size=2, max_size=20),
    base=st.integers(1, 1000),
    tenths=st.integers(11, 50),
)
def test_a_ramp_never_falls(notified: list[int], base: int, tenths: int) -> None:
    """The more things are notified, the higher the rate, for every base and factor that AWS takes."""
    ramped = {
        "baseRatePerMinute": base,
        "incrementFactor": tenths / 10,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 100},
    }
    rates = [
        current_rate(config(exponentialRate=ramped), Counts(queued=n)) or math.inf
        for n in sorted(notified)
    ]
    assert rates == sorted(rates)
    assert rates[0] >= base


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"maximumPerMinute": 0}, "maximumPerMinute: 0: .*greater than or equal to 1"),
        ({"maximumPerMinute": 1.5}, "maximumPerMinute: 1.5: .*integer"),
        ({"maximumPerMinute": 2**31}, "maximumPerMinute: 2147483648: .*2147483647"),
        ({"maximum": 1}, "maximum: jobs/create has no such field"),
        ({"exponentialRate": {}}, "exponentialRate.baseRatePerMinute: required"),
        (
            {"exponentialRate": {**RAMP, "baseRatePerMinute": 1001}},
            "baseRatePerMinute: 1001: .*1000",
        ),
        ({"exponentialRate": {**RAMP, "baseRatePerMinute": 0}}, "baseRatePerMinute: 0: .*1$"),
        ({"exponentialRate": {**RAMP, "incrementFactor": 1.0}}, "incrementFactor: 1.0: .*1.1$"),
        ({"exponentialRate": {**RAMP, "incrementFactor": 5.1}}, "incrementFactor: 5.1: .* 5$"),
        (
            {"exponentialRate": {**RAMP, "incrementFactor": 1.55}},
            "Factor: 1.55 has more than 1 digit ",
        ),
        (
            {"exponentialRate": {**RAMP, "rateIncreaseCriteria": {}}},
            "rateIncreaseCriteria: {} needs numberOfNotifiedThings or numberOfSucceededThings",
        ),
        (
            {"exponentialRate": {**RAMP, "rateIncreaseCriteria": {"numberOfNotifiedThings": 0}}},
            "rateIncreaseCriteria.numberOfNotifiedThings: 0: ",
        ),
        (
            # AWS's developer guide has it inside; its model, and so boto3, beside.
            {"exponentialRate": {**RAMP, "maximumPerMinute": 1}},
            "exponentialRate.maximumPerMinute: jobs/create has no such field",
        ),
    ],
)
def test_refusals(fields: dict[str, object], says: str) -> None:
    """What does not fit is refused with the field, the value and the limit."""
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told(RolloutConfig, fields))


def test_a_row_gives_back_what_was_sent() -> None:
    """A configuration is stored in AWS's words, without what was left out, and read back equal."""
    sent = config(maximumPerMinute=9, exponentialRate=RAMP)
    assert RolloutConfig.from_text(sent.to_text()) == sent
    assert config(maximumPerMinute=9).to_text() == '{"maximumPerMinute":9}'


def run(
    ticks: list[float], rate: int | None, *, pace: Pace | None = None, most: int = 10**9
) -> list[tuple[float, int]]:
    """What a job notifies when ticked after each of these gaps: seconds since its start, and how many."""
    pace = pace or rollout.start(NOW)
    at, told_then = NOW, []
    for gap in ticks:
        at += timedelta(seconds=gap)
        things, pace = grant(pace, rate, at, most=most)
        told_then.append(((at - NOW).total_seconds(), things))
    return told_then


def busiest(told_then: list[tuple[float, int]], window: float = 60.0) -> int:
    """The most things in any window that begins with a tick."""
    best = total = first = 0
    for at, things in told_then:
        total += things
        while told_then[first][0] <= at - window:
            total -= told_then[first][1]
            first += 1
        best = max(best, total)
    return best


@given(rate=RATES, ticks=st.lists(TICKS, min_size=100, max_size=200))
@example(rate=19, ticks=[2.0] * 400)
@example(rate=1, ticks=[0.7] * 400)
@example(rate=33, ticks=[0.1, 2.0] * 200)
def test_the_pace_is_kept_in_every_minute(rate: int, ticks: list[float]) -> None:
    """With irregular ticks of 0.1 to 2 s no 60 s hold more than the rate, and it falls behind by less than 5 %."""
    told_then = run([0.0, *ticks], rate)
    assert busiest(told_then) <= rate
    lasted = told_then[-1][0]
    assert sum(things for _, things in told_then) >= math.floor(0.95 * rate * lasted / 60)


@given(
    rate=RATES,
    before=st.lists(TICKS, max_size=60),
    gap=st.floats(3, 1_000_000),
    after=st.lists(TICKS, min_size=1, max_size=60),
)
def test_no_burst_after_a_stop(
    rate: int, before: list[float], gap: float, after: list[float]
) -> None:
    """After a gap of any length the first tick gives at most 4 % of a minute and one; each minute stays within."""
    told_then = run([0.0, *before, gap, *after], rate)
    assert told_then[len(before) + 1][1] <= 1 + 0.04 * rate
    assert busiest(told_then) <= rate


@given(
    rates=st.lists(RATES, min_size=2, max_size=4),
    ticks=st.lists(TICKS, min_size=30, max_size=50),
)
def test_a_rate_changed_midway(rates: list[int], ticks: list[float]) -> None:
    """No minute exceeds the highest rate that was in force in it, however the rate moves."""
    pace, at, seen = rollout.start(NOW), NOW, []
    for rate in rates:
        for gap in ticks:
            at += timedelta(seconds=gap)
            things, pace = grant(pace, rate, at, most=10**9)
            seen.append(((at - NOW).total_seconds(), things, rate))
    for end, _, _ in seen:
        window = [one for one in seen if end - 60 < one[0] <= end]
        assert sum(things for _, things, _ in window) <= max(rate for _, _, rate in window)


def test_a_lowered_rate_holds_from_the_next_tick() -> None:
    """From 60000 a minute to 60: the next second gives about one thing, not what was saved up."""
    pace = grant(rollout.start(NOW), 60_000, NOW, most=0).pace
    pace = grant(pace, 60_000, NOW + timedelta(seconds=2), most=0).pace
    assert pace.credit > 1900
    assert grant(pace, 60, NOW + timedelta(seconds=2.5), most=10**9).things <= 3


def test_a_first_thing_is_told_at_once() -> None:
    """At one thing a minute the first is told when the job begins, the second a good minute later."""
    pace = rollout.start(NOW)
    assert due(pace, 1) == NOW
    things, pace = grant(pace, 1, NOW, most=5)
    assert things == 1
    assert due(pace, 1) == NOW + timedelta(seconds=62.5)


@given(rate=RATES, ticks=st.lists(TICKS, max_size=30))
def test_due_is_when_the_next_is_granted(rate: int, ticks: list[float]) -> None:
    """A service that sleeps until `due` is granted a thing then, and was not before."""
    pace, at = rollout.start(NOW), NOW
    for gap in ticks:
        at += timedelta(seconds=gap)
        pace = grant(pace, rate, at, most=10**9).pace
    then = due(pace, rate)
    assert grant(pace, rate, then + timedelta(microseconds=1), most=1).things == 1
    if then - at > timedelta(milliseconds=1):
        assert grant(pace, rate, then - timedelta(milliseconds=1), most=1).things == 0


def test_sleeping_until_due_loses_nothing() -> None:
    """Seven a minute, ticked only when due: 0.96 of the rate over an hour."""
    pace, at, things = rollout.start(NOW), NOW, 0
    while at < NOW + timedelta(hours=1):
        at = due(pace, 7) + timedelta(microseconds=1)
        granted, pace = grant(pace, 7, at, most=9)
        things += granted
    assert things == pytest.approx(0.96 * 7 * 60, abs=2)


def test_without_a_rate_everything_is_granted() -> None:
    """No limit: as many as there are; a limit set afterwards begins with nothing saved."""
    things, pace = grant(rollout.start(NOW), None, NOW, most=12_345)
    assert things == 12_345
    assert due(pace, None) == NOW
    assert grant(pace, 60, NOW + timedelta(seconds=0.5), most=9).things == 0


def test_what_a_chunk_leaves_is_given_next() -> None:
    """A tick that may do only 100 keeps the rest of its credit for the next one, within what may be caught up."""
    told_then = run([0.0] + [1.0] * 300, 6000, most=100)
    assert sum(things for _, things in told_then) == pytest.approx(6000 * 5 * 0.96, rel=0.01)


def test_unused_grants_come_back() -> None:
    """Things that were granted but gone by then do not count as notified."""
    granted = grant(Pace(3.0, NOW), 600, NOW, most=3)
    assert grant(granted.unused(2), 600, NOW, most=9).things == 2


@given(
    rate=RATES,
    offsets=st.lists(st.floats(-1.2, 1.2), min_size=2, max_size=100),
)
def test_times_read_out_of_order_make_nothing_of_nothing(rate: int, offsets: list[float]) -> None:
    """Processes that read the clock in another order than they take the row mint no credit."""
    pace, total, clock = rollout.start(NOW), 0, NOW
    for index, offset in enumerate(offsets):
        clock = max(clock, seen := NOW + timedelta(seconds=index / 10 + offset))
        things, pace = grant(pace, rate, seen, most=10**9)
        total += things
    passed = (clock - NOW).total_seconds()
    assert total <= 1 + rate * 0.96 * passed / 60 + 1e-6


def test_times_read_out_of_order_lose_nothing() -> None:
    """A tick whose time is before the last one's changes nothing: the next has what it would have had without."""
    pace = grant(rollout.start(NOW), 60, NOW, most=9).pace
    later = grant(pace, 60, NOW + timedelta(seconds=0.5), most=9).pace
    assert grant(later, 60, NOW + timedelta(seconds=0.2), most=9).pace == later


def test_a_clock_set_back_does_not_stop_the_job() -> None:
    """A clock that jumps an hour back costs what passed since the last tick, not an hour."""
    pace = grant(rollout.start(NOW), 600, NOW, most=9).pace
    back = NOW - timedelta(hours=1)
    first = grant(pace, 600, back, most=10**9)
    assert first.things == 0
    assert grant(first.pace, 600, back + timedelta(seconds=1), most=10**9).things in {9, 10}


def test_a_stop_is_not_made_up_for() -> None:
    """The process is down for an hour at 1000 a minute: the two minutes after it hold two minutes' things."""
    told_then = run([0.0] + [1.0] * 60 + [3600.0] + [1.0] * 120, 1000)
    after = sum(things for at, things in told_then if at >= 3660)
    assert 1900 <= after <= 2000


def test_pace_is_even_within_the_minute() -> None:
    """600 a minute at a tick a second: nine or ten in each, from the second tick on."""
    told_then = run([0.0] + [1.0] * 100, 600)
    assert {things for _, things in told_then[1:]} <= {9, 10}
    assert all(later[0] > earlier[0] for earlier, later in pairwise(told_then))
