"""`jobbroker bench`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.options import as_json
from broker.cli.outcome import Failure, print_json, print_table, remark, tells

if TYPE_CHECKING:
    from broker.bench.plan import Plan
    from broker.bench.run import Result

_PARTS = (
    "postgres",
    "echo",
    "seed",
    "updates",
    "cycles",
    "latency",
    "fanout",
    "growth",
    "two",
    "slow_http",
)


@click.command(short_help="Measure what this machine does with it.")
@click.option(
    "--only", multiple=True, type=click.Choice(_PARTS), help="Only this part; repeatable."
)
@click.option("--quick", is_flag=True, help="Smaller and shorter: a minute, for a first look.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the servers' data is while it runs: the disk that is measured.  [the temporary one]",
)
@click.option(
    "--things-mqtt",
    metavar="URL",
    help="mqtt://host:port for things on JOBBROKER_MQTT_URL's server.",
)
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the results into this file, between two marks, as in docs/performance.md.",
)
@as_json
@tells
def bench(
    only: tuple[str, ...],
    quick: bool,
    data_dir: Path | None,
    things_mqtt: str | None,
    write: Path | None,
    as_json: bool,
) -> None:
    """Measure updates, cycles, latency, fan-out and growth, beside what the servers do at most.

    Starts a PostgreSQL with fsync and synchronous_commit on, a Mosquitto, a broker process and a
    load generator, all of which go away afterwards; the numbers are this machine's with all of them
    on it. JOBBROKER_DATABASE_URL or JOBBROKER_MQTT_URL name a running server to use instead: an
    empty one, for tables are emptied. A whole bench takes some 15 minutes.

    \b
    Parts:
      postgres  PostgreSQL alone      echo    an echo through Mosquitto
      seed      a transaction each    updates durable updates, answered
      cycles    start-next, SUCCEEDED latency at 1, 10, 50, 80 % of updates
      fanout    a job for 100,000     growth  to a million executions
      two       two processes, and one of them killed
      slow_http updates beside 100 slow HTTP clients and a 1 GB body

    \b
    Example:
      jobbroker bench --quick --only echo --only updates
      jobbroker bench --write docs/performance.md --json > bench.json
    """
    from broker.bench import sections
    from broker.bench.report import machine_line, markdown, rows

    result = _run(_plan(quick=quick, things_mqtt=things_mqtt), only, data_dir)
    if write is not None:
        sections.write(write, "bench", markdown(result), title="Performance")
        remark(f"written to {write}")
    if as_json:
        print_json(result)
        return
    print_table(("WHAT", "MEASURED", "PART"), rows(result))
    click.echo(f"\n{machine_line(result)}")


def _plan(*, quick: bool, things_mqtt: str | None) -> Plan:
    from dataclasses import replace

    from broker.bench.plan import FULL, QUICK
    from broker.settings import local_settings

    local = local_settings()
    return replace(
        QUICK if quick else FULL,
        database_url=local.text_of("database_url"),
        migration_url=local.text_of("migration_url"),
        mqtt_url=local.text_of("mqtt_url"),
        things_mqtt=things_mqtt,
    )


def _run(plan: Plan, only: tuple[str, ...], data_dir: Path | None) -> Result:
    """Measure on uvloop, until done or ctrl-C. Raises Failure."""
    from broker.bench.children import LoadError
    from broker.bench.run import bench as measure
    from broker.cli.servers import run_until_signal

    found: list[Result] = []

    async def main(stop: asyncio.Event) -> None:
        measuring = asyncio.create_task(measure(plan, only, data_dir))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({measuring, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not measuring.done():
            measuring.cancel()
            await asyncio.wait({measuring})
            raise click.Abort
        found.append(measuring.result())

    try:
        run_until_signal(main, log_level="warning")
    except LoadError as error:
        raise Failure(str(error)) from error
    return found[0]
