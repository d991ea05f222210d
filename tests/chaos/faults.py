"""How each fault is done and healed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

from broker.embedded.postgres import connected
from tests.chaos import processes
from tests.chaos.cast import AWAY, Cast, Seat
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import CUTS, DELAYS, DEVICES_LINK, MQTT_LINK, Fault, Kind
from tests.helpers import elapse, settled

Healing = Callable[[], None]
"""To be called at the moment when healing begins: recovery is counted from there."""

_CHECKPOINT_TRIES: Final = 10
_IN_CHECKPOINT_SECONDS: Final = 0.004
_SOILING_SECONDS: Final = 0.2  # of load: then the next checkpoint has something to write
_SWITCHES: Final = 4
_WAL_SECONDS: Final = 3.0


async def strike(cast: Cast, fault: Fault, healing: Healing) -> str:
    """Do it, wait as long as it lasts, heal it; returns what is worth telling of it.

    When this returns, everything runs again; whether it works again is for others to see.
    """
    return await _HOW.get(fault.kind, _disturb)(cast, fault, healing)


async def _kill_brokers(cast: Cast, fault: Fault, healing: Healing) -> str:
    seats = _seats(cast, fault)
    for seat in seats:
        await seat.kill()
    await elapse(fault.lasts)
    healing()
    await asyncio.gather(*(seat.serve() for seat in seats))
    return ""


async def _kill_mosquitto(cast: Cast, fault: Fault, healing: Healing) -> str:
    cast.mosquitto_wanted = False
    cast.mosquitto.kill()
    await cast.mosquitto.wait()
    await elapse(fault.lasts)
    healing()
    await cast.mosquitto.start()
    cast.mosquitto_wanted = True
    return ""


async def _kill_postgres(cast: Cast, fault: Fault, healing: Healing) -> str:
    await _end_postgres(cast)
    await elapse(fault.lasts)
    healing()
    await cast.postgres_up()
    return ""


async def _end_postgres(cast: Cast) -> None:
    if cast.postgres.pid is not None:
        processes.send(cast.postgres.pid, signal.SIGKILL)
    await cast.postgres.wait()


async def _kill_in_checkpoint(cast: Cast, fault: Fault, healing: Healing) -> str:
    """CHECKPOINT, and the kill a moment later; again when it was done before that."""
    done = False
    with suppress(*AWAY):
        async with connected(cast.admin_url) as admin:
            done = await _in_checkpoint(cast, admin)
    await elapse(fault.lasts)
    healing()
    await cast.postgres_up()
    return "the checkpoint was done before the kill" if done else "in the checkpoint"


async def _in_checkpoint(cast: Cast, admin: asyncpg.Connection) -> bool:
    """End PostgreSQL while it writes a checkpoint; returns whether that was done all the same."""
    for tries in range(1, _CHECKPOINT_TRIES + 1):
        checkpoint = asyncio.create_task(admin.execute("CHECKPOINT"))
        await elapse(_IN_CHECKPOINT_SECONDS * (1 + tries % 3))
        if not checkpoint.done() or tries == _CHECKPOINT_TRIES:
            break
        await elapse(_SOILING_SECONDS)
    await _end_postgres(cast)
    return not isinstance((await asyncio.gather(checkpoint, return_exceptions=True))[0], Exception)


async def _stop_broker(cast: Cast, fault: Fault, healing: Healing) -> str:
    return await _stopped(fault, healing, [seat.pid for seat in _seats(cast, fault)])


async def _stop_mosquitto(cast: Cast, fault: Fault, healing: Healing) -> str:
    return await _stopped(fault, healing, [cast.mosquitto.pid])


async def _stop_postgres(cast: Cast, fault: Fault, healing: Healing) -> str:
    return await _stopped(fault, healing, [cast.postgres.pid])


async def _stopped(fault: Fault, healing: Healing, pids: list[int | None]) -> str:
    running = [pid for pid in pids if pid is not None]
    for pid in running:
        processes.send(pid, signal.SIGSTOP)
    await elapse(fault.lasts)
    healing()
    for pid in running:
        processes.send(pid, signal.SIGCONT)
    return ""


async def _disturb(cast: Cast, fault: Fault, healing: Healing) -> str:
    """Cut, delay or silence the connections of one kind."""
    for proxy in _proxies(cast, fault):
        if fault.kind in DELAYS:
            proxy.delay(fault.latency, fault.jitter)
        elif fault.kind in CUTS:
            await proxy.cut()
        else:
            proxy.stall()
    await elapse(fault.lasts)
    healing()
    for proxy in _proxies(cast, fault):
        await proxy.heal()
    return ""


async def _fill_disk(cast: Cast, fault: Fault, healing: Healing) -> str:
    """Nothing free where PostgreSQL writes: data files cannot grow, and it panics when its log cannot."""
    before = _told_of_full_disk(cast)
    cast.disk.fill()
    began = time.monotonic()

    async def has_ended() -> bool:
        # The segment at hand may have room for a while: go on to the next.
        with suppress(*AWAY):
            async with asyncio.timeout(1), connected(cast.admin_url) as admin:
                for _ in range(_SWITCHES):
                    await admin.execute("SELECT pg_switch_wal(), txid_current()")
        return cast.postgres.pid is None

    await settled(has_ended, timeout=min(fault.lasts, _WAL_SECONDS))
    await elapse(fault.lasts - (time.monotonic() - began))
    how = "PostgreSQL ended" if cast.postgres.pid is None else "PostgreSQL lived"
    told = _told_of_full_disk(cast) - before
    healing()
    cast.disk.free()
    await cast.postgres_up()
    return f"{told} times 'No space left on device', {how}"


def _told_of_full_disk(cast: Cast) -> int:
    return cast.postgres.log.read_text(errors="replace").count("No space left on device")


def _seats(cast: Cast, fault: Fault) -> list[Seat]:
    return cast.seats if fault.seat is None else [cast.seats[fault.seat]]


def _proxies(cast: Cast, fault: Fault) -> list[Proxy]:
    if fault.victim == DEVICES_LINK:
        return [cast.devices]
    seats = _seats(cast, fault)
    return [seat.mqtt if fault.victim == MQTT_LINK else seat.database for seat in seats]


_HOW: Final[dict[Kind, Callable[[Cast, Fault, Healing], Awaitable[str]]]] = {
    Kind.BROKERS_KILLED: _kill_brokers,
    Kind.ONE_BROKER_KILLED: _kill_brokers,
    Kind.MOSQUITTO_KILLED: _kill_mosquitto,
    Kind.POSTGRES_KILLED: _kill_postgres,
    Kind.CHECKPOINT_KILLED: _kill_in_checkpoint,
    Kind.BROKER_STOPPED: _stop_broker,
    Kind.MOSQUITTO_STOPPED: _stop_mosquitto,
    Kind.POSTGRES_STOPPED: _stop_postgres,
    Kind.DISK_FULL: _fill_disk,
}
