"""Which runs this process works on: session advisory locks on one connection of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from handlers.database import TRANSIENT, connect
from handlers.stack_locks import hold, let_go

if TYPE_CHECKING:
    from uuid import UUID


class RunLocks:
    """Locks by name. A connection that is lost gives them all back: claims keep what is written then in order."""

    def __init__(self, url: str) -> None:
        """Take the database's URL; the first lock connects."""
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._busy = asyncio.Lock()
        self._held: set[str] = set()

    @asynccontextmanager
    async def holding(self, names: tuple[str, ...]) -> AsyncIterator[bool]:
        """Hold all of the names for as long as the block lasts; False when another has one of them."""
        taken: list[str] = []
        try:
            for name in names:
                if not await self._take(name):
                    break
                taken.append(name)
            yield len(taken) == len(names)
        finally:
            for name in taken:
                await self._give_back(name)

    async def _take(self, name: str) -> bool:
        # The server would give the same session the same lock again and again.
        if name in self._held:
            return False
        async with self._busy:
            connection = self._connection
            if connection is None or connection.is_closed():
                connection = self._connection = await connect(self._url)
            if name in self._held or not await hold(connection, name):
                return False
            self._held.add(name)
        return True

    async def _give_back(self, name: str) -> None:
        async with self._busy:
            self._held.discard(name)
            if self._connection is not None and not self._connection.is_closed():
                with suppress(*TRANSIENT):
                    await let_go(self._connection, name)

    async def close(self) -> None:
        """End the connection, and with it all that is held."""
        if self._connection is not None:
            self._connection.terminate()


def lock_names(
    tenant_id: str, organization_id: UUID, application_id: str | None
) -> tuple[str, ...]:
    """What whoever works on a connection must hold: it, and the application, which another tenant may have as well.

    The application by its id alone, whatever its server is called there: two of one id on different servers wait for
    each other's stint, which is some seconds; one application under two names of its server would be worked on twice.
    """
    mine = f"organization {tenant_id} {organization_id}"
    return (mine,) if application_id is None else (mine, f"application {application_id}")
