"""Events that are followed, on a real PostgreSQL: kept from the first follower on, in order, and for a while."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import asyncpg
import pytest

from broker.audience import Audience
from broker.streams import Step, Streams
from handlers import outbox, streams
from handlers.database import Pool, tenant_transaction
from handlers.store import Told
from schema.streams import Position
from schema.topics import TopicMode
from tests.factories import add_tenant
from tests.helpers import PATIENCE, eventually

TENANT = "default"


def told(*names: str, tenant: str = TENANT) -> Told:
    """An outbox row, as the notifier has it in memory once it was sent."""
    return Told(
        tenant, 0, messages=tuple((f"$aws/events/job/{one}/completed", one) for one in names)
    )


async def leave(pool: Pool, *names: str, tenant: str = TENANT) -> None:
    """These events leave the outbox, as one row."""
    await outbox.forget(pool, [told(*names, tenant=tenant)], slot=0)


async def kept(admin: asyncpg.Connection) -> list[list[str]]:
    """Payloads by row."""
    return [
        row["payloads"]
        for row in await admin.fetch("SELECT * FROM recent_events ORDER BY event_id")
    ]


@pytest.fixture
def hub(pool: Pool) -> Streams:
    """What a process has."""
    return Streams(pool, Audience(TopicMode.MOUNTED))


async def until(
    hub: Streams, since: Position | None, last: str, tenant: str = TENANT
) -> list[Step]:
    """Follow until an event is there; returns the steps so far."""
    steps = []
    async with (
        aclosing(hub.follow(tenant, since, beat=0.05)) as following,
        asyncio.timeout(PATIENCE),
    ):
        async for step in following:
            steps.append(step)
            if any(event.payload == last for event in step.events):
                break
    return steps


def payloads(steps: list[Step]) -> list[str]:
    """What was told."""
    return [event.payload for step in steps for event in step.events]


async def test_what_is_for_one_room_is_not_for_all(pool: Pool, admin: asyncpg.Connection) -> None:
    """Of a row with an answer for who asked and an event for everybody, the event alone is followed."""
    await streams.follow(pool, TENANT)
    room, event = "operators/ann/ttn/runs/1", "$aws/events/ttnRun/1/finished"
    both = Told(TENANT, 0, messages=((room, "answer"), (event, "event")))
    await outbox.forget(pool, [both, Told(TENANT, 0, messages=((room, "answer"),))], slot=0)
    assert await kept(admin) == [["event"]]


async def test_nothing_is_kept_for_nobody(pool: Pool, admin: asyncpg.Connection) -> None:
    """Before the first follower, and after the last one's time is over, events leave no rows."""
    await leave(pool, "a")
    assert await kept(admin) == []
    await streams.follow(pool, TENANT)
    await leave(pool, "b", "c")
    assert await kept(admin) == [["b", "c"]]
    await admin.execute("UPDATE event_streams SET followed_until = now()")
    await leave(pool, "d")
    assert await kept(admin) == [["b", "c"]]
    assert await streams.followed(pool) == {}


async def test_a_new_beginning_forgets_what_was_before(pool: Pool, hub: Streams) -> None:
    """Somebody who comes back after nobody followed for a while learns that events are missing."""
    _, before = await streams.follow(pool, TENANT)
    await leave(pool, "a")
    async with pool.acquire() as connection, tenant_transaction(connection, TENANT):
        await connection.execute("UPDATE event_streams SET followed_until = now()")
    await leave(pool, "unseen")
    following = asyncio.create_task(until(hub, before, "b"))
    await eventually(lambda: hub.followers)
    await leave(pool, "b")
    steps = await following
    assert steps[0].missed
    assert payloads(steps) == ["b"]


async def test_resuming_gives_each_event_once(pool: Pool, hub: Streams) -> None:
    """From the middle of a row on, over rows that no process has in memory, into those that come."""
    await streams.follow(pool, TENANT)
    await leave(pool, "a", "b", "c")
    await leave(pool, "d")
    first = await until(hub, Position(1), "a")
    events = [event for step in first for event in step.events]
    assert not any(step.missed for step in first[1:])
    behind_b = events[1].behind
    following = asyncio.create_task(until(hub, behind_b, "f"))
    await eventually(lambda: hub.followers)
    await leave(pool, "e", "f")
    steps = await following
    assert payloads(steps) == ["c", "d", "e", "f"]
    assert not any(step.missed for step in steps)


