"""The one loop of background work: a pass, then a wait for a signal or for the interval, whichever is first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from handlers.database import TRANSIENT

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
            if failing:
                log.info("service_recovered", service=name)
            pause, failing = (0.0 if more else seconds), False
        # What goes on failing is one event, however often it is tried again.
        except TRANSIENT as error:
            if not failing:
                log.warning("service_waits", service=name, error=repr(error))
            pause, failing = min(seconds, RETRY_SECONDS), True
        except Exception:
            if not failing:
                log.exception("service_failed", service=name)
            pause, failing = min(seconds, RETRY_SECONDS), True
        if failing:
            await asyncio.sleep(pause)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await woken.wait()
