"""`python -m broker.simulator.things_stack`: an installation to try clients against, until ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal

import click

from broker.simulator.things_stack.options import HostPlan, Options
from broker.simulator.things_stack.seeding import Tenant, key, tenant, user
from broker.simulator.things_stack.server import ThingsStackServer, running_things_stack


@click.command(context_settings={"show_default": True})
@click.option("--devices", default=25, type=click.IntRange(0, 100_000), help="How many there are.")
@click.option(
    "--clusters",
    default="eu1,nam1",
    help="Names of the hosts; the first has the identity server, devices take turns on all.",
)
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65_000),
    help="Of the first host, the others following; 0 takes free ones.",
)
@click.option("--seed", default=0, help="Decides each key: the same seed prints the same ones.")
@click.option(
    "--faults",
    default=0.0,
    type=click.FloatRange(0, 1),
    help="The share of requests that go wrong, by the same seed.",
)
def main(devices: int, clusters: str, port: int, seed: int, faults: float) -> None:  # noqa: D103 - the help is click's
    names = [name.strip() for name in clusters.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise click.BadParameter("names of hosts, each once", param_hint="--clusters")
    plans = tuple(HostPlan(name, identity=name == names[0]) for name in names)
    ports = {name: port + number for number, name in enumerate(names)} if port else {}
    asyncio.run(_run(Options(hosts=plans, seed=seed), ports, devices, faults))


main.help = "Simulate The Things Stack on 127.0.0.1, with one organization, until ctrl-C."


async def _run(options: Options, ports: dict[str, int], devices: int, faults: float) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, stop.set)
    async with running_things_stack(options, ports) as server:
        names = tuple(plan.name for plan in options.hosts)
        made = tenant(server.stack, devices=devices, hosts=names)
        admin = key(server.stack, user(server.stack, "admin", admin=True), name="admin")
        if faults:
            server.faults.at_random(options.seed, faults)
        click.echo(json.dumps(_told(server, made, admin), indent=2))
        await stop.wait()


def _told(server: ThingsStackServer, made: Tenant, admin: str) -> dict[str, object]:
    return {
        "identity": f"{server.url()}/api/v3",
        "hosts": {name: f"{server.url(name)}/api/v3" for name in server.hosts},
        "organization": {"id": made.organization.id, "key": made.organization_key},
        "application": {
            "id": made.application.id,
            "key": made.application_key,
            "devices": len(made.devices),
        },
        "user": {"id": made.user.id, "key": made.user_key},
        "admin": {"id": "admin", "key": admin},
    }


if __name__ == "__main__":
    main()
