"""The outbox on a real PostgreSQL and Mosquitto: who tells what is written there, in which order, until when."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import pytest

from broker.mqtt.address import Address
from broker.mqtt.link import Denied, Link, LinkSettings, Outbound
from broker.notifier import Notifier
from handlers import outbox, slots
from handlers.database import Pool, connect
from handlers.documents import Documents
from handlers.store import Told
from schema.topics import TopicMode
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_tenant, add_things
from tests.helpers import eventually
from tests.ports import reserved_port

_OPEN = "allow_anonymous true\nmax_queued_messages 100000\nlistener {port} 127.0.0.1\n"
HoldSlot = Callable[[int], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def hold_slot(database: Database) -> AsyncIterator[HoldSlot]:
    """Hold slots as living processes do; closing what it returns is that process's death."""
    held: list[asyncpg.Connection] = []

    async def hold(slot: int) -> asyncpg.Connection:
        connection = await connect(database.url)
        assert await slots.take(connection, slot)
        held.append(connection)
        return connection

    yield hold
    for connection in held:
        await connection.close()


async def _write(
    admin: asyncpg.Connection, count: int, *, owner: int | None, tenant: str = "default"
) -> None:
    """Outbox rows of one thing each: t1, t2 and so on."""
    await admin.execute(
        "INSERT INTO outbox (tenant_id, owner_slot, notify, notify_next) "
        "SELECT $1, $2, ARRAY['t' || n], ARRAY['t' || n] FROM generate_series(1, $3) AS n",
        tenant,
        owner,
        count,
    )


async def _owners(admin: asyncpg.Connection) -> dict[int | None, int]:
    rows = await admin.fetch("SELECT owner_slot, count(*) AS n FROM outbox GROUP BY 1")
    return {row["owner_slot"]: row["n"] for row in rows}


class TestClaim:
    """Rows without a living owner get one."""

    async def test_by_one_of_two_at_once(
        self, pool: Pool, admin: asyncpg.Connection, hold_slot: HoldSlot
    ) -> None:
        """Processes that claim at the same time divide the rows: none is left, none is anybody's twice."""
        for slot in range(4):
            await hold_slot(slot)
        await _write(admin, 400, owner=None)
        await asyncio.gather(*(outbox.claim(pool, slot=slot, most=150) for slot in range(4)))

        owners = await _owners(admin)
        assert None not in owners
        assert sum(owners.values()) == 400
        loaded = [
            one.outbox_id
            for slot in range(4)
            for one in await outbox.load(pool, slot=slot, after=0, most=400)
        ]
        assert len(set(loaded)) == len(loaded) == 400

    async def test_of_the_dead_alone(
        self, pool: Pool, admin: asyncpg.Connection, hold_slot: HoldSlot
    ) -> None:
        """A living process keeps its rows; they are claimed once its connection has ended."""
        await hold_slot(0)
        other = await hold_slot(1)
        await _write(admin, 3, owner=1)
        claimed = await outbox.claim(pool, slot=0)
        assert claimed.rows == 0
        assert await _owners(admin) == {1: 3}

        await other.close()
        await eventually(lambda: _is_free(pool, 1))
        claimed = await outbox.claim(pool, slot=0)
        assert claimed.rows == 3
        assert await _owners(admin) == {0: 3}

    async def test_says_how_many_are_ours(
        self, pool: Pool, admin: asyncpg.Connection, hold_slot: HoldSlot
    ) -> None:
        """Rows that are ours already are counted: more than the process knows of were written by a lost commit."""
        await hold_slot(0)
        await _write(admin, 5, owner=0)

        assert (await outbox.claim(pool, slot=0)).ours == 5


async def _is_free(pool: Pool, slot: int) -> bool:
    async with pool.acquire() as connection:
        return slot not in await slots.live_slots(connection)


async def test_load_passes_nothing_over(pool: Pool, admin: asyncpg.Connection) -> None:
    """Page by page over tenants with many and with few rows, every row comes once and in order."""
    await add_tenant(pool, "acme")
    await _write(admin, 25, owner=0)
    await _write(admin, 4, owner=0, tenant="acme")
    await _write(admin, 3, owner=0)
    await _write(admin, 2, owner=7)
    found: list[Told] = []
    while page := await outbox.load(
        pool, slot=0, after=found[-1].outbox_id if found else 0, most=10
    ):
        found += page

    ids = [one.outbox_id for one in found]
    assert ids == sorted(set(ids))
    assert Counter(one.tenant_id for one in found) == {"default": 28, "acme": 4}


