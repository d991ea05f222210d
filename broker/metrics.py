"""What the process counts and times, for /metrics: once a batch where it can be."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from schema.lifecycle import TERMINAL, Status

if TYPE_CHECKING:
    from handlers.store import Told
    from schema.changes import Change

ACCEPTED: Final = "ok"
# Seconds: from a request alone on a quiet machine to what somebody should look into.
QUICK: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# Seconds: from devices at hand to those that come back next week.
LONG: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 4 * 3600.0, 86400.0, 7 * 86400.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_MOST_AWAITED: Final = 10_000


class Histogram:
    """How many values fell at or below each bound, and their sum (Prometheus: histogram)."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Take in a value that was seen so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, with the bounds as Prometheus writes them."""
        shown, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            shown.append((bound, float(total)))
        return shown


class Metrics:
    """One process's counters. Whoever does a thing calls it; /metrics reads it."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.http: Counter[tuple[str, int]] = Counter()
        self.http_seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(QUICK))
        self.batch_size = Histogram(SIZES)
        self.batch_seconds = Histogram(QUICK)
        self.update_accepted = Histogram(QUICK)
        self.create_notify = Histogram(QUICK)
        self.queue_wait = Histogram(LONG)
        self.run_time = Histogram(LONG)
        self._awaited: dict[int, float] = {}

    def note_batch(
        self,
        answered: Iterable[tuple[str, str | None, float]],
        *,
        seconds: float,
        now: float,
        updates: str,
    ) -> None:
        """A batch of devices' requests was answered: (operation, code when rejected, when it was received) of each.

        seconds is what deciding took, now is when the answers left; updates names the operation whose time to
        `accepted` is kept.
        """
        kinds = Counter(answered)
        self.batch_size.observe(kinds.total())
        self.batch_seconds.observe(seconds)
        for (operation, code, received), times in kinds.items():
            self.requests[operation, code or ACCEPTED] += times
            if operation == updates and code is None:
                self.update_accepted.observe(now - received, times)

    def note_command(self, verb: str, code: str | None) -> None:
        """An operator's command was answered over MQTT."""
        self.requests[verb, code or ACCEPTED] += 1

    def note_http(self, operation: str, status: int, seconds: float) -> None:
        """A request over HTTP was answered; operation is its method and the path of its route."""
        self.http[operation, status] += 1
        self.http_seconds[operation].observe(seconds)

    def note_changes(self, changes: Iterable[Change]) -> None:
        """Executions changed by devices: how long they waited, and how long they ran."""
        for before, after in changes:
            if before is None or after is None or before.status is after.status:
                continue
            if before.status is Status.QUEUED and after.started_at is not None:
                self.queue_wait.observe((after.started_at - before.queued_at).total_seconds())
            if after.status in TERMINAL and after.started_at is not None:
                self.run_time.observe((after.updated_at - after.started_at).total_seconds())

    def await_notify(self, told: Iterable[Told], since: float) -> None:
        """A job was created by a command received at `since`: its notifications are these rows."""
        if len(self._awaited) < _MOST_AWAITED:
            self._awaited.update((one.outbox_id, since) for one in told if one.notify)

    def note_told(self, told: Iterable[Told], now: float) -> None:
        """The MQTT server has what these rows say."""
        if not self._awaited:
            return
        for one in told:
            since = self._awaited.pop(one.outbox_id, None)
            if since is not None:
                self.create_notify.observe(now - since)
