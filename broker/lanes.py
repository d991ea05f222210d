"""Requests that wait for their turn, and who works on which: what a thing sent first is decided first.

A few requests are decided at once, in several small batches beside each other: none waits for another one's commit.
When there are many, they wait for one batch: the larger it is, the less each of them costs.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers.desk import Ask

if TYPE_CHECKING:
    from broker.mqtt.link import Inbound, Link
    from schema.topics import OperatorTopic

# With so many at work, more wait for the next batch instead of beginning one of their own.
_FEW: Final = 16


class Item(NamedTuple):
    """One request on its way: the link that brought it takes its reply and its acknowledgement."""

    link: Link
    inbound: Inbound
    asked: Ask | OperatorTopic
    received: float  # on the loop's clock


def _whose(item: Item) -> str:
    """What must stay in order: a thing's requests among each other; all of an operator's."""
    asked = item.asked
    return asked.topic.thing if isinstance(asked, Ask) else asked.operator


class Lane:
    """One tenant's things, or one operator: requests in order of arrival, and the workers that take them.

    A worker holds the things of its batch from `take` until `release` or `leave`, when they are answered: until then
    nobody else has requests of theirs, and it may have more of them itself.
    """

    __slots__ = ("_held", "_most_workers", "_next", "_requests", "is_operators", "waiting")

    def __init__(self, most_workers: int, *, is_operators: bool = False) -> None:
        self.waiting: deque[Item] = deque()
        self.is_operators = is_operators
        self._most_workers = most_workers
        self._held: dict[int, set[str]] = {}
        self._requests: dict[int, int] = {}
        self._next = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody works here."""
        return not self._held

    @property
    def needs_worker(self) -> bool:
        """Whether one more should come for what waits."""
        if not self.waiting:
            return False
        if not self._held:
            return True
        return len(self._held) < self._most_workers and sum(self._requests.values()) < _FEW

    def join(self) -> int:
        """Take one more worker in; returns its number."""
        self._next += 1
        self._held[self._next] = set()
        self._requests[self._next] = 0
        return self._next

    def leave(self, worker: int) -> None:
        """Let a worker go that has answered all that it took."""
        del self._held[worker], self._requests[worker]

    def take(self, worker: int, most: int) -> list[Item]:
        """Give a worker the requests that are next and that it may have, at most `most`; it holds their things.

        It goes on holding what it held before, until `release`.
        """
        others = [things for number, things in self._held.items() if number != worker and things]
        batch = self._first(most) if not others else self._free(most, set().union(*others))
        self._requests[worker] = len(batch)
        self._held[worker].update(map(_whose, batch))
        return batch

    def decided(self, worker: int) -> None:
        """Count a worker's batch as decided: it is being answered now."""
        self._requests[worker] = 0

    def release(self, worker: int, batch: list[Item]) -> None:
        """Let go of all things that a worker holds but those of this batch, what it took before being answered."""
        self._held[worker] = set(map(_whose, batch))

    def _first(self, most: int) -> list[Item]:
        return [self.waiting.popleft() for _ in range(min(len(self.waiting), most))]

    def _free(self, most: int, elsewhere: set[str]) -> list[Item]:
        batch: list[Item] = []
        kept: list[Item] = []
        while self.waiting and len(batch) < most:
            item = self.waiting.popleft()
            (kept if _whose(item) in elsewhere else batch).append(item)
        self.waiting.extendleft(reversed(kept))
        return batch
