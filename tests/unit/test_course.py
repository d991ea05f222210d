"""A rollout's plan by the clock: start times, maintenance windows and end times stretch it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schema.course import Point, course
from schema.forecast import plan
from schema.rollout import RolloutConfig
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
