"""What every phase of a run works with: the run as it is, the client, and the ways to write down what happened.

Between two HTTP calls there is a short transaction or none; none is ever open during one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from broker.things_stack.claims import Claims
from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from broker.things_stack.means import Pauses
from broker.things_stack.places import Places
from handlers import run_connections, run_ledger
from handlers.database import Pool
from handlers.run_ledger import Changes, FoundDevice, Run
from handlers.store import Told
from schema.things_stack_hosts import StackHosts
from schema.things_stack_outcomes import (
    Outcome,
    Presence,
    Target,
    Verdict,
    judge,
    judge_denied,
    read_probe,
)
from schema.things_stack_runs import Phase, Result, Step, StepName, StepStatus


class Suspended(Exception):
    """The run goes on later; what is known is written."""


class Stopped(Exception):
    """The run cannot go on; it ends with what it has reached. The text says why."""


@dataclass(slots=True)
class Driver:
    """One run under way in this process."""

    pool: Pool
    run: Run
    stack: ThingsStack
    credentials: Credentials
    connect: Callable[[Credentials], ThingsStack]
    allowed: StackHosts
    pauses: Pauses
    concurrency: int
    slot: int | None
    tell: Callable[[Iterable[Told]], None]
    _steps: list[Step] = field(default_factory=list)
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        """Begin without what the server says of claims."""
        self.claims = Claims(self.stack)

    @property
    def application_id(self) -> str:
        """The application at the server. Raises Stopped when there is none, which phases rule out."""
        if self.run.application_id is None:
            raise Stopped("no application is known")
        return self.run.application_id

    @property
    def has_application(self) -> bool:
        """Whether the application is there, as far as the probe said."""
        return bool(self.run.facts.get("has_application"))

    def note(self, step: Step) -> None:
        """Keep a step until the next `save`."""
        self._steps.append(step)

    def result(self, name: StepName) -> Result | None:
        """How a step of application or organization ended last."""
        return self.run.results.get(name)

    async def save(
        self, changes: Changes | None = None, *, results: Iterable[Step] = (), **facts: object
    ) -> None:
        """Write the noted steps and what else there is. results: steps whose end the run's end is judged by.

        Raises RunLostError when another process has the run, Stopped when somebody canceled it.
        """
        changes = changes or Changes()
        known = dict(self.run.facts if changes.facts is None else changes.facts)
        known |= facts
        known["results"] = {
            **known.get("results", {}),
            **{one.name: {"status": one.status, "reason": _reason(one)} for one in results},
        }
        if changes.phase is not None and changes.phase != self.run.phase:
            known |= {"tries": 0, "failures": 0}
        changes = replace(
            changes,
            facts=known,
            steps=[*self._steps, *changes.steps],
            tell=changes.tell or changes.phase is not None,
        )
        self._steps = []
        self.run, told = await run_ledger.save(self.pool, self.run, changes, slot=self.slot)
        if told is not None:
            self.tell([told])
        if self.run.phase is not Phase.CLEAR:
            self.stop_if_canceled()

    def stop_if_canceled(self) -> None:
        """Raises Stopped when somebody canceled the run."""
        if self.run.canceled_by is not None:
            raise Stopped(f"canceled by {self.run.canceled_by}")

    async def later(self, reason: str) -> None:
        """Write what is noted and suspend the run, as often as a phase may; returns when that was often enough."""
        tries = int(self.run.facts.get("tries", 0))
        if tries >= len(self.pauses.tries):
            return
        await self.save(Changes(wait=self.pauses.tries[tries]), tries=tries + 1)
        raise Suspended(reason)

    async def presence(self) -> Presence:
        """Whether the application exists: what a 403 alone does not tell (reference 5.5)."""
        return read_probe(await self.stack.applications.get(self.application_id))

    async def judge_about_application(self, outcome: Outcome, target: Target) -> Verdict:
        """A verdict that tells a 403 of what is gone from one of what is not permitted. Raises Stopped after a 401."""
        verdict = judge(outcome, target)
        if verdict is Verdict.UNAUTHENTICATED:
            await self.stop_for(outcome)
        if verdict is Verdict.DENIED:
            return judge_denied(outcome, await self.presence())
        return verdict

    async def stop_for(self, outcome: Outcome) -> None:
        """Our key is refused: no answer means anything now. Raises Stopped, after what is noted is kept."""
        await self.save()
        raise Stopped(f"the key is refused: {said(outcome)}")

    async def recorded(self) -> list[FoundDevice]:
        """Devices of the application that we know beside the list: those we registered, and what earlier runs left."""
        ours = await run_connections.recorded_devices(self.pool, self.run)
        return [*await run_ledger.earlier_devices(self.pool, self.run), *ours]

    async def places(self) -> Places:
        """Where devices may be."""
        known = await run_ledger.known_hosts(self.pool, self.run)
        found = self.run.facts.get("hosts", {})
        merged = {
            name: list(dict.fromkeys([*found.get(name, ()), *known.get(name, ())]))
            for name in ("ns", "as", "js")
        }
        return Places(self.credentials.hosts, self.allowed, merged)


_REASON_CHARS: Final = 400


def _reason(step: Step) -> str:
    found = step.meta.get("reason") or (
        f"{step.http_status} {step.meta.get('error_name', '')}".strip()
        if step.status is StepStatus.ERROR
        else ""
    )
    return str(found)[:_REASON_CHARS]


def said(outcome: Outcome) -> str:
    """What a server answered, in few words."""
    name = outcome.error.name or outcome.failure or "no details"
    return f"{outcome.status or 'no answer'} {name}"
