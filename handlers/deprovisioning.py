"""Operators' commands on deprovisioning runs: ask for one, see them, cancel one, let one go on (seed 000)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

from handlers import run_ledger, store
from handlers.context import Context, Outcome, not_found, told_of
from handlers.stack_desk import require_connection, require_settled
from schema import paging, run_messages
from schema.errors import Code, Rejected, shorten
from schema.sql import queries
from schema.things_stack_runs import (
    JOBS_VERSION,
    LIVE,
    Action,
    RunStatus,
    conclude,
    response,
    summarize,
)

if TYPE_CHECKING:
    import asyncpg

    from handlers.stack_connections import StackConnection
    from schema.commands import Command
    from schema.run_commands import Deprovision, GetRun, ListRuns

_SQL = queries("runs")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST: Final = datetime.max.replace(tzinfo=UTC)  # PostgreSQL's infinity
_MICROSECONDS: Final = 1_000_000


class Wanted(NamedTuple):
    """What a run is to take away. application_id and device_id: None takes what the connection names, and all of it."""

    action: Action
    application_id: str | None = None
    device_id: str | None = None
    force: bool = False
    dry_run: bool = False


async def deprovision(context: Context, command: Deprovision) -> Outcome:
    """Queue a run; its id is in the answer, everything else comes as it happens.

    Raises Rejected: ResourceNotFound without a connection, InvalidRequest when it is not clear which one is meant,
    ResourceAlreadyExists while a run for the same thing has not ended.
    """
    connection = await require_connection(context, command, lock=True)
    action = Action.ORGANIZATION
    if command.application_id is not None:
        action = Action.APPLICATION
    if command.device is not None:
        action = Action.DEVICE
    wanted = Wanted(action, command.application_id, command.device, command.force, command.dry_run)
    return await begin_run(context, connection, wanted)


async def begin_run(context: Context, connection: StackConnection, wanted: Wanted) -> Outcome:
    """Write a run down for the worker, in the caller's transaction; a deep clean begins here too.

    Raises Rejected: InvalidRequest for a device without an application, ResourceAlreadyExists as `deprovision`,
    InvalidStateTransition while the connection is being provisioned.
    """
    if not wanted.dry_run:
        require_settled(connection)
    application = wanted.application_id or connection.application_id
    if application is None and not wanted.action.takes_organization:
        raise Rejected(
            Code.INVALID_REQUEST, "application_id: required, since the connection names none"
        )
    key = (context.tenant_id, connection.organization_id)
    live = await context.connection.fetchval(_SQL["find_live"], *key, application, wanted.device_id)
    if live is not None:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS, f"run {live} for the same has not ended; see ttn/runs"
        )
    row = await context.connection.fetchrow(
        _SQL["insert_run"],
        *key,
        context.actor,
        "operator",
        wanted.action,
        uuid4().hex[:12],
        connection.row["ttn_region"],
        connection.ttn_org_id if wanted.action.takes_organization else None,
        application,
        wanted.device_id,
        wanted.force,
        wanted.dry_run,
    )
    assert row is not None  # noqa: S101 - an INSERT with RETURNING gives its row
    if wanted.action is Action.DEVICE:
        await context.connection.execute(
            _SQL["insert_job"], *key, row["id"], application, wanted.device_id
        )
    await context.connection.execute("NOTIFY jobbroker_work")
    return Outcome(
        {
            "job_id": str(row["id"]),
            "organization_id": str(connection.organization_id),
            "status": row["status"],
            "request_id": row["request_id"],
        },
        subject=f"ttn_run/{row['id']}",
        details={
            "action": wanted.action,
            "application_id": application,
            "device": wanted.device_id,
            "force": wanted.force,
            "dry_run": wanted.dry_run,
        },
    )


async def list_runs(context: Context, command: ListRuns) -> Outcome:
    """Runs, newest first; of one organization, or with some statuses, if asked."""
    after = paging.decode("ttn_runs", command.next_token, (int, str))
    rows = await context.connection.fetch(
        _SQL["list_runs"],
        context.tenant_id,
        None if command.organization_id is None else UUID(command.organization_id),
        None if command.status is None else [one.strip() for one in command.status.split(",")],
        _moment(after[0]) if after else _NEWEST,
        _uuid(after[1]) if after else UUID(int=2**128 - 1),
        command.limit + 1,
    )
    shown = rows[: command.limit]
    body: dict[str, object] = {
        "success": True,
        "version": JOBS_VERSION,
        "jobs": [_shown(row) for row in shown],
    }
    if len(rows) > len(shown):
        last = shown[-1]
        body["next_token"] = paging.encode(
            "ttn_runs", _microseconds(last["created_at"]), str(last["id"])
        )
    return Outcome(body)


async def get_run(context: Context, command: GetRun, run_id: str) -> Outcome:
    """A run with a page of its steps in their order, and while it goes on, what is known of its devices."""
    row = await _find(context, run_id, lock=False)
    after = paging.decode("ttn_steps", command.next_token, (int, int))
    key = (context.tenant_id, row["id"])
    steps = await context.connection.fetch(
        _SQL["list_steps"],
        *key,
        _moment(after[0]) if after else _EPOCH,
        after[1] if after else 0,
        command.limit + 1,
    )
    shown = steps[: command.limit]
    job = _shown(row)
    if row["finished_at"] is None:
        job["summary"] = await _summary_so_far(context, row)
    body: dict[str, object] = {
        "success": True,
        "version": JOBS_VERSION,
        "job": job,
        "steps": [_step(one) for one in shown],
    }
    device_job = await context.connection.fetchrow(_SQL["find_job"], *key)
    if device_job is not None:
        body["device_job"] = _plain(device_job)
    if len(steps) > len(shown):
        last = shown[-1]
        body["next_token"] = paging.encode(
            "ttn_steps", _microseconds(last["created_at"]), last["step_number"]
        )
    return Outcome(body)


async def cancel_run(context: Context, _command: Command, run_id: str) -> Outcome:
    """End a run: at once when nobody has begun it, else between two steps; what is taken away stays so.

    Raises Rejected: ResourceNotFound, InvalidStateTransition for one that has ended.
    """
    row = await _find(context, run_id, lock=True)
    if row["status"] not in LIVE:
        if row["cancel_requested_at"] is not None and context.duplicate:
            return Outcome({"job_id": run_id, "status": row["status"]})
        raise _ended(row)
    key = (context.tenant_id, row["id"])
    row = await _changed(context, "request_cancel", *key, context.actor)
    told = None
    if row["claim"] == 0:
        row, told = await _end_unbegun(context, row)
    await context.connection.execute("NOTIFY jobbroker_work")
    return Outcome(
        {"job_id": run_id, "status": row["status"]},
        told=told_of(told),
        subject=f"ttn_run/{run_id}",
    )


async def _end_unbegun(
    context: Context, row: asyncpg.Record
) -> tuple[asyncpg.Record, store.Told | None]:
    key = (context.tenant_id, row["id"])
    tally = await run_ledger.tally(context.connection, *key)
    action = Action(row["action"])
    status = conclude(action, tally, {}, dry_run=row["dry_run"], stopped=True)
    summary = summarize(tally, {}, db_cleared=False, dry_run=row["dry_run"])
    error = f"canceled by {context.actor}"
    ended = await context.connection.fetchrow(
        _SQL["end_run"], *key, row["claim"], status, json.dumps(summary), error
    )
    assert ended is not None  # noqa: S101 - it is locked, and had not ended
    await context.connection.execute(_SQL["end_job"], *key, status, error, None)
    messages = run_messages.of_run({**dict(ended), "summary": summary}, {}, "finished")
    told = await store.tell(
        context.connection, context.tenant_id, messages=messages, slot=context.slot
    )
    return ended, told


async def resume_run(context: Context, _command: Command, run_id: str) -> Outcome:
    """Let a run that FAILED or is PARTIAL begin anew with all it knows; one that waits goes on at once.

    Raises Rejected: ResourceNotFound, InvalidStateTransition for one that SUCCEEDED, ResourceAlreadyExists while
    another for the same has not ended.
    """
    row = await _find(context, run_id, lock=True)
    key = (context.tenant_id, row["id"])
    if row["status"] in LIVE:
        row = await _changed(context, "wake_run", *key)
    elif row["status"] == RunStatus.SUCCEEDED:
        raise _ended(row)
    else:
        await context.connection.execute(_SQL["reset_devices"], *key, False)  # noqa: FBT003 - all that failed
        row = await _changed(context, "resume_run", *key)
        await context.connection.execute(_SQL["requeue_job"], *key)
    await context.connection.execute("NOTIFY jobbroker_work")
    return Outcome(
        {"job_id": run_id, "status": row["status"], "attempt": row["attempt"]},
        subject=f"ttn_run/{run_id}",
        details={"attempt": row["attempt"]},
    )


def _ended(row: asyncpg.Record) -> Rejected:
    return Rejected(
        Code.INVALID_STATE_TRANSITION, f"run {row['id']} is {row['status']}; it has ended"
    )


async def _find(context: Context, run_id: str, *, lock: bool) -> asyncpg.Record:
    try:
        key = UUID(run_id)
    except ValueError:
        raise not_found("run", run_id) from None
    query = _SQL["lock_run" if lock else "find_run"]
    row = await context.connection.fetchrow(query, context.tenant_id, key)
    if row is None:
        raise not_found("run", run_id)
    return row


async def _changed(context: Context, query: str, *arguments: object) -> asyncpg.Record:
    """A locked run after a change."""
    row = await context.connection.fetchrow(_SQL[query], *arguments)
    assert row is not None  # noqa: S101 - it is locked
    return row


async def _summary_so_far(context: Context, row: asyncpg.Record) -> dict[str, object]:
    tally = await run_ledger.tally(context.connection, context.tenant_id, row["id"])
    results = run_ledger.run_of(row).results
    return summarize(tally, results, db_cleared=False, dry_run=row["dry_run"])


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    """A run as it is answered: the seed's columns, and how long it has been without progress while it goes on."""
    run = _plain(row)
    for name in ("facts", "claim", "now", "tenant_id"):
        del run[name]
    run["job_id"] = run["id"]
    if row["finished_at"] is None:
        run["idle_seconds"] = max(0, int((row["now"] - row["updated_at"]).total_seconds()))
        run["age_seconds"] = max(0, int((row["now"] - row["created_at"]).total_seconds()))
    else:
        status = RunStatus(row["status"])
        found = response(run["id"], status, row["request_id"], run["summary"])
        run |= {name: found[name] for name in ("success", "failed_euis", "released_euis")}
    return run


def _step(row: asyncpg.Record) -> dict[str, Any]:
    step = _plain(row)
    del step["tenant_id"], step["step_number"]
    return step


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name in ("summary", "meta", "facts"):
            shown[name] = json.loads(value)
        elif isinstance(value, UUID):
            shown[name] = str(value)
        else:
            shown[name] = value.isoformat() if hasattr(value, "isoformat") else value
    return shown


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * _MICROSECONDS + moment.microsecond


def _moment(microseconds: int | str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise Rejected(
            Code.INVALID_REQUEST, f"next_token: {shorten(microseconds)} is no token of ttn/runs"
        ) from None


def _uuid(text: object) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise Rejected(
            Code.INVALID_REQUEST, f"next_token: {shorten(text)} is no token of ttn/runs"
        ) from None
