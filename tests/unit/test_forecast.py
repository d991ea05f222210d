"""The planned curve of a rollout, and that a rollout that is ticked keeps to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import rollout
from schema.counts import Counts
from schema.forecast import Leg, plan
from schema.rollout import RolloutConfig, current_rate, grant

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def ramp(base: int = 50, factor: float = 2, **fields: object) -> RolloutConfig:
    """A ramp with the worked example's base and factor unless told otherwise."""
    criteria = {key: value for key, value in fields.items() if key != "maximumPerMinute"}
    rate = {"baseRatePerMinute": base, "incrementFactor": factor, "rateIncreaseCriteria": criteria}
    sent = {key: value for key, value in fields.items() if key == "maximumPerMinute"}
    return RolloutConfig.model_validate({**sent, "exponentialRate": rate})


def constant(rate: int) -> RolloutConfig:
    """So many a minute."""
    return RolloutConfig.model_validate({"maximumPerMinute": rate})


def test_a_constant_rate() -> None:
    """100 a minute, kept from below at 96: 960 things take ten minutes, along a straight line."""
    found = plan(constant(100), 960)
    assert found.lasts == pytest.approx(600)
    assert found.by_minute()[:3] == [(0, 0), (1, 96), (2, 192)]
    assert found.by_minute()[-1] == (10, 960)


def test_no_limit() -> None:
    """Without a rate everything is told at once."""
    found = plan(None, 10**6)
    assert found.lasts == 0
    assert found.by_minute() == [(0, 10**6)]


def test_the_worked_ramp() -> None:
    """AWS's example over 4000 things: legs of 50, 100, 200 and 400 a minute, each of a thousand things."""
    found = plan(ramp(numberOfNotifiedThings=1000), 4000)
    assert [(round(leg.told), leg.rate) for leg in found.legs] == [
        (0, 50),
        (1000, 100),
        (2000, 200),
        (3000, 400),
    ]
    assert found.lasts == pytest.approx((20 + 10 + 5 + 2.5) * 60 / 0.96)


def test_a_ramp_by_successes() -> None:
    """Without successes it stays at its base; with one five minutes after each telling it rises that much later."""
    by_success = ramp(numberOfSucceededThings=96)
    assert plan(by_success, 960).lasts == pytest.approx(20 * 60)
    found = plan(by_success, 10_000, succeed_after=300)
    assert found.legs[1].begins == pytest.approx(120 + 300)
    assert found.legs[2].begins == pytest.approx(240 + 300)


def test_while_it_runs() -> None:
    """What has been told already is not told again, and the ramp goes on from where it is."""
    found = plan(ramp(numberOfNotifiedThings=1000), 4000, counts=Counts(queued=2500))
    assert found.legs[0] == Leg(0, 2500, 200)
    assert found.lasts == pytest.approx((2.5 + 2.5) * 60 / 0.96)
    assert plan(constant(10), 50, counts=Counts(queued=60)).lasts == 0


def test_a_steep_ramp_is_planned_at_once() -> None:
    """A rise at each thing, over a million things, is a few hundred legs and ends without a limit or at the ceiling."""
    steep = ramp(1, 1.1, numberOfNotifiedThings=1)
    assert len(plan(steep, 10**6).legs) < 320
    capped = plan(ramp(1, 1.1, numberOfNotifiedThings=1, maximumPerMinute=100), 10**6)
    assert capped.legs[-1].rate == 100
    assert capped.lasts == pytest.approx(10**6 / 96 * 60, rel=0.05)


def test_a_long_rollout_has_few_points() -> None:
    """A million things at one a minute are sixty points, not a million."""
    points = plan(constant(1), 10**6).by_minute()
    assert len(points) <= 62
    assert points[-1][1] == 10**6


@given(
    base=st.integers(1, 500),
    tenths=st.integers(11, 50),
    every=st.integers(1, 200),
    things=st.integers(0, 2000),
    lag=st.one_of(st.none(), st.floats(0, 300)),
)
def test_a_plan_rises_to_its_end(
    base: int, tenths: int, every: int, things: int, lag: float | None
) -> None:
    """For any ramp: things told never fall, none before the start, all at the end and none but then."""
    config = ramp(base, tenths / 10, numberOfNotifiedThings=every, numberOfSucceededThings=every)
    found = plan(config, things, succeed_after=lag)
    told = [count for _, count in found.by_minute()]
    assert told == sorted(told)
    assert told[-1] == things
    assert told[0] <= (0 if found.lasts else things)
    assert [leg.rate or 2**32 for leg in found.legs] == sorted(
        leg.rate or 2**32 for leg in found.legs
    )


@pytest.mark.parametrize(
    "config",
    [constant(300), ramp(numberOfNotifiedThings=100), ramp(600, 1.5, numberOfNotifiedThings=50)],
)
def test_a_ticked_rollout_keeps_to_its_plan(config: RolloutConfig) -> None:
    """A service that ticks each half second is done within 3 s of when the plan says."""
    pace, at, told = rollout.start(NOW), NOW, 0
    while told < 900:
        rate = current_rate(config, Counts(queued=told))
        granted, pace = grant(pace, rate, at, most=900 - told)
        told, at = told + granted, at + timedelta(seconds=0.5)
    assert (at - NOW).total_seconds() == pytest.approx(plan(config, 900).lasts, abs=3)
