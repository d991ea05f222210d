"""Operators look at deprovisioning runs: lists, and one with its steps, as seed 000 has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from handlers import run_ledger, run_tally
from handlers.context import Context, Outcome, not_found
from schema import paging
from schema.errors import Code, Rejected, shorten
from schema.run_commands import GetRun
from schema.sql import queries
from schema.things_stack_runs import JOBS_VERSION, RunStatus, response, summarize

if TYPE_CHECKING:
    import asyncpg

    from schema.run_commands import ListRuns

_SQL = queries("runs")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST: Final = datetime.max.replace(tzinfo=UTC)  # PostgreSQL's infinity
_MICROSECONDS: Final = 1_000_000


async def list_runs(context: Context, command: ListRuns) -> Outcome:
    """Runs, newest first; of one organization, or with some statuses, if asked. With job_id as `get_run`.

    Their summaries name no devices; `get_run` does.
    """
    if command.job_id is not None:
        one = GetRun(limit=command.limit, next_token=command.next_token)
        return await get_run(context, one, command.job_id)
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
        "jobs": [_listed(row) for row in shown],
    }
    if len(rows) > len(shown):
        last = shown[-1]
        body["next_token"] = paging.encode(
            "ttn_runs", _microseconds(last["created_at"]), str(last["id"])
        )
    return Outcome(body)


async def get_run(context: Context, command: GetRun, run_id: str) -> Outcome:
    """A run with a page of its steps in their order, and while it goes on, what is known of its devices."""
    row = await find_run(context, run_id, lock=False)
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


async def find_run(context: Context, run_id: str, *, lock: bool) -> asyncpg.Record:
    """A run's row, held until the transaction's end if asked. Raises Rejected (ResourceNotFound)."""
    try:
        key = UUID(run_id)
    except ValueError:
        raise not_found("run", run_id) from None
    query = _SQL["lock_run" if lock else "find_run"]
    row = await context.connection.fetchrow(query, context.tenant_id, key)
    if row is None:
        raise not_found("run", run_id)
    return row


async def _summary_so_far(context: Context, row: asyncpg.Record) -> dict[str, object]:
    tally = await run_tally.tally(context.connection, context.tenant_id, row["id"])
    results = run_ledger.run_of(row).results
    return summarize(tally, results, db_cleared=False, dry_run=row["dry_run"])


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    """A run as it is answered: as it is listed, and the devices' EUIs once it ended."""
    run = _listed(row)
    if row["finished_at"] is not None:
        status = RunStatus(row["status"])
        found = response(run["id"], status, row["request_id"], run["summary"])
        run |= {name: found[name] for name in ("failed_euis", "released_euis")}
    return run


def _listed(row: asyncpg.Record) -> dict[str, Any]:
    """A run in a list: the seed's columns, and how long it has been without progress while it goes on."""
    run = _plain(row)
    for name in ("facts", "claim", "now", "tenant_id"):
        del run[name]
    run["job_id"] = run["id"]
    if row["finished_at"] is None:
        run["idle_seconds"] = max(0, int((row["now"] - row["updated_at"]).total_seconds()))
        run["age_seconds"] = max(0, int((row["now"] - row["created_at"]).total_seconds()))
    else:
        run["success"] = RunStatus(row["status"]) is RunStatus.SUCCEEDED
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
