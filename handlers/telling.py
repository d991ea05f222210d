"""To whom what background work has committed is handed: the process that did it, or whichever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlers import store

if TYPE_CHECKING:
    from handlers.database import Connection
    from handlers.store import Told


def _nobody(_told: Iterable[Told]) -> None:
    """What has no slot is found in the outbox by a process that listens."""


@dataclass(frozen=True, slots=True)
class Teller:
    """slot: which process sends it, None for any. tell: hands over what was committed, after the commit."""

    slot: int | None = None
    tell: Callable[[Iterable[Told]], None] = _nobody

    async def write(
        self, connection: Connection, tenant_id: str, messages: Sequence[tuple[str, str]]
    ) -> list[Told]:
        """Put messages into the outbox, in the caller's transaction; what it gives goes to `tell` after the commit."""
        told = await store.tell(connection, tenant_id, messages=messages, slot=self.slot)
        return [] if told is None else [told]
