"""Stages on the wire: sizes that rise, one that reaches everything, and how many things each holds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.configs import Config
from schema.stages import ErrorAction, Stage, Stages, SuccessAction, sizes
from tests.unit.configs import told


class Command(Config):
    """What has stages."""

    stages: Stages


def stages(*fields: Mapping[str, object]) -> tuple[Stage, ...]:
    """Stages as they are sent."""
    return Command.model_validate({"stages": list(fields)}).stages


def test_defaults() -> None:
    """A bare stage reaches everything, wants all to succeed, starts the next at once and stops for nothing."""
    (stage,) = stages({})
    assert (stage.success_percentage, stage.soak_minutes) == (100, 0)
    assert (stage.success_action, stage.error_action) == (
        SuccessAction.START_NEXT,
        ErrorAction.PAUSE,
    )
    assert (stage.error_percentage, stage.number_of_failures) == (None, None)
    assert stage.to_text() == (
        '{"successPercentage":100.0,"soakMinutes":0,"successAction":"START_NEXT","errorAction":"PAUSE"}'
    )


def test_shares_count_from_the_first() -> None:
    """5 %, 25 %, 100 % of a thousand things hold 50, 200 and 750."""
    three = stages({"percentage": 5}, {"percentage": 25}, {"percentage": 100})
    assert sizes(three, 1000, (None, None, None)) == [50, 200, 750]


def test_a_share_is_rounded_up() -> None:
    """5 % of ten things is one thing: a stage of none would test nothing. 0.07 of 10000 is seven, not eight."""
    assert sizes(stages({"percentage": 5}, {}), 10, (None, None)) == [1, 9]
    assert sizes(stages({"percentage": 0.07}, {}), 10_000, (None, None)) == [7, 9993]


def test_kinds_of_size_together() -> None:
    """The canaries, then up to ten things with them, then a quarter, then those of one model, then the rest."""
    mixed = stages(
        {"thingGroupName": "canaries"},
        {"numberOfThings": 10},
        {"percentage": 25},
        {"attribute": {"name": "model", "value": "a"}},
        {},
    )
    assert sizes(mixed, 100, (4, None, None, 30, None)) == [4, 6, 15, 30, 45]
    assert sizes(mixed, 3, (4, None, None, 30, None)) == [3, 0, 0, 0, 0]
    assert sizes(mixed, 0, (0, None, None, 0, None)) == [0, 0, 0, 0, 0]


@st.composite
def any_stages(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Stages of all kinds in any order that is allowed."""
    shares = sorted(draw(st.sets(st.integers(1, 9999), max_size=4)))
    numbers = sorted(draw(st.sets(st.integers(1, 500), max_size=4)))
    kinds = draw(st.permutations(["%"] * len(shares) + ["#"] * len(numbers) + ["group"] * 2))
    left: dict[str, list[Mapping[str, object]]] = {}
    left["%"] = [{"percentage": one / 100} for one in shares]
    left["#"] = [{"numberOfThings": one} for one in numbers]
    left["group"] = [{"thingGroupName": "a"}, {"thingGroupName": "b"}]
    return stages(*[left[kind].pop(0) for kind in kinds], {})


@given(things=st.integers(0, 1000), some=any_stages(), data=st.data())
def test_stages_hold_every_thing_once(
    things: int, some: tuple[Stage, ...], data: st.DataObject
) -> None:
    """Whatever the stages are, their sizes add up to all things, and none is negative."""
    matched = tuple(data.draw(st.integers(0, things)) if one.by_match else None for one in some)
    held = sizes(some, things, matched)
    assert sum(held) == things
    assert min(held) >= 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([], "stages: has 0 entries, at least 1"),
        ([{}] * 101, "stages: has 101 entries, at most 100"),
        ([{"percentage": 5}], r"\[0\] must reach every thing: percentage 100, or no size"),
        ([{"percentage": 5}, {"numberOfThings": 9}], r"\[1\] must reach every thing"),
        ([{}, {}], r"\[0\] reaches every thing, but is not the last"),
        (
            [{"percentage": 25}, {"percentage": 25}, {}],
            r"\[1\].percentage: 25 is not more than the 25 reached before it",
        ),
        (
            [{"numberOfThings": 9}, {"numberOfThings": 8}, {}],
            r"\[1\].numberOfThings: 8 is not more",
        ),
        ([{"percentage": 0}, {}], "stages.0.percentage: 0: .*greater than 0"),
        ([{"percentage": 100.5}], "stages.0.percentage: 100.5: .*100"),
        ([{"percentage": 1.001}, {}], "1.001 has more than 2 digits"),
        ([{"percentage": 5, "numberOfThings": 5}, {}], "stages.0: .*at most one is allowed"),
        ([{"thingGroupName": "a b"}, {}], "stages.0.thingGroupName: 'a b' does not match"),
        ([{"attribute": {"name": "model"}}, {}], "stages.0.attribute.value: required"),
        ([{"soakMinutes": 10081}], "stages.0.soakMinutes: 10081: .*10080"),
        ([{"successPercentage": 101}], "stages.0.successPercentage: 101: .*100"),
        ([{"errorPercentage": 0}], "stages.0.errorPercentage: 0: .*greater than 0"),
        ([{"numberOfFailures": 0}], "stages.0.numberOfFailures: 0: .*1$"),
        ([{"errorAction": "STOP"}], "stages.0.errorAction: 'STOP': .*'CANCEL'"),
        ([{"successAction": "STOP"}], "stages.0.successAction: 'STOP': .*'PAUSE'"),
    ],
)
def test_refusals(fields: list[dict[str, object]], says: str) -> None:
    """What does not fit is refused with the field, the value and the limit."""
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told(Command, {"stages": fields}))


def test_a_row_gives_back_what_was_sent() -> None:
    """Stored in the wire's words and read back equal."""
    sent = Command(stages=stages({"percentage": 5, "errorPercentage": 2.5}, {}))
    assert Command.from_text(sent.to_text()) == sent
