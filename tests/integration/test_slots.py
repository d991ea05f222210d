"""Process slots on a real PostgreSQL: who has which, who takes over, and what their MQTT sessions are called."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from broker.slots import Slot, SlotLostError, Takeover
from handlers import slots
from handlers.database import Connection, Pool
from tests.conftest import LOGIN, Database
from tests.helpers import eventually


async def test_session_names_are_shared_and_cannot_be_guessed(database: Database) -> None:
    """Whoever may connect to the MQTT server must not know the client id that takes our session over."""
    async with (
        await Slot.take(database.url, alone=False) as one,
        await Slot.take(database.url, alone=False) as other,
    ):
        assert one.number != other.number
        assert one.client_id(other.number) == other.client_id(other.number)
        assert one.client_id(0) != one.client_id(1)
        secret = one.client_id(0).removeprefix("jobbroker-").removesuffix("-0")
        assert len(bytes.fromhex(secret)) == 16


class TestTaking:
    """Which slot a process gets, and what it learns of the one before."""

    async def test_the_lowest_that_is_free(self, database: Database) -> None:
        """Numbers are given from 0 on, and again when their holder's connection has ended."""
        async with await Slot.take(database.url, alone=False) as first:
            async with await Slot.take(database.url, alone=False) as second:
                assert (first.number, second.number) == (0, 1)
                await second.session_ended()
            async with await Slot.take(database.url, alone=False) as third:
                assert third.number == 1

    async def test_a_session_that_is_there_goes_on(self, database: Database, pool: Pool) -> None:
        """A new process takes the slot whose session was left, though a lower one is free."""
        async with await Slot.take(database.url, alone=False) as first:
            async with await Slot.take(database.url, alone=False):
                await first.session_ended()
            await eventually(lambda: _is_free(pool, 1))
            async with await Slot.take(database.url, alone=False) as next_one:
                assert next_one.number == 1

    @pytest.mark.parametrize("in_order", [True, False])
    async def test_whether_the_last_one_said_goodbye(
        self, database: Database, pool: Pool, in_order: bool
    ) -> None:
        """A holder that was killed may have fallen with the MQTT server; the next one learns of it."""
        async with await Slot.take(database.url, alone=False) as first:
            assert not first.killed
            if in_order:
                assert not await first.leave()
        await eventually(lambda: _is_free(pool, 0))
        async with await Slot.take(database.url, alone=False) as second:
            assert (second.number, second.killed) == (0, not in_order)


class TestLeaving:
    """Whether a process that ends in order may end its session as well."""

    async def test_only_beside_one_that_takes_requests(self, database: Database) -> None:
        """A process that has not subscribed yet is nobody to leave the requests to."""
        async with (
            await Slot.take(database.url, alone=False) as one,
            await Slot.take(database.url, alone=False) as other,
        ):
            await one.serving()
            assert not await one.leave()
            await one.serving()
            await other.serving()
            assert await one.leave()

    async def test_one_of_those_that_leave_at_once_stays(self, database: Database) -> None:
        """Of three processes that leave at the same moment, exactly one finds nobody."""
        async with (
            await Slot.take(database.url, alone=False) as one,
            await Slot.take(database.url, alone=False) as two,
            await Slot.take(database.url, alone=False) as three,
        ):
            for _ in range(10):
                for slot in (one, two, three):
                    await slot.serving()
                found = await asyncio.gather(one.leave(), two.leave(), three.leave())
                assert sorted(found) == [False, True, True]


class TestKeeping:
    """A slot outlives the connection that holds it."""

    async def test_held_again_after_its_connection_was_cut(
        self, database: Database, admin: asyncpg.Connection
    ) -> None:
        """Cut by the server, it is held again at once, with all that was noted of it."""
        async with await Slot.take(database.url, alone=False) as slot:
            await slot.serving()
            keeping = asyncio.create_task(slot.keep())
            cut = await _cut(admin, slot.number)
            # It may be free for so short a time that nobody sees it.
            await eventually(lambda: _is_held_anew(admin, slot.number, cut))
            async with await Slot.take(database.url, alone=False) as other:
                assert other.number == 1
                # What is noted of it is written after the hold.
                await eventually(lambda: _keeps_serving(other))
            keeping.cancel()

    async def test_lost_to_another_holder(
        self, database: Database, admin: asyncpg.Connection
    ) -> None:
        """When another process has it, this one must end: both would fight for one session."""
        async with await Slot.take(database.url, alone=True) as slot:
            standing_by = asyncio.create_task(Slot.take(database.url, alone=True))
            await eventually(lambda: _backends(admin, 2))
            await _cut(admin, slot.number)
            async with await standing_by as other:
                assert other.number == 0
                await admin.execute("UPDATE leases SET holder = 'elsewhere:1'")
                with pytest.raises(SlotLostError, match="elsewhere"):
                    await slot.keep()


