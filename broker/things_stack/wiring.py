"""The worker of runs, made of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.settings import Settings
from broker.things_stack.services import stack_means
from broker.things_stack.worker import Worker
from handlers.database import Pool
from handlers.store import Told


def worker_of(
    settings: Settings, pool: Pool, *, slot: int, tell: Callable[[Iterable[Told]], None]
) -> Worker:
    """The service that works on runs; tell is called with what was committed."""
    means = stack_means(settings)
    url = settings.database_url.get_secret_value()
    return Worker(pool, url, means, slot=slot, tell=tell)
