"""The operator of the load: keeps jobs coming for the workers, and gives and takes the listeners theirs."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from broker.cli.kinds import target_arn
from tests.chaos.client import Answer, Body, Client
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Ledger
from tests.helpers import elapse

OPERATOR: Final = "chaos-operator"
WORKERS: Final = "chaos-workers"
_ENOUGH: Final = 3.0
_LOOK_SECONDS: Final = 0.1
_LISTENERS_SECONDS: Final = 0.2
_LISTENERS_HOLD: Final = 2
_HEARS: Final = ("jobs/create/+", "jobs/+/cancel/+", "jobs/+/executions/+/cancel/+")


class Operator:
    """Creates and cancels jobs over MQTT, each command until it is answered."""

    def __init__(self, token: str, ledger: Ledger, fleet: Fleet, *, seed: int) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._random = random.Random(seed)  # noqa: S311 - which job is cancelled, no secret
        self._jobs = 0
        self._given: dict[str, list[str]] = {thing.name: [] for thing in fleet.listeners}
        self.still = asyncio.Lock()
        """Held: the listeners are given and taken nothing."""
        self.cancelled = 0
        self.client = Client(
            OPERATOR,
            token,
            [f"operators/{OPERATOR}/{rest}" for rest in _HEARS],
            ledger,
            on_message=lambda _topic, _body: None,
        )

    async def work(self) -> None:
        """Go on until the fleet's gate says that it ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed_workers())
            group.create_task(self._tease_listeners())

    async def _feed_workers(self) -> None:
        job = ""
        while await self._goes_on(_LOOK_SECONDS):
            if self._fleet.depth() >= _ENOUGH:
                continue
            before, job = job, await self._create(f"thinggroup/{WORKERS}")
            chance = self._random.random()
            if chance < 1 / 10:
                await self._cancel(job)
            elif chance < 1 / 2 and before:
                # The one before: this one may not have come to all things yet, and a refusal for that
                # reason may well be followed by an acceptance of the same command sent again.
                await self._cancel_one(before)

    async def _tease_listeners(self) -> None:
        while await self._goes_on(_LISTENERS_SECONDS):
            async with self.still:
                # One at a time: what is lost must not be told by chance with the next change.
                name, given = self._random.choice(list(self._given.items()))
                if len(given) < _LISTENERS_HOLD:
                    given.append(await self._create(f"thing/{name}"))
                else:
                    # Not always the oldest: whether the first leaves or another one, both are told.
                    await self._cancel(given.pop(self._random.randrange(_LISTENERS_HOLD)))

    async def _goes_on(self, seconds: float) -> bool:
        """Wait, also at the gate; returns whether there is still to be work."""
        await elapse(seconds)
        await self._fleet.gate.passed()
        return not self._fleet.gate.ending

    async def _create(self, target: str) -> str:
        self._jobs += 1
        kind, _, name = target.partition("/")
        job = f"chaos-{self._jobs:06}"
        answer = await self._ask(
            "jobs/create",
            {
                "jobId": job,
                "targets": [target_arn(kind, name)],
                "document": {"operation": "install", "package": job},
            },
        )
        if answer.accepted:
            self._ledger.created[job] = False
        else:
            self._ledger.contradictions.append(f"create of {job} was rejected: {answer.body}")
        return job

    async def _cancel(self, job: str) -> None:
        answer = await self._ask(f"jobs/{job}/cancel", {"force": self._random.random() < 1 / 2})
        # A job that all things have done meanwhile is completed, and cannot be cancelled.
        if answer.accepted:
            self._ledger.created[job] = True
            self.cancelled += 1

    async def _cancel_one(self, job: str) -> None:
        thing = self._random.choice(self._fleet.workers).name
        await self._ask(f"jobs/{job}/executions/{thing}/cancel", {"force": True})

    async def _ask(self, verb: str, body: Body) -> Answer:
        return await self.client.ask(f"operators/{OPERATOR}/{verb}", body)
