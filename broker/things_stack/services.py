"""What a serving process does at The Things Stack beside deprovisioning: provisioning, and batches of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.outside import sealer_for
from broker.service import every
from broker.things_stack.device_batches import DeviceBatches
from broker.things_stack.means import Means
from broker.things_stack.provisioning import Provisioner
from broker.things_stack.run_locks import RunLocks
from handlers.telling import Teller
from schema.things_stack_hosts import StackHosts

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from broker.local_settings import LocalSettings
    from handlers.database import Pool


def stack_means(settings: LocalSettings) -> Means:
    """With what these settings let it be done."""
    return Means(
        sealer_for(settings),
        StackHosts.parse(settings.things_stack_hosts),
        settings.things_stack_concurrency,
    )


class StackServices:
    """Two services that share a connection for their locks."""

    def __init__(self, pool: Pool, url: str, means: Means, teller: Teller) -> None:
        self._locks = RunLocks(url)
        self.provisioner = Provisioner(pool, self._locks, means, teller)
        self.batches = DeviceBatches(pool, self._locks, means, teller)

    def services(self) -> dict[str, Coroutine[None, None, None]]:
        """By name: each runs until it is cancelled."""
        return {
            "ttn_provisioning": every("ttn_provisioning", self.provisioner.run_once, seconds=1),
            "ttn_batches": every("ttn_batches", self.batches.run_once, seconds=1),
        }

    async def close(self) -> None:
        """Let go of everything."""
        await self.provisioner.close()
        await self.batches.close()
        await self._locks.close()
