"""Who listens to live events: what the MQTT server says of it, so that nothing is made for nobody.

MQTT 5, 3.4.2.1: a PUBACK's reason code 0x10 (No matching subscribers) tells that a message was delivered to nobody, not
even to the session of somebody who is away. A fleet's progress is most of all that could be told, and mostly nobody
asks: then each update would cost another third for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from schema.events import is_live
from schema.topics import TopicMode, mounted

QUIET_SECONDS: Final = 0.25
LONGEST_QUIET_SECONDS: Final = 2.0
SOME_A_SECOND: Final = 20
"""How many live events are enough for who is content with some."""
_SECOND: Final = 1.0
_MOST_TOPICS: Final = 4096


class Audience:
    """Topics of live events that nobody heard a moment ago, as the MQTT server knows them.

    Such an event need not be made for the next QUIET_SECONDS; after that they are tried again, and when nobody hears
    those either, it is twice as long, up to LONGEST_QUIET_SECONDS. So whoever subscribes is told of all that happens
    from then on, after at most so long; of executions that ended, at once: those events and all that is AWS's own are
    always sent. Whoever follows a tenant over HTTP hears all of it, or, when some are enough for them, SOME_A_SECOND.
    """

    def __init__(self, mode: TopicMode, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._clock = clock
        self._quiet: dict[str, tuple[float, float]] = {}  # until when, and how long in all
        self.followed: Mapping[str, bool] = {}  # tenants whose events somebody has over HTTP: all?
        self._some: dict[str, SomeEvents] = {}

    def note_unheard(self, topic: str) -> None:
        """Take in that a message reached nobody."""
        if not is_live(topic):
            return
        now = self._clock()
        until, lasted = self._quiet.get(topic, (0.0, 0.0))
        if now < until:
            return  # of the same batch as one before
        if len(self._quiet) >= _MOST_TOPICS:
            self._quiet.clear()  # costs no more than trying each once more
        # What was heard meanwhile was not noted: long after, it is a new silence.
        lately = now - until < LONGEST_QUIET_SECONDS
        longer = min(2 * lasted, LONGEST_QUIET_SECONDS) if lately else 0.0
        lasts = max(longer, QUIET_SECONDS)
        self._quiet[topic] = (now + lasts, lasts)

    def nobody_hears(self, tenant: str, topic: str) -> bool:
        """Whether nobody listens to this topic of a tenant, as far as we were told lately.

        To be asked for each event: where some are enough for those who do, they were that many before long.
        """
        wants_all = self.followed.get(tenant)
        if wants_all:
            return False
        until, _ = self._quiet.get(mounted(tenant, topic, self._mode), (0.0, 0.0))
        if self._clock() >= until:
            return False
        if wants_all is None:
            return True
        some = self._some.get(tenant) or self._some.setdefault(tenant, SomeEvents(self._clock))
        return not some.takes_one()


class SomeEvents:
    """Lets the first SOME_A_SECOND events of each second pass.

    All at once rather than spread over it: one transaction has them then, and one message to each follower.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = float("-inf")
        self._left = 0

    def takes_one(self) -> bool:
        """Count one more; whether it may pass."""
        now = self._clock()
        if now - self._since >= _SECOND:
            self._since, self._left = now, SOME_A_SECOND
        self._left -= 1
        return self._left >= 0
