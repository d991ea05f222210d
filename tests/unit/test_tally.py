"""What a simulated fleet counts, and its percentiles."""

from __future__ import annotations

import pytest

from broker.simulator.tally import Durations, Tally


def test_percentiles_are_right_within_a_step() -> None:
    """Within 2 % of the truth, in whatever order durations came."""
    seen = Durations()
    for number in range(1000, 0, -1):
        seen.add(number / 1000)
    assert seen.percentile(50) == pytest.approx(0.5, rel=0.02)
    assert seen.percentile(99) == pytest.approx(0.99, rel=0.02)
    assert seen.percentile(100) == pytest.approx(1.0, rel=0.02)


def test_memory_does_not_grow_with_what_is_counted() -> None:
    """A hundred thousand durations of one size are one number."""
    seen = Durations()
    for _ in range(100_000):
        seen.add(0.01)
    assert len(seen._counts) == 1


def test_nothing_seen_is_no_percentile() -> None:
    """The summary of a fleet that did nothing says so."""
    assert Durations().percentile(50) is None
    assert Tally().as_json()["p99Milliseconds"] is None
