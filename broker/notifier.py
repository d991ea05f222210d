"""Sends what the outbox holds and forgets it when the MQTT server has it.

One sender for a process, one after the other: each notification is read from the database when it is sent, so a later
one never carries an older state. Rows come straight from the transactions that wrote them; what a former life of this
slot, a dead slot or a process without a slot left is loaded from the table, and so is what did not fit into memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from broker.causes import Cause, Causes
from broker.metrics import Metrics
from broker.mqtt.link import Link, LinkClosedError, Outbound
from broker.service import every
from handlers import outbox
from handlers.database import TRANSIENT, Pool
from handlers.documents import Documents
from handlers.store import Told
from schema.topics import TopicMode, mounted

log = structlog.get_logger(__name__)

# Rows are weighed by the messages they stand for: one row may be a rollout's thousand things, each message a whole
# document. What comes beyond the first of these waits in the table.
_MOST_HELD = 50_000
_MOST_AT_ONCE = 4_000
_MOST_SENT = 64  # rows told and not yet forgotten
_FORGET_SECONDS = 0.05  # so long they wait to be forgotten together: what is to be told comes first
_LOOK_SECONDS = 60.0  # so often they are looked for although nobody said that there are some
_RETRY_SECONDS = 0.5


class Notifier:
    """The sending half of the outbox. `run_once` sends one batch; `adopt` fetches what nobody is telling."""

    def __init__(
        self,
        pool: Pool,
        documents: Documents,
        link: Link,
        *,
        mode: TopicMode,
        slot: int,
        metrics: Metrics | None = None,
    ) -> None:
        self._pool = pool
        self._documents = documents
        self._link = link
        self._mode = mode
        self._slot = slot
        self._metrics = metrics or Metrics()
        self._waiting: deque[Told] = deque()
        self._weight = 0  # of what waits
        self._held: set[int] = set()
        self._sent: list[Told] = []
        self._causes = Causes()
        self._forgetting = asyncio.Lock()
        self._forget_timer: asyncio.TimerHandle | None = None
        self._forgettable = asyncio.Event()
        self._losses = 0  # how often the MQTT server may have lost what it had acknowledged
        self._most_rows = (
            _MOST_AT_ONCE  # in one batch; fewer after a failure, to find the row to blame
        )
        self._behind = True  # the table may have rows of ours that memory has not
        self._alone: int | None = None  # how often slots had been taken when nobody else served
        self.wake = asyncio.Event()
        self.orphans = asyncio.Event()
        self._idle = asyncio.Event()
        self.sent = 0

    @property
    def depth(self) -> int:
        """Rows that wait in memory."""
        return len(self._waiting)

    async def idle(self) -> None:
        """Wait until nothing that was handed over is untold."""
        while self._held:
            self._idle.clear()
            self._time_to_forget()
            await self._idle.wait()

    def tell(self, told: Iterable[Told], cause: Cause | None = None) -> None:
        """Take rows just committed, in order of commit; called by whoever wrote them.

        cause: whose traceparents go along with what they say.
        """
        if cause is not None:
            told = list(told)
            self._causes.note(told, cause)
        for one in told:
            if self._weight >= _MOST_HELD:
                self._behind = True
                break
            if one.outbox_id not in self._held:
                self._held.add(one.outbox_id)
                self._waiting.append(one)
                self._weight += _weight(one)
        self.wake.set()

    def look_again(self) -> None:
        """Look into the table at the next pass."""
        self._behind = True
        self.wake.set()

    def look_again_for_orphans(self) -> None:
        """Adopt at once; called when a process without a slot announces rows."""
        self.orphans.set()

    async def adopt(self) -> bool:
        """Take over what nobody tells; returns whether there was some, and so may be more.

        Of our own rows as well: a transaction may have committed, and its connection been lost before we heard of it.
        """
        claimed = await outbox.claim(self._pool, slot=self._slot)
        if claimed.rows or claimed.ours > len(self._held):
            self.look_again()
        return claimed.rows > 0

    async def tell_again(self) -> None:
        """Tell once more what things were told lately: the MQTT server may have lost it."""
        self._losses += 1
        await self._forget()
        await outbox.tell_again(self._pool, slot=self._slot)
        self.look_again()

    async def run(self) -> None:
        """Send until cancelled. Failures of the database are waited out; nothing is forgotten unsent."""
        async with asyncio.TaskGroup() as group:
            # Beside the sending: what is to be told waits for nothing.
            forgetting = group.create_task(
                every("forget", self._forget_told, seconds=_LOOK_SECONDS, wake=self._forgettable)
            )
            await self._send_all()
            forgetting.cancel()

    async def _send_all(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                while await self.run_once():
                    pass
            except TRANSIENT as error:
                log.warning("notifier_waits", error=repr(error))
                self._behind = True
                await asyncio.sleep(_RETRY_SECONDS)
                self.wake.set()
            except LinkClosedError:
                return
            except Exception:
                # One row that cannot be said must not silence the others, nor end the process at each of its starts.
                log.exception("notifier_failed", rows_at_once=self._most_rows)
                await asyncio.sleep(_RETRY_SECONDS)
                self.wake.set()

    async def run_once(self) -> bool:
        """Send one batch and wait until the MQTT server has acknowledged it; returns whether there was anything."""
        if self._behind and self._weight < _MOST_AT_ONCE:
            await self._reload()
        batch = self._next_batch()
        if not batch:
            self._forget_soon()
            return False
        losses = self._losses
        try:
            by_tenant: dict[str, list[Told]] = {}
            for one in batch:
                by_tenant.setdefault(one.tenant_id, []).append(one)
            for tenant, told in by_tenant.items():
                await self._send(tenant, told)
        except BaseException as error:
            # Still in the table, and still ours: the next look finds them. But for a row that failed alone for a reason
            # of its own: it stays in the table, and is tried again by the next process that holds this slot.
            if not (len(batch) == 1 and isinstance(error, Exception) and not _heals(error)):
                self._held.difference_update(one.outbox_id for one in batch)
                self._behind = True
            self._most_rows = len(batch) if _heals(error) else 1
            raise
        self._most_rows = min(2 * self._most_rows, _MOST_AT_ONCE)
        if losses != self._losses:
            # Perhaps acknowledged before the MQTT server crashed, and perhaps after.
            self._waiting.extendleft(reversed(batch))
            self._weight += sum(map(_weight, batch))
            return True
        self._metrics.note_told(batch, asyncio.get_running_loop().time())
        self._causes.forget(batch)
        self._sent += batch
        if len(self._sent) >= _MOST_SENT:
            await self._forget()
        return True

    def _next_batch(self) -> list[Told]:
        batch: list[Told] = []
        size = 0
        while self._waiting and size < _MOST_AT_ONCE and len(batch) < self._most_rows:
            one = self._waiting.popleft()
            size += _weight(one)
            batch.append(one)
        self._weight -= size
        return batch

    async def _send(self, tenant: str, told: list[Told]) -> None:
        """Publish what one tenant's rows say, until what was said is how things stand.

        Another process may have changed and told a thing between our reading and our publishing, ours coming last; it
        may have begun a moment ago, so this is looked at each time. Our own changes cannot: whatever this process tells
        goes through here, one after the other.
        """
        while told:
            said = await outbox.say(
                self._pool, self._documents, tenant, told, slot=self._slot, alone=self._alone
            )
            carried = self._causes.of(told)
            await self._link.publish(
                [
                    Outbound(
                        mounted(tenant, topic, self._mode),
                        payload,
                        traceparent=None if carried is None else carried.by(topic, payload),
                    )
                    for topic, payload in said.messages
                ]
            )
            self.sent += len(said.messages)
            if not said.shown:
                return
            again = await outbox.outdated(self._pool, tenant, said)
            self._alone = said.takings if again is None else None
            told = [Told(tenant, 0, tuple(again), tuple(again))] if again else []

    def _forget_soon(self) -> None:
        if self._sent and self._forget_timer is None:
            loop = asyncio.get_running_loop()
            self._forget_timer = loop.call_later(_FORGET_SECONDS, self._time_to_forget)

    def _time_to_forget(self) -> None:
        self._forget_timer = None
        self._forgettable.set()

    async def _forget_told(self) -> bool:
        await self._forget()
        return False

    async def _forget(self) -> None:
        async with self._forgetting:
            if self._sent:
                done, self._sent = self._sent, []
                try:
                    await outbox.forget(self._pool, done, slot=self._slot)
                except BaseException:
                    self._sent = done + self._sent
                    raise
                self._held.difference_update(one.outbox_id for one in done)
                self._idle.set()

    async def _reload(self) -> None:
        self._behind = False
        after = 0
        # What is being forgotten is still there meanwhile, and would be told once more.
        async with self._forgetting:
            while self._weight < _MOST_HELD:
                found = await outbox.load(self._pool, slot=self._slot, after=after)
                self.tell(found)
                if not found:
                    return
                after = found[-1].outbox_id
        self._behind = True


def _heals(error: BaseException) -> bool:
    return isinstance(error, (*TRANSIENT, LinkClosedError, asyncio.CancelledError))


def _weight(told: Told) -> int:
    return len(told.notify) + len(told.notify_next) + len(told.messages)
