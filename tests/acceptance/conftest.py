"""The broker that acceptance tests ask for: one for all, or one of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.acceptance.running_broker import RunningBroker, running_served, running_up
from tests.servers import Choice

StartBroker = Callable[..., AbstractAsyncContextManager[RunningBroker]]


@pytest.fixture(scope="session")
async def running_broker(
    servers: Choice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBroker]:
    """The broker that all tests share: use names of your own, leave it running."""
    directory = tmp_path_factory.mktemp("broker")
    start = running_served(servers, directory) if servers.docker else running_up(directory)
    async with start as broker:
        yield broker


@pytest.fixture
def own_broker(servers: Choice, tmp_path: Path) -> StartBroker:
    """How to start a broker of the test's own, to kill or to restart, for an `async with`.

    Keyword arguments are further variables of its environment.
    """

    def start(**environment: str) -> AbstractAsyncContextManager[RunningBroker]:
        if servers.docker:
            return running_served(servers, tmp_path, **environment)
        return running_up(tmp_path, **environment)

    return start
