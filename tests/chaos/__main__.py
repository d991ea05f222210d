"""`python -m tests.chaos`, which is `make chaos`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import uvloop

from broker.bench import sections
from broker.embedded.accounts import EmbeddedServerError
from broker.serving import allow_many_files
from tests.chaos.outcome import Outcome, Plan
from tests.chaos.report import SECTION, as_json, lines, markdown
from tests.chaos.run import run
from tests.chaos.schedule import draw

_SHOWN_VIOLATIONS: Final = 40


@click.command()
@click.option(
    "--seed", type=int, help="Draw this schedule; the same one for the same seed.  [by time]"
)
@click.option(
    "--minutes", type=click.FloatRange(0.2), help="How long the load runs.  [30; short: 1.3]"
)
@click.option(
    "--faults", type=click.IntRange(1), help="How many faults, spread over it.  [120; short: 18]"
)
@click.option("--rate", type=click.FloatRange(1), help="Updates a second.  [1000; short: 300]")
@click.option(
    "--things", type=click.IntRange(10), help="Devices, each with a connection.  [300; short: 120]"
)
@click.option("--brokers", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option(
    "--audit-every", type=click.IntRange(1), default=20, show_default=True, help="Faults."
)
@click.option("--short", is_flag=True, help="Two minutes in all, every kind of fault once.")
@click.option(
    "--schedule", "only_schedule", is_flag=True, help="Print the schedule and do nothing."
)
@click.option("--json", "want_json", is_flag=True, help="Print one object with all figures.")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures into this document, as docs/reliability.md.",
)
def main(
    *,
    seed: int | None,
    minutes: float | None,
    faults: int | None,
    rate: float | None,
    things: int | None,
    brokers: int,
    audit_every: int,
    short: bool,
    only_schedule: bool,
    want_json: bool,
    write: Path | None,
) -> None:
    """Hurt everything under load, let it heal, and hold it to every promise.

    Starts a real PostgreSQL (on a small disk of its own where that can be mounted), a real
    Mosquitto and `jobbroker serve` processes with a proxy between each two; simulated devices
    work on jobs and keep books of each request and answer. Faults come by a schedule drawn
    from the seed: kill -9, SIGSTOP, connections cut, delayed and silent, the disk full. After
    every --audit-every faults, and at the end, load rests and all is compared: what was
    accepted is stored, once, versions without gaps, everybody is answered and was told the
    truth, counters equal rows, nothing is stuck.

    \b
    Exit codes: 0 all promises kept, 1 one was broken (evidence, seed and logs are printed),
    2 usage or servers that do not start.

    \b
    Examples:
      make chaos ARGS=--short
      make chaos ARGS="--seed 7 --minutes 8 --faults 30"
      make chaos ARGS="--write docs/reliability.md"
    """  # noqa: D301 - click reads a real \\b as "keep these lines"
    seed = int(time.time()) % 1_000_000 if seed is None else seed
    seconds = 60 * (minutes or (1.3 if short else 30.0))
    plan = Plan(
        seed=seed,
        seconds=seconds,
        rate=rate or (300.0 if short else 1000.0),
        things=things or (120 if short else 300),
        brokers=brokers,
        faults=tuple(draw(seed, faults or (18 if short else 120), seconds, brokers=brokers)),
        audit_every=audit_every,
    )
    if only_schedule or not want_json:
        _say(f"seed {seed}: {len(plan.faults)} faults in {seconds / 60:g} minutes")
    for fault in plan.faults if only_schedule else ():
        click.echo(str(fault))
    if only_schedule:
        return
    outcome, directory = _run(plan)
    again = _command(plan, short=short)
    if write is not None:
        sections.write(write, SECTION, markdown(outcome, again), title="Reliability")
    click.echo(json.dumps(as_json(outcome)) if want_json else "\n".join(lines(outcome)))
    if outcome.violations:
        _complain(outcome, directory, again)
        sys.exit(1)
    shutil.rmtree(directory)


def _run(plan: Plan) -> tuple[Outcome, Path]:
    for name in [name for name in os.environ if name.startswith("JOBBROKER_")]:
        del os.environ[
            name
        ]  # the brokers are given their own settings, and refuse those they do not know
    allow_many_files()
    directory = Path(tempfile.mkdtemp(prefix="jobbroker-chaos-"))
    try:
        return uvloop.run(_ended_in_order(plan, directory)), directory
    except asyncio.CancelledError:
        click.echo(f"interrupted; logs are in {directory}", err=True)
        sys.exit(2)
    except EmbeddedServerError as error:
        click.echo(f"{error}\nlogs are in {directory}", err=True)
        sys.exit(2)


async def _ended_in_order(plan: Plan, directory: Path) -> Outcome:
    """SIGTERM takes everything down as the end of the run does: a mounted disk would stay behind."""
    running = asyncio.ensure_future(run(plan, directory, _say))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


_BEGAN: Final = time.monotonic()


def _say(text: str) -> None:
    click.echo(f"[{time.monotonic() - _BEGAN:6.1f} s] {text}", err=True)


def _command(plan: Plan, *, short: bool) -> str:
    words = f"--seed {plan.seed} --minutes {plan.seconds / 60:g} --faults {len(plan.faults)}"
    words += f" --rate {plan.rate:g} --things {plan.things}"
    return f'make chaos ARGS="{"--short " if short else ""}{words}"'


def _complain(outcome: Outcome, directory: Path, again: str) -> None:
    found = outcome.violations
    click.echo(f"\n{len(found)} promises were broken:", err=True)
    for promise, about, evidence in found[:_SHOWN_VIOLATIONS]:
        click.echo(f"  {promise}: {about}: {evidence}", err=True)
    if len(found) > _SHOWN_VIOLATIONS:
        click.echo(f"  and {len(found) - _SHOWN_VIOLATIONS} more", err=True)
    click.echo(f"seed {outcome.plan.seed}; again by: {again}\nlogs are in {directory}", err=True)


if __name__ == "__main__":
    main()
