"""The end of an MQTT session: it takes no more requests, and what it holds is answered first."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.dispatch import Dispatcher
    from broker.mqtt.link import Link, LinkEvent
    from broker.notifier import Notifier
    from broker.slots import Slot

log = structlog.get_logger(__name__)

_DRAIN_SECONDS = 5.0
_QUIET_SECONDS = 1.0


async def wind_down(
    link: Link, filters: Sequence[str], slot: Slot, dispatcher: Dispatcher, notifier: Notifier
) -> bool:
    """Answer what was taken and tell what was written, as far as some seconds allow; the rest is durable anyway.

    Returns whether our session is done with: others take the requests, and it holds none any more. The last process
    leaves its session, which collects until there is one again.
    """
    log.info("stopping", unanswered=dispatcher.held, untold=notifier.depth)
    ended = False
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            if link.is_connected and await slot.leave():
                with suppress(ConnectionError):
                    await link.unsubscribe(filters)
                    await _until_quiet(link)
                    ended = link.is_connected
            dispatcher.stop_taking()
            await dispatcher.idle()
            await notifier.idle()
            await link.drain(_DRAIN_SECONDS)
    return ended


async def drain_session(link: Link, dispatcher: Dispatcher, filters: Sequence[str]) -> None:
    """Take a dead slot's session over through a link of its own: answer what it collected, then end it.

    The dispatcher is its own as well: neither a drain that breaks off nor our own requests that never end may hold up
    the other.
    """
    async with asyncio.TaskGroup() as group:
        run = group.create_task(link.run(), name="drain link")
        serve = group.create_task(dispatcher.run(link), name="drain")
        await link.connected()
        await link.unsubscribe(filters)
        await _until_quiet(link)
        await link.close(end_session=True)
        await serve
        run.cancel()


async def _until_quiet(link: Link) -> None:
    """Wait until nothing has come for a second and nothing is unacknowledged."""
    received = -1
    while received != link.received or link.unacknowledged:
        received = link.received
        await asyncio.sleep(_QUIET_SECONDS)


def note_drained(event: LinkEvent) -> None:
    """Log what happened to the link of a session that is being drained."""
    log.info("drain_link", happened=repr(event))
