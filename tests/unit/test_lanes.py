"""Lanes: a thing's requests in order, with one worker at a time, and none left behind."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from broker.lanes import Item, Lane
from broker.mqtt.link import Inbound, Link
from handlers.desk import Ask
from schema.topics import DeviceTopic, Operation


def _item(thing: str, number: int) -> Item:
    topic = DeviceTopic("default", thing, Operation.UPDATE, "j1")
    ask = Ask(topic, b"{}")
    return Item(cast("Link", None), cast("Inbound", None), ask, float(number))


def _thing(item: Item) -> str:
    assert isinstance(item.asked, Ask)
    return item.asked.topic.thing


class _Workers:
    """Workers of one lane, with what they are at and all that they have taken so far, by thing."""

    def __init__(self, lane: Lane, most: int) -> None:
        self.lane, self.most = lane, most
        self.at_work: dict[int, list[Item]] = {}
        self.taken: defaultdict[str, list[Item]] = defaultdict(list)

    def come(self) -> None:
        if self.lane.needs_worker:
            self._take(self.lane.join())

    def end(self, worker: int) -> None:
        self.lane.decided(worker)
        self._take(worker)

    def _take(self, worker: int) -> None:
        batch = self.lane.take(worker, self.most)
        assert len(batch) <= self.most
        self.lane.release(worker, batch)
        self.at_work[worker] = batch
        others = [held for own, held in self.at_work.items() if own != worker]
        assert {_thing(one) for held in others for one in held}.isdisjoint(map(_thing, batch))
        for one in batch:
            self.taken[_thing(one)].append(one)
        if not batch:
            self.lane.leave(worker)
            del self.at_work[worker]


@given(
    steps=st.lists(st.tuples(st.sampled_from(["arrive", "come", "end"]), st.integers(0, 5))),
    most=st.integers(1, 40),
    most_workers=st.integers(1, 4),
)
def test_things_are_in_one_pair_of_hands_and_in_order(
    steps: list[tuple[str, int]], most: int, most_workers: int
) -> None:
    """Whatever comes and ends when: no thing is with two workers, none is overtaken by itself, all is taken."""
    lane = Lane(most_workers)
    workers = _Workers(lane, most)
    arrived: defaultdict[str, list[Item]] = defaultdict(list)
    for number, (what, which) in enumerate([*steps, ("come", 0)]):
        if what == "arrive":
            arrived[f"t{which}"].append(_item(f"t{which}", number))
            lane.waiting.append(arrived[f"t{which}"][-1])
        elif what == "come":
            workers.come()
        elif workers.at_work:
            workers.end(sorted(workers.at_work)[which % len(workers.at_work)])
        assert len(workers.at_work) <= most_workers
    while workers.at_work:
        workers.end(min(workers.at_work))
    assert not lane.waiting
    assert lane.is_idle
    assert workers.taken == arrived


def test_what_is_being_told_is_held_beside_what_was_taken_since() -> None:
    """A worker's last batch is its own until it is told: its things' next requests are for nobody else."""
    lane = Lane(2)
    lane.waiting.append(_item("t1", 1))
    first, second = lane.join(), lane.join()
    lane.take(first, 10)
    lane.decided(first)
    lane.waiting.extend([_item("t2", 2)])
    assert len(lane.take(first, 10)) == 1
    lane.waiting.append(_item("t1", 3))
    assert lane.take(second, 10) == []
    lane.release(first, [_item("t2", 2)])
    assert [one.received for one in lane.take(second, 10)] == [3]


def test_few_are_worked_on_beside_each_other_and_many_wait_for_a_batch() -> None:
    """The second worker comes while the first has little to do, not when it has much."""
    lane = Lane(2)
    lane.waiting.append(_item("t1", 1))
    assert len(lane.take(lane.join(), 100)) == 1
    lane.waiting.append(_item("t2", 2))
    assert lane.needs_worker

    lane = Lane(2)
    lane.waiting.extend(_item(f"t{n}", n) for n in range(100))
    worker = lane.join()
    assert len(lane.take(worker, 100)) == 100
    lane.waiting.append(_item("new", 101))
    assert not lane.needs_worker
    lane.decided(worker)
    assert lane.needs_worker
