"""The slot of this process, and the sessions that dead processes left.

A member of a shared subscription that dies keeps receiving its share into its session, blindly: Mosquitto does not ask
who is online. So whoever lives takes a dead slot's session over: connects under its client id, answers what was
collected, ends it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from handlers import slots
from handlers.database import TRANSIENT, Pool, connect

log = structlog.get_logger(__name__)

_RENEW_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_HOLD_AGAIN_SECONDS = 30.0
# After the database was away every slot is free for a moment, and belongs to who had it: so long nobody else takes it.
GRACE_SECONDS = 5.0


class SlotLostError(Exception):
    """Another process has our slot: this one must stop, else both would fight for one session."""


class Slot:
    """A slot held by a connection of its own, from `take` until closed.

    `number` names the MQTT session; `killed` says that whoever had it last did not end in order, and perhaps the MQTT
    server neither.
    """

    def __init__(
        self,
        url: str,
        connection: asyncpg.Connection[asyncpg.Record],
        taken: slots.Taken,
        *,
        session: str,
    ) -> None:
        self._url = url
        self._connection = connection
        self._session = session
        self.number = taken.number
        self.killed = taken.killed
        self._serving = False

    @staticmethod
    def holder() -> str:
        """Who we are, in `leases`."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def client_id(self, number: int) -> str:
        """The stable client id of a slot's MQTT session; nobody can guess another's and take it over."""
        return f"{self._session}-{number}"

    @classmethod
    async def take(cls, url: str, *, alone: bool) -> Self:
        """Hold the lowest free slot. alone: only slot 0 will do, and its holder is waited for (plain topics).

        Raises what the first connection raises; later ones are waited for.
        """
        connection = await connect(url)
        session = await slots.session_name(connection, f"jobbroker-{token_hex(16)}")
        standing_by = False
        while True:
            try:
                taken = await slots.take_slot(
                    connection, cls.holder(), {"pid": os.getpid()}, most=1 if alone else 64
                )
                if taken is not None:
                    return cls(url, connection, taken, session=session)
            except TRANSIENT as error:
                if not standing_by:
                    raise
                log.warning("standby_connection_lost", error=repr(error))
                connection = await _connected_again(url)
                await asyncio.sleep(GRACE_SECONDS)
                continue
            if not standing_by:
                log.info(
                    "standing_by",
                    reason="another process holds the only slot" if alone else "no slot is free",
                )
                standing_by = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.terminate()

    async def serving(self) -> None:
        """Note that the session is subscribed. The database being away does not matter: it is noted again."""
        self._serving = True
        with suppress(*TRANSIENT):
            await slots.mark_serving(self._connection, self.number)

    async def leave(self) -> bool:
        """Say goodbye; returns whether other processes take requests, so that our session may end.

        Ends at once when it is cancelled: the connection, which has no bound in time, is given up then. A rollback that
        a silent server does not answer would hold up the process that is to stop.
        """
        leaving = asyncio.ensure_future(slots.leave(self._connection, self.number))
        try:
            await asyncio.wait({leaving})
            return leaving.result()
        except TRANSIENT:
            return False
        finally:
            if not leaving.done():
                leaving.add_done_callback(_forget)
                leaving.cancel()
                self._connection.terminate()

    async def session_ended(self) -> None:
        """Give the slot back with nothing to take over."""
        with suppress(*TRANSIENT):
            await slots.release(self._connection, self.number, session_ended=True)

    async def keep(self) -> None:
        """Renew until cancelled; after the database was away, hold the same slot again, and at once.

        Raises SlotLostError when another process took it meanwhile.
        """
        lost = _loss_of(self._connection)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), _RENEW_SECONDS)
            try:
                await asyncio.wait_for(
                    slots.renew(self._connection, self.number, self.holder()), 10 * _RENEW_SECONDS
                )
            except TRANSIENT as error:
                log.warning("slot_connection_lost", slot=self.number, error=repr(error))
                self._connection.terminate()
                await self._hold_again()
                lost = _loss_of(self._connection)

    async def _hold_again(self) -> None:
        self._connection = await _connected_again(self._url)
        deadline = asyncio.get_running_loop().time() + _HOLD_AGAIN_SECONDS
        while True:
            try:
                if await slots.take(self._connection, self.number):
                    details = {"pid": os.getpid(), "serving": self._serving}
                    await slots.record(self._connection, self.number, self.holder(), details)
                    log.info("slot_held_again", slot=self.number)
                    return
                # The server may not have noticed that our old connection is gone, or the session is just being
                # drained: both pass. Another holder does not.
                other = await slots.who_holds(self._connection, self.number)
            except TRANSIENT:
                self._connection.terminate()
                self._connection = await _connected_again(self._url)
                continue
            if other not in (None, self.holder()):
                raise SlotLostError(f"slot {self.number} is held by {other} now")
            if asyncio.get_running_loop().time() > deadline:
                raise SlotLostError(f"slot {self.number} is held by a connection that does not end")
            await asyncio.sleep(_RETRY_SECONDS)


class Takeover:
    """Takes over the sessions that dead processes left; `drain` answers what one collected and ends it."""

    def __init__(self, pool: Pool, url: str, drain: Callable[[int], Awaitable[None]]) -> None:
        self._pool = pool
        self._url = url
        self._drain = drain
        self._free_since: dict[int, float] = {}

    async def run_once(self) -> bool:
        """Look for slots that nobody holds, and drain one that stayed so for a while; returns whether it did.

        Two processes never drain the same slot: it is held meanwhile.
        """
        try:
            async with self._pool.acquire() as connection:
                left = await slots.left_open(connection)
        except TRANSIENT:
            self._free_since.clear()
            raise
        now = asyncio.get_running_loop().time()
        self._free_since = {slot: self._free_since.get(slot, now) for slot in left}
        for slot, since in self._free_since.items():
            if now - since >= GRACE_SECONDS and await self._take_over(slot):
                return True
        return False

    async def _take_over(self, slot: int) -> bool:
        connection = await connect(self._url)
        try:
            if slot not in await slots.left_open(connection) or not await slots.take(
                connection, slot
            ):
                return False
            # Between the look and the hold another process may have drained it, and given it back.
            if not await slots.has_session(connection, slot):
                await slots.release(connection, slot, session_ended=False)
                return False
            log.info("taking_over", slot=slot)
            await self._drain_while_held(slot, connection)
            await slots.release(connection, slot, session_ended=True)
            log.info("taken_over", slot=slot)
        finally:
            connection.terminate()
        return True

    async def _drain_while_held(
        self, slot: int, connection: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(_fail_on_loss_of(connection))
                await self._drain(slot)
                watch.cancel()
        except BaseExceptionGroup as errors:
            if errors.split(TRANSIENT)[1] is None:
                raise ConnectionError(f"slot {slot} could not be drained") from errors
            raise


def _forget(ended: asyncio.Future[bool]) -> None:
    """Take in how it ended, which nobody waits for any more."""
    if not ended.cancelled():
        ended.exception()


def _loss_of(connection: asyncpg.Connection[asyncpg.Record]) -> asyncio.Event:
    lost = asyncio.Event()
    if connection.is_closed():
        lost.set()
    else:
        connection.add_termination_listener(lambda _: lost.set())
    return lost


async def _fail_on_loss_of(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await _loss_of(connection).wait()
    raise ConnectionError("the connection that holds the slot was lost")


async def _connected_again(url: str) -> asyncpg.Connection[asyncpg.Record]:
    while True:
        try:
            return await connect(url)
        except TRANSIENT:
            await asyncio.sleep(_RETRY_SECONDS)
