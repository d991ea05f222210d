"""A run from the first process to the last audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.embedded.accounts import EmbeddedServerError
from broker.embedded.ports import LOOPBACK
from broker.mqtt.address import Address
from tests.chaos.audit import audit, spot_check
from tests.chaos.cast import Cast, staged
from tests.chaos.faults import strike
from tests.chaos.fleet import Fleet
from tests.chaos.invariants import Seen, Violation, settle
from tests.chaos.ledger import Watch
from tests.chaos.operator import Operator
from tests.chaos.outcome import Outcome, Plan, Struck
from tests.chaos.schedule import FORGETS, Fault, Kind, blows
from tests.helpers import settled

RECOVERY_SECONDS: Final = 60.0
_ENDING_SECONDS: Final = 60.0
_LISTENERS_SHARE: Final = 10


Say = Callable[[str], None]


async def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Start everything, let the load run through all faults, audit, and stop. Raises EmbeddedServerError."""
    outcome = Outcome(plan)
    listeners = max(1, plan.things // _LISTENERS_SHARE)
    say("starting PostgreSQL, Mosquitto and the brokers ...")
    async with staged(
        directory, things=plan.things, listeners=listeners, brokers=plan.brokers, seed=plan.seed
    ) as cast:
        outcome.disk = cast.disk.why_not or cast.disk.kind
        fleet = Fleet(cast.tokens, outcome.ledger, listeners=listeners, per_second=plan.rate)
        operator = Operator(cast.operator_token, outcome.ledger, fleet, seed=plan.seed)
        await _Run(plan, cast, fleet, operator, outcome, say).all()
        for seat in cast.seats:
            outcome.stop_codes.append(await seat.finish())
    for number, code in enumerate(outcome.stop_codes, start=1):
        if code:
            text = f"broker {number} ended with {code} on SIGTERM"
            outcome.violations.append(Violation("stops in order", f"broker {number}", text))
    return outcome


class _Run:
    """The load, the faults and the audits of one run."""

    def __init__(
        self,
        plan: Plan,
        cast: Cast,
        fleet: Fleet,
        operator: Operator,
        outcome: Outcome,
        say: Say,
    ) -> None:
        self._plan = plan
        self._cast = cast
        self._fleet = fleet
        self._operator = operator
        self._outcome = outcome
        self._say = say
        self._settled_logs: set[str] = set()
        self._began = self._quiet_seconds = 0.0
        self._seen: Seen | None = None

    async def all(self) -> None:
        """Connect, strike all faults with audits in between, end the load, audit once more."""
        address = Address(LOOPBACK, self._cast.devices.port)
        clients = asyncio.create_task(self._clients(address))
        working = asyncio.create_task(self._work())
        looking_after = [asyncio.create_task(seat.look_after()) for seat in self._cast.seats]
        looking_after.append(asyncio.create_task(self._cast.look_after_mosquitto()))
        try:
            await self._until_failed(clients, working)
        finally:
            for task in (clients, working, *looking_after):
                task.cancel()
            await asyncio.gather(clients, working, *looking_after, return_exceptions=True)

    async def _until_failed(self, clients: asyncio.Task[None], working: asyncio.Task[None]) -> None:
        through = asyncio.create_task(self._through(working))
        done, _ = await asyncio.wait({clients, through}, return_when=asyncio.FIRST_COMPLETED)
        if clients in done:
            through.cancel()
            with suppress(asyncio.CancelledError):
                await through
            clients.result()
        through.result()

    async def _clients(self, address: Address) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fleet.run(address))
            group.create_task(self._operator.client.run(address))

    async def _work(self) -> None:
        await self._operator.client.ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operator.work())
            for thing in self._fleet.workers:
                group.create_task(thing.work())

    async def _through(self, working: asyncio.Task[None]) -> None:
        await self._fleet.connected()
        self._say(f"{len(self._fleet.things)} things are connected; the load begins")
        self._began = time.monotonic()
        for blow in blows(self._plan.faults):
            well, updates = time.monotonic(), self._fleet.ledger.updates
            await self._wait_for(blow[0].at, working)
            self._outcome.well_seconds += time.monotonic() - well
            self._outcome.well_updates += self._fleet.ledger.updates - updates
            if not await self._strike(blow):
                return
            done = range(blow[0].number, blow[-1].number + 1)
            if any(number % self._plan.audit_every == 0 for number in done):
                await self._pause_and_audit()
        await self._wait_for(self._plan.seconds, working)
        self._outcome.load_seconds = self._loaded_seconds()
        await self._end(working)

    def _loaded_seconds(self) -> float:
        """How long the load has run, without the pauses for audits."""
        return time.monotonic() - self._began - self._quiet_seconds

    async def _wait_for(self, at: float, working: asyncio.Task[None]) -> None:
        if (pause := at - self._loaded_seconds()) > 0:
            done, _ = await asyncio.wait({working}, timeout=pause)
            for task in done:
                task.result()
                raise RuntimeError("the load ended early")

    async def _strike(self, blow: list[Fault]) -> bool:
        """Do it and see everything recover; returns whether it did, within a minute."""
        blow = [fault for fault in blow if self._can_be_done(fault)]
        if not blow:
            return True
        watches: list[Watch] = []
        # Of two at once the later healing is where recovery begins.
        try:
            notes = await asyncio.gather(
                *(strike(self._cast, one, lambda: watches.append(self._watch())) for one in blow)
            )
        except EmbeddedServerError as error:
            self._broken("starts again", blow, str(error))
            return False
        watch = watches[-1]
        deadline = watch.began + RECOVERY_SECONDS
        await settled(lambda: watch.is_over, timeout=deadline - time.monotonic())
        first, last = (
            None if at is None else at - watch.began
            for at in (watch.accepted_at, watch.answered_at)
        )
        for fault, note in zip(blow, notes, strict=True):
            self._outcome.struck.append(Struck(fault, first, last, watch.waited, note))
            self._say(f"{fault}: {_recovered(first, last, watch.waited)}{note and '; '}{note}")
        if not watch.is_over:
            self._give_up(blow, watch)
        elif any(fault.kind in FORGETS for fault in blow):
            await self._spot_check()
        return watch.is_over

    async def _spot_check(self) -> None:
        async with self._operator.still:
            wrong = await spot_check(self._fleet)
        self._outcome.spot_checks += 1
        self._outcome.violations += wrong
        if wrong:
            self._say(f"     {len(wrong)} listeners were not told what is: {wrong[0]}")

    def _watch(self) -> Watch:
        return self._fleet.ledger.watch()

    def _can_be_done(self, fault: Fault) -> bool:
        why_not = self._cast.disk.why_not if fault.kind is Kind.DISK_FULL else None
        if why_not:
            self._outcome.not_run.append((fault, why_not))
            self._say(f"{fault}: not run, {why_not}")
        return not why_not

    def _give_up(self, blow: list[Fault], watch: Watch) -> None:
        waiting = self._fleet.ledger.waiting
        left = [f"{token}: {waiting.get(token)}" for token in watch.waiting][:5]
        evidence = f"{len(watch.waiting)} of {watch.waited} requests unanswered: {left}"
        self._broken("recovers", blow, evidence)

    def _broken(self, promise: str, blow: list[Fault], evidence: str) -> None:
        about = "; ".join(map(str, blow))
        self._outcome.violations.append(Violation(promise, about, evidence))
        self._outcome.load_seconds = self._loaded_seconds()

    async def _pause_and_audit(self) -> None:
        """Shut the gate, look at everything, and let the load go on."""
        began = time.monotonic()
        self._fleet.gate.shut()
        seen = await self._audit()
        if not self._outcome.violations:
            settle(seen.stories, seen.rows)
        self._fleet.gate.open()
        self._quiet_seconds += time.monotonic() - began

    async def _end(self, working: asyncio.Task[None]) -> None:
        """Let each device end the job at hand, and look at everything for the last time."""
        self._fleet.gate.ending = True
        await asyncio.wait({working}, timeout=_ENDING_SECONDS)
        if working.done():
            working.result()
        self._fleet.gate.shut()
        seen = await self._audit()
        outcome = self._outcome
        outcome.executions, outcome.jobs = len(seen.rows), len(seen.jobs)
        outcome.cancelled = self._operator.cancelled
        outcome.connections = sum(thing.client.connections for thing in self._fleet.things)
        outcome.mosquitto_crashes = self._cast.mosquitto_crashes
        outcome.notified = sum(known.notified for known in self._fleet.ledger.known.values())

    async def _audit(self) -> Seen:
        began = time.monotonic()
        seen, wrong = await audit(self._cast, self._fleet, settled_logs=self._settled_logs)
        for seat in self._cast.seats:
            seat.ended_alone.clear()
        self._outcome.audits += 1
        known = set(self._outcome.violations)
        self._outcome.violations += [one for one in wrong if one not in known]
        took = time.monotonic() - began
        self._say(
            f"audit {self._outcome.audits}: {len(seen.stories):,} executions by the ledger, "
            f"{len(seen.rows):,} rows, {self._fleet.ledger.updates:,} accepted updates: "
            f"{len(wrong) or 'no'} violations ({took:.1f} s)"
        )
        return seen


def _recovered(first: float | None, last: float | None, waited: int) -> str:
    if first is None:
        return f"nothing was accepted within {RECOVERY_SECONDS:g} s"
    if last is None:
        return f"accepted after {first:.2f} s; not all {waited} that waited were answered"
    return f"accepted after {first:.2f} s, all {waited} that waited answered after {last:.2f} s"
