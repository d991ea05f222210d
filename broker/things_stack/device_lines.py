"""What registering a device and removing one share: a line of a batch at work, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.things_stack.client import ThingsStack
from broker.things_stack.provision_work import said
from schema.things_stack_outcomes import Outcome, Target, Verdict, judge

if TYPE_CHECKING:
    from handlers.batch_ledger import Batch, Line


class LineFailed(Exception):
    """A line that cannot be done: why, the HTTP status, whether time may heal it, whether it concerns all lines."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        *,
        may_heal: bool = False,
        stops: bool = False,
    ) -> None:
        super().__init__(message[:400])
        self.status = status
        self.may_heal = may_heal
        self.stops = stops


@dataclass(slots=True)
class LineWork:
    """One line at work. has: the registries that have the device as far as we know; ours: this batch made it.

    fresh_rights: a 403 may be one that a regional host remembers from before the application was there (6.4).
    """

    stack: ThingsStack
    batch: Batch
    line: Line
    fresh_rights: bool
    has: list[str] = field(default_factory=list, kw_only=True)
    ours: bool = field(default=False, kw_only=True)

    @property
    def application(self) -> str:
        """The application at the server."""
        return self.batch.application_id

    @property
    def device_id(self) -> str:
        """The device that the line is about."""
        return self.line.device_id

    def failed(self, what: str, outcome: Outcome) -> LineFailed:
        """Why an answer ends the line, or lets it wait."""
        verdict = judge(outcome, Target.IS_DEVICE)
        denied_for_now = verdict is Verdict.DENIED and self.fresh_rights and not what.endswith("is")
        return LineFailed(
            f"{what}: {said(outcome, verdict)}",
            outcome.status,
            may_heal=verdict is Verdict.AWAY or denied_for_now,
            stops=verdict is Verdict.UNAUTHENTICATED,
        )
