"""Schedules of jobs: limits at creation, and when windows open and close."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schema.errors import Rejected
from schema.windows import (
    EndBehavior,
    Schedule,
    SchedulingConfig,
    check,
    read_time,
    rollouts_shown,
)

NOW = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
NIGHTLY = {"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 60}


def schedule(**fields: object) -> Schedule:
    """A schedule by AWS's fields, at no clock."""
    return SchedulingConfig.model_validate(fields).schedule()


def windows(*pairs: tuple[str, int]) -> Schedule:
    """A schedule of windows only."""
    return schedule(
        maintenanceWindows=[{"startTime": cron, "durationInMinutes": m} for cron, m in pairs]
    )


def at(text: str) -> datetime:
    """A moment by its text."""
    return read_time(text)


@pytest.mark.parametrize(
    "text",
    ["2026-12-01 10:30", "2026-12-01T10:30:00Z", "2026-12-01T12:30+02:00", "2026-12-01 10:30:00.0"],
)
def test_times(text: str) -> None:
    """AWS's form and ISO 8601; without an offset it is UTC."""
    assert read_time(text) == datetime(2026, 12, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2026-12-01", "20261201T1030", "2026-13-01 10:30", "tomorrow", "2026-12-01 25:00", ""]
)
def test_what_is_no_time(text: str) -> None:
    """A date alone, another order, or a time that does not exist."""
    with pytest.raises(ValueError, match="YYYY-MM-DD HH:MM"):
        read_time(text)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"startTime": "2026-11-22 23:29"},
            "startTime: '2026-11-22 23:29' is too early; 2026-11-22 23:30",
        ),
        (
            {"startTime": "2027-11-24 00:00"},
            "startTime: '2027-11-24 00:00' is too late; 2027-11-23 23:00",
        ),
        (
            {"endTime": "2026-11-22 23:29"},
            "endTime: '2026-11-22 23:29' is too early; 2026-11-22 23:30",
        ),
        (
            {"startTime": "2026-12-01 00:00", "endTime": "2026-12-01 00:29"},
            "endTime: '2026-12-01 00:29' is too early; 2026-12-01 00:30",
        ),
        (
            {"endTime": "2028-11-23 00:00"},
            "endTime: '2028-11-23 00:00' is too late; 2028-11-22 23:00",
        ),
        (
            {
                "endTime": "2026-11-23 01:00",
                "maintenanceWindows": [NIGHTLY],
            },
            "maintenanceWindows.0.startTime: 'cron(0 2 * * ? *)' opens no window",
        ),
    ],
)
def test_limits_at_creation(fields: dict[str, object], told: str) -> None:
    """AWS's notice of 30 minutes, a year and two years; a window must open in the job's time."""
    with pytest.raises(Rejected) as refused:
        check(SchedulingConfig.model_validate(fields), NOW, selection="CONTINUOUS")
    assert f"schedulingConfig.{told}" in refused.value.message


def test_at_the_limits() -> None:
    """The limits themselves are allowed, and what is left out has AWS's default."""
    config = SchedulingConfig.model_validate(
        {"startTime": "2026-11-22 23:30", "endTime": "2026-11-23 00:00"}
    )
    found = check(config, NOW, selection="SNAPSHOT")
    assert found.end_behavior is EndBehavior.STOP_ROLLOUT
    assert check(SchedulingConfig(), NOW, selection="SNAPSHOT") == Schedule()
    assert SchedulingConfig.from_text(config.to_text()) == config


def test_windows_are_for_continuous_jobs() -> None:
    """AWS: SNAPSHOT jobs have none."""
    config = SchedulingConfig.model_validate({"maintenanceWindows": [NIGHTLY]})
    assert check(config, NOW, selection="CONTINUOUS").windows
    with pytest.raises(Rejected, match="for CONTINUOUS jobs only; targetSelection is SNAPSHOT"):
        check(config, NOW, selection="SNAPSHOT")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"endBehavior": "CANCEL"}, ()),
        ({"endTime": "2027-01-01 00:00", "endBehavior": "STOP"}, ("endBehavior",)),
        ({"startTime": "soon"}, ("startTime",)),
        ({"begin": "2027-01-01 00:00"}, ("begin",)),
        (
            {"maintenanceWindows": [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 1431}]},
            ("maintenanceWindows", 0, "durationInMinutes"),
        ),
        (
            {"maintenanceWindows": [{"startTime": "cron(0 2 * *)", "durationInMinutes": 5}]},
            ("maintenanceWindows", 0, "startTime"),
        ),
    ],
)
def test_what_no_clock_is_needed_for(fields: dict[str, object], place: tuple[object, ...]) -> None:
    """Shapes and lengths are refused when a command is read, with the place."""
    with pytest.raises(ValidationError) as refused:
        SchedulingConfig.model_validate(fields)
    assert refused.value.errors()[0]["loc"] == place


