"""The slot of this process, and the sessions that dead processes left.

A member of a shared subscription that dies keeps receiving its share into its session, blindly: Mosquitto does not
ask who is online. So whoever lives takes a dead slot's session over: connects under its client id, answers what was
collected, ends it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from secrets import token_hex
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from handlers import slots
from handlers.database import TRANSIENT, connect

log = structlog.get_logger(__name__)

_RENEW_SECONDS = 2.0
_RETRY_SECONDS = 0.5


class SlotLostError(Exception):
    """Another process has our slot: this one must stop, else both would fight for one session."""


class Slot:
    """A slot held by a connection of its own, from `take` until closed; `number` names the MQTT session."""

    def __init__(
        self, url: str, connection: asyncpg.Connection[asyncpg.Record], number: int, *, session: str
    ) -> None:
        self._url = url
        self._connection = connection
        self._session = session
        self.number = number

    def client_id(self, number: int) -> str:
        """The MQTT client id of a slot's session; nobody can guess another's and take it over."""
        return f"{self._session}-{number}"

    @staticmethod
    def holder() -> str:
        """Who we are, for people who look at `leases`."""
        return f"{socket.gethostname()}:{os.getpid()}"

    @classmethod
    async def take(cls, url: str, *, alone: bool) -> Self:
        """Hold the lowest free slot. alone: only slot 0 will do, and its holder is waited for (plain topics)."""
        connection = await connect(url)
        session = await slots.session_name(connection, f"jobbroker-{token_hex(16)}")
        told = False
        while True:
            number = await slots.take_slot(
                connection, cls.holder(), {"pid": os.getpid()}, most=1 if alone else 64
            )
            if number is not None:
                return cls(url, connection, number, session=session)
            if not told:
                log.info(
                    "standing_by",
                    reason="another process holds the only slot" if alone else "no slot is free",
                )
                told = True
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

    async def keep(self) -> None:
        """Renew until cancelled; after the database was away, hold the same slot again.

        Raises SlotLostError when another process took it meanwhile.
        """
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await asyncio.wait_for(
                    slots.renew(self._connection, self.number, self.holder()), 10 * _RENEW_SECONDS
                )
            except TRANSIENT as error:
                log.warning("slot_connection_lost", slot=self.number, error=repr(error))
                self._connection.terminate()
                await self._hold_again()

    async def _hold_again(self) -> None:
        while True:
            try:
                self._connection = await connect(self._url)
                # The server may need a moment to notice that our old connection is gone.
                for _ in range(20):
                    if await slots.take(self._connection, self.number):
                        log.info("slot_held_again", slot=self.number)
                        return
                    await asyncio.sleep(_RETRY_SECONDS)
            except TRANSIENT:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                raise SlotLostError(f"slot {self.number} is held by another process now")


async def take_over_once(url: str, drain: Callable[[int], Awaitable[None]]) -> bool:
    """Take over one session that a dead process left; `drain` answers what it collected and ends it.

    Returns whether there was one. Two processes never drain the same slot: it is held meanwhile.
    """
    connection = await connect(url)
    try:
        for number in await slots.left_open(connection):
            if await slots.take(connection, number):
                log.info("taking_over", slot=number)
                await drain(number)
                await slots.release(connection, number, session_ended=True)
                return True
        return False
    finally:
        connection.terminate()
