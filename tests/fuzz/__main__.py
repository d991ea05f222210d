"""`python -m tests.fuzz --inputs 100000 --seed N`: the long form. Exit code 1 when there is a finding."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from broker.bench import sections
from tests.fuzz import database, report, targets
from tests.fuzz.engine import Outcome, Target, fuzz

_TOLD_EVERY_SECONDS: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what was asked for; 0 when nothing was found, 1 when something was, 2 for a wrong command line."""
    wish = _parser().parse_args(arguments)
    shares = {name: targets.SHARES[name] for name in wish.only or targets.SHARES}
    command = f'make fuzz ARGS="--inputs {wish.inputs} --seed {wish.seed}"'
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        chosen = _targets(stack, list(shares))
        for target in chosen:
            inputs = max(1, wish.inputs * shares[target.name] // sum(shares.values()))
            outcomes.append(fuzz(target, inputs, seed=wish.seed, progress=_teller()))
            _say(report.line(outcomes[-1]))
            _show_finding(outcomes[-1])
    if wish.json:
        whole = report.as_json(outcomes, seed=wish.seed, command=command)
        sys.stdout.write(json.dumps(whole) + "\n")
    found = any(one.found for one in outcomes)
    if wish.write is not None and not found:
        text = report.section(outcomes, chosen, seed=wish.seed, command=command)
        sections.write(wish.write, "fuzz", text, title="Reliability")
    return int(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all targets together")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same inputs")
    parser.add_argument("--only", action="append", choices=tuple(targets.SHARES), metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures into a document"
    )
    return parser


def _targets(stack: ExitStack, names: Sequence[str]) -> list[Target]:
    known = {one.name: one for one in targets.pure()}
    if set(targets.DATABASE) & set(names):
        urls = stack.enter_context(database.own_databases("fuzz_devices", "fuzz_operators"))
        known |= {one.name: one for one in targets.on_database(*urls)}
    return [known[name] for name in names]


def _teller() -> Callable[[Outcome], None]:
    told = time.monotonic()

    def tell(outcome: Outcome) -> None:
        nonlocal told
        if time.monotonic() - told >= _TOLD_EVERY_SECONDS:
            told = time.monotonic()
            _say(f"  {report.line(outcome)}")

    return tell


def _show_finding(outcome: Outcome) -> None:
    if outcome.found is None:
        return
    traceback.print_exception(outcome.found.error)
    _say(f"FOUND by {outcome.target}; a test of it:\n\n{outcome.found.as_test()}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
