"""The Things Stack's HTTP API, one method a route (reference/the-things-stack.md 2): `async with ThingsStack(...)`.

Each method gives an `Outcome` and raises nothing. Routes of the identity server go to its host; those of the network,
application and join servers take the host, since devices of one application may be in several clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from broker.things_stack.accounts import Accounts, Organizations
from broker.things_stack.applications import Applications
from broker.things_stack.devices import Devices
from broker.things_stack.regional import Regional
from broker.things_stack.transport import Patience, Transport

if TYPE_CHECKING:
    from types import TracebackType

    from broker.things_stack.credentials import Credentials
    from schema.things_stack_hosts import StackHosts


class ThingsStack:
    """All routes that we use, with one connection's key. An async context manager."""

    def __init__(
        self,
        credentials: Credentials,
        allowed: StackHosts,
        *,
        patience: Patience | None = None,
        concurrency: int = 4,
    ) -> None:
        """Take whose key to use, which hosts may see it, and how many calls may be under way at once."""
        self.hosts = credentials.hosts
        self._transport = Transport(
            credentials.api_key, allowed, patience=patience, concurrency=concurrency
        )
        identity = credentials.hosts.identity
        self.accounts = Accounts(self._transport, identity)
        self.organizations = Organizations(self._transport, identity)
        self.applications = Applications(self._transport, identity)
        self.devices = Devices(self._transport, identity)
        self.regional = Regional(self._transport)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)
