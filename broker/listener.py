"""Hears what other processes announce in the database, so that nothing waits for an interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncpg
import structlog

from handlers.database import TRANSIENT, connect

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
_PROBE_SECONDS = 10.0


async def listen(url: str, wakes: Mapping[str, Callable[[], None]]) -> None:
    """LISTEN on the channels until cancelled and call what each one wakes, over lost connections.

    After each connect everything is woken once: what was announced meanwhile was not heard.
    """
    while True:
        try:
            await _hear(url, wakes)
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            # A password that is being changed, too: what is announced is also looked for from time to time.
            log.warning("listener_lost", error=repr(error))
        await asyncio.sleep(_RETRY_SECONDS)


async def _hear(url: str, wakes: Mapping[str, Callable[[], None]]) -> None:
    connection = await connect(url)
    try:
        for channel, wake in wakes.items():
            await connection.add_listener(channel, lambda *_, wake=wake: wake())
        for wake in wakes.values():
            wake()
        # A connection that died without a word is only found by using it.
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            await connection.execute("SELECT 1", timeout=_PROBE_SECONDS)
    finally:
        connection.terminate()
