"""The load: things that work on their jobs as correct AWS devices do, and things that only listen."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any, Final

from broker.mqtt.address import Address
from tests.chaos.client import Answer, Client
from tests.chaos.ledger import Entry, Ledger, Shown, first_of, shown
from tests.helpers import elapse

_IDLE_SECONDS: Final = 10.0
_CAUGHT_UP_SECONDS: Final = 1.0
_HEARS: Final = (
    "notify",
    "notify-next",
    "get/+",
    "start-next/+",
    "+/get/+",
    "+/update/+",
)


class Gate:
    """Open: the load runs. `shut` lets nobody begin a request; `ending` lets nobody begin a job."""

    def __init__(self) -> None:
        self.ending = False
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether requests may begin."""
        return self._open.is_set()

    async def passed(self) -> None:
        """Wait while it is shut."""
        await self._open.wait()

    def shut(self) -> None:
        """Let nobody begin a request."""
        self._open.clear()

    def open(self) -> None:
        """Let them go on."""
        self._open.set()


class Thing:
    """One device: asks for its next job, reports progress and an end, and listens."""

    def __init__(
        self,
        name: str,
        token: str,
        ledger: Ledger,
        gate: Gate,
        *,
        every: float,
        naps: bool = False,
    ) -> None:
        self.name = name
        self._ledger = ledger
        self._known = ledger.thing(name)
        self._gate = gate
        self._every = every
        self._due = 0.0
        self._woken = asyncio.Event()
        self._random = random.Random(name)  # noqa: S311 - which job fails, no secret
        self.client = Client(
            name,
            token,
            [f"$aws/things/{name}/jobs/{rest}" for rest in _HEARS],
            ledger,
            on_message=self._hear,
            on_subscribed=self._learn,
            may_nap=lambda: naps and gate.is_open,
        )

    def _topic(self, rest: str) -> str:
        return f"$aws/things/{self.name}/jobs/{rest}"

    def _hear(self, topic: str, body: dict[str, Any]) -> None:
        if topic.endswith("/notify-next"):
            self._ledger.next_notified(self.name, body)
        else:
            self._ledger.notified(self.name, body)
        self._woken.set()

    async def _learn(self) -> None:
        """Ask after a new session what may have been told while there was none, as AWS has devices do."""
        heard = self._known.notified
        pending, first = await self.pending(), await self.first()
        if self._known.notified == heard:
            self._known.pending, self._known.first, self._known.by = pending, first, "get"
        self._woken.set()

    async def pending(self) -> Shown:
        """What a get shows: as notify does, at most ten in all."""
        body = await self._accepted("get", {})
        return shown([*body.get("inProgressJobs", []), *body.get("queuedJobs", [])])[:10]

    async def first(self) -> Shown:
        """What `$next/get` shows."""
        return first_of(await self._accepted("$next/get", {"includeJobDocument": False}))

    async def _accepted(self, rest: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.ask(self._topic(rest), body)
        if not answer.accepted:
            self._ledger.contradictions.append(f"{self.name}: {rest} rejected: {answer.body}")
        return answer.body if answer.accepted else {}

    async def work(self) -> None:
        """Do one job after the other until the gate says that it ends."""
        self._due = asyncio.get_running_loop().time() + self._random.uniform(0, self._every)
        while not self._gate.ending:
            execution = await self._start()
            if execution is not None:
                await self._do(execution)
                continue
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _IDLE_SECONDS)

    async def _start(self) -> dict[str, Any] | None:
        answer = await self._ask("start-next", {})
        if not answer.accepted:
            self._ledger.contradictions.append(f"{self.name}: start-next rejected: {answer.body}")
            return None
        execution: dict[str, Any] | None = answer.body.get("execution")
        if execution is not None:
            self._write(execution, answer, "IN_PROGRESS", execution["versionNumber"])
        return execution

    async def _do(self, execution: dict[str, Any]) -> None:
        steps = self._random.randint(1, 4)
        version = execution["versionNumber"]
        for step in range(1, steps + 1):
            last = step == steps
            status = "IN_PROGRESS"
            if last:
                status = "FAILED" if self._random.random() < 1 / 8 else "SUCCEEDED"
            answer = await self._update(execution, status, step, version)
            if not answer.accepted:
                return  # taken back by the operator; the audit holds it to that
            version = answer.body["executionState"]["versionNumber"]

    async def _update(
        self, execution: dict[str, Any], status: str, step: int, version: int
    ) -> Answer:
        token = self.client.token()
        body: dict[str, Any] = {
            "status": status,
            "statusDetails": {"token": token, "step": str(step)},
            "includeJobExecutionState": True,
        }
        if self._random.random() < 1 / 3:
            body["expectedVersion"] = version
        answer = await self._ask(f"{execution['jobId']}/update", body, token=token)
        state = answer.body.get("executionState", {})
        self._write(execution, answer, status, state.get("versionNumber"))
        return answer

    def _write(
        self, execution: dict[str, Any], answer: Answer, says: str, version: int | None
    ) -> None:
        key = (self.name, execution["jobId"], execution["executionNumber"])
        code = None if answer.accepted else str(answer.body.get("code"))
        entry = Entry(
            answer.body["clientToken"],
            says,
            version if answer.accepted else None,
            code,
            answer.times_sent,
        )
        self._ledger.tell(key, entry)

    async def _ask(self, rest: str, body: dict[str, Any], *, token: str = "") -> Answer:
        loop = asyncio.get_running_loop()
        await self._gate.passed()
        if (pause := self._due - loop.time()) > 0:
            await elapse(pause)
            await self._gate.passed()
        # A moment is caught up with, an outage is not: the rate is that of a fleet, not of a queue.
        self._due = max(self._due + self._every, loop.time() - _CAUGHT_UP_SECONDS)
        return await self.client.ask(self._topic(rest), body, token=token)


class Fleet:
    """All things. `workers` work, `listeners` are told of jobs and leave them alone; half of those sleep at times."""

    def __init__(
        self, tokens: dict[str, str], ledger: Ledger, *, listeners: int, per_second: float
    ) -> None:
        self.ledger = ledger
        self.gate = Gate()
        names = list(tokens)
        every = (len(names) - listeners) / per_second
        made = [
            Thing(
                name,
                tokens[name],
                ledger,
                self.gate,
                every=every,
                naps=number < listeners and number % 2 == 0,
            )
            for number, name in enumerate(names)
        ]
        self.listeners, self.workers = made[:listeners], made[listeners:]

    @property
    def things(self) -> list[Thing]:
        """All of them."""
        return [*self.listeners, *self.workers]

    async def run(self, address: Address) -> None:
        """Keep all of them connected until cancelled."""
        async with asyncio.TaskGroup() as group:
            for thing in self.things:
                group.create_task(thing.client.run(address))

    async def connected(self) -> None:
        """Wait until all have subscribed."""
        await asyncio.gather(*(thing.client.ready() for thing in self.things))

    def depth(self) -> float:
        """How many jobs wait for a worker on average, as far as they were told."""
        known = (self.ledger.thing(thing.name).pending or () for thing in self.workers)
        return sum(map(len, known)) / max(1, len(self.workers))
