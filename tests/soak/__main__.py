"""`python -m tests.soak`, which is `make soak`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import uvloop

from broker.bench import sections
from broker.bench.children import LoadError
from broker.embedded.accounts import EmbeddedServerError
from broker.logs import set_up_logs
from broker.serving import allow_many_files
from tests.soak.report import SECTION, as_json, lines, markdown
from tests.soak.run import Outcome, Soak, run

_BEGAN: Final = time.monotonic()


@click.command()
@click.option("--minutes", type=click.FloatRange(0.2), default=30.0, show_default=True)
@click.option("--things", type=click.IntRange(10), default=5000, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Job lives a second."
)
@click.option(
    "--sample-seconds", type=click.FloatRange(0.5), help="[15; at least 20 samples in a short run]"
)
@click.option(
    "--keep-seconds",
    type=click.FloatRange(1),
    help="Ended jobs are deleted then.  [60; less in a short run]",
)
@click.option("--json", "want_json", is_flag=True, help="Print one object, samples included.")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures into this document, as docs/reliability.md.",
)
def main(
    *,
    minutes: float,
    things: int,
    rate: float,
    sample_seconds: float | None,
    keep_seconds: float | None,
    want_json: bool,
    write: Path | None,
) -> None:
    """Run whole job lives at a steady rate for a long time and see whether anything grows.

    Starts a PostgreSQL (fsync on), a Mosquitto, a broker process and simulated things that stay
    connected, each doing what it is told of: start-next, a progress report, success. Jobs are
    created without end and deleted when they have been over for a while. Memory and open files
    of the broker and of Mosquitto, sizes of tables and indexes, dead rows and the outbox are
    sampled; a line is fitted to each from the first third on.

    \b
    Exit codes: 0 all level, 1 something grows, 2 usage, or servers or load that failed.

    \b
    Examples:
      make soak ARGS="--minutes 2 --things 500"
      make soak ARGS="--write docs/reliability.md"
    """  # noqa: D301 - click reads a real \\b as "keep these lines"
    seconds = 60 * minutes
    soak = Soak(
        seconds=seconds,
        things=things,
        per_second=rate,
        sample_seconds=sample_seconds or min(15.0, seconds / 20),
        keep_seconds=keep_seconds or min(60.0, seconds / 10),
    )
    outcome = _run(soak)
    if write is not None:
        again = f'make soak ARGS="--minutes {minutes:g} --things {things} --rate {rate:g}"'
        sections.write(write, SECTION, markdown(outcome, again), title="Reliability")
    click.echo(json.dumps(as_json(outcome)) if want_json else "\n".join(lines(outcome)))
    sys.exit(0 if outcome.is_level else 1)


def _run(soak: Soak) -> Outcome:
    for name in [name for name in os.environ if name.startswith("JOBBROKER_")]:
        del os.environ[name]  # whatever is set is of another installation
    allow_many_files()
    set_up_logs("console", "warning")
    try:
        with tempfile.TemporaryDirectory(prefix="jobbroker-soak-") as name:
            # Root's servers run under other accounts, which must be able to walk in.
            Path(name).chmod(0o711)
            return uvloop.run(_ended_in_order(soak, Path(name)))
    except asyncio.CancelledError:
        click.echo("interrupted", err=True)
    except (EmbeddedServerError, LoadError, OSError, ExceptionGroup) as error:
        click.echo(f"{error!r}", err=True)
    sys.exit(2)


async def _ended_in_order(soak: Soak, directory: Path) -> Outcome:
    running = asyncio.ensure_future(run(soak, directory, _say))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def _say(text: str) -> None:
    click.echo(f"[{time.monotonic() - _BEGAN:6.1f} s] {text}", err=True)


if __name__ == "__main__":
    main()
