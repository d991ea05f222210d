"""A rollout's plan by the clock: start times, maintenance windows and end times stretch it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import rollout
from schema.counts import Counts
from schema.course import Point, StageTimes, course
from schema.forecast import plan
from schema.gates import StageRow, Step, evaluate
from schema.rollout import RolloutConfig
from schema.stages import Stage
from schema.windows import Schedule, SchedulingConfig

NOW = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)


def at_rate(rate: int) -> RolloutConfig:
    """So many a minute; a plan tells 96 % of it."""
    return RolloutConfig.model_validate({"maximumPerMinute": rate})


def schedule(*windows: tuple[str, int], **fields: object) -> Schedule:
    """A schedule by windows as (cron, minutes), and AWS's fields."""
    found = [{"startTime": cron, "durationInMinutes": minutes} for cron, minutes in windows]
    return SchedulingConfig.model_validate({"maintenanceWindows": found, **fields}).schedule()


def test_without_a_schedule_it_is_the_plan() -> None:
    """960 things at 100 a minute: ten minutes from now, 96 a minute."""
    found = course(plan(at_rate(100), 960), Schedule(), NOW)
    assert found.told_at == NOW + timedelta(minutes=10)
    assert found.by_minute()[:2] == [Point(0, 0, 100), Point(1, 96, 100)]
    assert found.by_minute()[-1] == Point(10, 960, 100)
    assert found.told == 960


def test_without_a_rate_all_are_told_when_it_begins() -> None:
    """At once, or at the start time and nobody before."""
    assert course(plan(None, 5), Schedule(), NOW).by_minute() == [Point(0, 5, None)]
    later = course(plan(None, 5), schedule(startTime="2026-11-23 01:00"), NOW)
    assert later.told_at == NOW + timedelta(hours=2)
    assert (later.by_minute()[0].things, later.by_minute()[-1]) == (0, Point(120, 5, None))


def test_windows_are_met_one_after_the_other() -> None:
    """An hour each night at 96 a minute kept: 5760 a night, so 10,000 things take a second night's 44 min 10 s."""
    found = course(plan(at_rate(100), 10_000), schedule(("cron(0 2 * * ? *)", 60)), NOW)
    assert [one.begins.day for one in found.openings] == [23, 24]
    assert [found.things_by(one.ends or NOW) for one in found.openings] == [5760, 10_000]
    assert found.told_at == datetime(2026, 11, 24, 2, 44, 10, tzinfo=UTC)
    # Between the windows nobody is told.
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert found.things_by(noon) == 5760
    rates = {one.minute: one.rate for one in found.by_minute()}
    assert (rates[180], rates[240]) == (100, None)  # a window's begin and end


def test_an_end_time_cuts_it_off() -> None:
    """Whom the rate does not reach before the end is not told."""
    ends = schedule(endTime="2026-11-22 23:30")
    found = course(plan(at_rate(100), 10_000), ends, NOW)
    assert found.told_at is None
    assert found.told == 30 * 96
    assert found.by_minute()[-1].things == 30 * 96


def test_a_window_that_is_open_now_counts_from_now() -> None:
    """The rest of it, then the next one."""
    found = course(plan(at_rate(100), 6000), schedule(("cron(30 22 * * ? *)", 60)), NOW)
    assert found.things_by(NOW + timedelta(minutes=30)) == 30 * 96
    assert found.openings[1].begins == datetime(2026, 11, 23, 22, 30, tzinfo=UTC)


def test_a_rollout_without_end_is_bounded() -> None:
    """A million things in a minute a week would take centuries: it says so instead of counting weeks."""
    found = course(plan(at_rate(1), 10**6), schedule(("cron(0 2 ? * SUN *)", 1)), NOW)
    assert found.told_at is None
    assert 0 < found.told < 10**6
    assert len(found.by_minute()) < 120


@given(
    rate=st.integers(1, 2000),
    things=st.integers(0, 5000),
    minutes=st.integers(1, 1430),
    hour=st.integers(0, 23),
)
def test_a_course_never_falls(rate: int, things: int, minutes: int, hour: int) -> None:
    """Whatever the window: told things rise to all of them, in order of minutes, and never begin outside of one."""
    found = course(plan(at_rate(rate), things), schedule((f"cron(0 {hour} * * ? *)", minutes)), NOW)
    points = found.by_minute()
    assert [one.minute for one in points] == sorted({one.minute for one in points})
    assert [one.things for one in points] == sorted(one.things for one in points)
    assert points[-1].things == found.told
    assert found.told == things or found.told_at is None


