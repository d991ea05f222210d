"""Whether something stays level: the line, the verdict, and what is written of it."""

from __future__ import annotations

import pytest

from tests.soak.levels import Bound, Level, fit, judge, judge_all, settled_after
from tests.soak.report import as_json, lines, markdown
from tests.soak.run import Outcome, Soak
from tests.soak.sampling import BOUNDS

TIMES = [15.0 * number for number in range(121)]
BOUND = Bound(0.05, 8.0)


def _noise(at: float) -> float:
    """From -3 to 3, without an order that a line could follow."""
    return (at / 15 * 5 % 13 - 6) / 2


def _judged(values: list[float], bound: Bound = BOUND) -> Level:
    return judge("memory", TIMES, values, settled=600, bound=bound)


def test_a_line_through_points_on_one() -> None:
    """Slope and middle are the line's, with no doubt about them."""
    line = fit([0, 1, 2, 3], [5, 7, 9, 11])
    assert (line.middle, line.slope) == (8, 2)
    assert line.error == pytest.approx(0)


def test_a_line_takes_four_points_at_several_times() -> None:
    """Fewer, or all at once, are an error that says so."""
    with pytest.raises(ValueError, match="3 times and 3 values: a line takes 4"):
        fit([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="one instant"):
        fit([1, 1, 1, 1], [1, 2, 3, 4])


def test_what_stays_is_level() -> None:
    """Noise around a constant has no slope to speak of."""
    found = _judged([100 + _noise(at) for at in TIMES])
    assert found.level
    assert abs(found.growth) < 3


def test_what_grows_is_not() -> None:
    """A leak that comes to more than the bound while it is watched is seen, noise or not."""
    found = _judged([100 + at / 60 + _noise(at) for at in TIMES])
    assert not found.level
    assert found.growth == pytest.approx(20, rel=0.1)
    assert found.allowed == 8


def test_what_grew_at_the_beginning_only_is_level() -> None:
    """Caches fill in the first third; that is not watched."""
    assert _judged([min(at, 600.0) for at in TIMES]).level


def test_what_goes_up_and_down_is_level() -> None:
    """Dead rows between two vacuums rise in teeth; a line through some of them is not sure to rise."""
    teeth = [1000.0 * (number % 7) for number in range(len(TIMES))]
    assert _judged(teeth, Bound(0.0, 1.0)).level


def test_a_large_thing_may_grow_by_its_share() -> None:
    """Five percent of a gigabyte are fifty megabytes; of a small thing the least counts."""
    assert Bound(0.05, 8).of(1000) == 50
    assert Bound(0.05, 8).of(10) == 8


@pytest.mark.parametrize(("seconds", "expected"), [(1800, 720), (3600, 1200), (20, 10), (900, 450)])
def test_watching_begins_when_all_has_filled_up(seconds: float, expected: float) -> None:
    """After the first third, after what is remembered for twelve minutes, in short runs at half-time."""
    assert settled_after(seconds, remembered=720) == expected


def _outcome(leak: float) -> Outcome:
    soak = Soak(seconds=1800, things=5000, per_second=200, sample_seconds=15, keep_seconds=60)
    machine = {"cpu": "a processor", "cores": 2, "mosquitto": "2.0.21"}
    made = Outcome(soak, machine, 720.0, times=TIMES, lives=360_000)
    made.series = {name: [50.0] * len(TIMES) for name in BOUNDS}
    made.series["broker files"] = [29 + leak * at for at in TIMES]
    made.levels = judge_all(TIMES, made.series, settled=720, bounds=BOUNDS)
    return made


def test_a_level_run_is_told_as_such() -> None:
    """Every quantity has a row, and the last line is the verdict."""
    told = lines(_outcome(0))
    assert len(told) == 1 + len(BOUNDS) + 3
    assert told[-1] == "Level: nothing grows."
    assert "360,000 whole job lives (200 a second of 200 wanted)" in told[-2]
    page = markdown(_outcome(0), "make soak")
    assert "| broker files | 29 | 29 | 29 | 0 | 3 | level |" in page
    assert "37 bytes" in page


def test_a_leak_is_named() -> None:
    """One file in a minute and a half is more than three in eighteen minutes."""
    made = _outcome(0.01)
    assert not made.is_level
    assert lines(made)[-1] == "growing: broker files"
    assert "GROWS" in markdown(made, "make soak")
    assert as_json(made)["level"] is False
