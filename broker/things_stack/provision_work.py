"""What the steps of provisioning share: the attempt's record, its client, and what an answer means for it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from handlers.stack_connections import StackConnection, UnreadableSecretError
from schema.things_stack_connection import Remedy
from schema.things_stack_outcomes import Outcome, Target, Verdict, judge

if TYPE_CHECKING:
    from handlers.provision_ledger import Ledger

MARK: Final = "jobbroker"
"""The attribute by which we know what we made (reference/the-things-stack.md 9, item 10)."""
MAKING: Final = "jobbroker-making"
"""The attribute by which we know what we made since the last fresh start, also when the answer to it was lost."""
_ERROR_CHARS: Final = 400


class StepFailed(Exception):
    """A step cannot be done: why, what helps, whether time may heal it, and ids that are taken for good."""

    def __init__(
        self,
        message: str,
        *,
        may_heal: bool = False,
        remedy: Remedy = Remedy.RETRY,
        taken: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message[:_ERROR_CHARS])
        self.may_heal = may_heal
        self.remedy = remedy
        self.taken = list(taken)


@dataclass(slots=True)
class Work:
    """One attempt: where it is recorded, the connection as it is, and the server seen with the main key."""

    ledger: Ledger
    found: StackConnection
    stack: ThingsStack
    connect: Callable[[Credentials], ThingsStack]
    new_secret: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(32))

    @property
    def mark(self) -> str:
        """What goes into names and attributes of what is ours."""
        mark: str = self.found.row["mark"]
        return mark

    @property
    def details(self) -> dict[str, Any]:
        """What earlier steps noted."""
        details: dict[str, Any] = self.found.row["provisioning_details"]
        return details

    @property
    def wanted(self) -> dict[str, Any]:
        """What the operator asked for."""
        wanted: dict[str, Any] = self.found.row["provisioning_wanted"]
        return wanted

    @property
    def application_id(self) -> str:
        """The application, once it is chosen."""
        if self.found.application_id is None:
            raise StepFailed("no application was chosen yet")
        return self.found.application_id

    async def note(self, changes: dict[str, object], **details: object) -> None:
        """Write down what was made or is about to be; `found` is current then."""
        await self.ledger.note(changes, details)
        self.found = await self.ledger.load()

    def secret(self, name: str) -> str | None:
        """A stored credential. Raises StepFailed for one that does not open: it is there, and not to be replaced."""
        try:
            return self.found.secret(name)
        except UnreadableSecretError as error:
            raise StepFailed(str(error), remedy=Remedy.START_FRESH) from None

    @asynccontextmanager
    async def seen_with(self, key: str) -> AsyncIterator[ThingsStack]:
        """The server as another key sees it."""
        async with self.connect(with_key(self.found, key)) as stack:
            yield stack


def with_key(found: StackConnection, key: str) -> Credentials:
    """A connection as one of its keys sees it."""
    return Credentials(
        key,
        found.hosts,
        found.row["ttn_region"],
        found.application_id,
        found.ttn_org_id,
        found.row["ttn_user_id"],
    )


def require(
    outcome: Outcome, what: str, target: Target = Target.APPLICATION, *, fresh_rights: bool = False
) -> Outcome:
    """Pass an answer that is good. Raises StepFailed for any other, with whether time may heal it.

    fresh_rights: a 403 may be one that a regional host remembers from before the application was there (6.4).
    """
    if outcome.ok:
        return outcome
    verdict = judge(outcome, target)
    may_heal = verdict is Verdict.AWAY or (verdict is Verdict.DENIED and fresh_rights)
    raise StepFailed(f"{what}: {said(outcome, verdict)}", may_heal=may_heal)


def said(outcome: Outcome, verdict: Verdict) -> str:
    """An answer in words, without anything secret."""
    match verdict:
        case Verdict.UNAUTHENTICATED:
            return f"the server does not accept the key ({outcome.status} {outcome.error.name})"
        case Verdict.DENIED:
            missing = outcome.error.attributes.get("missing")
            lacks = f"; the key lacks {missing}" if missing else ""
            return f"not permitted (403 {outcome.error.name}){lacks}"
        case _:
            status = "no answer" if outcome.status is None else str(outcome.status)
            return f"{status}: {outcome.failure or outcome.snippet or outcome.error.name}"
