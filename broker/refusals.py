"""What this process refused over MQTT, until it is written for system/get: a few of each tenant, and how many more."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from handlers.database import Pool
from handlers.system import Refusal, keep_refusals
from schema.limits import REFUSALS_KEPT

_TENANTS: Final = 1000
_MESSAGE: Final = 400
_TOPIC: Final = 200


class Refusals:
    """Notes in memory, bounded however much is refused; `run_once` writes them."""

    def __init__(self, pool: Pool, *, slot: int) -> None:
        self._pool = pool
        self._slot = slot
        self._noted: dict[str, list[Refusal]] = {}

    def note(self, tenant: str, topic: str, payload: bytes, *, at: datetime, left_out: int) -> None:
        """A request was refused with this payload; so many before it are not noted."""
        kept = self._noted.get(tenant)
        if kept is None:
            if len(self._noted) >= _TENANTS:
                return
            kept = self._noted[tenant] = []
        if len(kept) >= REFUSALS_KEPT:
            last = kept[-1]
            kept[-1] = last._replace(left_out=last.left_out + 1 + left_out)
            return
        said = json.loads(payload)
        message = str(said.get("message", ""))[:_MESSAGE].replace("\0", "")
        kept.append(Refusal(at, topic[:_TOPIC], str(said.get("code", "")), message, left_out))

    async def run_once(self) -> bool:
        """Write what was noted; what cannot be written is noted again by whoever is refused next."""
        noted, self._noted = self._noted, {}
        for tenant, refusals in noted.items():
            await keep_refusals(self._pool, tenant, refusals, slot=self._slot)
        return False
