"""A job's stages: who is in which, how each stands, and the next one started by hand.

A stage's things are those who wait for it in rollout_chunks and those who were told by it, counted in its row. Whoever
decides about stages holds all rows of them, and then the job's (handlers.store has the order).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from handlers import store
from handlers.context import Context, Outcome, told_of
from handlers.holds import HeldJob, Hold, lock_live
from handlers.rollouts import CHUNK
from schema.counts import Counts
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.events import process_details
from schema.gates import StageRow, evaluate, forgive, resumes_into, start_by_hand
from schema.sql import queries
from schema.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg

    from handlers.database import Connection
    from schema.job_commands import CommentedCommand

_SQL = queries("stages")
_JOBS = queries("jobs")
REASON_CODE: Final = "STAGE_ERROR_THRESHOLD"


def seed_of(job_id: str) -> int:
    """What decides by chance which of a job's things come first: the same for the same id, another for each other."""
    digest = hashlib.blake2b(job_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def require_groups(context: Context, stages: Sequence[Stage]) -> None:
    """Pass when the groups that stages are made of exist. Raises Rejected (ResourceNotFound) naming the first."""
    places = [(place, one.thing_group_name) for place, one in enumerate(stages)]
    named = [(place, name) for place, name in places if name is not None]
    if not named:
        return
    row = await context.connection.fetchrow(
        _JOBS["look_before_create"],
        context.tenant_id,
        None,
        ["thinggroup"] * len(named),
        [name for _, name in named],
        None,
    )
    assert row is not None  # noqa: S101 - it has one, of nulls when there is no job
    if row["missing"]:
        place, name = named[int(row["missing"][0]) - 1]
        raise Rejected(
            Code.RESOURCE_NOT_FOUND,
            f"stages[{place}].thingGroupName: group {name!r} does not exist",
        )


async def draw(context: Context, job_id: str, stages: Sequence[Stage], total: int) -> None:
    """Give each of a new job's things its stage; all of them were frozen in the last one, in an order of chance.

    One statement a stage, whatever it holds: the earlier ones take from what is left in the last (schema.stages).
    """
    held, last = 0, len(stages)
    place = (context.tenant_id, job_id, last)
    for number, stage in enumerate(stages[:-1], 1):
        reach = stage.reach(total)
        if reach is None:
            held += await _draw_matching(context.connection, place, number, stage)
        elif reach > held:
            held += await context.connection.fetchval(
                _SQL["draw_first"], *place, number, reach - held
            )
    await context.connection.execute(
        _SQL["insert_stages"], context.tenant_id, job_id, [stage.to_text() for stage in stages]
    )


async def _draw_matching(
    connection: Connection, place: tuple[str, str, int], number: int, stage: Stage
) -> int:
    found = stage.attribute
    name, value = (None, None) if found is None else (found.name, found.value)
    group = stage.thing_group_name
    return int(
        await connection.fetchval(_SQL["draw_matching"], *place, number, group, name, value, CHUNK)
    )


@dataclass(slots=True)
class Staged:
    """A job's stages as they stand, in order; what is changed here is written by `write`.

    waiting: how many wait to be told, of each. due_at: when to look at the gates again although nothing has changed.
    """

    stages: list[Stage]
    rows: list[StageRow]
    waiting: list[int]
    reasons: list[str | None]
    due_at: datetime | None = None
    told: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Sequence[asyncpg.Record]) -> Staged:
        """The stages of rows."""
        return cls(
            [Stage.from_text(row["config"]) for row in rows],
            [_row(row) for row in rows],
            [row["waiting"] for row in rows],
            [row["reason"] for row in rows],
        )

    @property
    def running(self) -> int | None:
        """The place of the stage that started last."""
        started = [place for place, row in enumerate(self.rows) if row.started_at is not None]
        return max(started, default=None)

    @property
    def has_turn(self) -> bool:
        """Whether somebody waits in a stage that has started."""
        running = self.running
        return running is not None and any(self.waiting[: running + 1])

    def start(self, place: int, now: datetime) -> None:
        """Start a stage."""
        self.rows[place] = self.rows[place]._replace(started_at=now)

    def forgive(self) -> None:
        """An operator has seen what has failed so far, and why the job was stopped."""
        bad = forgive(self.rows)
        self.rows = [row._replace(forgiven=one) for row, one in zip(self.rows, bad, strict=True)]
        self.reasons = [None] * len(self.rows)


def _row(row: asyncpg.Record) -> StageRow:
    counts = Counts(*(row[name] for name in Counts._fields))
    return StageRow(
        row["waiting"] + counts.notified,
        counts,
        row["started_at"],
        row["reached_at"],
        row["forgiven"],
    )


async def lock(connection: Connection, tenant_id: str, job_id: str) -> Staged | None:
    """Hold a job's stages, before its row; None when it has none."""
    rows = await connection.fetch(_SQL["lock_stages"], tenant_id, job_id)
    return Staged.of(rows) if rows else None


async def write(job: HeldJob, staged: Staged) -> None:
    """Write how the stages of a job stand; both are held. What was owed to be looked at is not any more."""
    running = staged.running
    due = [staged.due_at if place == running else None for place in range(len(staged.rows))]
    await job.connection.execute(
        _SQL["set_stages"],
        job.tenant_id,
        job.job_id,
        [*range(1, len(staged.rows) + 1)],
        _texts(row.started_at for row in staged.rows),
        _texts(row.reached_at for row in staged.rows),
        [row.forgiven for row in staged.rows],
        _texts(due),
        staged.reasons,
        [stage.to_text() for stage in staged.stages],
    )
    await job.connection.execute(
        _SQL["set_running"], job.tenant_id, job.job_id, 0 if running is None else running + 1
    )