async def test_events_then_notify_then_notify_next(pool: Pool) -> None:
    """What one row says comes in the order of AWS: what happened, the list of each thing, then what is next on it."""
    await add_things(pool, "t1", "t2")
    await add_job(pool, "j1", ["t1"])
    told = [
        Told("default", 1, ("t1", "t2"), ("t2", "t1"), (("$aws/events/x", "{}"),)),
        Told("default", 2, ("t1",), (), (("$aws/events/y", "{}"),)),
    ]
    said = await outbox.say(pool, Documents(), "default", told, slot=0)

    topics = [topic for topic, _ in said.messages]
    assert topics[:2] == ["$aws/events/x", "$aws/events/y"]
    for thing in ("t1", "t2"):
        mine = [topic.rsplit("/", 1)[1] for topic in topics if f"/{thing}/" in topic]
        assert mine == ["notify", "notify-next"]


async def _tell_and_forget(pool: Pool, admin: asyncpg.Connection, slot: int, count: int) -> None:
    await _write(admin, count, owner=slot)
    await outbox.forget(pool, await outbox.load(pool, slot=slot, after=0, most=count), slot=slot)


async def _things_to_tell(admin: asyncpg.Connection) -> list[tuple[int, list[str], list[str]]]:
    rows = await admin.fetch("SELECT * FROM outbox ORDER BY outbox_id")
    return [(row["owner_slot"], row["notify"], row["notify_next"]) for row in rows]


class TestTellingAgain:
    """What the MQTT server may have lost, and for how long that is remembered."""

    async def test_moves_what_was_told_back(self, pool: Pool, admin: asyncpg.Connection) -> None:
        """Each thing once, however often it was told, and whatever is left of its executions; then all is as before."""
        await _tell_and_forget(pool, admin, 0, 3)
        await _tell_and_forget(pool, admin, 0, 2)
        await outbox.tell_again(pool, slot=0)
        names = ["t1", "t2", "t3"]
        assert await _things_to_tell(admin) == [(0, names, names)]
        assert await admin.fetchval("SELECT count(*) FROM told_lately") == 0
        await outbox.tell_again(pool, slot=0)
        assert len(await _things_to_tell(admin)) == 1

    async def test_comes_in_rows_of_five_hundred(
        self, pool: Pool, admin: asyncpg.Connection
    ) -> None:
        """So that no row stands for more messages than a chunk of a rollout."""
        await _tell_and_forget(pool, admin, 0, 1001)
        await outbox.tell_again(pool, slot=0)
        told = [len(notify) for _, notify, _ in await _things_to_tell(admin)]
        assert told == [500, 500, 1]

    async def test_is_each_living_process_own_business(
        self, pool: Pool, admin: asyncpg.Connection, hold_slot: HoldSlot
    ) -> None:
        """What a dead one told is told again by the first that is back; a living one does that itself."""
        for slot in (0, 1):
            await hold_slot(slot)
        for slot, count in ((1, 1), (2, 2)):
            await _tell_and_forget(pool, admin, slot, count)
        await outbox.tell_again(pool, slot=0)
        assert await _things_to_tell(admin) == [(0, ["t1", "t2"], ["t1", "t2"])]
        await outbox.tell_again(pool, slot=1)
        assert (await _things_to_tell(admin))[1:] == [(1, ["t1"], ["t1"])]

    async def test_is_not_of_events_alone(self, pool: Pool, admin: asyncpg.Connection) -> None:
        """Progress concerns no thing's list: nothing is remembered of it."""
        await admin.execute(
            "INSERT INTO outbox (tenant_id, owner_slot, topics, payloads) VALUES ('default', 0, '{a}', '{b}')"
        )
        await outbox.forget(pool, await outbox.load(pool, slot=0, after=0), slot=0)
        assert await _rows_left(admin) == 0
        assert await admin.fetchval("SELECT count(*) FROM told_lately") == 0

    async def test_is_forgotten_when_it_is_safe(
        self, pool: Pool, admin: asyncpg.Connection, hold_slot: HoldSlot
    ) -> None:
        """Old rows go, of ours and of dead slots, so many at a time; young ones and a living process's stay."""
        for slot in (0, 1):
            await hold_slot(slot)
        for slot in (0, 0, 2, 1):
            await _tell_and_forget(pool, admin, slot, 1)
        await admin.execute(
            "UPDATE told_lately SET told_at = told_at - $1::interval", outbox.LATELY
        )
        await _tell_and_forget(pool, admin, 0, 1)
        assert await outbox.forget_told(pool, slot=0, most=2)
        assert not await outbox.forget_told(pool, slot=0, most=2)
        left = await admin.fetch("SELECT owner_slot FROM told_lately ORDER BY told_id")
        assert [row["owner_slot"] for row in left] == [1, 0]


