"""/metrics, /healthz and /readyz: for Prometheus, and for whatever starts and stops processes."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import asyncpg
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from broker.http.answers import as_json
from broker.http.endpoint import Endpoint
from broker.http.refusal import Refusal
from broker.metrics import Histogram, Metrics
from handlers.database import TRANSIENT, Pool
from handlers.watching import Figures, figures

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_SECONDS: Final = 5.0
_LEAST_PAUSE: Final = 20  # times what a reading took: so that it is 5 % of one connection at most
_DATABASE_SECONDS: Final = 2.0
# Whatever it says: a login that is not good any more is no fault of who asks how we do.
_AWAY: Final = (*TRANSIENT, asyncpg.PostgresError)

# Gauges of the process, by name without prefix: what it is, and how it is read.
Gauges = Mapping[str, tuple[str, Callable[[], float]]]


class Watching:
    """The three endpoints.

    lacks says what keeps the process from serving, by name, as far as it knows without asking anybody. With a token,
    /metrics is for those who send it as Bearer. read gives the database's figures, clock counts seconds.
    """

    def __init__(
        self,
        pool: Pool,
        metrics: Metrics,
        *,
        gauges: Gauges,
        lacks: Callable[[], dict[str, str]],
        token: str | None = None,
        read: Callable[[Pool], Awaitable[Figures]] = figures,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._gauges = gauges
        self._lacks = lacks
        self._token = token
        self._read = read
        self._clock = clock
        self._figures: Figures | None = None
        self._fresh_until = float("-inf")
        self._reading = asyncio.Lock()

    def routes(self) -> list[Endpoint]:
        """The endpoints."""
        return [
            Endpoint("/metrics", self.metrics, methods=["GET"]),
            Endpoint("/healthz", self.health, methods=["GET"]),
            Endpoint("/readyz", self.ready, methods=["GET"]),
        ]

    async def health(self, _request: Request) -> Response:
        """200 while the process answers at all."""
        return as_json({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 when requests are taken and answered, else 503 with what is lacking."""
        lacking = self._lacks()
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._pool.acquire() as connection:
                await connection.execute("SELECT 1")
        except _AWAY as error:
            # Not its words: they may name servers and logins, and anybody may ask.
            lacking["database"] = f"does not answer ({type(error).__name__})"
        if lacking:
            return as_json({"status": "not ready", "lacking": lacking}, 503)
        return as_json({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """All figures in Prometheus's text format; those of the database are some seconds old (`_fresh`)."""
        self._require_token(request)
        found = await self._fresh()
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Collector(self._metrics, self._gauges, found))
        return Response(generate_latest(registry), media_type=_TEXT)

    def _require_token(self, request: Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise Refusal(401, "Unauthenticated", "/metrics: its Bearer token is needed")

    async def _fresh(self) -> Figures | None:
        """The database's figures; None while it is away: the rest is of use then.

        Read again after five seconds, or twenty times what reading them took: with a million jobs that is most of a
        second, and who scrapes often must not keep the database at it.
        """
        async with self._reading:
            begun = self._clock()
            if begun >= self._fresh_until:
                try:
                    async with asyncio.timeout(_DATABASE_SECONDS):
                        self._figures = await self._read(self._pool)
                except _AWAY:
                    self._figures = None
                took = self._clock() - begun
                self._fresh_until = begun + max(_FRESH_SECONDS, _LEAST_PAUSE * took)
        return self._figures


class _Collector(Collector):
    """What there is, as Prometheus's families."""

    def __init__(self, metrics: Metrics, gauges: Gauges, found: Figures | None) -> None:
        self._metrics = metrics
        self._gauges = gauges
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        yield from self._counters()
        yield from self._histograms()
        for name, (about, read) in self._gauges.items():
            yield GaugeMetricFamily(f"jobbroker_{name}", about, value=read())
        database = GaugeMetricFamily(
            "jobbroker_database_up", "Whether the database answered when it was asked for figures"
        )
        database.add_metric([], float(self._found is not None))
        yield database
        if self._found is not None:
            yield from _of_database(self._found)

    def _counters(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "jobbroker_requests",
            "Requests over MQTT that were answered, by operation and code",
            labels=["operation", "code"],
        )
        for (operation, code), count in list(self._metrics.requests.items()):
            requests.add_metric([operation, code], count)
        yield requests
        http = CounterMetricFamily(
            "jobbroker_http_requests",
            "Requests over HTTP that were answered, by operation and status",
            labels=["operation", "status"],
        )
        for (operation, status), count in list(self._metrics.http.items()):
            http.add_metric([operation, str(status)], count)
        yield http

    def _histograms(self) -> Iterator[Metric]:
        metrics = self._metrics
        plain: dict[str, tuple[str, Histogram]] = {
            "batch_requests": ("Devices' requests decided in one transaction", metrics.batch_size),
            "batch_seconds": ("Time to decide a batch and commit it", metrics.batch_seconds),
            "update_accepted_seconds": (
                "From a device's update received to its `accepted` sent",
                metrics.update_accepted,
            ),
            "create_notify_seconds": (
                "From jobs/create received to its things' notifications at the MQTT server",
                metrics.create_notify,
            ),
            "queue_wait_seconds": ("From QUEUED to IN_PROGRESS, by devices", metrics.queue_wait),
            "run_seconds": ("From IN_PROGRESS to the end that devices report", metrics.run_time),
        }
        for name, (about, histogram) in plain.items():
            family = HistogramMetricFamily(f"jobbroker_{name}", about)
            family.add_metric([], histogram.buckets(), histogram.sum)
            yield family
        http = HistogramMetricFamily(
            "jobbroker_http_seconds", "Time to answer over HTTP", labels=["operation"]
        )
        for operation, histogram in list(metrics.http_seconds.items()):
            http.add_metric([operation], histogram.buckets(), histogram.sum)
        yield http


def _of_database(found: Figures) -> Iterator[Metric]:
    executions = GaugeMetricFamily(
        "jobbroker_executions", "Executions by tenant and status", labels=["tenant", "status"]
    )
    for (tenant, status), count in found.executions.items():
        executions.add_metric([tenant, status], count)
    rows = GaugeMetricFamily(
        "jobbroker_outbox_rows", "Rows that are still to be told", labels=["tenant"]
    )
    ages = GaugeMetricFamily(
        "jobbroker_outbox_oldest_seconds", "Age of the oldest row to be told", labels=["tenant"]
    )
    for tenant, depth in found.outbox_rows.items():
        rows.add_metric([tenant], depth)
        ages.add_metric([tenant], found.outbox_age[tenant])
    late = GaugeMetricFamily(
        "jobbroker_timer_late_seconds", "By how much the oldest due work is late", labels=["timer"]
    )
    for timer, seconds in found.late.items():
        late.add_metric([timer], seconds)
    yield from (executions, rows, ages, late)
    yield from _of_runs(found)


def _of_runs(found: Figures) -> Iterator[Metric]:
    runs = GaugeMetricFamily(
        "jobbroker_ttn_runs",
        "Runs at The Things Stack by tenant and status",
        labels=["tenant", "status"],
    )
    for (tenant, status), count in found.runs.items():
        runs.add_metric([tenant, status], count)
    oldest = GaugeMetricFamily(
        "jobbroker_ttn_run_oldest_seconds",
        "Age of the oldest run at The Things Stack that has not ended, 0 without one",
        labels=["tenant"],
    )
    for tenant, seconds in found.run_age.items():
        oldest.add_metric([tenant], seconds)
    yield from (runs, oldest)
