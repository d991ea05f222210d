"""`jobbroker demo`: a fleet of 25, one job, and what came of it, on servers that go away afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from broker.cli.callers import Caller, DatabaseCaller, Where, caller, database
from broker.cli.outcome import Exit, print_json, print_table, remark
from broker.cli.servers import run_until_signal
from broker.cli.watching import counts, watch
from broker.embedded.servers import UpOptions
from broker.embedded.up import Up, up
from broker.mqtt.address import parse_url
from broker.simulator.device import Behaviour
from broker.simulator.fleet import Fleet, running_fleet
from broker.simulator.registration import register
from schema.topics import DEFAULT_TENANT

DEVICES: Final = 25
GROUP: Final = "demo"
JOB: Final = {"operation": "install-firmware", "version": "2.4.1"}
JOB_ID: Final = "firmware-2-4-1"
BEHAVIOUR: Final = Behaviour(fail=0.15, latency=(0.3, 4.0), seed=7)
_JOB_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo saw: the job as it ended, and seconds from the operator's publish."""

    job: dict[str, Any]
    planned_failures: int
    first_notified: float
    completed: float

    @property
    def as_planned(self) -> bool:
        """Whether all devices ended the job, as many of them failing as were to."""
        seen = counts(self.job)
        succeeded = DEVICES - self.planned_failures
        well = seen["Succeeded"] == succeeded and seen["Failed"] == self.planned_failures
        return well and self.job["status"] == "COMPLETED"


def run_demo(*, keep: bool, as_json: bool) -> None:
    """Run the demo to its end, or until ctrl-C with `keep`; exits with 5 when it went otherwise."""

    async def main(stop: asyncio.Event) -> None:
        with tempfile.TemporaryDirectory(prefix="jobbroker-demo-") as directory:
            # Root's servers run under other accounts, which must be able to walk in.
            await asyncio.to_thread(Path(directory).chmod, 0o711)
            async with running_servers(Path(directory), stop, keep=keep) as servers:
                await _show(servers, stop, keep=keep, as_json=as_json)

    run_until_signal(main, log_level="warning")


@asynccontextmanager
async def running_servers(directory: Path, stop: asyncio.Event, *, keep: bool) -> AsyncIterator[Up]:
    """Everything that `up` runs, for as long as the block lasts."""
    remark("starting PostgreSQL, Mosquitto and the broker in a directory of their own ...")
    ready: asyncio.Future[Up] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()
    # Nothing here is to survive a power cut, and nobody comes by HTTP.
    options = UpOptions(data_dir=directory, durable=False, http=keep, console=keep)
    serving = asyncio.create_task(up(options, on_ready=ready.set_result, stop=over))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            yield ready.result()
        elif not serving.done():
            raise click.Abort
    finally:
        stopped.cancel()
        over.set()
        await serving


async def _show(servers: Up, stop: asyncio.Event, *, keep: bool, as_json: bool) -> None:
    where = Where(
        operator_url=servers.operator,
        ca_file=None,
        database_url=servers.database,
        tenant=DEFAULT_TENANT,
        data_dir=Path(servers.data_dir),
    )
    names = [f"demo-{number:02}" for number in range(1, DEVICES + 1)]
    remark(f"registering {DEVICES} things in the group `{GROUP}` ...")
    async with database(where) as pool:
        tokens = await register(DatabaseCaller(pool, where.tenant), names, group=GROUP)
    address = parse_url(servers.mqtt).address
    async with running_fleet(address, tokens, BEHAVIOUR) as fleet, caller(where) as operator:
        await _all_connected(fleet)
        shown = await _one_job(fleet, operator)
        _tell(shown, servers, keep=keep, as_json=as_json)
        if keep:
            await stop.wait()
    if not shown.as_planned:
        raise click.exceptions.Exit(Exit.UNSUCCESSFUL)


async def _all_connected(fleet: Fleet) -> None:
    async with asyncio.timeout(_JOB_SECONDS):
        while fleet.tally.accepted < len(fleet.devices):  # noqa: ASYNC110 - counted, not signalled
            await asyncio.sleep(0.02)


async def _one_job(fleet: Fleet, operator: Caller) -> Shown:
    loop = asyncio.get_running_loop()
    arn = f"arn:aws:iot:us-east-1:000000000000:thinggroup/{GROUP}"
    remark(f"operator `admin` publishes operators/admin/jobs/create for the group `{GROUP}`:")
    began = loop.time()
    await operator.call("jobs/create", {"jobId": JOB_ID, "targets": [arn], "document": JOB})
    job = await watch(operator, JOB_ID, timeout=_JOB_SECONDS)
    completed = loop.time() - began
    first = fleet.tally.first_notified
    return Shown(
        job,
        fleet.tally.outcomes["FAILED"],
        first_notified=(first or loop.time()) - began,
        completed=completed,
    )


def _tell(shown: Shown, servers: Up, *, keep: bool, as_json: bool) -> None:
    seen = counts(shown.job)
    result = {
        "jobId": shown.job["jobId"],
        "status": shown.job["status"],
        "succeeded": seen["Succeeded"],
        "failed": seen["Failed"],
        "plannedFailures": shown.planned_failures,
        "firstNotifySeconds": round(shown.first_notified, 3),
        "completionSeconds": round(shown.completed, 3),
    }
    if as_json:
        print_json({**result, "mqtt": servers.mqtt, "operator": servers.operator})
        return
    click.echo()
    print_table(
        ("WHAT", "SEEN"),
        [
            ("job", f"{shown.job['jobId']} {shown.job['status']}"),
            ("succeeded", f"{seen['Succeeded']} of {DEVICES}"),
            ("failed", f"{seen['Failed']} (planned: {shown.planned_failures})"),
            ("first device notified after", f"{shown.first_notified * 1000:.0f} ms"),
            ("job completed after", f"{shown.completed:.1f} s"),
        ],
    )
    click.echo()
    if keep:
        if servers.console is not None:
            click.echo(f"The console: {servers.console} (sign in as `admin`, with the token below)")
        click.echo("The fleet is running. Look further, in another terminal:")
    else:
        click.echo("`jobbroker demo --keep` leaves the fleet running, to look further:")
    for line in _lines_to_try(servers if keep else None):
        click.echo(f"  {line}")


def _lines_to_try(servers: Up | None) -> list[str]:
    """Commands to type; with the addresses and the token of servers that stay."""
    if servers is None:
        login, port, directory = "-u admin -P TOKEN", "PORT", "DIRECTORY"
    else:
        url = urlsplit(servers.operator)
        login, port, directory = f"-u admin -P {url.password}", str(url.port), servers.data_dir
    to = f"-h 127.0.0.1 -p {port} {login}"
    return [
        f"mosquitto_sub {to} -v -t '$aws/events/job/#' -t '$aws/events/jobExecution/#'",
        f"mosquitto_sub {to} -v -t 'operators/admin/#'",
        f"mosquitto_pub {to} -q 1 -t operators/admin/jobs/list -m '{{}}'",
        f"jobbroker jobs create --data-dir {directory} --group {GROUP} --watch --document-json '{{}}'",
    ]
