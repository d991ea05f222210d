"""Slots: the stable names under which processes keep their sessions with the MQTT server.

Why this is safe: a slot is held by a session advisory lock, so PostgreSQL itself gives it back the moment its holder's
connection ends, by kill -9 too; a restarted process takes its old slot, and so its old session, at once. The row in
`leases` outlives the holder: a row whose lock is free names a session that still collects requests and must be taken
over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from handlers.database import Connection

_SQL = queries("slots")
_LOCK_CLASS: Final = 0x6A6F62  # "job": any fixed number that every version of this program shares
_MOST_SLOTS: Final = 64


def _name(slot: int) -> str:
    return f"slot-{slot:02d}"


def _number(name: str) -> int:
    return int(name.removeprefix("slot-"))


@dataclass(frozen=True, slots=True)
class Taken:
    """A slot that was free. killed: its session is there and whoever had it did not end in order."""

    number: int
    killed: bool


async def take_slot(
    connection: Connection, holder: str, details: Mapping[str, object], *, most: int = _MOST_SLOTS
) -> Taken | None:
    """A free slot below `most`, held until this connection ends; None when all are held.

    First one whose session is still there, which goes on with it; else the lowest. holder says who we are; details is
    what people want to know of it.
    """
    for slot in dict.fromkeys([*await left_open(connection), *range(most)]):
        if await take(connection, slot):
            before = await connection.fetchrow(_SQL["find_slot"], _name(slot))
            await record(connection, slot, holder, details)
            return Taken(slot, killed=before is not None and not before["in_order"])
    return None


async def record(
    connection: Connection, slot: int, holder: str, details: Mapping[str, object]
) -> None:
    """Write down who holds a slot that was just taken."""
    await connection.execute(_SQL["record_slot"], _name(slot), holder, json.dumps(details))


async def mark_serving(connection: Connection, slot: int) -> None:
    """Note that this slot's session is subscribed, so that another process may end its own."""
    await connection.execute(_SQL["mark_serving"], _name(slot))


async def leave(connection: Connection, slot: int) -> bool:
    """Stop being one that others count on; returns whether another living process takes requests.

    Of two that leave at once, the second finds nobody: the rows are locked in order of name.
    """
    async with connection.transaction():
        rows = await connection.fetch(_SQL["lock_serving"])
        serving = {_number(row["name"]) for row in rows if row["serving"]}
        alive = await live_slots(connection)
        await connection.execute(_SQL["mark_leaving"], _name(slot))
    return bool(serving & alive - {slot})


async def who_holds(connection: Connection, slot: int) -> str | None:
    """The holder that was recorded last; None when the session was ended."""
    row = await connection.fetchrow(_SQL["find_slot"], _name(slot))
    return None if row is None else row["holder"]


async def session_name(connection: Connection, proposed: str) -> str:
    """What the client ids of all slots begin with: `proposed` (unguessable) the first time, the same ever after."""
    while True:
        name = await connection.fetchval(_SQL["session_name"], proposed)
        if name is not None:  # else another process made it in this very moment
            return str(name)


async def take(connection: Connection, slot: int) -> bool:
    """Hold one particular slot on this connection, if it is free; every taking is counted (`takings`)."""
    taken = bool(await connection.fetchval(_SQL["try_slot"], _LOCK_CLASS, slot))
    if taken:
        await connection.execute(_SQL["count_taking"])
    return taken


async def release(connection: Connection, slot: int, *, session_ended: bool) -> None:
    """Give a slot back; its row goes too when its session with the MQTT server was ended."""
    if session_ended:
        await connection.execute(_SQL["forget_slot"], _name(slot))
    await connection.execute(_SQL["release_slot"], _LOCK_CLASS, slot)


async def renew(connection: Connection, slot: int, holder: str) -> None:
    """Show that the holder is alive, for people who look at `leases`; also finds out that the connection is not."""
    await connection.execute(_SQL["renew_slot"], _name(slot), holder)


async def live_slots(connection: Connection) -> frozenset[int]:
    """Slots whose lock a living connection holds."""
    rows = await connection.fetch(_SQL["held_slots"], _LOCK_CLASS)
    return frozenset(row["slot"] for row in rows)


class Holder(NamedTuple):
    """A slot with a session at the MQTT server: who had it last, and whether a living connection holds it."""

    number: int
    holder: str
    is_held: bool
    acquired_at: datetime
    renewed_at: datetime


async def holders(connection: Connection) -> list[Holder]:
    """Every slot, in order."""
    alive = await live_slots(connection)
    rows = await connection.fetch(_SQL["list_slots"])
    return [
        Holder(number, row["holder"], number in alive, row["acquired_at"], row["renewed_at"])
        for row in rows
        for number in (_number(row["name"]),)
    ]


async def takings(connection: Connection) -> int:
    """How often a slot has been taken: the same number later on says that no process has begun since."""
    return int(await connection.fetchval(_SQL["find_takings"]))


async def takings_if_alone(connection: Connection, slot: int) -> int | None:
    """How often a slot has been taken; None when another process than ours serves, or did within a minute."""
    row = await connection.fetchrow(_SQL["find_company"], _LOCK_CLASS, slot, _name(slot))
    assert row is not None  # noqa: S101 - a sequence has one row
    return None if row["company"] else row["takings"]


async def has_session(connection: Connection, slot: int) -> bool:
    """Whether a slot's session with the MQTT server was not ended yet; for whoever holds the slot."""
    return await connection.fetchrow(_SQL["find_slot"], _name(slot)) is not None


async def left_open(connection: Connection) -> list[int]:
    """Slots that nobody holds although their session with the MQTT server was never ended."""
    alive = await live_slots(connection)
    rows = await connection.fetch(_SQL["list_slots"])
    known = [_number(row["name"]) for row in rows]
    return [slot for slot in known if slot not in alive]