def _texts(times: Iterable[datetime | None]) -> list[str | None]:
    # As texts, since a connection has to look an array of times up in the catalog before it can send the first one.
    return [None if at is None else str(at) for at in times]


async def change_gates(job: HeldJob, staged: Staged | None, wanted: Sequence[Stage]) -> None:
    """Give a job's stages other gates; both are held. What has failed and what has started stays as it is.

    Raises Rejected (InvalidRequest) when that would change how many stages there are, or how far one reaches.
    """
    have = [] if staged is None else staged.stages
    if staged is None or len(have) != len(wanted):
        raise Rejected(
            Code.INVALID_REQUEST,
            f"stages: the job has {len(have)}, {len(wanted)} are given; a job keeps its stages",
        )
    for place, (before, after) in enumerate(zip(have, wanted, strict=True)):
        if before.size != after.size:
            raise Rejected(
                Code.INVALID_REQUEST,
                f"stages[{place}]: reaches further or less far than it did; only gates may change",
            )
    staged.stages = [*wanted]
    await write(job, staged)
    await look_again(job)


async def look_again(job: HeldJob) -> None:
    """Have the gates of a job that is held looked at."""
    await job.connection.execute(_SQL["look_at_gates"], job.tenant_id, job.job_id)
    await job.connection.execute(_JOBS["announce_work"])


async def started_events(
    job: HeldJob, staged: Staged, place: int, reason: str, *, now: datetime
) -> list[tuple[str, str]]:
    """What is told of a stage that starts."""
    return await store.job_events(
        job.connection,
        job.tenant_id,
        [job.job_id],
        operation="stage_started",
        now=now,
        more={
            "stage": place + 1,
            "numberOfStages": len(staged.rows),
            "numberOfThings": staged.rows[place].things,
            "reason": reason,
        },
    )


async def start_next_stage(context: Context, command: CommentedCommand, job_id: str) -> Outcome:
    """Start a job's next stage, whatever its gate says; a paused job goes on by it.

    What has failed so far is forgiven: only another failure stops the job. Raises Rejected: ResourceNotFound,
    InvalidStateTransition when the job is not IN_PROGRESS, has no stages, or none left.
    """
    staged = await lock(context.connection, context.tenant_id, job_id)
    job = await lock_live(context.connection, context.tenant_id, job_id)
    place = start_by_hand([] if staged is None else staged.rows, job.status)
    assert staged is not None  # noqa: S101 - who has none starts none by hand
    staged.forgive()
    staged.start(place, context.now)
    await job.change(context.now, take=[Hold.PAUSE, Hold.STAGE])
    await write(job, staged)
    await look_again(job)
    reason = f"started by {context.actor}"
    messages = await started_events(job, staged, place, reason, now=context.now)
    told = await store.tell(
        context.connection, context.tenant_id, messages=messages, slot=context.slot
    )
    return Outcome(
        {"jobId": job_id, "jobArn": context.home.arn("job", job_id), "stage": place + 1},
        told_of(told),
        subject=f"job/{job_id}",
        details={
            "stage": place + 1,
            **({} if command.comment is None else {"comment": command.comment}),
        },
    )


async def resume(staged: Staged, job: HeldJob, now: datetime) -> list[tuple[str, str]]:
    """What resuming a paused job does to its stages, which are held with it; the holds are the caller's.

    Failures so far are forgiven; a job that waited for somebody at an open gate goes on with the next stage. Returns
    what is to be told of that.
    """
    place = resumes_into(staged.stages, staged.rows, now)
    staged.forgive()
    messages: list[tuple[str, str]] = []
    if place is not None:
        staged.start(place, now)
        messages = await started_events(job, staged, place, "resumed at an open gate", now=now)
    await write(job, staged)
    await look_again(job)
    return messages


async def shown(connection: Connection, tenant_id: str, job_id: str, now: datetime) -> list[object]:
    """A job's stages as jobs/get shows them: where each is, its counts, and why it goes on or does not, in words."""
    staged = Staged.of(await connection.fetch(_SQL["list_stages"], tenant_id, job_id))
    if not staged.rows:
        return []
    verdict = evaluate(staged.stages, staged.rows, now)
    running = staged.running
    return [
        _shown(staged, place, verdict.reason if place == running else None)
        for place in range(len(staged.rows))
    ]


def _shown(staged: Staged, place: int, gate: str | None) -> dict[str, object]:
    row, running = staged.rows[place], staged.running
    state = "WAITING" if row.started_at is None else "RUNNING" if place == running else "PASSED"
    members: dict[str, object] = {
        "stage": place + 1,
        "state": state,
        "config": json.loads(staged.stages[place].to_text()),
        "numberOfThings": row.things,
        "numberOfWaitingThings": staged.waiting[place],
        **process_details(row.counts._asdict()),
        "startedAt": None if row.started_at is None else seconds(row.started_at),
        "reachedAt": None if row.reached_at is None else seconds(row.reached_at),
        "gate": gate,
        "stoppedBecause": staged.reasons[place],
    }
    return {name: value for name, value in members.items() if value is not None}
