"""The one loop of background work: a pass, then a wait for a signal or for the interval, whichever is first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


async def every(
    name: str,
    run_once: Callable[[], Awaitable[bool]],
    *,
    seconds: float,
    wake: asyncio.Event | None = None,
) -> None:
    """Run passes until cancelled: at once again while a pass says there is more, else after `seconds` or when woken.

    A pass that fails is logged and tried again after a second: the database may be away for a while.
    """
    woken = wake or asyncio.Event()
    failing = False
    while True:
        woken.clear()
        try:
            more = await run_once()
            pause, failing = (0.0 if more else seconds), False
        except Exception as error:
            # The first failure is told whole, the following ones in a line: an outage is one event.
            log.log(
                30 if failing else 40,
                "service_failed",
                service=name,
                error=repr(error),
                exc_info=not failing,
            )
            pause, failing = min(seconds, RETRY_SECONDS), True
        if failing:
            await asyncio.sleep(pause)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await woken.wait()
