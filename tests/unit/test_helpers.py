"""The helper that waits: it must fail when nothing comes of it."""

from __future__ import annotations

import pytest

from tests.helpers import eventually, settled, whole_lines


async def test_it_returns_what_became_true() -> None:
    """Values that are false, and assertions that fail, are asked again."""
    answers = iter([0, "", 7])
    assert await eventually(lambda: next(answers)) == 7
    seen: list[int] = []

    async def third_time() -> bool:
        seen.append(1)
        assert len(seen) == 3
        return True

    assert await eventually(third_time)


async def test_it_fails_with_what_was_seen_last() -> None:
    """Past the deadline there is an AssertionError that says why."""
    with pytest.raises(AssertionError, match=r"not so after 0\.02 s; last seen: \[\]"):
        await eventually(list, timeout=0.02)


async def test_what_is_not_there_yet_is_waited_for() -> None:
    """A missing key is asked for again, and named when it never comes."""
    told: dict[str, str] = {}

    def asked() -> str:
        if told.setdefault("times", "") == "xx":
            told["d1"] = "here"
        told["times"] += "x"
        return told["d1"]

    assert await eventually(asked) == "here"
    with pytest.raises(AssertionError, match=r"not so after 0\.02 s; KeyError\('d2'\)"):
        await eventually(lambda: told["d2"], timeout=0.02)


async def test_other_errors_are_not_waited_for() -> None:
    """A mistake in the check is raised at once, not hidden until the deadline."""
    with pytest.raises(ZeroDivisionError):
        await eventually(lambda: 1 // 0)


async def test_whoever_goes_on_either_way_hears_whether_it_came_true() -> None:
    """`settled` gives False past the deadline instead of failing, and True as soon as the check holds."""
    seen = iter([False, True])
    assert await settled(lambda: next(seen), timeout=10)
    assert not await settled(lambda: False, timeout=0.02)


def test_a_line_that_is_being_written_is_none_yet() -> None:
    """Lines end where the writer ends them, and the last one counts once it has ended."""
    assert whole_lines('{"a": 1}\n{"b') == ['{"a": 1}']
    assert whole_lines('{"a": "\u2028"}\n{"b": 2}\n') == ['{"a": "\u2028"}', '{"b": 2}']
    assert whole_lines("") == []
