"""The short form of the fuzzer, and that it would find something."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.engine import Target, fuzz, plainly


@pytest.mark.parametrize("target", targets.pure(), ids=lambda one: one.name)
def test_nothing_is_found_among_a_few_hundred_inputs(target: Target) -> None:
    """Whatever comes from outside is taken or refused with a code, and keeps to every limit."""
    outcome = fuzz(target, 300, seed=7)
    assert outcome.found is None, outcome.found and outcome.found.as_test()
    assert outcome.inputs >= 300


def _picky(example: object) -> list[str]:
    assert "\\N" not in str(example), "a null"
    return ["accepted"]


def test_a_finding_is_made_small_and_ready_to_paste() -> None:
    """What fails is shrunk to the least that still fails, and told as a test."""
    target = Target("picky", "", "module.check", st.text("a\\N"), plainly(_picky))
    found = fuzz(target, 20_000, seed=1).found
    assert found is not None
    assert found.example == "\\N"
    assert "def test_picky_withstand" in found.as_test()
    assert found.as_test().endswith("module.check('\\\\N')\n")


def test_the_same_seed_draws_the_same_inputs() -> None:
    """A run can be repeated by its seed, and another seed is another run."""
    topics = next(one for one in targets.pure() if one.name == "topics")
    drawn = [_drawn(topics, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def _drawn(target: Target, seed: int) -> list[object]:
    seen: list[object] = []

    def keep(example: object) -> list[str]:
        seen.append(example)
        return ["accepted"]

    fuzz(replace(target, opened=plainly(keep)), 50, seed=seed)
    return seen


def test_every_target_has_a_share() -> None:
    """None is left out of the long form, and the shares are percent."""
    names = {one.name for one in targets.pure()} | set(targets.DATABASE)
    assert names == set(targets.SHARES)
    assert sum(targets.SHARES.values()) == 100
