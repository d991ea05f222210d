"""What became of a run's devices: counted, and named as far as an answer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from schema.sql import queries
from schema.things_stack_runs import EUIS_SHOWN, Tally

if TYPE_CHECKING:
    from handlers.database import Connection

_SQL = queries("runs")
_PROBLEMS_SHOWN: Final = 100
REGISTRIES: Final = ("as", "ns", "js", "is")
"""The registries by their short names, in the order in which a device is taken out of them."""


async def tally(connection: Connection, tenant_id: str, run_id: UUID) -> Tally:
    """What became of the run's devices, inside the caller's transaction."""
    row = await connection.fetchrow(
        _SQL["tally_devices"], tenant_id, run_id, EUIS_SHOWN, _PROBLEMS_SHOWN
    )
    assert row is not None  # noqa: S101 - an aggregate has one row
    counted = dict(row)
    problems = {device: problem for device, problem in counted.pop("problems")}  # noqa: C416 - lists of two
    return Tally(**counted, problems=problems)