class TestTakeover:
    """Sessions of the dead are drained by one of the living."""

    async def test_by_one_of_two_and_once(
        self, database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two processes look at the same time: the session is drained once, and then forgotten."""
        monkeypatch.setattr("broker.slots.GRACE_SECONDS", 0.0)
        drained: list[int] = []

        async def drain(number: int) -> None:
            drained.append(number)
            await eventually(lambda: _is_held(pool, number))

        async with await Slot.take(database.url, alone=False):
            async with await Slot.take(database.url, alone=False):
                pass
            await eventually(lambda: _is_free(pool, 1))
            takeovers = [Takeover(pool, database.url, drain) for _ in range(2)]
            done = await asyncio.gather(*(one.run_once() for one in takeovers))
            assert sorted(done) == [False, True]
            assert not await takeovers[0].run_once()
        assert drained == [1]

    async def test_not_of_what_another_has_just_drained(
        self, database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look and the hold another process did it all, and gave the slot back: nothing is left to do."""
        monkeypatch.setattr("broker.slots.GRACE_SECONDS", 0.0)
        take, drained = slots.take, list[int]()

        async def drain(number: int) -> None:
            drained.append(number)

        one, other = (Takeover(pool, database.url, drain) for _ in range(2))

        async def take_late(connection: Connection, slot: int) -> bool:
            monkeypatch.setattr("handlers.slots.take", take)
            assert await other.run_once()
            return await take(connection, slot)

        async with await Slot.take(database.url, alone=False):
            pass
        await eventually(lambda: _is_free(pool, 0))
        monkeypatch.setattr("handlers.slots.take", take_late)
        assert not await one.run_once()
        assert drained == [0]
        await eventually(lambda: _is_free(pool, 0))

    async def test_not_of_one_that_may_come_back(
        self, database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A slot that has just become free is left alone: its holder may only have lost the database."""
        monkeypatch.setattr("broker.slots.GRACE_SECONDS", 3600.0)

        async def drain(number: int) -> None:
            raise AssertionError(number)

        async with await Slot.take(database.url, alone=False):
            pass
        await eventually(lambda: _is_free(pool, 0))
        takeover = Takeover(pool, database.url, drain)
        assert not await takeover.run_once()
        assert not await takeover.run_once()

    async def test_broken_off_when_the_slot_is_lost(
        self,
        database: Database,
        pool: Pool,
        admin: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The database is lost while draining: another process may do it now, so this one stops and ends nothing."""
        monkeypatch.setattr("broker.slots.GRACE_SECONDS", 0.0)
        draining = asyncio.Event()

        async def drain(_number: int) -> None:
            draining.set()
            await asyncio.Event().wait()

        async with await Slot.take(database.url, alone=False):
            pass
        await eventually(lambda: _is_free(pool, 0))
        taking = asyncio.create_task(Takeover(pool, database.url, drain).run_once())
        await draining.wait()
        await _cut(admin, 0)
        with pytest.raises(ConnectionError, match="slot 0"):
            await taking

        async def is_left_open() -> bool:
            async with pool.acquire() as connection:
                return await slots.left_open(connection) == [0]

        # The server hangs up before it lets go of the hold.
        await eventually(is_left_open)


async def _is_held(pool: Pool, slot: int) -> bool:
    async with pool.acquire() as connection:
        return slot in await slots.live_slots(connection)


async def _is_free(pool: Pool, slot: int) -> bool:
    return not await _is_held(pool, slot)


async def _holding(admin: asyncpg.Connection, slot: int) -> list[int]:
    """The server processes of the connections that hold a slot: one, or none."""
    rows = await admin.fetch(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND objsubid = 2 AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        slot,
    )
    return [row["pid"] for row in rows]


async def _cut(admin: asyncpg.Connection, slot: int) -> int:
    """End the connection that holds a slot, as the server's restart would; returns its process."""
    [pid] = await _holding(admin, slot)
    assert await admin.fetchval("SELECT pg_terminate_backend($1)", pid)
    return int(pid)


async def _is_held_anew(admin: asyncpg.Connection, slot: int, cut: int) -> bool:
    """Whether another connection holds a slot than the one that was cut."""
    return await _holding(admin, slot) not in ([], [cut])


async def _backends(admin: asyncpg.Connection, count: int) -> bool:
    found: int = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1",
        LOGIN,
    )
    return found >= count


async def _keeps_serving(other: Slot) -> bool:
    """Whether the first slot is still one to leave the requests to."""
    await other.serving()
    return await other.leave()
