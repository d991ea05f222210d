"""Executions, read and written in sets: the one place from which their rows, their counts and the outbox are touched.

Lock order, everywhere: a job's advisory lock (background chunks) -> things by name -> executions -> job_counts by job
-> job_stages by job and number -> jobs by id. Holding a thing's row is what makes "who is first" one decision at a
time, on any number of processes.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers.aborts import abort_jobs
from handlers.counters import count
from handlers.execution_rows import column, write_executions
from handlers.retrying import require_live, retry
from schema import events, timeline
from schema.arns import Home
from schema.changes import (
    Change,
    NobodyHears,
    collapsed,
    execution_events,
    is_progress,
    never,
    notifications,
)
from schema.device import seconds
from schema.lifecycle import Execution, JobStatus, Status
from schema.pending import WINDOW, is_offered, order
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from handlers.counters import Counted
    from handlers.database import Connection
    from schema.counts import Counts

_SQL = queries("executions")
_BEYOND_HEADS: Final = 4  # loaded beyond the heads that are needed, in case some are not offered
_STATUS: Final = {str(status): status for status in Status}
_JOB_STATUS: Final = {str(status): status for status in JobStatus}


class Loaded(NamedTuple):
    """An execution with what its job says about it."""

    execution: Execution
    job_uid: int
    timeout_minutes: int | None
    offered: bool  # may still be shown and started
    job_status: JobStatus
    read_at: datetime  # by the database's clock
    hidden: bool = False  # QUEUED, of a job that is paused or outside its windows
    exclusive: bool = False  # while a thing works on it, it starts nothing else


@dataclass(frozen=True, slots=True)
class Told:
    """One outbox row, for the notifier to send once the transaction has committed.

    messages are events: (topic without tenant, payload).
    """

    tenant_id: str
    outbox_id: int
    notify: tuple[str, ...] = ()
    notify_next: tuple[str, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()


async def lock_things(
    connection: Connection,
    tenant_id: str,
    names: Iterable[str],
) -> tuple[frozenset[str], datetime]:
    """Lock those of the named things that exist, in name order; returns them and the database's clock after that."""
    row = await connection.fetchrow(_SQL["lock_things"], tenant_id, "\n".join(sorted(set(names))))
    assert row is not None  # noqa: S101 - a SELECT of expressions has one row
    return frozenset(row["thing_names"]), row["now"]


async def load_queues(
    connection: Connection,
    tenant_id: str,
    names: Iterable[str],
    *,
    heads: Mapping[str, int] | None = None,
) -> dict[str, list[Loaded]]:
    """Each thing's live executions in AWS's order; a thing without any has an empty list.

    The first `WINDOW` of each thing. heads says for which things fewer will do, and how many offered ones are needed: a
    device whose queue is long must not pay for all of it with each request.
    """
    windows = dict.fromkeys(names, WINDOW)
    for name, needed in (heads or {}).items():
        windows[name] = min(WINDOW, needed + _BEYOND_HEADS)
    found = await _load_windows(connection, tenant_id, windows)
    hidden = [
        name
        for name, needed in (heads or {}).items()
        # What an operator has taken back may stand in front of what is needed until the chunks have come by.
        if len(found[name]) == windows[name] < WINDOW
        and sum(one.offered for one in found[name]) < needed
    ]
    if hidden:
        found |= await _load_windows(connection, tenant_id, dict.fromkeys(hidden, WINDOW))
    return found


async def _load_windows(
    connection: Connection, tenant_id: str, windows: Mapping[str, int]
) -> dict[str, list[Loaded]]:
    found: dict[str, list[Loaded]] = {name: [] for name in windows}
    rows = await connection.fetch(
        _SQL["load_queues"], tenant_id, "\n".join(windows), column(windows.values())
    )
    for row in rows:
        found[row["thing_name"]].append(_loaded(row))
    for queue in found.values():
        if len(queue) > 1:
            queue.sort(key=lambda one: order(one.execution))
    return found