@asynccontextmanager
async def _hearing(
    start_mosquitto: StartMosquitto, pool: Pool
) -> AsyncIterator[tuple[Notifier, list[str]]]:
    """A notifier of slot 0 on a Mosquitto, and the topics that a subscriber to notify has heard."""
    port = reserved_port()
    await start_mosquitto(_OPEN.format(port=port), {})
    address = Address("127.0.0.1", port)
    speaker = Link(LinkSettings(address, "speaker"), [], on_event=lambda _: None)
    hearer = Link(
        LinkSettings(address, "hearer"),
        ["default/$aws/things/+/jobs/notify"],
        on_event=lambda _: None,
    )
    heard: list[str] = []

    async def hear() -> None:
        while True:
            received = await hearer.receive()
            heard.extend(one.topic for one in received)
            hearer.acknowledge(received)

    notifier = Notifier(pool, Documents(), speaker, mode=TopicMode.MOUNTED, slot=0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (speaker.run(), hearer.run(), hear())]
        await asyncio.gather(speaker.connected(), hearer.connected())
        tasks.append(group.create_task(notifier.run()))
        yield notifier, heard
        for task in tasks:
            task.cancel()


async def _rows_left(admin: asyncpg.Connection) -> int:
    left: int = await admin.fetchval("SELECT count(*) FROM outbox")
    return left


