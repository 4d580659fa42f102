"""Spans of the journey itself, seen by the client library, which looks for OpenTelemetry's current span."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from services.runtime import trace
from services.runtime.spans import Span


@contextmanager
def current(span: Span) -> Iterator[Span]:
    """Make ``span`` the current one, for this runtime and for OpenTelemetry's API alike; it ends with the context."""
    with span:
        parsed = trace.parse(span.traceparent)
        if parsed is None:
            yield span
            return
        facts = SpanContext(
            parsed.trace_id, parsed.span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
        token = context.attach(set_span_in_context(NonRecordingSpan(facts)))
        try:
            yield span
        finally:
            context.detach(token)
