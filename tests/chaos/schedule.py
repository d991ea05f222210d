"""Which faults happen, when and for how long: all of it drawn from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Final


class Kind(StrEnum):
    """What goes wrong."""

    BROKERS_KILLED = "kill -9 of all brokers"
    ONE_BROKER_KILLED = "kill -9 of one of two brokers"
    MOSQUITTO_KILLED = "kill -9 of Mosquitto"
    POSTGRES_KILLED = "kill -9 of PostgreSQL"
    CHECKPOINT_KILLED = "kill -9 of PostgreSQL in a checkpoint"
    BROKER_STOPPED = "SIGSTOP of a broker"
    MOSQUITTO_STOPPED = "SIGSTOP of Mosquitto"
    POSTGRES_STOPPED = "SIGSTOP of PostgreSQL"
    DEVICES_CUT = "devices - Mosquitto cut"
    DEVICES_DELAYED = "devices - Mosquitto delayed"
    DEVICES_STALLED = "devices - Mosquitto silent"
    MQTT_CUT = "broker - Mosquitto cut"
    MQTT_DELAYED = "broker - Mosquitto delayed"
    MQTT_STALLED = "broker - Mosquitto silent"
    DATABASE_CUT = "broker - PostgreSQL cut"
    DATABASE_DELAYED = "broker - PostgreSQL delayed"
    DATABASE_STALLED = "broker - PostgreSQL silent"
    DISK_FULL = "PostgreSQL's disk full"


DEVICES_LINK, MQTT_LINK, DATABASE_LINK = (
    "devices - Mosquitto",
    "broker - Mosquitto",
    "broker - PostgreSQL",
)
# Who is hurt, and seconds between the blow and its healing, before they are fitted into the run.
_KINDS: Final[dict[Kind, tuple[str, float, float]]] = {
    Kind.BROKERS_KILLED: ("broker", 0.0, 4.0),
    Kind.ONE_BROKER_KILLED: ("broker", 0.0, 20.0),
    Kind.MOSQUITTO_KILLED: ("Mosquitto", 0.0, 4.0),
    Kind.POSTGRES_KILLED: ("PostgreSQL", 0.0, 4.0),
    Kind.CHECKPOINT_KILLED: ("PostgreSQL", 0.0, 4.0),
    Kind.BROKER_STOPPED: ("broker", 1.0, 30.0),
    Kind.MOSQUITTO_STOPPED: ("Mosquitto", 1.0, 30.0),
    Kind.POSTGRES_STOPPED: ("PostgreSQL", 1.0, 30.0),
    Kind.DEVICES_CUT: (DEVICES_LINK, 0.0, 6.0),
    Kind.DEVICES_DELAYED: (DEVICES_LINK, 2.0, 10.0),
    Kind.DEVICES_STALLED: (DEVICES_LINK, 1.0, 25.0),
    Kind.MQTT_CUT: (MQTT_LINK, 0.0, 6.0),
    Kind.MQTT_DELAYED: (MQTT_LINK, 2.0, 10.0),
    Kind.MQTT_STALLED: (MQTT_LINK, 1.0, 25.0),
    Kind.DATABASE_CUT: (DATABASE_LINK, 0.0, 6.0),
    Kind.DATABASE_DELAYED: (DATABASE_LINK, 2.0, 10.0),
    Kind.DATABASE_STALLED: (DATABASE_LINK, 1.0, 25.0),
    Kind.DISK_FULL: ("PostgreSQL", 3.0, 10.0),
}
OF_ONE_OF_TWO: Final = frozenset({Kind.ONE_BROKER_KILLED})
# Whoever dies forgets what it was about to tell.
FORGETS: Final = frozenset({Kind.BROKERS_KILLED, Kind.MOSQUITTO_KILLED})
CUTS: Final = frozenset({Kind.DEVICES_CUT, Kind.MQTT_CUT, Kind.DATABASE_CUT})
DELAYS: Final = frozenset({Kind.DEVICES_DELAYED, Kind.MQTT_DELAYED, Kind.DATABASE_DELAYED})
# Of the run's time at most this share passes between blow and healing: the rest is for recovery and load.
_AT_FAULT: Final = 0.35
_SLOWEST_SECONDS: Final = 0.15
# Who stands still longer than others wait for: once of each kind, in runs that are long enough.
_STOPS: Final = frozenset({Kind.BROKER_STOPPED, Kind.MOSQUITTO_STOPPED, Kind.POSTGRES_STOPPED})
_LONG_STOP_SECONDS: Final = 30.0
_LONG_STOPS_SHARE: Final = 0.25  # of the time at fault
# Long runs have some faults at once, which says less about each of them and more about all.
_PAIRED_FROM: Final = 30
_PAIRED_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Fault:
    """One blow. Times in seconds: `at` since the load began, `lasts` until it is healed.

    seat: the broker it falls on, None for all. latency and jitter: of delays, one way. with_next:
    the following one is done at the same time.
    """

    number: int
    kind: Kind
    at: float
    lasts: float
    seat: int | None = None
    latency: float = 0.0
    jitter: float = 0.0
    with_next: bool = False

    @property
    def victim(self) -> str:
        """Who or what is hurt: faults of different ones can be done at once."""
        return _KINDS[self.kind][0]

    def __str__(self) -> str:
        """One line for people."""
        whom = "" if self.seat is None else f" (broker {self.seat + 1})"
        slow = (
            f", {1000 * self.latency:.0f} + {1000 * self.jitter:.0f} ms"
            if self.kind in DELAYS
            else ""
        )
        and_ = " with" if self.with_next else ""
        return f"{self.number:3d}. at {self.at:6.1f} s: {self.kind}{whom}, {self.lasts:.1f} s{slow}{and_}"


def kinds_for(brokers: int) -> list[Kind]:
    """The kinds that make sense with so many brokers."""
    return [kind for kind in Kind if brokers > 1 or kind not in OF_ONE_OF_TWO]


def draw(seed: int, count: int, seconds: float, *, brokers: int = 2) -> list[Fault]:
    """Return `count` faults spread over a run of `seconds`; equal arguments give an equal schedule.

    Every kind comes once before any comes twice. Raises ValueError without faults or brokers.
    """
    if count < 1 or brokers < 1:
        raise ValueError(f"{count} faults on {brokers} brokers: at least one of each is needed")
    random_ = random.Random(seed)  # noqa: S311 - a schedule, no secret
    kinds = _dealt(random_, kinds_for(brokers), count)
    faults = [_drawn(random_, number, kind, brokers) for number, kind in enumerate(kinds, start=1)]
    step = seconds / count
    fitted = [
        replace(fault, at=round((place + random_.uniform(0.0, 0.3)) * step, 1))
        for place, fault in enumerate(_shrunk(faults, _AT_FAULT * seconds))
    ]
    return _paired(random_, fitted) if count >= _PAIRED_FROM else fitted


def _shrunk(faults: list[Fault], most: float) -> list[Fault]:
    """So that all of them last at most so many seconds; each kind of stop lasts its longest once, if that fits."""
    stops = {fault.kind: fault.number for fault in reversed(faults) if fault.kind in _STOPS}
    kept = len(stops) * _LONG_STOP_SECONDS
    if kept > _LONG_STOPS_SHARE * most:
        stops, kept = {}, 0.0
    long = frozenset(stops.values())
    rest = sum(fault.lasts for fault in faults if fault.number not in long)
    shrink = min(1.0, (most - kept) / rest)
    return [
        replace(
            fault,
            lasts=_LONG_STOP_SECONDS if fault.number in long else round(fault.lasts * shrink, 2),
        )
        for fault in faults
    ]


def blows(faults: Iterable[Fault]) -> Iterator[list[Fault]]:
    """The faults in order, those that are done at once together."""
    blow: list[Fault] = []
    for fault in faults:
        blow.append(fault)
        if not fault.with_next:
            yield blow
            blow = []


def _paired(random_: random.Random, faults: list[Fault]) -> list[Fault]:
    """Have some fall together with the next one, where they hurt different ones."""
    paired: list[Fault] = []
    for fault, following in zip_longest(faults, faults[1:]):
        second = bool(paired) and paired[-1].with_next
        fits = following is not None and fault.victim != following.victim
        together = fits and not second and random_.random() < _PAIRED_SHARE
        at = paired[-1].at if second else fault.at
        paired.append(replace(fault, at=at, with_next=together))
    return paired


def _dealt(random_: random.Random, kinds: list[Kind], count: int) -> list[Kind]:
    dealt: list[Kind] = []
    while len(dealt) < count:
        deck = list(kinds)
        random_.shuffle(deck)
        dealt += deck
    return dealt[:count]


def _drawn(random_: random.Random, number: int, kind: Kind, brokers: int) -> Fault:
    victim, shortest, longest = _KINDS[kind]
    lasts = random_.uniform(shortest, longest)
    seat: int | None = random_.randrange(brokers)
    if kind is Kind.BROKERS_KILLED:
        seat = None
    elif kind not in (Kind.ONE_BROKER_KILLED, Kind.BROKER_STOPPED):
        # The broker's links: of one of them, or of all.
        all_of_them = random_.random() < 1 / 2 or brokers == 1
        seat = None if all_of_them or victim not in (MQTT_LINK, DATABASE_LINK) else seat
    latency = random_.uniform(0.02, _SLOWEST_SECONDS)
    jitter = random_.uniform(0.0, latency)
    if kind not in DELAYS:
        latency = jitter = 0.0
    return Fault(number, kind, 0.0, lasts, seat, round(latency, 3), round(jitter, 3))