def staged(*parts: dict[str, object]) -> list[Stage]:
    """Stages by their members; the last one is the rest."""
    return [Stage.model_validate(one) for one in (*parts, {})]


def test_stages_wait_for_their_gates() -> None:
    """5 %, 25 % and the rest of 1920 at 100 a minute: each told at once in full, then half an hour of soaking."""
    parts = staged({"percentage": 5, "soakMinutes": 30}, {"percentage": 25, "soakMinutes": 30})
    found = course(plan(at_rate(100), 1920), Schedule(), NOW, stages=parts, held=[96, 384, 1440])
    minutes = [
        None if at is None else (at - NOW).total_seconds() / 60
        for one in found.stages
        for at in one
    ]
    assert minutes == [0, 1, 31, 31, 35, 65, 65, 80, None]
    assert found.told_at == NOW + timedelta(minutes=80)
    counts = {one.minute: (one.things, one.rate) for one in found.by_minute()}
    assert (counts[1], counts[30]) == ((96, None), (96, None))
    assert (counts[31], counts[65], counts[80]) == ((96, 100), (480, 100), (1920, 100))


def test_a_gate_opens_when_its_share_is_told() -> None:
    """Half of a stage must succeed, then ten minutes: the next stage's things follow without a stop."""
    parts = staged({"numberOfThings": 1920, "successPercentage": 50, "soakMinutes": 9})
    found = course(plan(at_rate(100), 2880), Schedule(), NOW, stages=parts, held=[1920, 960])
    first, second = found.stages
    assert first.gate_opens_at == second.starts_at == NOW + timedelta(minutes=19)
    assert (first.told_at, second.told_at) == (
        NOW + timedelta(minutes=20),
        NOW + timedelta(minutes=30),
    )


def test_a_gate_that_waits_for_somebody_ends_the_course() -> None:
    """A job that pauses at its open gate is planned so far, and no further."""
    parts = staged({"percentage": 50, "soakMinutes": 5, "successAction": "PAUSE"})
    found = course(plan(at_rate(100), 192), Schedule(), NOW, stages=parts, held=[96, 96])
    assert (found.told, found.told_at, found.paused_at) == (96, None, NOW + timedelta(minutes=6))
    assert [one.starts_at for one in found.stages] == [NOW, None]
    assert found.by_minute()[-1] == Point(6, 96, None)


def test_gates_open_in_windows_only() -> None:
    """A soak that is over while the window is closed waits for the next; without a rate each stage is told at once."""
    parts = staged({"percentage": 50, "soakMinutes": 90})
    nightly = schedule(("cron(0 2 * * ? *)", 60))
    found = course(plan(None, 10), nightly, NOW, stages=parts, held=[5, 5])
    begins = datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert found.stages[0] == StageTimes(begins, begins, begins + timedelta(days=1))
    assert found.told_at == begins + timedelta(days=1)
    assert [found.things_by(begins + timedelta(hours=one)) for one in (0, 23, 24)] == [5, 5, 10]


def test_stages_without_things_only_soak() -> None:
    """A stage to which none are left is there for its soaking time; a job for nobody goes through its stages, too."""
    parts = staged({"percentage": 50}, {"thingGroupName": "g", "soakMinutes": 10})
    found = course(plan(None, 4), Schedule(), NOW, stages=parts, held=[2, 0, 2])
    soaked = NOW + timedelta(minutes=10)
    assert found.stages == (
        StageTimes(NOW, NOW, NOW),
        StageTimes(NOW, NOW, soaked),
        StageTimes(soaked, soaked, None),
    )
    nobody = course(plan(None, 0), Schedule(), NOW, stages=parts, held=[0, 0, 0])
    assert (nobody.told, nobody.told_at, nobody.stages[2].starts_at) == (0, NOW, soaked)


@st.composite
def _stages(draw: st.DrawFn) -> tuple[list[Stage], list[int]]:
    sizes = draw(st.lists(st.integers(0, 300), min_size=2, max_size=5))
    parts = [
        {
            "numberOfThings": place + 1,
            "successPercentage": draw(st.sampled_from([0, 33.33, 50, 100])),
            "soakMinutes": draw(st.sampled_from([0, 0, 1, 7, 600])),
            "successAction": draw(st.sampled_from(["START_NEXT", "START_NEXT", "PAUSE"])),
        }
        for place in range(len(sizes) - 1)
    ]
    return staged(*parts), sizes


