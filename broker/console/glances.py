"""Answers that several pages may have: what one of them was told a moment ago, others need not ask for.

Ten people who look at one job cost the API hardly more than one. Only readers of one tenant and role share, and each
of them still shows their token now and then (`Viewer.prove`), so that one which is not good any more is noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from broker.console.api import Body

FRESH_SECONDS: Final = 1.5
_MOST: Final = 1000

Ask = Callable[[], Awaitable[Body]]


@dataclass(slots=True)
class _Glance:
    tenant: str
    at: float
    answer: asyncio.Task[Body]


class Glances:
    """The answers of the last FRESH_SECONDS, and those under way. They are shared: nobody may change them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._glances: dict[Hashable, _Glance] = {}

    async def have(self, tenant: str, key: Hashable, ask: Ask) -> Body:
        """What somebody of the tenant was told lately for this key, or else what `ask` gives. Raises its errors."""
        glance = self._glances.get((tenant, key))
        if glance is not None and self._clock() - glance.at < FRESH_SECONDS:
            await asyncio.wait((glance.answer,))
            if not glance.answer.cancelled() and glance.answer.exception() is None:
                return glance.answer.result()
        return await self.renew(tenant, key, ask)

    async def renew(self, tenant: str, key: Hashable, ask: Ask) -> Body:
        """What `ask` gives, for others as well. Raises its errors, which are nobody else's."""
        self._drop_old()
        answer = asyncio.ensure_future(ask())
        self._glances[(tenant, key)] = _Glance(tenant, self._clock(), answer)
        return await answer

    def forget(self, tenant: str) -> None:
        """Something of the tenant's was changed from here: what was told before is no answer any more."""
        for key in [key for key, one in self._glances.items() if one.tenant == tenant]:
            del self._glances[key]

    def _drop_old(self) -> None:
        now = self._clock()
        for key in [key for key, one in self._glances.items() if now - one.at >= FRESH_SECONDS]:
            del self._glances[key]
        while len(self._glances) >= _MOST:
            del self._glances[next(iter(self._glances))]
