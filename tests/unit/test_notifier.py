"""What the notifier holds and sends at once, whatever its rows stand for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from broker.mqtt.link import Denied, Outbound
from broker.notifier import Notifier
from handlers.documents import Documents
from handlers.store import Told
from schema.topics import TopicMode
from tests.helpers import eventually


class Link:
    """Acknowledges everything at once and counts it."""

    def __init__(self) -> None:
        self.published: list[int] = []

    def publish(self, messages: Sequence[Outbound]) -> asyncio.Future[list[Denied]]:
        """Take the messages."""
        self.published.append(len(messages))
        done: asyncio.Future[list[Denied]] = asyncio.get_running_loop().create_future()
        done.set_result([])
        return done


def _rows(count: int, *, messages: int) -> list[Told]:
    said = (("$aws/events/job/j/queued", "{}"),) * messages
    return [Told("default", number, messages=said) for number in range(1, count + 1)]


def _notifier() -> tuple[Notifier, Link]:
    link = Link()
    nowhere = cast("Any", None)
    notifier = Notifier(
        nowhere, Documents(), cast("Any", link), mode=TopicMode.MOUNTED, slot=nowhere
    )
    notifier._behind = False
    return notifier, link


async def test_large_rows_are_sent_a_few_at_a_time() -> None:
    """A chunk of a rollout is one row of a thousand things, each perhaps told a whole document."""
    notifier, link = _notifier()
    notifier.tell(_rows(4, messages=3000))
    await notifier.run_once()
    assert link.published == [6000]


async def test_small_rows_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device batches tell of one thing each; they leave in one write."""
    forgotten: list[Told] = []

    async def forget(_pool: object, told: list[Told], *, slot: object) -> None:
        forgotten.extend(told)

    monkeypatch.setattr("handlers.outbox.forget", forget)
    notifier, link = _notifier()
    notifier.tell(_rows(4001, messages=1))
    await notifier.run_once()
    assert link.published == [4000]
    assert len(forgotten) == 4000


async def test_memory_is_bounded_by_messages_not_by_rows() -> None:
    """What a large rollout has to tell waits in the table, not here."""
    notifier, _ = _notifier()
    notifier.tell(_rows(100, messages=1000))
    assert notifier.depth == 50


async def test_what_was_on_its_way_at_a_crash_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one batch some may have been acknowledged by the MQTT server that crashed, the rest by the next one."""
    forgotten: list[Told] = []
    on_its_way: list[asyncio.Future[list[Denied]]] = []

    async def forget(_pool: object, told: list[Told], *, slot: object) -> None:
        forgotten.extend(told)

    async def tell_again(_pool: object, *, slot: object) -> None:
        return

    class SlowLink(Link):
        def publish(self, messages: Sequence[Outbound]) -> asyncio.Future[list[Denied]]:
            done = super().publish(messages)
            if len(self.published) > 1:
                return done
            on_its_way.append(asyncio.get_running_loop().create_future())
            return on_its_way[0]

    monkeypatch.setattr("handlers.outbox.forget", forget)
    monkeypatch.setattr("handlers.outbox.tell_again", tell_again)
    notifier, _ = _notifier()
    link = SlowLink()
    notifier._link = cast("Any", link)
    notifier.tell(_rows(3, messages=1))
    sending = asyncio.create_task(notifier.run_once())
    await asyncio.sleep(0)
    await notifier.tell_again()
    notifier._behind = False
    on_its_way[0].set_result([])

    assert await sending
    assert forgotten == []
    assert notifier.depth == 3
    await notifier.run_once()
    assert link.published == [3, 3]
    running = asyncio.create_task(notifier.run())
    await notifier.idle()
    running.cancel()
    assert len(forgotten) == 3


async def test_forgetting_holds_up_no_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database takes its time over what was told, what is to be told next leaves."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def forget(_pool: object, _told: list[Told], *, slot: object) -> None:
        asked.set()
        await answered.wait()

    monkeypatch.setattr("handlers.outbox.forget", forget)
    notifier, link = _notifier()
    first, second = _rows(2, messages=1)
    running = asyncio.create_task(notifier.run())
    notifier.tell([first])
    await asyncio.wait_for(asked.wait(), 30)
    notifier.tell([second])
    await eventually(lambda: len(link.published) == 2)
    answered.set()
    await notifier.idle()
    running.cancel()
