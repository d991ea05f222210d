"""One chunk of background work on a job: the job it is about, what it comes to, and what every kind of work does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handlers import store
from handlers.context import told_of
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection
    from handlers.store import Told
    from schema.changes import NobodyHears

_SQL = queries("jobs")
_STAGES = queries("stages")

Key = tuple[str, int]
"""A thing and an execution's number: how far a walk over a job's executions has come."""
START: Final[Key] = ("", 0)


@dataclass(frozen=True, slots=True)
class Job:
    """One job whose lock this transaction holds."""

    connection: Connection
    tenant_id: str
    job_id: str
    job_uid: int
    work: str
    mark: int | None  # what this walk over the executions is for
    force: bool
    scheduling: str | None
    has_rate: bool
    stage: int | None  # the one that started last, of a job with stages
    slot: int | None
    nobody_hears: NobodyHears


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a chunk came to."""

    told: tuple[Told, ...] = ()
    after: Key | None = None  # where the next chunk begins; None when the work is done
    due_in: float | None = None  # or when the work goes on, in seconds


async def lock_counts(job: Job) -> tuple[datetime, int]:
    """Hold the counters, of its stages too, before the job's row, as everyone does.

    Returns the database's clock after that, and how many executions are QUEUED.
    """
    row = await job.connection.fetchrow(_SQL["lock_counts"], job.tenant_id, job.job_id)
    assert row is not None  # noqa: S101 - the job is there, and its counters go with it
    if job.stage is not None:
        await job.connection.execute(_STAGES["lock_stages"], job.tenant_id, job.job_id)
    return row["now"], row["queued"]


async def complete(job: Job, now: datetime) -> tuple[Told, ...]:
    """Complete the job if it is over; returns what is to be told. Its counters are held."""
    messages = await store.complete_jobs(job.connection, job.tenant_id, [job.job_id], now=now)
    return await say(job, messages)


async def say(job: Job, messages: list[tuple[str, str]]) -> tuple[Told, ...]:
    """Put a job's events into the outbox."""
    return told_of(
        await store.tell(job.connection, job.tenant_id, messages=messages, slot=job.slot)
    )
