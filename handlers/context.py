"""What a command is carried out with, and what it comes to: the values every operator handler takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schema.errors import Code, Rejected

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection
    from handlers.store import Told
    from schema.arns import Home
    from schema.lifecycle import Execution
    from schema.rights import Role


@dataclass(frozen=True, slots=True)
class Context:
    """One command's surroundings: a connection inside the tenant's transaction, who asks, and the database's clock.

    slot owns what is to be told. duplicate: the MQTT server delivered this request before, so its effect may be there.
    """

    connection: Connection
    tenant_id: str
    home: Home
    actor: str
    role: Role
    now: datetime
    slot: int | None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an accepted command comes to.

    subject names what was changed, for the audit log; "" when nothing was. secrets are members of the body that are
    shown once and stored nowhere.
    """

    body: dict[str, object]
    told: tuple[Told, ...] = ()
    subject: str = ""
    details: dict[str, object] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


class RejectedExecution(Rejected):
    """A refusal that shows the state of the execution it is about (AWS: executionState)."""

    def __init__(self, refusal: Rejected, execution: Execution) -> None:
        """Take the refusal and the execution as it is."""
        super().__init__(refusal.code, refusal.message, show_state=True)
        self.execution = execution


def told_of(*told: Told | None) -> tuple[Told, ...]:
    """Those of the outbox rows that were written."""
    return tuple(one for one in told if one is not None)


def not_found(what: str, name: str) -> Rejected:
    """The refusal for something that is not there."""
    return Rejected(Code.RESOURCE_NOT_FOUND, f"{what} {name!r} does not exist")
