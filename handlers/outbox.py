"""What must be told: claimed when nobody tells it, turned into messages as things stand now, forgotten when told.

Rows are written by `handlers.store` with what happened. They say which things to notify, not what to say: a
notification carries the state at the time of sending, so several changes of one thing may leave as one message
(architecture, law 4).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from handlers import store, streams
from handlers.database import tenant_transaction
from handlers.slots import live_slots, takings, takings_if_alone
from handlers.store import Loaded, Told
from schema import device
from schema.errors import Rejected
from schema.limits import PENDING_LISTED
from schema.pending import notified
from schema.sql import queries
from schema.streams import is_event
from schema.topics import notify_next_topic, notify_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from handlers.database import Connection, Pool
    from handlers.documents import Documents, Texts

_SQL = queries("outbox")
LATELY: Final = timedelta(minutes=10)
"""So long what was told is remembered: twice what mosquitto.conf has between two saves."""
_REQUESTS_KEPT: Final = timedelta(days=1)

Message = tuple[str, bytes]  # topic without tenant, payload
Shown = tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Messages to publish, and what each notified thing is thereby shown of its list.

    takings: how often slots had been taken when no other process served; None when one did.
    """

    messages: list[Message]
    shown: dict[str, Shown] = field(default_factory=dict)
    takings: int | None = None


async def say(
    pool: Pool,
    documents: Documents,
    tenant_id: str,
    told: Sequence[Told],
    *,
    slot: int,
    alone: int | None = None,
) -> Said:
    """What these rows of one tenant say now: events as written, then each thing's notify before its notify-next.

    A thing that several rows name is told once. slot is ours. alone: the takings of what was said last, if nobody could
    have said anything beside it: what it begins with need not be asked again.
    """
    said = [(topic, payload.encode()) for one in told for topic, payload in one.messages]
    notify = dict.fromkeys(name for one in told for name in one.notify)
    following = dict.fromkeys(name for one in told for name in one.notify_next)
    things = {**notify, **following}
    if not things:
        return Said(said)
    async with pool.acquire() as connection, tenant_transaction(connection, tenant_id):
        if alone is None:
            alone = await takings_if_alone(connection, slot)
        offered = await _offered(connection, tenant_id, things)
        now = await _clock(connection, offered)
        firsts = {name: offered[name][0] for name in following if offered[name]}
        texts = await documents.load(connection, tenant_id, [*firsts.values()], now=now)
    for name in things:
        if name in notify:
            shown = notified([one.execution for one in offered[name]])
            said.append((notify_topic(name), device.notify_message(shown, now)))
        if name in following:
            said.append((notify_next_topic(name), _next_message(firsts.get(name), texts, now)))
    return Said(said, {name: _shown(offered[name]) for name in things}, alone)


def _next_message(first: Loaded | None, texts: Texts, now: datetime) -> bytes:
    if first is None:
        return device.notify_next_message(None, now, None)
    try:
        document = texts.of(first)
    except Rejected:
        # It asks for the execution then, and is told what is wrong.
        document = None
    return device.notify_next_message(first.execution, now, document)


async def _clock(connection: Connection, offered: Mapping[str, Sequence[Loaded]]) -> datetime:
    """The database's clock when lists had been read, which their rows have with them."""
    read = [queue[-1].read_at for queue in offered.values() if queue]
    return max(read) if read else await connection.fetchval("SELECT clock_timestamp()")


async def outdated(pool: Pool, tenant_id: str, said: Said) -> list[str] | None:
    """Those of the things said which may have been told something else meanwhile, by another process.

    None when there was no other process. Lists are read only where there was one: when these were read, or since.
    """
    async with pool.acquire() as connection:
        if said.takings is not None and await takings(connection) == said.takings:
            return None
        async with tenant_transaction(connection, tenant_id):
            offered = await _offered(connection, tenant_id, said.shown)
    return [name for name, was in said.shown.items() if _shown(offered[name]) != was]


async def _offered(
    connection: Connection, tenant_id: str, things: Iterable[str]
) -> dict[str, list[Loaded]]:
    heads = dict.fromkeys(things, PENDING_LISTED)
    queues = await store.load_queues(connection, tenant_id, things, heads=heads)
    return {name: [one for one in queue if one.offered] for name, queue in queues.items()}


def _shown(queue: Sequence[Loaded]) -> Shown:
    # Progress is not told, so it does not make what was told wrong.
    return tuple((*one.execution.key, one.execution.status) for one in queue)


@dataclass(frozen=True, slots=True)
class Claimed:
    """How many rows without a living owner became ours, and how many were ours before that."""

    rows: int
    ours: int


