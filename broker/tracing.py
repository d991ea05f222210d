"""Spans by OpenTelemetry, where JOBBROKER_OTLP_ENDPOINT says whom to send them; without it nothing here is imported.

One span a request over HTTP, one a command of an operator, one a batch of devices' requests; what carried a sampled
traceparent (W3C Trace Context, a header or an MQTT 5 user property) is a child of it. Made when the work is done,
so that the work itself knows nothing of them; sent in the background, and dropped when nobody takes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_MOST_LINKS: Final = 32
_NANOSECONDS: Final = 1_000_000_000
_NOBODY: Final = Context()


class Tracing:
    """One process's spans. ratio is the share of those without a traceparent that are kept."""

    def __init__(self, endpoint: str, *, ratio: float) -> None:
        """Take where the collector is, without /v1/traces."""
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "jobbroker"}),
            sampler=ParentBased(TraceIdRatioBased(ratio)),
        )
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("jobbroker")
        self._propagator = TraceContextTextMapPropagator()

    def note(
        self,
        name: str,
        seconds: float,
        attributes: Mapping[str, str | int],
        *,
        parent: str | None = None,
        linked: Iterable[str] = (),
        failed: bool = False,
    ) -> None:
        """What took so long up to now; parent and linked are traceparents."""
        end = time.time_ns()
        links = [
            Link(get_current_span(self._context(one)).get_span_context())
            for one in list(linked)[:_MOST_LINKS]
        ]
        span = self._tracer.start_span(
            name,
            context=_NOBODY if parent is None else self._context(parent),
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            links=links,
            start_time=end - int(seconds * _NANOSECONDS),
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def _context(self, traceparent: str) -> Context:
        return self._propagator.extract({"traceparent": traceparent}, context=_NOBODY)

    def close(self) -> None:
        """Send what is left; waits for it, some seconds at most."""
        self._provider.shutdown()
