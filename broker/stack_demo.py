"""`jobbroker demo --ttn`: a fleet taken out of a simulated Things Stack, live, on servers that go away afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt
import click
from rich.console import Console
from rich.progress import Progress, TaskID

from broker.cli.callers import MqttCaller, Where, mqtt_client
from broker.cli.outcome import Exit, Failure, print_json, print_table, remark
from broker.cli.servers import run_until_signal
from broker.demo import running_servers
from broker.simulator.things_stack import Options, ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import Tenant, eui_of, tenant
from schema.topics import DEFAULT_TENANT

CLUSTERS: Final = ("eu1", "nam1", "au1")
_SEED: Final = 7
_FAULTS: Final = 0.02
_RUN_SECONDS: Final = 300.0
_HOSTS: Final = "JOBBROKER_THINGS_STACK_HOSTS"
_FINISHED: Final = "finished"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo saw: the run's last message, and what the simulated server knows of it."""

    run: dict[str, Any]
    seconds: float
    held: int
    requests: int
    most_at_once: int
    faults: int

    @property
    def as_planned(self) -> bool:
        """Whether every DevEUI is said to be released, and is."""
        return bool(self.run.get("success")) and self.held == 0


def run_stack_demo(*, devices: int, as_json: bool) -> None:
    """Run the demo to its end; exits with 5 when it went otherwise than planned."""

    async def main(stop: asyncio.Event) -> None:
        with tempfile.TemporaryDirectory(prefix="jobbroker-demo-") as directory:
            # Root's servers run under other accounts, which must be able to walk in.
            await asyncio.to_thread(Path(directory).chmod, 0o711)
            async with running_things_stack(Options(seed=_SEED, latency=0.005)) as things_stack:
                _allow(things_stack)
                async with running_servers(Path(directory), stop, keep=False) as servers:
                    where = Where(servers.operator, None, None, DEFAULT_TENANT, Path(directory))
                    _tell(await _show(where, things_stack, devices), as_json=as_json)

    run_until_signal(main, log_level="error")


def _allow(things_stack: ThingsStackServer) -> None:
    """Keys are sent to hosts of the list alone, and these have no TLS."""
    addresses = [f"http://{host.address}" for host in things_stack.hosts.values()]
    os.environ[_HOSTS] = ",".join(addresses)


async def _show(where: Where, things_stack: ThingsStackServer, devices: int) -> Shown:
    remark(f"a simulated Things Stack holds {devices} devices on {', '.join(CLUSTERS)}")
    made = tenant(things_stack.stack, devices=devices, hosts=CLUSTERS)
    async with _operator(where) as (operator, messages):
        await operator.call("ttn/credentials/set", _connection(things_stack, made))
        things_stack.faults.at_random(_SEED, _FAULTS)
        remark("operator `admin` publishes operators/admin/ttn/deprovision:")
        loop = asyncio.get_running_loop()
        began = loop.time()
        job_id = str((await operator.call("ttn/deprovision", {}))["job_id"])
        run = await _watch(messages, job_id)
        seconds = loop.time() - began
    stack, record = things_stack.stack, things_stack.record
    return Shown(
        run,
        seconds,
        held=sum(bool(stack.holders_of(eui_of(number))) for number in range(1, devices + 1)),
        requests=len(record.requests),
        most_at_once=record.most_at_once,
        faults=len(things_stack.faults.happened),
    )


def _connection(things_stack: ThingsStackServer, made: Tenant) -> dict[str, Any]:
    address = things_stack.identity.address
    return {
        "api_key": made.user_key,
        "identity_host": address,
        "regional_host": address,
        "ttn_organization_id": made.organization.id,
        "application_id": made.application.id,
    }


@asynccontextmanager
async def _operator(where: Where) -> AsyncIterator[tuple[MqttCaller, aiomqtt.Client]]:
    """The operator of `up` twice: one that asks, and one that hears of runs."""
    async with mqtt_client(where) as (client, name), mqtt_client(where) as (hearing, _):
        asking = MqttCaller(client, name)
        await client.subscribe(f"operators/{name}/#", qos=1)
        await hearing.subscribe(f"operators/{name}/ttn/runs/+", qos=1)
        listening = asyncio.create_task(asking.listen())
        try:
            yield asking, hearing
        finally:
            listening.cancel()


async def _watch(client: aiomqtt.Client, job_id: str) -> dict[str, Any]:
    """Show what is told of the run, until its end; returns the last message."""
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            with _Bar() as bar:
                async for message in client.messages:
                    if not str(message.topic).endswith(job_id):
                        continue
                    assert isinstance(message.payload, bytes)  # noqa: S101 - as aiomqtt delivers
                    told: dict[str, Any] = json.loads(message.payload)
                    bar.show(told)
                    if told["operation"] == _FINISHED:
                        return told
    except TimeoutError:
        problem = f"run {job_id} is not over after {_RUN_SECONDS:g} s"
        raise Failure(problem, Exit.TIMEOUT) from None
    raise Failure("MQTT connection lost", Exit.FAILED)


class _Bar:
    """The run's devices as they are done: a bar on a terminal, a line for each phase and fifth elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._progress = Progress(console=Console(stderr=True))
            self._task = self._progress.add_task("", total=None)
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, told: dict[str, Any]) -> None:
        """Show how far the run is."""
        done, found = told["devices_done"], told["devices_found"]
        words = f"{told['status']} {told['phase'].lower()}"
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, description=words, completed=done, total=found or None
            )
            return
        now = (words, 5 * done // found if found else 0)
        if now != self._last:
            remark(f"{words}: {done} of {found} devices")
        self._last = now


def _tell(shown: Shown, *, as_json: bool) -> None:
    run, summary = shown.run, shown.run.get("summary", {})
    result = {
        "job_id": run["job_id"],
        "status": run["status"],
        "success": run.get("success", False),
        "released": len(run.get("released_euis", ())),
        "failed": len(run.get("failed_euis", ())),
        "held": shown.held,
        "requests": shown.requests,
        "mostAtOnce": shown.most_at_once,
        "faults": shown.faults,
        "seconds": round(shown.seconds, 1),
    }
    if as_json:
        print_json(result)
    else:
        click.echo()
        print_table(("WHAT", "SEEN"), _rows(shown, summary))
    if not shown.as_planned:
        raise click.exceptions.Exit(Exit.UNSUCCESSFUL)


def _rows(shown: Shown, summary: dict[str, Any]) -> list[tuple[str, str]]:
    run = shown.run
    reason = summary.get("reasons", {}).get("purge_application", "")
    return [
        ("run", f"{run['job_id']} {run['status']}"),
        ("DevEUIs released, each verified in four registries", f"{len(run['released_euis'])}"),
        ("DevEUIs that the server still holds", str(shown.held)),
        ("application purged", f"{summary.get('app_purged')} {reason and f'({reason})'}".strip()),
        ("requests, at most so many at once", f"{shown.requests}, {shown.most_at_once}"),
        ("of them went wrong on purpose", str(shown.faults)),
        ("took", f"{shown.seconds:.1f} s"),
    ]
