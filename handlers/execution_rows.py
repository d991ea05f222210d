"""The rows of executions, written in sets: one statement for what is added, for what has changed, for what is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.retrying import insert_again
from schema.errors import Conflict
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from handlers.database import Connection
    from schema.changes import Change
    from schema.lifecycle import Execution

_SQL = queries("executions")
_NULL: Final = "\\N"


async def write_executions(
    connection: Connection,
    tenant_id: str,
    net: Sequence[Change],
    entries: Mapping[tuple[str, str, int], str],
) -> tuple[asyncpg.Record, frozenset[tuple[str, str, int]]]:
    """Write one change an execution; entries are what that adds to the timelines. New ones are counted as QUEUED.

    Returns how the tenant's ARNs are written and which events it wants, and the deleted ones that later ones followed.
    """
    added = [after for before, after in net if before is None and after is not None]
    gone = [before for before, after in net if before is not None and after is None]
    moved = [(before, after) for before, after in net if before is not None and after is not None]
    tenant, followed = None, frozenset[tuple[str, str, int]]()
    if again := [one for one in added if one.is_retry]:
        await insert_again(connection, tenant_id, again)
    for job_id, first in _new_by_job(added).items():
        tenant = await connection.fetchrow(
            _SQL["insert_executions"],
            tenant_id,
            "\n".join([one.thing_name for one in first]),
            job_id,
            column([one.execution_number for one in first]),
            column([one.priority for one in first]),
            column([one.stage for one in first]),
            first[0].queued_at,
        )
    if moved:
        columns = (*_columns(moved), column([entries.get(after.key) for _, after in moved]))
        tenant = await connection.fetchrow(_SQL["update_executions"], tenant_id, *columns)
        if tenant is None or tenant["written"] != len(moved):
            raise Conflict
    if gone:
        deleted = await connection.fetch(_SQL["delete_executions"], tenant_id, *_keys(gone))
        if len(deleted) != len(gone):
            raise Conflict
        followed = frozenset(tuple(row)[:3] for row in deleted if row["followed"])
    tenant = tenant or await connection.fetchrow(_SQL["load_tenant"], tenant_id)
    if tenant is None:
        raise Conflict
    return tenant, followed


def _new_by_job(added: Iterable[Execution]) -> dict[str, list[Execution]]:
    """Executions that are no retries, each job's, in order of the jobs: their counters are locked in it."""
    found: dict[str, list[Execution]] = {}
    for one in sorted(added, key=lambda one: one.job_id):
        if not one.is_retry:
            found.setdefault(one.job_id, []).append(one)
    return found


def column(values: Iterable[object]) -> str:
    """A column of a set as one text, the way `queries/executions.sql` reads it."""
    return "\n".join([_NULL if value is None else str(value) for value in values])


def _keys(executions: Sequence[Execution]) -> tuple[str, str, str]:
    return (
        "\n".join([one.thing_name for one in executions]),
        "\n".join([one.job_id for one in executions]),
        column([one.execution_number for one in executions]),
    )


def _times(values: Iterable[datetime | None]) -> str:
    # Most times of a batch are one and the same, and a time costs more to write than all else of its row.
    texts: dict[datetime | None, str] = {None: _NULL}
    return "\n".join([texts.get(at) or texts.setdefault(at, str(at)) for at in values])


def _columns(moved: Sequence[tuple[Execution, Execution]]) -> tuple[str, ...]:
    before = [was for was, _ in moved]
    after = [now_is for _, now_is in moved]
    return (
        *_keys(after),
        "\n".join([one.status for one in before]),
        "\n".join([str(one.version) for one in before]),
        "\n".join([one.status for one in after]),
        "\n".join([str(one.version) for one in after]),
        "\n".join([one.details or _NULL for one in after]),
        _times([None if was.started_at else now_is.started_at for was, now_is in moved]),
        _times([one.updated_at for one in after]),
        _times([one.in_progress_deadline for one in after]),
        _times([one.step_deadline for one in after]),
        "\n".join(["t" if one.force_canceled else "f" for one in after]),
        "\n".join([f"\\x{one.recent.hex()}" for one in after]),
    )
