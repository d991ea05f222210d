"""`jobbroker events`: which events the broker publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from broker.cli.callers import Where, caller
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, print_table, runs_async

_SWITCHES: Final = (
    "JOB",
    "JOB_EXECUTION",
    "JOB_EXECUTION_QUEUED",
    "JOB_EXECUTION_IN_PROGRESS",
    "JOB_EXECUTION_PROGRESS",
)
_SWITCH: Final = click.Choice(_SWITCHES, case_sensitive=False)


@click.command(short_help="Show and switch which events are published.")
@click.option("--on", "on", multiple=True, type=_SWITCH, help="Publish these.")
@click.option("--off", "off", multiple=True, type=_SWITCH, help="Do not publish these.")
@as_json
@reaching
@runs_async
async def events(where: Where, on: Sequence[str], off: Sequence[str], as_json: bool) -> None:
    """Show which events are published on $aws/events/..., after switching those named (AWS: event configurations).

    \b
    Example:
      jobbroker events --off JOB_EXECUTION_PROGRESS
    """
    if both := {*on} & {*off}:
        raise click.UsageError(f"--on and --off both name {', '.join(sorted(both))}")
    wanted = {**dict.fromkeys(on, True), **dict.fromkeys(off, False)}
    async with caller(where) as asked:
        if wanted:
            switches = {name: {"Enabled": enabled} for name, enabled in wanted.items()}
            await asked.call("event-configurations/update", {"eventConfigurations": switches})
        body = await asked.call("event-configurations/get", {})
    if as_json:
        print_json(body)
        return
    found = body["eventConfigurations"]
    print_table(
        ("EVENTS", "PUBLISHED"),
        [(name, "yes" if one["Enabled"] else "no") for name, one in found.items()],
    )
