"""Trace context (W3C traceparent) of the caller's current OpenTelemetry span, where that is installed and there is one."""

from __future__ import annotations

try:
    from opentelemetry import trace
except ImportError:  # tracing is the application's choice

    def traceparent() -> str | None:
        """Give None: there is no tracing."""
        return None

else:

    def traceparent() -> str | None:
        """Give the current span's traceparent, or None where there is none."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