async def load_executions(
    connection: Connection,
    tenant_id: str,
    keys: Iterable[tuple[str, str, int | None]],
) -> dict[tuple[str, str, int | None], Loaded]:
    """Executions by (thing, job, number or None for the latest); a key that names none is left out."""
    wanted = list(dict.fromkeys(keys))
    rows = await connection.fetch(
        _SQL["load_executions"],
        tenant_id,
        [thing for thing, _, _ in wanted],
        [job for _, job, _ in wanted],
        [str(number or 0) for _, _, number in wanted],
    )
    return {
        (row["thing_name"], row["job_id"], row["wanted_number"] or None): _loaded(row)
        for row in rows
    }


def _loaded(row: asyncpg.Record) -> Loaded:
    # A look-up: calling the enumeration costs ten times as much, and this runs for each row.
    status, job_status = _STATUS[row["status"]], _JOB_STATUS[row["job_status"]]
    execution = Execution(
        row["thing_name"],
        row["job_id"],
        row["execution_number"],
        status,
        row["version_number"],
        row["queued_at"],
        row["last_updated_at"],
        row["status_details"],
        row["started_at"],
        row["in_progress_deadline"],
        row["step_deadline"],
        row["force_canceled"],
        row["recent"],
        row["priority"],
        row["stage"],
    )
    hidden = row["is_hidden"]
    return Loaded(
        execution,
        row["job_uid"],
        row["in_progress_timeout_minutes"],
        is_offered(status, job_status, expired=row["expired"], hidden=hidden),
        job_status,
        row["read_at"],
        hidden,
        row["is_exclusive"],
    )


async def save(  # noqa: PLR0913 - what was decided, on what, and for whom
    connection: Connection,
    tenant_id: str,
    changes: Sequence[Change],
    *,
    queues: Mapping[str, Sequence[Execution]],
    now: datetime,
    slot: int | None,
    messages: Sequence[tuple[str, str]] = (),
    nobody_hears: NobodyHears = never,
) -> Told | None:
    """Write a batch of changes with all that follows from them; returns what is to be told, if anything.

    changes: steps in the order in which they were decided; several of one execution are written once and told each.
    queues: each changed thing's live executions before the changes, as loaded under its lock. Counters move by deltas,
    failed executions are tried again as their jobs say, then jobs are aborted whose criteria are met, then jobs whose
    last execution ended complete; notifications (reference 1.8) and events (by the tenant's switches, after `messages`;
    live ones only where somebody hears them) go into one outbox row owned by `slot`. Raises Conflict, the transaction
    being of no use any more, when a row was no longer what the decision was made on.
    """
    net = collapsed(changes)
    entries = timeline.written(changes)
    tenant, followed = await write_executions(connection, tenant_id, net, entries)
    retries = await retry(connection, tenant_id, net, now=now)
    moves = [*(one for one in net if not is_progress(one)), *retries.changes]
    counted = await count(connection, tenant_id, moves, followed=retries.followed | followed)
    if retries.changes:
        await require_live(connection, tenant_id, retries)
    notify, notify_next = notifications(moves, queues)
    told = [
        *messages,
        *execution_events(
            [*changes, *retries.changes],
            wanted=frozenset(tenant["events"]),
            home=Home(tenant["aws_region"], tenant["aws_account"]),
            first_id=uuid.uuid4().int,
            now=now,
            nobody_hears=nobody_hears,
        ),
    ]
    told += await _end_jobs(connection, tenant_id, counted, now=now, tenant=tenant)
    return await tell(
        connection,
        tenant_id,
        notify=notify,
        notify_next=notify_next,
        messages=told,
        queued=[after.key for before, after in moves if before is None and after is not None],
        slot=slot,
    )


async def _end_jobs(
    connection: Connection,
    tenant_id: str,
    counted: Counted,
    *,
    now: datetime,
    tenant: asyncpg.Record,
) -> list[tuple[str, str]]:
    """Abort the jobs whose criteria are met, complete those that are over then; returns their events."""
    told: list[tuple[str, str]] = []
    if counted.judged:
        told += await abort(connection, tenant_id, counted.judged, now=now)
    if counted.over:
        told += await complete_jobs(connection, tenant_id, counted.over, now=now, tenant=tenant)
    return told