async def test_what_is_old_or_too_much_is_gone_and_said_to_be(
    pool: Pool, hub: Streams, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond the age or the number go, the newest stay; who was behind hears of it and goes on."""
    monkeypatch.setattr(streams, "KEPT_EVENTS", 3)
    _, start = await streams.follow(pool, TENANT)
    for name in ("a", "b", "c", "d", "e"):
        await leave(pool, name)
    await streams.trim(pool, TENANT)
    assert await kept(admin) == [["c"], ["d"], ["e"]]
    await admin.execute(
        "UPDATE recent_events SET at = at - $1::interval WHERE payloads = '{c}'",
        streams.KEPT + timedelta(seconds=1),
    )
    await streams.trim_all(pool)
    assert await kept(admin) == [["d"], ["e"]]
    steps = await until(hub, start, "e")
    assert steps[0].missed
    follower = asyncio.create_task(until(hub, None, "f"))
    await eventually(lambda: hub.followers)
    await leave(pool, "f")
    assert payloads(await follower) == ["f"]


async def test_tenants_are_walls(pool: Pool, hub: Streams) -> None:
    """Two tenants followed in one process: each hears its own alone, also with an id of the other's."""
    await add_tenant(pool, "acme")
    _, position = await streams.follow(pool, "acme")
    await streams.follow(pool, TENANT)
    await leave(pool, "mine")
    await leave(pool, "theirs", tenant="acme")
    assert payloads(await until(hub, position, "theirs", tenant="acme")) == ["theirs"]
    assert payloads(await until(hub, Position(position.row), "mine")) == ["mine"]


async def test_a_follower_far_behind_reads_for_itself(
    pool: Pool, hub: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than is shared in memory, and followers at both ends of it: each hears everything, in order."""
    monkeypatch.setattr("broker.streams._EVENTS_SHARED", 5)
    monkeypatch.setattr("broker.streams._ROWS_AT_ONCE", 3)
    _, start = await streams.follow(pool, TENANT)
    slow = hub.follow(TENANT, start, beat=0.05)
    await anext(slow)
    quick = asyncio.create_task(until(hub, start, "e19"))
    for number in range(20):
        await leave(pool, f"e{number}")
        hub.look_again()
    names = [f"e{number}" for number in range(20)]
    assert payloads(await quick) == names
    heard: list[str] = []
    async with aclosing(slow), asyncio.timeout(PATIENCE):
        async for step in slow:
            heard += payloads([step])
            assert not step.missed
            if heard[-1:] == ["e19"]:
                break
    assert heard == names
    assert hub.followers == 0


async def test_writers_at_once_are_read_in_one_order(pool: Pool, hub: Streams) -> None:
    """Ids become visible in their order, however many write: a follower that asks for what is behind misses none."""
    _, start = await streams.follow(pool, TENANT)
    following = asyncio.create_task(until(hub, start, "last"))

    async def write(writer: int) -> None:
        for number in range(20):
            await leave(pool, f"{writer}-{number}")
            hub.look_again()

    await asyncio.gather(*(write(writer) for writer in range(5)))
    await leave(pool, "last")
    heard = payloads(await following)
    assert sorted(heard) == sorted(
        [*(f"{writer}-{number}" for writer in range(5) for number in range(20)), "last"]
    )
    for writer in range(5):
        assert [one for one in heard if one.startswith(f"{writer}-")] == [
            f"{writer}-{number}" for number in range(20)
        ]


async def test_live_events_are_made_for_followers(pool: Pool, hub: Streams) -> None:
    """A process that learned of a follower makes live events, whatever the MQTT server says of listeners."""
    audience = Audience(TopicMode.MOUNTED, clock=lambda: 0.0)
    process = Streams(pool, audience)
    topic = "$aws/events/jobExecution/j1/progress"
    audience.note_unheard(f"{TENANT}/{topic}")
    assert audience.nobody_hears(TENANT, topic)
    await streams.follow(pool, TENANT)
    await process.run_once()
    assert not audience.nobody_hears(TENANT, topic)
    assert hub.followers == 0


async def test_some_live_events_are_enough_for_some(pool: Pool, hub: Streams) -> None:
    """All are made from when somebody wants all of them, and until nobody has for as long as events are kept."""
    following = asyncio.create_task(anext(hub.follow(TENANT, all_live=False)))
    await following
    assert await streams.followed(pool) == {TENANT: False}
    await anext(hub.follow(TENANT))
    assert await streams.followed(pool) == {TENANT: True}
    await streams.follow(pool, TENANT, all_live=False)
    assert await streams.followed(pool) == {TENANT: True}
    async with pool.acquire() as connection, tenant_transaction(connection, TENANT):
        await connection.execute("UPDATE event_streams SET all_live_until = now()")
    assert await streams.followed(pool) == {TENANT: False}


async def test_closing_ends_every_stream(hub: Streams) -> None:
    """A process that stops keeps no follower waiting."""
    following = asyncio.create_task(until(hub, None, "never"))
    await eventually(lambda: hub.followers)
    hub.close()
    assert payloads(await following) == []
