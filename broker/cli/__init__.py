"""The command `jobbroker`: one module for each group of commands, imported when one of them is used."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

import click

from broker.cli.lazy import LazyGroup

_PACKAGES: Final = ("broker", "handlers", "schema")
# Name, where it is, and its line in the list: so that --help imports none of them.
COMMANDS: Final = {
    "up": ("broker.cli.servers:up", "Run everything here: PostgreSQL, Mosquitto and the broker."),
    "demo": ("broker.cli.fleet:demo", "See 25 simulated devices do one job, in half a minute."),
    "jobs": ("broker.cli.jobs:jobs", "Create jobs, watch them, cancel and delete them."),
    "templates": ("broker.cli.templates:templates", "Keep what jobs are made of; use AWS's own."),
    "approvals": ("broker.cli.deciding:approvals", "Show and set how many must approve each job."),
    "tags": ("broker.cli.tags:tags", "Tag jobs, templates and groups."),
    "events": ("broker.cli.events:events", "Show and switch which events are published."),
    "things": ("broker.cli.things:things", "Register devices and give them credentials."),
    "groups": ("broker.cli.groups:groups", "Put things into groups, to target them together."),
    "operators": ("broker.cli.operators:operators", "Say who may create jobs and manage things."),
    "tokens": ("broker.cli.tokens:tokens", "Give operators tokens for HTTP, with an expiry."),
    "system": ("broker.cli.system:system", "Show processes, database and what was refused lately."),
    "ttn": ("broker.cli.stack:ttn", "Set up The Things Stack, and its devices."),
    "simulate": ("broker.cli.fleet:simulate", "Run many devices in one process, as AWS's would."),
    "serve": ("broker.cli.servers:serve", "Run the broker against running servers."),
    "console": ("broker.cli.console:console", "Show the fleet in a browser."),
    "migrate": ("broker.cli.servers:migrate", "Bring the database to this program's structure."),
    "check": ("broker.cli.servers:check", "Examine settings, database and MQTT server."),
    "health": ("broker.cli.servers:health", "Say quickly whether the servers answer."),
    "settings": ("broker.cli.servers:settings", "List all JOBBROKER_* variables."),
    "secrets": ("broker.cli.secrets:secrets", "Make keys for stored credentials; renew them."),
    "ca": ("broker.cli.authority:ca", "Make the authority that issues devices' certificates."),
    "bench": ("broker.cli.bench:bench", "Measure what this machine does with it."),
    "completion": ("broker.cli.completion:completion", "Print the script for shell completion."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
@click.version_option(package_name="jobbroker")
def cli() -> None:
    """AWS IoT Jobs for your own Mosquitto and PostgreSQL.

    \b
    Example: everything on this machine, in two terminals
      jobbroker up
      jobbroker things add pump-1 && jobbroker jobs create --target thing/pump-1 \\
        --document-json '{"operation":"reboot"}'

    \b
    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict,
                5 the job did not succeed, 6 timeout
    """


def intruder() -> str | None:
    """Say which of our packages comes from somewhere else than this one; None when all is well.

    The three have plain names, and another distribution's `schema` found first would break us in
    ways that are hard to read.
    """
    here = Path(__file__).resolve().parents[2]
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parents[1] != here:
            where = found.parent if found else "nowhere"
            return (
                f"the package `{name}` is found at {where} instead of {here / name}:"
                " install jobbroker in an environment of its own"
            )
    return None


def main() -> None:
    """Run the command line; the entry point of the program `jobbroker`."""
    if problem := intruder():
        sys.exit(f"Error: {problem}")
    cli(prog_name="jobbroker")