_RAMP = {"baseRatePerMinute": 20, "incrementFactor": 1.5}
_RATES = [None, {"maximumPerMinute": 7}, {"maximumPerMinute": 500}]


@given(
    chosen=_stages(),
    rate=st.one_of(
        st.sampled_from(_RATES),
        st.builds(
            lambda most, every: {
                "maximumPerMinute": most,
                "exponentialRate": {
                    **_RAMP,
                    "rateIncreaseCriteria": {"numberOfSucceededThings": every},
                },
            },
            st.integers(1, 400),
            st.integers(5, 200),
        ),
    ),
    window=st.sampled_from([None, 3, 60, 1430]),
)
def test_a_course_in_stages_keeps_to_them(
    chosen: tuple[list[Stage], list[int]], rate: dict[str, object] | None, window: int | None
) -> None:
    """For any stages, rate and windows: totals, order, no more than the rate, and nobody told before their stage."""
    parts, held = chosen
    config = None if rate is None else RolloutConfig.model_validate(rate)
    when = Schedule() if window is None else schedule(("cron(0 2 * * ? *)", window))
    made = plan(config, sum(held), succeed_after=0.0)
    found = course(made, when, NOW, stages=parts, held=held)
    points = found.by_minute()
    assert [one.things for one in points] == sorted(one.things for one in points)
    assert points[-1].things == found.told <= sum(held)
    assert (found.told == sum(held)) == (found.told_at is not None)
    assert found.told_at is not None or found.paused_at is not None or window is not None
    most = None if config is None else config.maximum_per_minute
    for before, after in pairwise(points):
        passed = after.minute - before.minute
        assert most is None or after.things - before.things <= most * passed + 1
    for place, (one, stage) in enumerate(zip(found.stages, parts, strict=True)):
        if one.starts_at is None:
            assert one.told_at is None
            continue
        assert found.things_by(one.starts_at - timedelta(seconds=1)) <= sum(held[:place])
        if place and (opened := found.stages[place - 1].gate_opens_at):
            assert one.starts_at == opened
            soaked = timedelta(minutes=parts[place - 1].soak_minutes)
            assert one.starts_at - (found.stages[place - 1].starts_at or NOW) >= soaked
        assert when.is_open(one.starts_at)
        if stage.success_percentage == 100 and one.gate_opens_at is not None:
            assert one.told_at is not None
            assert one.told_at <= one.gate_opens_at


@pytest.mark.parametrize("percentage", [0, 40, 100])
@pytest.mark.parametrize("soak", [0, 2])
def test_a_ticked_rollout_keeps_to_its_course(percentage: float, soak: int) -> None:
    """Gates and rate as the services decide them each half second, each thing a success at once: within 6 s."""
    parts = staged(
        {"percentage": 10, "successPercentage": percentage, "soakMinutes": soak},
        {"percentage": 50, "successPercentage": percentage, "soakMinutes": soak},
    )
    held, config = [60, 240, 300], at_rate(120)
    rows = [StageRow(one) for one in held]
    pace, at = rollout.start(NOW), NOW
    while not rows[-1].over:
        verdict = evaluate(parts, rows, at)
        running = [row for row in rows if row.started_at is not None]
        if running:
            last = len(running) - 1
            rows[last] = rows[last]._replace(reached_at=verdict.reached_at)
        if verdict.step is Step.START_NEXT:
            rows[verdict.stage] = rows[verdict.stage]._replace(started_at=at)
            continue
        told = [row.counts.succeeded for row in rows]
        waiting = [
            0 if row.started_at is None else row.things - row.counts.succeeded for row in rows
        ]
        granted, pace = rollout.grant(
            pace, rollout.current_rate(config, Counts(succeeded=sum(told))), at, most=sum(waiting)
        )
        for place, left in enumerate(waiting):
            taken = min(left, granted)
            granted -= taken
            rows[place] = rows[place]._replace(counts=Counts(succeeded=told[place] + taken))
        at += timedelta(seconds=0.5)
    found = course(plan(config, 600), Schedule(), NOW, stages=parts, held=held)
    assert found.told_at is not None
    assert (found.told_at - at).total_seconds() == pytest.approx(0, abs=6)
    for one, row in zip(found.stages, rows, strict=True):
        assert one.starts_at is not None
        assert row.started_at is not None
        assert (one.starts_at - row.started_at).total_seconds() == pytest.approx(0, abs=6)
