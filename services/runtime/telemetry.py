"""Traces, metrics and logs of one process: started once, handed to whoever needs it, closed at the end.

Whether a trace is sampled is decided before any span exists: by the parent where there is one, else by ratio. So a call that is not
sampled costs one random number.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, Tracer, set_span_in_context

from services.runtime import logs, trace
from services.runtime.config import RuntimeSettings
from services.runtime.spans import NO_SPAN, Attribute, RecordedSpan, Span, allowed
from services.runtime.trace_file import TraceFile

CURRENT: Final = "current"
"""In place of a parent: the span that runs in this task."""

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_LATENCY_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXPORT_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 8.0
_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}


class Telemetry:
    """The traces and metrics of a process."""

    def __init__(
        self,
        ratio: float,
        tracer: Tracer | None,
        meter: Meter,
        providers: Iterable[TracerProvider | MeterProvider] = (),
    ) -> None:
        """Sample new traces by ``ratio``; without a tracer nothing is. Use ``start`` outside tests."""
        self.meter = meter
        self._ratio = ratio if tracer is not None else 0.0
        self._tracer = tracer
        self._providers = tuple(providers)
        self._metered = not isinstance(meter, NoOpMeter)
        self._latency = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Time from a call's arrival to its status, by method and code",
            explicit_bucket_boundaries_advisory=_LATENCY_BOUNDS,
        )
        self._labels: dict[tuple[str, str], dict[str, str]] = {}

    @classmethod
    def start(cls, service: str, settings: RuntimeSettings) -> Telemetry:
        """Configure the logs and start the exporters that the settings name; with none, spans and metrics cost nothing."""
        logs.configure(service, settings.log_level)
        resource = Resource.create({"service.name": service, "service.instance.id": f"{service}-{os.getpid()}"})
        exporters: list[SpanExporter] = []
        meter: Meter = NoOpMeter(service)
        providers: list[TracerProvider | MeterProvider] = []
        endpoint = settings.otlp_endpoint
        if endpoint:
            insecure = not endpoint.startswith("https://")
            exporters.append(OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S))
            metrics = OTLPMetricExporter(endpoint=endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S)
            interval = settings.metrics_interval * 1000
            provider = MeterProvider(
                [PeriodicExportingMetricReader(metrics, interval)], resource, shutdown_on_exit=False
            )
            providers.append(provider)
            meter = provider.get_meter("tradewind")
        if settings.trace_dir is not None:
            exporters.append(TraceFile(settings.trace_dir, service, settings.trace_file_bytes))
        tracer = None
        if exporters:
            spans = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
            for exporter in exporters:
                spans.add_span_processor(
                    BatchSpanProcessor(
                        exporter, max_queue_size=8192, schedule_delay_millis=200, max_export_batch_size=512
                    )
                )
            providers.append(spans)
            tracer = spans.get_tracer("tradewind")
        return cls(settings.trace_ratio, tracer, meter, providers)

    def span(
        self,
        name: str,
        parent: str | None = CURRENT,
        kind: str = "internal",
        attributes: Mapping[str, Attribute] | None = None,
        links: Iterable[str] = (),
    ) -> Span:
        """Start a child of the traceparent ``parent``: a context manager. Where the parent is None, unsampled or invalid it does nothing.

        ``kind`` is server, client, producer, consumer or internal; ``links`` are traceparents of other traces it belongs to.
        """
        if parent is CURRENT:
            parent = trace.current.get()
        if parent is None or self._tracer is None:
            return NO_SPAN
        parsed = trace.parse(parent)
        if parsed is None or not parsed.sampled:
            return NO_SPAN
        return self._record(name, parsed, kind, attributes, links)

    def root(
        self,
        name: str,
        parent: str | None = None,
        kind: str = "internal",
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Span:
        """Start a span where work enters the process: the parent decides whether it is sampled, and without one the ratio does."""
        parsed = trace.parse(parent)
        if parsed is None:
            sampled = self._ratio > 0.0 and random.random() < self._ratio
        else:
            sampled = parsed.sampled and self._tracer is not None
        return self._record(name, parsed, kind, attributes, ()) if sampled else NO_SPAN

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count a served call and its latency in seconds."""
        if not self._metered:
            return
        labels = self._labels.get((method, code))
        if labels is None:
            # Methods and codes are few, so this table is too.
            labels = {"rpc.system": "grpc", "rpc.method": method, "rpc.grpc.status_code": code}
            self._labels[method, code] = labels
        self._latency.record(seconds, labels)

    async def close(self) -> None:
        """Send what waits and stop the exporters, within 8 seconds."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.gather(*[asyncio.to_thread(provider.shutdown) for provider in self._providers])
        except TimeoutError:
            structlog.get_logger().warning("telemetry_lost")

    def _record(
        self,
        name: str,
        parent: trace.Parent | None,
        kind: str,
        attributes: Mapping[str, Attribute] | None,
        links: Iterable[str],
    ) -> Span:
        if self._tracer is None:
            return NO_SPAN
        # An empty context, so that no span of a library around us becomes the parent.
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_context_of(parent)), context)
        linked = [Link(_context_of(parsed)) for parsed in map(trace.parse, links) if parsed is not None]
        return RecordedSpan(self._tracer.start_span(name, context, _KINDS[kind], allowed(attributes), linked))


def _context_of(parent: trace.Parent) -> SpanContext:
    return SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=_SAMPLED)
