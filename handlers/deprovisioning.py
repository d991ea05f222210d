"""Operators' commands that change deprovisioning runs: ask for one, cancel one, let one go on (seed 000)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from handlers import run_tally, store
from handlers.context import Context, Outcome, told_of
from handlers.run_views import find_run
from handlers.stack_connections import load_connection
from handlers.stack_guards import require_connection, require_settled
from schema import run_messages
from schema.errors import Code, Rejected
from schema.sql import queries
from schema.things_stack_runs import (
    LIVE,
    Action,
    RunStatus,
    conclude,
    summarize,
)

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from handlers.stack_connections import StackConnection
    from schema.commands import Command
    from schema.run_commands import Deprovision

_SQL = queries("runs")


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
    await _require_no_other(context, connection, application, wanted.device_id)
    row = await _insert(context, connection, application, wanted)
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


async def _require_no_other(
    context: Context, connection: StackConnection, application: str | None, device: str | None
) -> None:
    live = await context.connection.fetchval(
        _SQL["find_live"], context.tenant_id, connection.organization_id, application, device
    )
    if live is not None:
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS, f"run {live} for the same has not ended; see ttn/runs"
        )


async def _insert(
    context: Context, connection: StackConnection, application: str | None, wanted: Wanted
) -> asyncpg.Record:
    """The run's row, and its job's where it is about one device."""
    key = (context.tenant_id, connection.organization_id)
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
        job = (*key, row["id"], application, wanted.device_id)
        await context.connection.execute(_SQL["insert_job"], *job)
    return row


async def cancel_run(context: Context, _command: Command, run_id: str) -> Outcome:
    """End a run: at once when nobody has begun it, else between two steps; what is taken away stays so.

    Raises Rejected: ResourceNotFound, InvalidStateTransition for one that has ended.
    """
    row = await find_run(context, run_id, lock=True)
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
    tally = await run_tally.tally(context.connection, *key)
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

    Raises Rejected: ResourceNotFound, InvalidStateTransition for one that SUCCEEDED and while the connection is being
    provisioned, ResourceAlreadyExists while another for the same has not ended.
    """
    row = await find_run(context, run_id, lock=True)
    key = (context.tenant_id, row["id"])
    if row["status"] in LIVE:
        row = await _changed(context, "wake_run", *key)
    elif row["status"] == RunStatus.SUCCEEDED:
        raise _ended(row)
    else:
        if not row["dry_run"]:
            await _require_settled(context, row["organization_id"])
        await context.connection.execute(_SQL["reset_devices"], *key, False)  # noqa: FBT003 - all that failed
        row = await _changed(context, "resume_run", *key)
        await context.connection.execute(_SQL["requeue_job"], *key)
    await context.connection.execute("NOTIFY jobbroker_work")
    return Outcome(
        {"job_id": run_id, "status": row["status"], "attempt": row["attempt"]},
        subject=f"ttn_run/{run_id}",
        details={"attempt": row["attempt"]},
    )


async def _require_settled(context: Context, organization_id: UUID) -> None:
    """Pass when nothing is being provisioned, as `begin_run` does; the run is held, as at its end, before that."""
    found = await load_connection(
        context.connection, context.sealer, context.tenant_id, organization_id, lock=True
    )
    if found is not None:
        require_settled(found)


def _ended(row: asyncpg.Record) -> Rejected:
    return Rejected(
        Code.INVALID_STATE_TRANSITION, f"run {row['id']} is {row['status']}; it has ended"
    )


async def _changed(context: Context, query: str, *arguments: object) -> asyncpg.Record:
    """A locked run after a change."""
    row = await context.connection.fetchrow(_SQL[query], *arguments)
    assert row is not None  # noqa: S101 - it is locked
    return row
