"""How the installation does: `system`."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from broker.cli.callers import Where, caller
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, print_table, runs_async


def _ago(epoch: float) -> str:
    return f"{max(0, time.time() - epoch):.0f} s ago"


@click.command("system", short_help="Show processes, database and what was refused lately.")
@as_json
@reaching
@runs_async
async def system(where: Where, as_json: bool) -> None:
    """Show which processes serve, how large the database is, and which requests were refused lately.

    Processes and database are shown to admins of the tenant `default` alone.

    \b
    Example:
      jobbroker system
    """
    async with caller(where) as asked:
        body = await asked.call("system/get", {})
    if as_json:
        print_json(body)
        return
    if "slots" in body:
        slots = [
            (one["slot"], one["holder"], "yes" if one["held"] else "no", _ago(one["renewedAt"]))
            for one in body["slots"]
        ]
        print_table(("SLOT", "HOLDER", "HELD", "RENEWED"), slots)
        tables = [
            (one["name"], one["live"], one["dead"], f"{one['bytes'] / 2**20:.1f}")
            for one in body["database"]["tables"]
        ]
        print_table(("TABLE", "ROWS", "DEAD", "MB"), tables)
    refused = [
        (datetime.fromtimestamp(one["at"], UTC).isoformat(), one["topic"], one["message"])
        for one in body["refused"]
    ]
    print_table(("AT", "TOPIC", "REFUSED BECAUSE"), refused)
