"""Whom CONTINUOUS jobs reach: who joins gets an execution, who leaves every target loses the live one (AWS: REMOVED).

What a job reaches is never stored: it is looked up before and after each change, by which nobody else changes
(`membership.hold`). Who leaves is let go in the same transaction, or, when a whole group of more than a thousand
changed, by background work. Who joins is put behind those who wait for the job's rollout: its rate is theirs, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handlers import membership, store
from handlers.context import told_of
from schema import lifecycle
from schema.changes import Change
from schema.lifecycle import TERMINAL, Status
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from handlers.database import Connection
    from handlers.store import Told

AT_ONCE: Final = 1000
_SQL = queries("groups")
_JOBS = queries("jobs")
_STAGES = queries("stages")

Pair = tuple[str, str]
"""A job and a thing."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A tenant whose memberships this transaction holds, alone or not; slot owns what is to be told."""

    connection: Connection
    tenant_id: str
    slot: int | None
    alone: bool = False

    async def change(
        self,
        names: Collection[str],
        change: Callable[[list[str]], Awaitable[object]],
        *,
        ask: str = "nothing",
    ) -> tuple[Told, ...]:
        """Change something about existing things, by which they may join and leave jobs.

        change is called with names of at most a thousand things at a time. ask says which dynamic groups' queries may
        answer otherwise afterwards: "all", those about "groups", or "nothing". Locks the things, but for more than a
        thousand of a transaction that is alone.
        """
        wide = self.alone and len(names) > AT_ONCE
        now = None if wide else await self._lock(names)
        joined: list[Pair] = []
        left: list[Pair] = []
        for some in _slices(sorted(names)):
            before = await find(self.connection, self.tenant_id, some)
            await change(some)
            if ask != "nothing":
                await membership.settle(
                    self.connection, self.tenant_id, some, groups_only=ask == "groups"
                )
            after = await find(self.connection, self.tenant_id, some)
            joined += after - before
            left += before - after
        return await self._follow(joined, left, now)

    async def arrive(self, names: Sequence[str]) -> None:
        """Take in things that were made in this transaction: groups whose queries they fit, jobs that reach them."""
        for some in _slices(sorted(names)):
            await membership.settle(self.connection, self.tenant_id, some)
            joined = await find(self.connection, self.tenant_id, some)
            await self.let_in(joined, known=False)

    async def let_in(self, joined: Collection[Pair], *, known: bool = True) -> None:
        """Put things behind those who wait for the jobs' rollouts; known: they were registered before."""
        wanted = sorted({job for job, _ in joined})
        if not wanted:
            return
        await self.connection.execute(_STAGES["lock_stages_of"], self.tenant_id, wanted)
        rows = await self.connection.fetch(_SQL["lock_followed"], self.tenant_id, wanted)
        jobs = frozenset(row["job_id"] for row in rows)
        pairs = [(job, thing) for job, thing in joined if job in jobs]
        staged = await self.connection.fetch(
            _SQL["add_joiners"],
            self.tenant_id,
            [job for job, _ in pairs],
            [thing for _, thing in pairs],
            AT_ONCE,
            known,
        )
        if staged:
            columns = zip(*(tuple(row) for row in staged), strict=True)
            await self.connection.execute(_STAGES["add_waiting"], self.tenant_id, *columns)
        await self.connection.execute(_SQL["owe_rollout"], self.tenant_id, sorted(jobs))
        await self.connection.execute(_JOBS["announce_work"])

    async def _lock(self, names: Collection[str]) -> datetime:
        _, now = await store.lock_things(self.connection, self.tenant_id, names)
        return now

    async def _follow(
        self, joined: Collection[Pair], left: Collection[Pair], now: datetime | None
    ) -> tuple[Told, ...]:
        told: tuple[Told, ...] = ()
        jobs = sorted({job for job, _ in (*left, *joined)})
        if left and now is not None:
            if joined:
                # As below; and before the stages the counters that leaving moves.
                gone = sorted({job for job, _ in left})
                await self.connection.execute(_SQL["lock_counts_of"], self.tenant_id, gone)
                await self.connection.execute(_STAGES["lock_stages_of"], self.tenant_id, jobs)
            told = told_of(
                await let_go(self.connection, self.tenant_id, left, now=now, slot=self.slot)
            )
        elif left:
            # All stages before any job's row, as everyone does: those who come may come to other jobs.
            await self.connection.execute(_STAGES["lock_stages_of"], self.tenant_id, jobs)
            await self._owe_reach(sorted({job for job, _ in left}))
        await self.let_in(joined)
        return told

    async def _owe_reach(self, jobs: list[str]) -> None:
        await self.connection.fetch(_SQL["lock_followed"], self.tenant_id, jobs)
        await self.connection.execute(_SQL["owe_reach"], self.tenant_id, jobs)
        await self.connection.execute(_JOBS["announce_work"])


