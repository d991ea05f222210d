"""How a run ended, and what of our own record is forgotten then."""

from __future__ import annotations

from broker.things_stack.recording import quiet
from handlers import run_connections
from handlers.database import Connection
from handlers.run_ledger import Ending, Run
from schema.things_stack_runs import (
    Result,
    RunStatus,
    Step,
    StepName,
    StepStatus,
    Tally,
    conclude,
    summarize,
)

_OK, _SKIPPED = StepStatus.OK, StepStatus.SKIPPED


async def decide_end(
    connection: Connection, run: Run, tally: Tally, error: str | None, *, unreadable: bool = False
) -> Ending:
    """How the run ends, and in the same transaction what we know ourselves is forgotten (seed 000, H3).

    unreadable: the run stopped because a stored key did not decrypt; then it stays, also with force.
    """
    status = conclude(
        run.action, tally, run.results, dry_run=run.dry_run, stopped=error is not None
    )
    if run.dry_run:
        return Ending(status, _summary(run, tally, cleared=False), (), error)
    await run_connections.forget_released(connection, run)
    step = await _clear(connection, run, status, unreadable=unreadable)
    cleared = step.status is _OK
    return Ending(status, _summary(run, tally, cleared=cleared), [step], error)


def _summary(run: Run, tally: Tally, *, cleared: bool) -> dict[str, object]:
    return summarize(tally, run.results, db_cleared=cleared, dry_run=run.dry_run)


async def _clear(connection: Connection, run: Run, status: RunStatus, *, unreadable: bool) -> Step:
    target = ("db", str(run.organization_id))
    if not run.action.takes_application:
        return quiet(StepName.CLEAR_LOCAL_DB, _SKIPPED, "one_device", target=target)
    if run.canceled_by is not None and status is not RunStatus.SUCCEEDED:
        # Whoever cancels keeps what there is, as with a run that nobody had begun.
        return quiet(StepName.CLEAR_LOCAL_DB, _SKIPPED, "canceled", target=target)
    if unreadable:
        # Seed 001: a key that does not decrypt is not taken for none. `ttn/start-fresh` is how to forget it.
        return quiet(StepName.CLEAR_LOCAL_DB, _SKIPPED, "credentials_unreadable", target=target)
    if status is not RunStatus.SUCCEEDED and not run.force:
        return quiet(StepName.CLEAR_LOCAL_DB, _SKIPPED, "not_succeeded", target=target)
    purged = run.results.get(StepName.PURGE_APPLICATION, Result(_SKIPPED)).status is _OK
    if not await run_connections.clear_connection(connection, run, free_ids=purged):
        return quiet(StepName.CLEAR_LOCAL_DB, _SKIPPED, "another_application", target=target)
    return quiet(
        StepName.CLEAR_LOCAL_DB,
        _OK,
        "" if status is RunStatus.SUCCEEDED else "forced",
        target=target,
    )
