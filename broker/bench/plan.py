"""How much is measured, and for how long: all of it, or quickly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often something is measured in turn with and without something else: four windows of so many seconds each."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes and times of a bench; times in seconds, loads as shares of what can be done at most.

    slow_rounds and slow_latency_rounds: how often the broker is measured with and without slow clients, at all that it
    can do and at a share of it (slow_load); at rest for rest_seconds with and without.

    The URLs name running servers to use instead of starting some.
    """

    quick: bool = False
    things: int = 1000
    devices: int = 200
    outstanding: int = 4
    warm_up: float = 5.0
    seconds: float = 10.0
    runs: int = 3
    cycle_depth: int = 5
    fanout_things: int = 100_000
    loads: tuple[float, ...] = (0.01, 0.1, 0.5, 0.8)
    load_seconds: float = 40.0
    creates_per_second: float = 10.0
    creators: int = 50
    growth: tuple[tuple[int, int], ...] = (
        (10_000, 1),
        (100_000, 1),
        (1_000_000, 1),
        (1_000_000, 1000),
    )
    takeover_per_second: float = 500.0
    slow_clients: int = 100
    slow_rounds: Rounds = Rounds(20, 0.75)
    slow_load: float = 0.5
    slow_latency_rounds: Rounds = Rounds(12, 0.6)
    rest_seconds: float = 10.0
    database_url: str | None = None
    migration_url: str | None = None
    mqtt_url: str | None = None
    things_mqtt: str | None = None


FULL: Final = Plan()
QUICK: Final = replace(
    FULL,
    quick=True,
    things=250,
    warm_up=1.0,
    seconds=2.0,
    fanout_things=10_000,
    load_seconds=4.0,
    slow_rounds=Rounds(6, 0.5),
    slow_latency_rounds=Rounds(6, 0.5),
    rest_seconds=2.0,
    growth=((1_000, 1), (10_000, 1), (10_000, 100)),
)
