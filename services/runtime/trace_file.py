"""Spans as JSON Lines in a folder: one file a process, of bounded size, for looking at traces where no collector is.

A line: ``trace_id``, ``span_id``, ``parent_id`` (hex; parent null at the root), ``name``, ``service``, ``kind``
(``server``, ``client``, ``producer``, ``consumer``, ``internal``), ``start_ns`` and ``end_ns`` since the Unix epoch, ``status``
(``ok`` or ``error``), ``reason`` (null, or an identifier), ``attributes``, ``links`` (traceparents), ``events``
(``name``, ``at_ns``, ``attributes``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from services.runtime import trace


class TraceFile(SpanExporter):
    """Writes spans to ``<folder>/<service>-<pid>.jsonl``; at ``max_bytes`` the file becomes ``.1.jsonl`` and a new one begins."""

    def __init__(self, folder: Path, service: str, max_bytes: int = 32 * 1024 * 1024) -> None:
        """Write into ``folder``, which is made if absent; at most two files of ``max_bytes`` are kept for this process."""
        self._folder = folder
        self._name = f"{service}-{os.getpid()}"
        self._service = service
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._written = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append spans and flush them; called on the batch processor's own thread."""
        lines = b"".join(self._line(span) for span in spans)
        try:
            file = self._open(len(lines))
            file.write(lines)
            file.flush()
        except OSError:
            # A full disk must not take the service along; the processor counts what is lost.
            return SpanExportResult.FAILURE
        self._written += len(lines)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, coming: int) -> IO[bytes]:
        path = self._folder / f"{self._name}.jsonl"
        if self._file is not None and self._written + coming > self._max_bytes:
            self.shutdown()
            path.replace(self._folder / f"{self._name}.1.jsonl")
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._written = self._file.tell()
        return self._file

    def _line(self, span: ReadableSpan) -> bytes:
        context = span.get_span_context()
        if context is None:
            return b""
        facts: dict[str, Any] = {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
            "name": span.name,
            "service": self._service,
            "kind": span.kind.name.lower(),
            "start_ns": span.start_time,
            "end_ns": span.end_time,
            "status": "error" if span.status.status_code is StatusCode.ERROR else "ok",
            "reason": span.status.description,
            "attributes": dict(span.attributes or {}),
            "links": [trace.render(link.context.trace_id, link.context.span_id, sampled=True) for link in span.links],
            "events": [
                {"name": event.name, "at_ns": event.timestamp, "attributes": dict(event.attributes or {})}
                for event in span.events
            ],
        }
        return json.dumps(facts, separators=(",", ":")).encode() + b"\n"
