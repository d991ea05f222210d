"""Counters of jobs and their stages: one number a status, each thing by its latest execution, moved by what changes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from schema.changes import Change, about
from schema.counts import Counts
from schema.lifecycle import Status
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from handlers.database import Connection
    from schema.lifecycle import Execution

_SQL = queries("executions")
_STAGES = queries("stages")
_COLUMNS = tuple(status.lower() for status in Status)

Key = tuple[str, str, int]
Staged = dict[tuple[str, int], Counter[str]]
"""What moves by stage: of a job, and the stage's number."""


class Counted(NamedTuple):
    """What the counters came to: jobs without a live execution, and the counts of those with an abortConfig.

    Of the latter only jobs of which something completed: nothing else can meet a criterion.
    """

    over: tuple[str, ...] = ()
    judged: dict[str, Counts] = {}  # noqa: RUF012 - a named tuple's default, never changed


async def count(
    connection: Connection,
    tenant_id: str,
    moves: Sequence[Change],
    *,
    followed: Collection[Key] = (),
) -> Counted:
    """Move the counters by changes that are written; their jobs' counters have new executions already, but for retries.

    followed: executions of these that are not their thing's latest of the job, and so count no more. What new ones with
    a number above 1 follow, when it is not among the changes, is looked up and taken back; what is the latest again
    once a later one is deleted is looked up and counts again.
    """
    deltas, staged = _deltas(moves, followed)
    if not deltas:
        return Counted()
    for later, by in ((_followers(moves), -1), (_latest_gone(moves, followed), 1)):
        if later:
            await _count_predecessors(connection, tenant_id, later, by, deltas, staged)
    moved = {job: by for job, by in deltas.items() if by}
    counted = await _add(connection, tenant_id, moved) if moved else Counted()
    if staged:
        await _add_to_stages(connection, tenant_id, staged)
    return counted


def _deltas(
    moves: Sequence[Change], followed: Collection[Key]
) -> tuple[dict[str, Counter[str]], Staged]:
    """What moves in each job, and in each stage."""
    deltas: dict[str, Counter[str]] = {}
    staged: Staged = {}
    for change in moves:
        before, after = change
        job = deltas.setdefault(about(change).job_id, Counter())
        if before is not None and not (after is None and before.key in followed):
            job[before.status.lower()] -= 1
            if before.stage is not None:
                _move(staged, before.job_id, before.stage, before.status, -1)
        if after is not None and after.key not in followed:
            if before is not None or after.is_retry:
                job[after.status.lower()] += 1
            if after.stage is not None:
                _move(staged, after.job_id, after.stage, after.status, 1)
    return deltas, staged


def _move(staged: Staged, job_id: str, stage: int, status: str, by: int) -> None:
    staged.setdefault((job_id, stage), Counter())[status.lower()] += by


def _followers(moves: Sequence[Change]) -> list[Execution]:
    """New executions that are not their thing's first, but for retries: what those follow is in the same batch."""
    ended = {after.key for before, after in moves if before is not None and after is not None}
    return [
        after
        for before, after in moves
        if before is None
        and after is not None
        and after.execution_number > 1
        and (after.thing_name, after.job_id, after.execution_number - 1) not in ended
    ]


def _latest_gone(moves: Sequence[Change], followed: Collection[Key]) -> list[Execution]:
    """Deleted executions that were their thing's latest of the job, and not its first."""
    return [
        before
        for before, after in moves
        if before is not None
        and after is None
        and before.execution_number > 1
        and before.key not in followed
    ]


async def _count_predecessors(
    connection: Connection,
    tenant_id: str,
    later: Sequence[Execution],
    by: int,
    deltas: dict[str, Counter[str]],
    staged: Staged,
) -> None:
    """Count what stands before these executions, which may be gone."""
    rows = await connection.fetch(
        _SQL["find_predecessors"],
        tenant_id,
        [one.thing_name for one in later],
        [one.job_id for one in later],
        [str(one.execution_number) for one in later],
    )
    for row in rows:
        deltas[row["job_id"]][row["status"].lower()] += by
        if row["stage"] is not None:
            _move(staged, row["job_id"], row["stage"], row["status"], by)


async def _add(connection: Connection, tenant_id: str, deltas: dict[str, Counter[str]]) -> Counted:
    jobs = sorted(deltas)
    columns = [[str(deltas[job][column]) for job in jobs] for column in _COLUMNS]
    over, judged = [], {}
    for row in await connection.fetch(_SQL["add_counts"], tenant_id, jobs, *columns):
        job_id, has_abort, *numbers = row
        counts = Counts(*numbers)
        if not counts.queued + counts.in_progress:
            over.append(job_id)
        if has_abort and Counts(*(max(0, deltas[job_id][one]) for one in Counts._fields)).completed:
            judged[job_id] = counts
    return Counted(tuple(over), judged)


async def _add_to_stages(connection: Connection, tenant_id: str, deltas: Staged) -> None:
    keys = sorted(deltas)
    columns = [[str(deltas[key][column]) for key in keys] for column in _COLUMNS]
    await connection.execute(
        _STAGES["add_stage_counts"],
        tenant_id,
        [job for job, _ in keys],
        [str(stage) for _, stage in keys],
        *columns,
    )
