"""What work at The Things Stack is done with: keys, allowed hosts, and how patiently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from broker.things_stack.transport import Patience

if TYPE_CHECKING:
    from schema.secrets import Sealer
    from schema.things_stack_hosts import StackHosts

BROKEN_SECONDS: Final = 30.0
"""After how many seconds work goes on that broke for a reason of ours; twice as many each further time."""
_BROKEN_MOST: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Pauses:
    """How many seconds are waited before what failed is tried again: as often as there are entries.

    rounds: for a run's devices that time may heal; a regional host remembers a refusal for two minutes. tries: for what
    is one call of a run, such as the list of devices. steps: for a step of provisioning, and for a line of a batch; a
    regional host may remember for two minutes that a new application was not there (6.4), so in sum they are more.
    """

    rounds: Sequence[float] = (5, 30, 130)
    tries: Sequence[float] = (2, 10, 30, 60, 130)
    steps: Sequence[float] = (5, 15, 30, 45, 60, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Means:
    """concurrency: most calls at once for one piece of work; at_once: most pieces of each kind in a process.

    round_seconds: how long a service waits for what it has begun before it looks for more. client: what makes a client
    with somebody's key, instead of the usual one.
    """

    sealer: Sealer
    allowed: StackHosts
    concurrency: int = 4
    at_once: int = 4
    round_seconds: float = 1.0
    patience: Patience = field(default_factory=Patience)
    pauses: Pauses = field(default_factory=Pauses)
    client: Callable[[Credentials, Means], ThingsStack] | None = None

    def connect(self, credentials: Credentials) -> ThingsStack:
        """A client with somebody's key."""
        if self.client is not None:
            return self.client(credentials, self)
        return ThingsStack(
            credentials, self.allowed, patience=self.patience, concurrency=self.concurrency
        )


def broken_pause(failures: int) -> float:
    """Seconds before work is tried again that broke so many times before in a row, for a reason of ours."""
    return min(_BROKEN_MOST, BROKEN_SECONDS * 2.0 ** min(failures, 20))
