"""Draw inputs for one target until there are enough, or one is a finding."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, strategies

_ROUND: Final = (
    400  # examples that Hypothesis is asked for at once; what it remembers of them is then let go
)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing under fuzz.

    examples are handed to what `opened` gives: it raises when the product did what it must not, and returns what each
    input came to: `accepted`, a code, or a word of its own. call is how a test calls it, as `topics.check`.
    """

    name: str
    about: str
    call: str
    examples: strategies.SearchStrategy[Any]
    opened: Callable[[], AbstractContextManager[Callable[[Any], list[str]]]]
    per_example: int = 1  # inputs in the usual example


@dataclass(slots=True)
class Found:
    """The smallest example that is a finding."""

    target: str
    call: str
    example: object
    error: BaseException

    def as_test(self) -> str:
        """A regression test to paste and to name."""
        reason = "".join(traceback.format_exception_only(self.error)).strip().replace("\n", " ")
        name = self.target.replace("-", "_")
        head, fixture = ("async def", "pool: Pool") if "await" in self.call else ("def", "")
        return (
            f"{head} test_{name}_withstand_what_fuzzing_found({fixture}) -> None:\n"
            f'    """Name the behaviour. It was: {ascii(reason)[1:-1][:100]}"""\n'
            f"    {self.call}({self.example!a})\n"
        )


@dataclass(slots=True)
class Outcome:
    """How a target fared: inputs by what they came to, seconds, and the finding if there was one."""

    target: str
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter)
    found: Found | None = None

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return self.results.total()


def plainly(
    check: Callable[[Any], list[str]],
) -> Callable[[], AbstractContextManager[Callable[[Any], list[str]]]]:
    """For a target that needs nothing to be opened."""

    @contextmanager
    def opened() -> Iterator[Callable[[Any], list[str]]]:
        yield check

    return opened


def fuzz(
    target: Target,
    inputs: int,
    *,
    seed: int,
    progress: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Give the target at least so many inputs, drawn from the seed; stops at the first finding, made small."""
    outcome = Outcome(target.name)
    began = time.perf_counter()
    with target.opened() as check:
        number = 0
        while outcome.inputs < inputs and outcome.found is None:
            wanted = -(-(inputs - outcome.inputs) // target.per_example)
            size = min(_ROUND, wanted)
            drawn = _round(target, check, outcome, size=size, seed=_seed(seed, target.name, number))
            outcome.found = drawn
            outcome.seconds = time.perf_counter() - began
            progress(outcome)
            number += 1
    return outcome


def _seed(seed: int, name: str, number: int) -> int:
    return int.from_bytes(blake2b(f"{seed} {name} {number}".encode(), digest_size=8).digest())


def _round(
    target: Target,
    check: Callable[[Any], list[str]],
    outcome: Outcome,
    *,
    size: int,
    seed: int,
) -> Found | None:
    failed: list[Found] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=size,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )
    @hypothesis.given(target.examples)
    def one(example: object) -> None:
        try:
            results = check(example)
        except Exception as error:
            failed[:] = [Found(target.name, target.call, example, error)]
            raise
        if not failed:  # beyond is only the search for a smaller one
            outcome.results.update(results)

    try:
        one()
    except BaseException:
        # Hypothesis fails the smallest again at the end; when it says "flaky", the last that failed is what there is.
        if not failed:
            raise
    return failed[0] if failed else None
