"""A lost connection to the MQTT server: things are told again what they may have lost with the server's memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.mqtt.link import (
    Connected,
    ConnectFailed,
    Link,
    LinkEvent,
    Lost,
    PublishDenied,
    RetryIn,
    SubscriptionRefused,
)
from handlers import outbox

if TYPE_CHECKING:
    from broker.notifier import Notifier
    from broker.slots import Slot
    from handlers.database import Pool

log = structlog.get_logger(__name__)


class TellingAgain:
    """Hears what happens to the link (`on_event`); `run_once` is the service that follows from it."""

    def __init__(self, pool: Pool, slot: Slot) -> None:
        self._pool = pool
        self._slot = slot
        self.wake = asyncio.Event()
        self._connected_at = 0.0
        self._lost_at: float | None = None  # since then the MQTT server may have lost what we told

    def on_event(self, event: LinkEvent) -> None:
        """Log it, and note since when the MQTT server may have lost what we told."""
        match event:
            case Connected(session_present=present):
                log.info("mqtt_connected", session_present=present, slot=self._slot.number)
                self._note_connected(session_present=present)
            case Lost(reason):
                log.warning("mqtt_lost", reason=reason)
                self._note_lost()
            case ConnectFailed(reason):
                log.warning("mqtt_connect_failed", reason=reason)
            case SubscriptionRefused(name, reason):
                log.error("mqtt_subscription_refused", filter=name, reason=reason)
            case PublishDenied(topic, reason):
                log.error("mqtt_publish_denied", topic=topic, reason=reason)
            case RetryIn(seconds):
                log.debug("mqtt_retry", seconds=round(seconds, 3))

    def _note_connected(self, *, session_present: bool) -> None:
        self._connected_at = asyncio.get_running_loop().time()
        # A server that crashed may come back with our session and without what it held last, so the session alone
        # proves nothing.
        if self._slot.killed or not session_present:
            self._note_lost()
        if self._lost_at is not None:
            self.wake.set()

    def _note_lost(self) -> None:
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()

    async def run_once(self, link: Link, notifier: Notifier) -> bool:
        """We were away from the MQTT server: if it crashed, it lost what it held for the things as well.

        If we were not for long, what was told long ago is safe. Returns whether there is more of that to forget.
        """
        if not link.is_connected:
            return False
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            lasted = now - self._connected_at
            return lasted > outbox.LATELY.total_seconds() and await outbox.forget_told(
                self._pool, slot=self._slot.number
            )
        lost_at, self._lost_at = self._lost_at, None  # it may be lost again meanwhile
        try:
            log.info("telling_again", away_seconds=round(now - lost_at, 3))
            await notifier.tell_again()
        except BaseException:
            self._lost_at = lost_at
            raise
        return False
