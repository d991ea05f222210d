"""AWS's cron expressions: what each means, beside a reading of the calendar day by day."""

from __future__ import annotations

import calendar
import contextlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.cron import parse

NOW = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)  # a Sunday


def times(text: str, count: int = 3, since: datetime = NOW) -> list[str]:
    """The next beginnings, as text."""
    cron = parse(text)
    found: list[str] = []
    while len(found) < count and (at := cron.after(since)) is not None:
        found.append(f"{at:%a %Y-%m-%d %H:%M}")
        since = at
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cron(0 10 * * ? *)", ["Mon 2026-11-23 10:00", "Tue 2026-11-24 10:00"]),
        ("cron(15 12 * * ? *)", ["Mon 2026-11-23 12:15", "Tue 2026-11-24 12:15"]),
        ("cron(0 18 ? * MON-FRI *)", ["Mon 2026-11-23 18:00", "Tue 2026-11-24 18:00"]),
        ("cron(0 8 1 * ? *)", ["Tue 2026-12-01 08:00", "Fri 2027-01-01 08:00"]),
        ("cron(1/20 0 * * ? *)", ["Mon 2026-11-23 00:01", "Mon 2026-11-23 00:21"]),
        ("cron(0 0 3W * ? *)", ["Thu 2026-12-03 00:00", "Mon 2027-01-04 00:00"]),
        ("cron(0 0 1W 5 ? 2027)", ["Mon 2027-05-03 00:00"]),
        ("cron(0 0 31W 1,10 ? 2027)", ["Fri 2027-01-29 00:00", "Fri 2027-10-29 00:00"]),
        ("cron(0 0 LW * ? *)", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00"]),
        ("cron(0 0 L 2 ? *)", ["Sun 2027-02-28 00:00", "Tue 2028-02-29 00:00"]),
        ("cron(0 0 ? * 3#2 *)", ["Tue 2026-12-08 00:00", "Tue 2027-01-12 00:00"]),
        ("cron(0 0 ? * SUN#5 *)", ["Sun 2026-11-29 00:00", "Sun 2027-01-31 00:00"]),
        ("cron(0 0 ? * 6L *)", ["Fri 2026-11-27 00:00", "Fri 2026-12-25 00:00"]),
        ("cron(0 0 ? * L *)", ["Sat 2026-11-28 00:00", "Sat 2026-12-05 00:00"]),
        ("cron(0 0 ? * 1 *)", ["Sun 2026-11-29 00:00", "Sun 2026-12-06 00:00"]),
        ("cron(0 0 ? jan-feb sat-sun *)", ["Sat 2027-01-02 00:00", "Sun 2027-01-03 00:00"]),
        ("cron( 0  0,12 15 JUN/3 ? 2030/60 )", ["Sat 2030-06-15 00:00", "Sat 2030-06-15 12:00"]),
        ("cron(0 0 31 2 ? *)", []),
        ("cron(0 0 * * ? 2020)", []),
    ],
)
def test_what_an_expression_means(text: str, wanted: list[str]) -> None:
    """AWS's examples, each special letter, and expressions that never come true."""
    assert times(text, 2) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 10 * * ? *", "is not cron(minutes"),
        ("cron(0 10 * * ?)", "is not cron(minutes"),
        ("cron(60 10 * * ? *)", "minutes '60' is not 0 to 59"),
        ("cron(0 24 * * ? *)", "hours '24' is not 0 to 23"),
        ("cron(0 0 0 * ? *)", "day-of-month '0' is not 1 to 31"),
        ("cron(0 0 32W * ? *)", "day-of-month '32' is not 1 to 31"),
        ("cron(0 0 1 JUNE ? *)", "month 'JUNE' is not 1 to 12 or JAN to DEC"),
        ("cron(0 0 ? * 8 *)", "day-of-week '8' is not 1 to 7 or SUN to SAT"),
        ("cron(0 0 ? * 3#6 *)", "# is followed by 1 to 5"),
        ("cron(0 0 ? * 3#1,6#3 *)", "one entry only"),
        ("cron(0 0 ? * 2/2 *)", "step that is not offered"),
        ("cron(0 0 1 * ? 1969)", "year '1969' is not 1970 to 2199"),
        ("cron(0 0 * * * *)", "exactly one of day-of-month (*) and day-of-week (*)"),
        ("cron(0 0 ? * ? *)", "exactly one of"),
        ("cron(0 5-2 * * ? *)", "hours '5-2' ends before it begins"),
        ("cron(0/0 0 * * ? *)", "step that is not offered"),
        ("cron(\u0663 0 * * ? *)", "minutes '\u0663'"),
        ("cron(0,,1 0 * * ? *)", "minutes ''"),
        ("cron(0 0 L-3 * ? *)", "day-of-month 'L'"),
        ("cron(0 0 ? * #1 *)", "day-of-week ''"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    """The field, its value and what it may be."""
    with pytest.raises(ValueError, match=re.escape(told)):
        parse(text)


@given(st.text(st.sampled_from("cron()0123456789*?LW#/,- SUNJAN"), max_size=40))
def test_no_text_is_more_than_refused(text: str) -> None:
    """Whatever is written is an expression or a ValueError."""
    with contextlib.suppress(ValueError):
        assert parse(f"cron({text})").minutes


moments = st.datetimes(datetime(2024, 1, 1), datetime(2032, 12, 31)).map(  # noqa: DTZ001 - made aware below
    lambda at: at.replace(tzinfo=UTC)
)


@given(
    moments,
    st.integers(0, 59),
    st.integers(0, 23),
    st.sets(st.integers(1, 7), min_size=1),
    st.sets(st.integers(1, 12), min_size=1),
)
def test_next_is_the_first_minute_that_fits(
    moment: datetime, minute: int, hour: int, weekdays: set[int], months: set[int]
) -> None:
    """Found day by day with the calendar's own weekdays, Sunday being 1; and the last one before it is before it."""
    days, listed = ",".join(map(str, weekdays)), ",".join(map(str, months))
    cron = parse(f"cron({minute} {hour} ? {listed} {days} *)")
    wanted = moment.replace(hour=hour, minute=minute, second=0, microsecond=0)
    while not (
        wanted > moment
        and wanted.month in months
        and (calendar.weekday(wanted.year, wanted.month, wanted.day) + 1) % 7 + 1 in weekdays
    ):
        wanted += timedelta(days=1)
    assert cron.after(moment) == wanted
    assert cron.latest(moment, wanted) == wanted
    assert cron.latest(moment, wanted - timedelta.resolution) is None
