"""`jobbroker simulate` and `jobbroker demo`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Final

import click

from broker.cli.callers import Caller, DatabaseCaller, Where, database
from broker.cli.kinds import Duration, Range, Share
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, Failure, print_json, print_table, remark, runs_async, tells
from broker.cli.watching import exit_of, get_job, is_over

if TYPE_CHECKING:
    from broker.mqtt.address import Address
    from broker.simulator.fleet import Fleet

_PROGRESS_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.25
_STACK_DEVICES: Final = 250


@click.command(short_help="Run many devices in one process.")
@click.option("--devices", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--fail", type=Share(), default="0%", show_default=True, help="Jobs that fail.")
@click.option(
    "--offline",
    type=Share(),
    default="0%",
    show_default=True,
    help="Devices away at first, and jobs cut off in the middle.",
)
@click.option("--away", type=Range(), default="2s..6s", show_default=True, help="For how long.")
@click.option(
    "--latency", type=Range(), default="50ms..2s", show_default=True, help="Time a job takes."
)
@click.option("--seed", type=int, help="The same chances in each run.")
@click.option("--prefix", default="sim-", show_default=True, help="How the things are called.")
@click.option("--group", help="Put the things into this group.")
@click.option("--mqtt", "mqtt_url", help="mqtt://host:port for things.  [that of `jobbroker up`]")
@click.option("--until-idle", type=Duration(), help="End when nothing was said for this long.")
@click.option("--until-job", help="End when this job is over; exit 5 when not all succeeded.")
@as_json
@reaching
@runs_async
async def simulate(
    where: Where,
    devices: int,
    fail: float,
    offline: float,
    away: tuple[float, float],
    latency: tuple[float, float],
    seed: int | None,
    prefix: str,
    group: str | None,
    mqtt_url: str | None,
    until_idle: float | None,
    until_job: str | None,
    as_json: bool,
) -> None:
    """Run many devices in one process, each over a connection of its own, as AWS's clients would.

    Things that are missing are registered, and all are given new tokens, on the database. Each
    device asks for its next job when it connects and when it is told of one, reports progress and
    then an outcome. Runs until ctrl-C, --until-idle or --until-job; then prints what it has seen.

    \b
    Example:
      jobbroker simulate --devices 1000 --group pumps --fail 3% --latency 50ms..2s --seed 1
    """
    from broker.serving import allow_many_files
    from broker.simulator.device import Behaviour
    from broker.simulator.fleet import running_fleet
    from broker.simulator.registration import register

    allow_many_files()
    behaviour = Behaviour(fail=fail, offline=offline, latency=latency, away=away, seed=seed)
    address = things_address(where, mqtt_url)
    names = [f"{prefix}{number:0{len(str(devices))}}" for number in range(1, devices + 1)]
    async with database(where) as pool:
        caller = DatabaseCaller(pool, where.tenant)
        tokens = await register(caller, names, group=group)
        remark(f"{devices} devices: {names[0]} to {names[-1]}")
        async with running_fleet(address, tokens, behaviour) as fleet:
            await _until(fleet, caller, until_idle=until_idle, until_job=until_job)
            summary = fleet.tally.as_json()
        job = None if until_job is None else await get_job(caller, until_job)
    if as_json:
        print_json(summary)
    else:
        print_table(("SEEN", "COUNT"), [(name, value) for name, value in summary.items()])
    if job is not None and exit_of(job) is not Exit.OK:
        raise click.exceptions.Exit(Exit.UNSUCCESSFUL)


def things_address(where: Where, mqtt_url: str | None) -> Address:
    """Where things with tokens connect: as said, else at the `up` that runs. Raises Failure."""
    from broker.embedded.directory import running_up
    from broker.mqtt.address import parse_url

    if mqtt_url is None:
        running = running_up(where.data_dir)
        if running is None:
            raise Failure("--mqtt says where things connect, when no `jobbroker up` runs here")
        mqtt_url = str(running["mqtt"])
    try:
        return parse_url(mqtt_url).address
    except ValueError as error:
        raise Failure(f"--mqtt: {error}", Exit.USAGE) from error


async def _until(
    fleet: Fleet, caller: Caller, *, until_idle: float | None, until_job: str | None
) -> None:
    """Return on ctrl-C or SIGTERM, or when what was asked for has come about."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, stop.set)
    ends: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait())]
    if until_idle is not None:
        ends.append(asyncio.create_task(fleet.idle(until_idle)))
    if until_job is not None:
        ends.append(asyncio.create_task(_job_is_over(caller, until_job)))
    showing = asyncio.create_task(_show(fleet))
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*ends, showing):
            task.cancel()
        for which in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(which)


async def _job_is_over(caller: Caller, job_id: str) -> None:
    while not is_over(await get_job(caller, job_id)):  # noqa: ASYNC110 - only the database knows
        await asyncio.sleep(_POLL_SECONDS)


async def _show(fleet: Fleet) -> None:
    live = sys.stderr.isatty()
    last = ""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            line = _progress(fleet)
            if line != last:
                click.echo(f"\r\033[K{line}" if live else line, err=True, nl=not live)
            last = line
            await asyncio.sleep(_PROGRESS_SECONDS)
    if live:
        click.echo(err=True)


def _progress(fleet: Fleet) -> str:
    tally = fleet.tally
    ended = ", ".join(f"{count} {status}" for status, count in sorted(tally.outcomes.items()))
    return (
        f"{tally.connected}/{len(fleet.devices)} connected, {tally.requests} requests,"
        f" {tally.accepted} accepted, {tally.rejected.total()} rejected"
        f"{f'; {ended}' if ended else ''}"
    )


@click.command(short_help="See 25 simulated devices do one job.")
@click.option("--keep", is_flag=True, help="Leave it running afterwards, until ctrl-C.")
@click.option("--ttn", is_flag=True, help="Take a fleet out of a simulated Things Stack instead.")
@click.option(
    "--devices",
    type=click.IntRange(1, 10_000),
    help="How many, with --ttn: 250 if nothing is said.",
)
@as_json
@tells
def demo(keep: bool, ttn: bool, devices: int | None, as_json: bool) -> None:
    """See 25 simulated devices do one job, on servers of its own in a directory that goes away.

    An operator publishes a job for a group over MQTT, the devices are notified, do it, and some
    fail as planned. Exits with 0 when the job came out as planned.

    With --ttn a run takes 250 LoRaWAN devices out of a Things Stack that is simulated, while a
    fiftieth of its answers goes wrong; 0 means that each one is released, and held nowhere.

    \b
    Example:
      jobbroker demo
      jobbroker demo --ttn
    """
    if ttn:
        if keep:
            raise click.UsageError("--keep is for the demo without --ttn")
        from broker.stack_demo import run_stack_demo

        run_stack_demo(devices=devices or _STACK_DEVICES, as_json=as_json)
        return
    if devices is not None:
        raise click.UsageError("--devices goes with --ttn")
    from broker.demo import run_demo

    run_demo(keep=keep, as_json=as_json)
