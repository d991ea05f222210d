"""What a run of the fuzzer says: lines while it runs, one JSON object, and its section of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.fuzz.engine import Outcome, Target


def as_json(outcomes: Sequence[Outcome], *, seed: int, command: str) -> dict[str, Any]:
    """The whole run as one object; a finding has its test."""
    return {
        "command": command,
        "seed": seed,
        "inputs": sum(one.inputs for one in outcomes),
        "seconds": round(sum(one.seconds for one in outcomes), 1),
        "targets": {
            one.target: {
                "inputs": one.inputs,
                "seconds": round(one.seconds, 1),
                "results": dict(one.results.most_common()),
            }
            for one in outcomes
        },
        "findings": [one.found.as_test() for one in outcomes if one.found is not None],
    }


def line(outcome: Outcome) -> str:
    """One target's state."""
    return (
        f"{outcome.target}: {outcome.inputs:,} inputs in {outcome.seconds:.0f} s; {_words(outcome)}"
    )


def _words(outcome: Outcome) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in outcome.results.most_common())


def section(
    outcomes: Sequence[Outcome], targets: Iterable[Target], *, seed: int, command: str
) -> str:
    """The section of docs/reliability.md."""
    about = {one.name: one.about for one in targets}
    total, seconds = sum(one.inputs for one in outcomes), sum(one.seconds for one in outcomes)
    lines = [
        "## Fuzzing",
        "",
        (
            f"{total:,} inputs of every kind that is taken from outside, valid ones, valid ones with one or two"
            f" things wrong, and bytes, in {seconds:.0f} s with seed {seed}: no crash, no InternalError; every"
            " refusal has a code and says in one short printable line what is wrong, and what was valid was"
            " accepted. On PostgreSQL each request had exactly one answer, rejected ones left no trace, and the"
            f" counters equalled the rows after every batch. Again with `{command}`; a short form of it is among"
            " the tests."
        ),
        "",
        "| Target | Inputs | Seconds | What they came to |",
        "|---|---|---|---|",
        *(
            f"| {one.target}: {about[one.target]} | {one.inputs:,} | {one.seconds:.0f} | {_words(one)} |"
            for one in outcomes
        ),
    ]
    return "\n".join(lines)