async def claim(pool: Pool, *, slot: int, most: int = 1000) -> Claimed:
    """Make rows without a living owner ours, at most `most` of each tenant."""
    async with pool.acquire() as connection:
        alive = await live_slots(connection)
        orphans: dict[str, set[int]] = defaultdict(set)
        ours = rows = 0
        for row in await connection.fetch(_SQL["sweep_outbox"]):
            if row["owner_slot"] is None or row["owner_slot"] not in alive:
                orphans[row["tenant_id"]] |= {row["owner_slot"]} - {None, slot}
            if row["owner_slot"] == slot:
                ours += row["depth"]
        for tenant_id, dead in orphans.items():
            async with tenant_transaction(connection, tenant_id):
                done = await connection.execute(
                    _SQL["claim_outbox"], tenant_id, slot, [str(one) for one in sorted(dead)], most
                )
            rows += int(done.removeprefix("UPDATE "))
        return Claimed(rows, ours=ours)


async def load(pool: Pool, *, slot: int, after: int, most: int = 50) -> list[Told]:
    """Our rows with an id above `after`, over all tenants, oldest first; at most `most` of each tenant.

    None is passed over: where a tenant has more, later rows of the others wait for the next call.
    """
    found: list[Told] = []
    until: int | None = None
    async with pool.acquire() as connection:
        swept = await connection.fetch(_SQL["sweep_outbox"])
        for tenant_id in [row["tenant_id"] for row in swept if row["owner_slot"] == slot]:
            async with tenant_transaction(connection, tenant_id):
                rows = await connection.fetch(_SQL["load_outbox"], tenant_id, slot, after, most)
            if len(rows) == most:
                last: int = rows[-1]["outbox_id"]
                until = last if until is None else min(until, last)
            found += [
                Told(
                    tenant_id,
                    row["outbox_id"],
                    tuple(row["notify"]),
                    tuple(row["notify_next"]),
                    tuple(zip(row["topics"], row["payloads"], strict=True)),
                )
                for row in rows
            ]
    reached = [one for one in found if until is None or one.outbox_id <= until]
    return sorted(reached, key=lambda one: one.outbox_id)


async def forget(pool: Pool, told: Iterable[Told], *, slot: int) -> None:
    """Delete rows that the MQTT server has acknowledged, and remember for `forget_told` whom they were about.

    Their events are kept for those who follow the tenant over HTTP, if there are any (`handlers.streams`).
    """
    by_tenant: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        by_tenant[one.tenant_id].append(one)
    async with pool.acquire() as connection:
        for tenant_id, rows in by_tenant.items():
            ids = [str(one.outbox_id) for one in rows]
            # What is for one operator's room is for nobody else.
            events = [message for one in rows for message in one.messages if is_event(message[0])]
            # Undone, they are told once more; waiting for the disk, those who wait to be answered would wait behind it.
            async with tenant_transaction(connection, tenant_id, durable=False):
                followed = await connection.fetchval(_SQL["delete_outbox"], tenant_id, ids, slot)
                if followed and events:
                    await streams.keep(connection, tenant_id, events)


async def tell_again(pool: Pool, *, slot: int) -> None:
    """Queue what things were told lately once more, for every tenant: the MQTT server may have lost it.

    Living processes were away from it as well, and see to what they told themselves; what the others told is ours.
    """
    async with pool.acquire() as connection:
        others = [str(one) for one in sorted(await live_slots(connection) - {slot})]
        for tenant_id in await _tenants(connection):
            async with tenant_transaction(connection, tenant_id):
                await connection.execute(_SQL["tell_again"], tenant_id, slot, others)


async def forget_told(pool: Pool, *, slot: int, most: int = 1000) -> bool:
    """Forget what things were told longer ago than the MQTT server takes to save it, at most `most` of each tenant.

    To be called only while nothing it holds can be lost unnoticed, i.e. connected to it, and for that long. Returns
    whether there may be more.
    """
    more = False
    async with pool.acquire() as connection:
        others = [str(one) for one in sorted(await live_slots(connection) - {slot})]
        for tenant_id in await _tenants(connection):
            async with tenant_transaction(connection, tenant_id):
                done = await connection.execute(
                    _SQL["forget_told"], tenant_id, LATELY, others, most
                )
            more = more or done == f"DELETE {most}"
    return more


async def forget_requests(pool: Pool, *, most: int = 1000) -> bool:
    """Drop operators' remembered answers that are older than a day, at most `most` of each tenant.

    Returns whether there may be more.
    """
    more = False
    async with pool.acquire() as connection:
        for tenant_id in await _tenants(connection):
            async with tenant_transaction(connection, tenant_id):
                done = await connection.execute(
                    _SQL["forget_requests"], tenant_id, _REQUESTS_KEPT, most
                )
            more = more or done == f"DELETE {most}"
    return more


async def _tenants(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT tenant_id FROM sweep_tenants() AS tenant_id")
    return [row["tenant_id"] for row in rows]
