"""The worker of runs, made of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.outside import sealer_for
from broker.settings import Settings
from broker.things_stack.worker import Means, Worker
from handlers.database import Pool
from handlers.store import Told
from schema.things_stack_hosts import StackHosts


def worker_of(
    settings: Settings, pool: Pool, *, slot: int, tell: Callable[[Iterable[Told]], None]
) -> Worker:
    """The service that works on runs; tell is called with what was committed."""
    means = Means(
        sealer_for(settings),
        StackHosts.parse(settings.things_stack_hosts),
        concurrency=settings.things_stack_concurrency,
    )
    url = settings.database_url.get_secret_value()
    return Worker(pool, url, means, slot=slot, tell=tell)
