"""What became of a run's devices: counted, and named as far as an answer does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schema.sql import queries
from schema.things_stack_runs import StepStatus, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from handlers.database import Connection

_SQL = queries("runs")
_PROBLEMS_SHOWN: Final = 100
REGISTRIES: Final = ("as", "ns", "js", "is")
"""The registries by their short names, in the order in which a device is taken out of them."""


async def tally(connection: Connection, tenant_id: str, run_id: UUID) -> Tally:
    """What became of the run's devices, inside the caller's transaction."""
    rows = await connection.fetch(_SQL["tally_devices"], tenant_id, run_id)
    return _tally(rows)


def _tally(rows: Iterable[asyncpg.Record]) -> Tally:
    good = (StepStatus.OK, StepStatus.SKIPPED)
    found = Tally()
    released: list[str] = []
    failed: list[str] = []
    left: list[str] = []
    problems: dict[str, str] = {}
    for row in rows:
        purged = all(row[f"{name}_status"] in good for name in REGISTRIES)
        verified = row["verify_status"] == StepStatus.OK
        done = purged and row["verify_status"] in good
        found = replace(
            found,
            found=found.found + 1,
            deleted=found.deleted + (row["is_status"] in good),
            purged=found.purged + purged,
            verified=found.verified + verified,
            done=found.done + done,
            left=found.left + (not done),
        )
        if done and row["dev_eui"]:
            released.append(row["dev_eui"])
        elif not done:
            (failed if row["dev_eui"] else left).append(row["dev_eui"] or row["device_id"])
            if len(problems) < _PROBLEMS_SHOWN:
                problems[row["device_id"]] = row["problem"] or "not seen to"
    return replace(
        found,
        released_euis=released,
        failed_euis=failed,
        failed_devices=left,
        problems=problems,
    )