async def test_more_than_fits_into_memory(
    pool: Pool,
    admin: asyncpg.Connection,
    mosquitto_server: StartMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 rows handed over at once: what memory does not hold comes from the table; all is told."""
    monkeypatch.setattr("broker.notifier._MOST_HELD", 600)
    await _write(admin, 2000, owner=0)
    rows = [one for after in (0, 1000) for one in await _page(pool, after)]
    assert len(rows) == 2000
    async with _hearing(mosquitto_server, pool) as (notifier, heard):
        notifier.tell(rows)
        assert notifier.depth < 2000
        await eventually(lambda: _none_left(admin))
        await eventually(lambda: len(set(heard)) == 2000)
        assert notifier.depth == 0


async def _page(pool: Pool, after: int) -> list[Told]:
    return await outbox.load(pool, slot=0, after=after, most=1000)


async def _none_left(admin: asyncpg.Connection) -> bool:
    return await _rows_left(admin) == 0


async def test_a_row_whose_commit_was_not_heard_of(
    pool: Pool, admin: asyncpg.Connection, mosquitto_server: StartMosquitto, hold_slot: HoldSlot
) -> None:
    """A row of ours that nobody handed over, the connection being lost after the commit, is told all the same."""
    await hold_slot(0)
    async with _hearing(mosquitto_server, pool) as (notifier, heard):
        notifier.look_again()
        await eventually(lambda: not notifier._behind)
        await _write(admin, 1, owner=0)
        await notifier.adopt()
        await eventually(lambda: heard == ["default/$aws/things/t1/jobs/notify"])
        await eventually(lambda: _none_left(admin))


async def test_a_dead_slots_rows_are_told_by_the_living(
    pool: Pool, admin: asyncpg.Connection, mosquitto_server: StartMosquitto, hold_slot: HoldSlot
) -> None:
    """Rows of a killed process and rows of none are adopted and told; those of another living one are left to it."""
    for slot in (0, 2):
        await hold_slot(slot)
    await _write(admin, 3, owner=1)
    await _write(admin, 2, owner=None)
    await _write(admin, 1, owner=2)
    async with _hearing(mosquitto_server, pool) as (notifier, heard):
        await notifier.adopt()
        await eventually(lambda: len(set(heard)) == 3)
        await eventually(lambda: _owned_by(admin, {2: 1}))


async def _owned_by(admin: asyncpg.Connection, wanted: dict[int, int]) -> bool:
    return await _owners(admin) == wanted


async def test_a_row_that_cannot_be_said_silences_no_other(
    pool: Pool,
    admin: asyncpg.Connection,
    mosquitto_server: StartMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault of ours over one row is logged; the rows around it are told, and it stays in the table."""
    say = outbox.say

    async def broken(
        pool: Pool,
        documents: Documents,
        tenant: str,
        told: list[Told],
        *,
        slot: int,
        alone: int | None,
    ) -> outbox.Said:
        if any("t7" in one.notify for one in told):
            raise ZeroDivisionError
        return await say(pool, documents, tenant, told, slot=slot, alone=alone)

    monkeypatch.setattr("broker.notifier.outbox.say", broken)
    await _write(admin, 20, owner=0)
    async with _hearing(mosquitto_server, pool) as (notifier, heard):
        notifier.tell(await _page(pool, 0))
        await eventually(lambda: len(set(heard)) == 19)
        await eventually(lambda: _owned_by(admin, {0: 1}))


class _Overtaken:
    """A link on which, while our first messages are on their way, another process changes what they say."""

    def __init__(self, change: Callable[[], Awaitable[object]]) -> None:
        self._change: Callable[[], Awaitable[object]] | None = change
        self.published: list[Outbound] = []

    async def publish(self, messages: list[Outbound]) -> list[Denied]:
        """Acknowledge all, the first time when the change is made."""
        if self._change is not None:
            change, self._change = self._change, None
            await change()
        self.published += messages
        return []


async def test_lists_are_read_again_only_where_another_process_may_have_told_them(
    pool: Pool, hold_slot: HoldSlot
) -> None:
    """What is said alone stands, until a slot is taken; what is said beside another process is looked at again."""
    await hold_slot(0)
    await add_things(pool, "t1")
    await add_job(pool, "j1", ["t1"])
    told = [Told("default", 1, notify=("t1",))]
    alone = await outbox.say(pool, Documents(), "default", told, slot=0)
    await add_job(pool, "j2", ["t1"])
    assert await outbox.outdated(pool, "default", alone) is None
    still = await outbox.say(pool, Documents(), "default", told, slot=0, alone=alone.takings)
    assert await outbox.outdated(pool, "default", still) is None
    await hold_slot(1)
    assert await outbox.outdated(pool, "default", alone) == ["t1"]
    await add_job(pool, "j3", ["t1"])
    assert await outbox.outdated(pool, "default", still) == ["t1"]
    beside = await outbox.say(pool, Documents(), "default", told, slot=0)
    await add_job(pool, "j4", ["t1"])
    assert await outbox.outdated(pool, "default", beside) == ["t1"]


async def test_a_process_that_has_just_begun_is_not_overlooked(
    pool: Pool, hold_slot: HoldSlot
) -> None:
    """What it changed and told between our reading and our publishing is told again, though we knew of nobody else."""
    await hold_slot(0)
    await add_things(pool, "t1")
    await add_job(pool, "j1", ["t1"])

    async def begin_and_change() -> None:
        await hold_slot(1)
        await add_job(pool, "j2", ["t1"])

    link = _Overtaken(begin_and_change)
    notifier = Notifier(pool, Documents(), cast("Any", link), mode=TopicMode.MOUNTED, slot=0)
    await notifier.adopt()
    notifier.tell([Told("default", 1, notify=("t1",))])
    assert await notifier.run_once()
    last = [one for one in link.published if one.topic.endswith("/notify")][-1]
    assert [job["jobId"] for job in json.loads(last.payload)["jobs"]["QUEUED"]] == ["j1", "j2"]
