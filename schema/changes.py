"""What a batch of changes means for everyone else: which things are told, and which events leave. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from schema import events
from schema.arns import Home
from schema.lifecycle import TERMINAL, Execution
from schema.pending import arranged, first_changed, list_changed

NobodyHears = Callable[[str], bool]
"""Says of a live event's topic (without tenant) whether nobody listens to it."""


def never(_topic: str) -> bool:
    """Take somebody to listen to everything."""
    return False


class Change(NamedTuple):
    """One execution's change: `before` None means it is new, `after` None that it is deleted."""

    before: Execution | None
    after: Execution | None


def about(change: Change) -> Execution:
    """The execution as it is after the change, or as it was if it is gone."""
    execution = change.after or change.before
    assert execution is not None  # noqa: S101 - a change has at least one side
    return execution


def collapsed(changes: Sequence[Change]) -> list[Change]:
    """One change an execution: from before its first step to after its last."""
    net: dict[tuple[str, str, int], Change] = {}
    for change in changes:
        key = about(change).key
        first = net.get(key)
        net[key] = change if first is None else Change(first.before, change.after)
    return list(net.values())


def notifications(
    moves: Sequence[Change],
    queues: Mapping[str, Sequence[Execution]],
) -> tuple[list[str], list[str]]:
    """Which things are told that their list changed, and which that another execution is first.

    moves: one change an execution, without progress, which neither moves in the list nor enters or leaves it.
    """
    by_thing: dict[str, list[Change]] = {}
    for change in moves:
        by_thing.setdefault(about(change).thing_name, []).append(change)
    notify, notify_next = [], []
    for thing, moved in by_thing.items():
        # Whether something entered or left is seen by the changes: the queue may be longer than what is loaded of it.
        if any(list_changed(was, after) for was, after in moved):
            notify.append(thing)
        before = queues[thing]
        live = {one.key: one for one in before}
        # What was hidden a moment ago is in no queue, and its thing may not have been told of that yet: as far as it
        # knows, it is still there. What is beyond the loaded part of a queue comes behind it here as well.
        unseen = [
            was
            for was, _ in moved
            if was is not None and was.status not in TERMINAL and was.key not in live
        ]
        if unseen:
            before = arranged([*before, *unseen])
        for was, after in moved:
            if was is not None:
                live.pop(was.key, None)
            if after is not None:
                live[after.key] = after
        if first_changed(before, arranged(live.values())):
            notify_next.append(thing)
    return notify, notify_next


def is_progress(change: Change) -> bool:
    """Whether the execution is in the status it was in."""
    before, after = change
    return before is not None and after is not None and before.status is after.status


def execution_events(
    changes: Sequence[Change],
    *,
    wanted: frozenset[str],
    home: Home,
    first_id: int,
    now: datetime,
    nobody_hears: NobodyHears = never,
) -> list[tuple[str, str]]:
    """The events of these changes that the tenant wants, as (topic without tenant, payload).

    wanted: the switches that are on. first_id: 128 random bits; event ids count on from it, which is as unique as one
    random number each and costs a tenth. nobody_hears: asked of the topic of each live event, until it says so.
    """
    told = []
    quiet: set[tuple[str, str]] = set()
    for number, change in enumerate(changes):
        operation, switch = events.execution_operation(change.before, change.after)
        if switch not in wanted:
            continue
        execution = about(change)
        if switch in events.LIVE:
            about_what = (execution.job_id, operation)
            if about_what in quiet:
                continue
            if nobody_hears(events.execution_topic(*about_what)):
                quiet.add(about_what)
                continue
        told.append(
            events.execution_event(
                operation,
                execution,
                arn=home.arn("thing", execution.thing_name),
                event_id=str(uuid.UUID(int=(first_id + number) % 2**128)),
                now=now,
            )
        )
    return told