async def fleet(connection: Connection, tenant_id: str, slot: int | None = None) -> Fleet:
    """Hold memberships, for things that will be locked after this."""
    await membership.hold(connection, tenant_id)
    return Fleet(connection, tenant_id, slot)


async def whole_fleet(connection: Connection, tenant_id: str, slot: int | None = None) -> Fleet:
    """Hold all memberships alone, for whole groups and jobs' targets."""
    await membership.hold_alone(connection, tenant_id)
    return Fleet(connection, tenant_id, slot, alone=True)


async def find(
    connection: Connection, tenant_id: str, names: Collection[str], job_id: str | None = None
) -> set[Pair]:
    """Which CONTINUOUS jobs that are not over reach which of the things, as memberships are now."""
    rows = await connection.fetch(_SQL["find_reach"], tenant_id, list(names), job_id)
    return {(row["job_id"], row["thing_name"]) for row in rows}


async def find_joiners(
    connection: Connection, tenant_id: str, job_id: str, names: Collection[str]
) -> dict[str, int]:
    """Those of the locked things that a CONTINUOUS job reaches and that have no live execution of it.

    Returns the number of their next execution, by name: one more than that of their last.
    """
    reached = {thing for _, thing in await find(connection, tenant_id, names, job_id)}
    latest = await store.load_executions(
        connection, tenant_id, [(name, job_id, None) for name in reached]
    )
    numbers = dict.fromkeys(reached, 1)
    for one in latest.values():
        execution = one.execution
        if execution.status in TERMINAL:
            numbers[execution.thing_name] = execution.execution_number + 1
        else:
            del numbers[execution.thing_name]
    return numbers


async def let_go(
    connection: Connection,
    tenant_id: str,
    left: Collection[Pair],
    *,
    now: datetime,
    slot: int | None,
) -> Told | None:
    """Make the live executions REMOVED, QUEUED and IN_PROGRESS, that locked things have of jobs they left.

    A job that was canceled or came to its end between two looks reaches nobody, and nobody has left it: what becomes of
    its executions is its end's to say.
    """
    jobs = sorted({job for job, _ in left})
    rows = await connection.fetch(_SQL["find_followed"], tenant_id, jobs)
    followed = {row["job_id"] for row in rows}
    loaded = await store.load_executions(
        connection,
        tenant_id,
        [(thing, job, None) for job, thing in sorted(left) if job in followed],
    )
    changes = [
        Change(one.execution, lifecycle.remove(one.execution, now))
        for one in loaded.values()
        if one.execution.status not in TERMINAL
    ]
    if not changes:
        return None
    leaving = Counter(change.before.thing_name for change in changes if change.before is not None)
    heads = {name: 1 + count for name, count in leaving.items()}
    queues = await store.load_queues(connection, tenant_id, heads, heads=heads)
    return await store.save(
        connection,
        tenant_id,
        changes,
        queues={name: [one.execution for one in queue] for name, queue in queues.items()},
        now=now,
        slot=slot,
    )


async def follow(connection: Connection, tenant_id: str, job_id: str) -> None:
    """Make a new job CONTINUOUS. The caller holds memberships alone since before it looked at the targets."""
    await connection.execute(_SQL["follow_targets"], tenant_id, job_id)


async def let_go_some(
    connection: Connection,
    tenant_id: str,
    job_id: str,
    after: tuple[str, int],
    *,
    slot: int | None,
) -> tuple[Told | None, tuple[str, int] | None]:
    """Let go those of a job's next live executions whose things it reaches no more.

    Returns what is to be told, and the key of the last one looked at, or None when there are no more.
    """
    rows = await connection.fetch(
        _JOBS["find_executions"],
        tenant_id,
        job_id,
        [Status.QUEUED, Status.IN_PROGRESS],
        *after,
        AT_ONCE,
    )
    last = (rows[-1]["thing_name"], rows[-1]["execution_number"]) if len(rows) == AT_ONCE else None
    names = {row["thing_name"] for row in rows}
    await membership.hold(connection, tenant_id)
    _, now = await store.lock_things(connection, tenant_id, names)
    reached = await find(connection, tenant_id, names, job_id)
    left = {(job_id, name) for name in names} - reached
    return await let_go(connection, tenant_id, left, now=now, slot=slot), last


async def finish(connection: Connection, tenant_id: str, job_id: str, mark: int | None) -> None:
    """End the walk over a job's executions, unless another change of many memberships owes one anew."""
    await connection.execute(_JOBS["lock_job"], tenant_id, job_id)
    await connection.execute(_SQL["finish_reach"], tenant_id, job_id, mark)


def _slices(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield list(names[start : start + AT_ONCE])
