"""What a run is to do, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.chaos.invariants import Violation
from tests.chaos.ledger import Ledger
from tests.chaos.schedule import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run: times in seconds, rate in requests that change something, a second."""

    seed: int
    seconds: float
    rate: float
    things: int
    brokers: int
    faults: tuple[Fault, ...]
    audit_every: int


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was done. Times in seconds since the moment its healing began.

    first: until the first accepted answer; all: until the last request that waited then was
    answered; None when that did not come within a minute.
    """

    fault: Fault
    first: float | None
    all: float | None
    waited: int
    note: str


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    plan: Plan
    struck: list[Struck] = field(default_factory=list)
    not_run: list[tuple[Fault, str]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    audits: int = 0
    spot_checks: int = 0
    load_seconds: float = 0.0
    well_seconds: float = 0.0
    well_updates: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    executions: int = 0
    jobs: int = 0
    cancelled: int = 0
    connections: int = 0
    notified: int = 0
    disk: str = ""
    mosquitto_crashes: list[int] = field(default_factory=list)
    stop_codes: list[int] = field(default_factory=list)

    @property
    def updates_per_s(self) -> float:
        """Accepted changes a second, over the whole time of load, outages and all."""
        return self.ledger.updates / self.load_seconds if self.load_seconds else 0.0

    @property
    def well_per_s(self) -> float:
        """The same from each recovery to the next fault."""
        return self.well_updates / self.well_seconds if self.well_seconds else 0.0