async def abort(
    connection: Connection, tenant_id: str, judged: Mapping[str, Counts], *, now: datetime
) -> list[tuple[str, str]]:
    """Abort those of the jobs whose criteria are met by their counters, which are held; returns their events."""
    aborted = await abort_jobs(connection, tenant_id, judged, now=now)
    if not aborted:
        return []
    return await job_events(
        connection, tenant_id, aborted, operation="cancellation_in_progress", now=now
    )


async def tell(
    connection: Connection,
    tenant_id: str,
    *,
    notify: Sequence[str] = (),
    notify_next: Sequence[str] = (),
    messages: Sequence[tuple[str, str]] = (),
    queued: Iterable[tuple[str, str, int]] = (),
    slot: int | None,
) -> Told | None:
    """Put one row into the outbox, or none when there is nothing to say.

    queued: executions (thing, job, number) of which their things are told by this for the first time.
    slot is the process that will send it; None lets whichever listens take it (NOTIFY jobbroker_outbox).
    """
    if not (notify or notify_next or messages):
        return None
    outbox_id = await connection.fetchval(
        _SQL["insert_outbox"],
        tenant_id,
        slot,
        "\n".join(notify),
        "\n".join(notify_next),
        "\n".join([topic for topic, _ in messages]),
        "\n".join([payload for _, payload in messages]),
        "\n".join([f"{job}/{thing}/{number}" for thing, job, number in queued]),
    )
    if slot is None:
        await connection.execute("NOTIFY jobbroker_outbox")
    return Told(tenant_id, outbox_id, tuple(notify), tuple(notify_next), tuple(messages))


async def complete_jobs(
    connection: Connection,
    tenant_id: str,
    job_ids: Iterable[str],
    *,
    now: datetime,
    tenant: asyncpg.Record | None = None,
) -> list[tuple[str, str]]:
    """Complete those of the jobs that are over; returns their events (to go into the outbox).

    tenant: its row, of whoever has it.
    """
    rows = await connection.fetch(_SQL["complete_jobs"], tenant_id, sorted(set(job_ids)), now)
    if not rows or not await _wants_job_events(connection, tenant_id, tenant):
        return []
    return [_job_event("completed", row, now=now, counts=dict(row)) for row in rows]


async def job_events(
    connection: Connection,
    tenant_id: str,
    job_ids: Sequence[str],
    *,
    operation: str,
    now: datetime,
    more: Mapping[str, object] | None = None,
) -> list[tuple[str, str]]:
    """The jobs' events of one operation (completed, canceled, ...), or none when the tenant has job events off.

    more: members that they have beyond AWS's.
    """
    if not await _wants_job_events(connection, tenant_id):
        return []
    rows = await connection.fetch(_SQL["load_jobs_for_events"], tenant_id, list(job_ids))
    return [_job_event(operation, row, now=now, more=more) for row in rows]


async def _wants_job_events(
    connection: Connection, tenant_id: str, tenant: asyncpg.Record | None = None
) -> bool:
    found = tenant or await connection.fetchrow(_SQL["load_tenant"], tenant_id)
    return found is not None and events.JOB in found["events"]


def _job_event(
    operation: str,
    row: asyncpg.Record,
    *,
    now: datetime,
    counts: Mapping[str, int] | None = None,
    more: Mapping[str, object] | None = None,
) -> tuple[str, str]:
    return events.job_event(
        operation,
        {**_job_members(row), **(more or {})},
        event_id=str(uuid.uuid4()),
        now=now,
        counts=counts,
    )


def _job_members(row: asyncpg.Record) -> dict[str, object]:
    completed = row["completed_at"]
    return {
        "jobId": row["job_id"],
        "targetSelection": row["target_selection"],
        "targets": row["targets"],
        "description": row["description"],
        "comment": row["comment"],
        "reasonCode": row["reason_code"],
        "createdAt": seconds(row["created_at"]),
        "lastUpdatedAt": seconds(row["updated_at"]),
        "completedAt": None if completed is None else seconds(completed),
    }
