"""What happens to jobs without anybody asking: rollouts, timeouts, gates, schedules and forgetting, each a service.

Any number of processes may run all of them: the work is claimed in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.service import every
from handlers import batch_ledger, chunks, gates, outbox, retention, schedules, streams, timeouts

if TYPE_CHECKING:
    from broker.audience import Audience
    from handlers.database import Pool
    from handlers.failed_work import Failure
    from handlers.store import Told

log = structlog.get_logger(__name__)

_WORK_SECONDS = 1.0


class Chores:
    """One process's share of them; tell is called with what was committed for things to be told."""

    def __init__(
        self,
        pool: Pool,
        *,
        slot: int,
        tell: Callable[[Iterable[Told]], None],
        audience: Audience,
        retained: timedelta,
    ) -> None:
        self._pool = pool
        self._slot = slot
        self._tell = tell
        self._nobody_hears = audience.nobody_hears
        self._retained = retained
        self._work = asyncio.Event()
        self._gates = asyncio.Event()
        self._progress = chunks.Progress()
        self._work_due: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Something has changed that work on jobs may follow from."""
        self._work.set()
        self._gates.set()

    def services(self) -> dict[str, Coroutine[None, None, None]]:
        """By name: each runs until it is cancelled."""
        return {
            "work": every("work", self._do_work, seconds=_WORK_SECONDS, wake=self._work),
            "timeouts": every("timeouts", self._time_out, seconds=0.5),
            "gates": every("gates", self._look_at_gates, seconds=0.5, wake=self._gates),
            "schedules": every("schedules", self._keep_schedules, seconds=0.5),
            "retention": every("retention", self._forget, seconds=600),
        }

    async def _do_work(self) -> bool:
        done = await chunks.run_once(
            self._pool,
            slot=self._slot,
            progress=self._progress,
            nobody_hears=self._nobody_hears,
        )
        self._tell(done.told)
        self._work_in(done.due_in)
        _note(done.failures)
        return done.more

    def _work_in(self, seconds: float | None) -> None:
        """One timer at a time: each pass sets its own, and those of passes that were woken otherwise would add up."""
        if self._work_due is not None:
            self._work_due.cancel()
            self._work_due = None
        if seconds is not None and seconds < _WORK_SECONDS:
            loop = asyncio.get_running_loop()
            self._work_due = loop.call_later(max(0.0, seconds), self._work.set)

    async def _look_at_gates(self) -> bool:
        done = await gates.run_once(self._pool, slot=self._slot)
        self._tell(done.told)
        _note(done.failures)
        return done.more

    async def _time_out(self) -> bool:
        done = await timeouts.run_once(self._pool, slot=self._slot)
        self._tell(done.told)
        return done.more

    async def _keep_schedules(self) -> bool:
        done = await schedules.run_once(self._pool)
        _note(done.failures)
        return done.more

    async def _forget(self) -> bool:
        told, more = await retention.run_once(
            self._pool, older_than=self._retained, slot=self._slot
        )
        self._tell(told)
        if told:
            self._work.set()
        await streams.trim_all(self._pool)
        more = await batch_ledger.forget(self._pool, self._retained) or more
        return await outbox.forget_requests(self._pool) or more


def _note(failures: Iterable[Failure]) -> None:
    for one in failures:
        log.error("job_work_failed", job=one.job_id, work=one.work, exc_info=one.error)
