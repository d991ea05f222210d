"""Failed and timed-out executions that are tried again, in the transaction that ends them (AWS: retry config)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schema import lifecycle
from schema.changes import Change
from schema.errors import Conflict
from schema.lifecycle import JobStatus, Status
from schema.retries import JobNow, RetryConfig, attempts_of, decide
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from handlers.database import Connection
    from schema.lifecycle import Execution

_SQL = queries("executions")
_RETRYABLE = frozenset({Status.FAILED, Status.TIMED_OUT})


class Retries(NamedTuple):
    """New executions, and the keys of those that they follow."""

    changes: tuple[Change, ...] = ()
    followed: frozenset[tuple[str, str, int]] = frozenset()


async def retry(
    connection: Connection, tenant_id: str, ended: Sequence[Change], *, now: datetime
) -> Retries:
    """Queue another execution for those that failed and whose job's retry configuration says so.

    ended: changes that are written, one an execution. Costs nothing when none of them failed. Once the counters are
    held, `require_live` must agree.
    """
    failed = {
        (after.thing_name, after.job_id): after
        for before, after in ended
        if before is not None and after is not None and after.status in _RETRYABLE
    }
    if not failed:
        return Retries()
    rows = await connection.fetch(
        _SQL["find_retries"],
        tenant_id,
        [thing for thing, _ in failed],
        [job for _, job in failed],
    )
    again = [
        failed[row["thing_name"], row["job_id"]]
        for row in rows
        if _is_retried(row, failed[row["thing_name"], row["job_id"]], now)
    ]
    if not again:
        return Retries()
    made = [lifecycle.queued_again(one, now) for one in again]
    await insert_again(connection, tenant_id, made)
    return Retries(tuple(Change(None, one) for one in made), frozenset(one.key for one in again))


async def insert_again(connection: Connection, tenant_id: str, made: Sequence[Execution]) -> None:
    """Write new executions that follow others, all QUEUED at one time, with what they remember of those."""
    await connection.execute(
        _SQL["insert_retries"],
        tenant_id,
        "\n".join([one.thing_name for one in made]),
        "\n".join([one.job_id for one in made]),
        "\n".join([str(one.execution_number) for one in made]),
        "\n".join([f"\\x{one.recent.hex()}" for one in made]),
        "\n".join([str(one.priority) for one in made]),
        "\n".join(["\\N" if one.stage is None else str(one.stage) for one in made]),
        made[0].queued_at,
    )


def _is_retried(row: asyncpg.Record, failed: Execution, now: datetime) -> bool:
    return decide(
        RetryConfig.from_text(row["retry_config"]),
        failed.status,
        attempts_of(map(Status, row["ended"])),
        job=JobNow(JobStatus(row["status"]), row["expires_at"]),
        now=now,
    ).retry


async def require_live(connection: Connection, tenant_id: str, retries: Retries) -> None:
    """Make sure that whoever ends these jobs will see the retries. To be called when the jobs' counters are held.

    A cancel, an expiry and a deletion hold the counters before they are finished, and look for what is QUEUED then; but
    one that was finished before would never see these. Raises Conflict: decided again, there is no retry.
    """
    jobs = sorted({change.after.job_id for change in retries.changes if change.after is not None})
    if jobs and not await connection.fetchval(_SQL["may_retry"], tenant_id, jobs):
        raise Conflict