def test_without_windows_it_is_open_from_start_to_end() -> None:
    """The end itself is outside."""
    found = schedule(startTime="2026-12-01 00:00", endTime="2026-12-02 00:00")
    start, end = at("2026-12-01 00:00"), at("2026-12-02 00:00")
    assert [found.is_open(one) for one in (NOW, start, end)] == [False, True, False]
    assert (found.next_open(NOW), found.closes_at(start), found.next_open(start)) == (
        start,
        end,
        None,
    )
    assert [found.next_change(one) for one in (NOW, start, end)] == [start, end, None]
    assert found.upcoming(NOW) == []
    always = Schedule()
    assert always.is_open(NOW)
    assert (always.next_open(NOW), always.closes_at(NOW), always.next_change(NOW)) == (None,) * 3


def test_a_window_opens_and_closes() -> None:
    """Its first minute is inside, its end is outside."""
    found = windows(("cron(0 2 * * ? *)", 60))
    assert found.next_open(NOW) == at("2026-11-23 02:00")
    assert found.is_open(at("2026-11-23 02:00"))
    assert found.closes_at(at("2026-11-23 02:59")) == at("2026-11-23 03:00")
    assert not found.is_open(at("2026-11-23 03:00"))
    assert found.next_open(at("2026-11-23 02:30")) == at("2026-11-24 02:00")
    assert found.next_change(at("2026-11-23 02:30")) == at("2026-11-23 03:00")


def test_a_window_over_midnight() -> None:
    """One of 23 h 50 min that began yesterday is open today."""
    found = windows(("cron(0 22 ? * MON *)", 1430))
    assert found.is_open(at("2026-11-24 21:49"))
    assert not found.is_open(at("2026-11-24 21:50"))


def test_windows_that_touch_are_one_opening() -> None:
    """Closing is told once, at the end of the last; the start and the end of the job cut."""
    found = windows(
        ("cron(0 2 * * ? *)", 60), ("cron(30 2 * * ? *)", 60), ("cron(30 3 * * ? *)", 10)
    )
    assert found.closes_at(at("2026-11-23 02:10")) == at("2026-11-23 03:40")
    assert found.next_open(at("2026-11-23 02:10")) == at("2026-11-24 02:00")
    cut = schedule(
        startTime="2026-11-23 02:20", endTime="2026-11-24 02:15", maintenanceWindows=[NIGHTLY]
    )
    assert cut.next_open(NOW) == at("2026-11-23 02:20")
    assert cut.next_open(at("2026-11-23 02:30")) == at("2026-11-24 02:00")
    assert cut.closes_at(at("2026-11-24 02:00")) == at("2026-11-24 02:15")
    assert cut.next_open(at("2026-11-24 02:00")) is None


def test_always_open_by_windows_is_bounded() -> None:
    """Hourly windows of an hour never close; the answer is a time to ask again, and found at once."""
    found = windows(("cron(0 * * * ? *)", 60))
    closes = found.closes_at(NOW)
    assert closes is not None
    assert closes > NOW + timedelta(days=4)
    assert found.is_open(closes)


def test_the_next_seven_rollouts_are_shown() -> None:
    """AWS's scheduledJobRollouts, up to the job's end."""
    found = windows(("cron(0 2 * * ? *)", 60))
    shown = rollouts_shown(found, NOW)
    assert len(shown) == 7
    assert shown[0] == {"startTime": "2026-11-23 02:00"}
    ending = schedule(endTime="2026-11-25 02:00", maintenanceWindows=[NIGHTLY])
    assert [one["startTime"] for one in rollouts_shown(ending, NOW)] == [
        "2026-11-23 02:00",
        "2026-11-24 02:00",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 23), st.integers(1, 1430)), min_size=1, max_size=3),
    st.integers(0, 3 * 1440),
)
def test_open_is_what_counting_minutes_says(pairs: list[tuple[int, int]], offset: int) -> None:
    """is_open, closes_at and next_open agree with a look at every minute."""
    found = windows(*((f"cron(0 {hour} * * ? *)", minutes) for hour, minutes in pairs))

    def is_open(moment: datetime) -> bool:
        minute = moment.hour * 60 + moment.minute
        return any((minute - hour * 60) % 1440 < length for hour, length in pairs)

    moment = NOW + timedelta(minutes=offset)
    assert found.is_open(moment) == is_open(moment)
    steps = [moment + timedelta(minutes=one) for one in range(1, 2 * 1440 + 1)]
    if is_open(moment):
        closes = next((one for one in steps if not is_open(one)), None)
        if closes is not None:
            assert found.closes_at(moment) == closes
    else:
        assert found.next_open(moment) == next(one for one in steps if is_open(one))
        assert found.closes_at(moment) is None
