"""Structured logs: one JSON object a line on standard error, with the trace they belong to.

Events are identifiers, facts are keys; text is never interpolated. What could hold a secret or something personal is dropped by
key as a second line of defence: the first is not to log it.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from services.runtime import trace

PRIVATE_KEYS: Final = frozenset(
    {
        "address", "authorization", "bcc", "body", "card", "card_number", "cc", "content", "cookie", "credentials", "creds",
        "cvc", "email", "first_name", "from", "full_name", "html", "iban", "jwt", "last_name", "mail_address", "mail_from",
        "message_text", "passphrase", "password", "phone", "private_key", "rcpt_to", "recipient", "recipients", "request",
        "response", "secret", "sender", "signature", "street", "text", "title", "to", "token",
    }
)  # fmt: skip
"""Keys whose values never reach a log line or a span."""

_FRAMES: Final = 24
_EventDict = MutableMapping[str, Any]


def configure(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog and the libraries' logging to ``stream`` (standard error) as JSON lines, from ``level`` up."""
    number = logging.getLevelNamesMapping()[level.upper()]

    def add_service(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
        event["service"] = service
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            add_service,
            add_trace,
            drop_private,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(max(number, logging.WARNING))


def add_trace(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
    """Add the ids of the trace that runs in this task (W3C Trace Context), if any."""
    traceparent = trace.current.get()
    if traceparent is not None:
        event["trace_id"] = traceparent[3:35]
        event["span_id"] = traceparent[36:52]
    return event


def drop_private(_logger: Any, _method: str, event: _EventDict) -> _EventDict:
    """Drop the keys that may hold a secret or something personal."""
    for key in PRIVATE_KEYS.intersection(event):
        del event[key]
    return event


def describe(error: BaseException) -> dict[str, Any]:
    """Describe an exception without its text: its class, those it came from, and the frames it passed."""
    frames = [
        f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    ]
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 8:
        causes.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    facts: dict[str, Any] = {"error": type(error).__name__, "frames": frames}
    if causes:
        facts["causes"] = causes
    if isinstance(error, BaseExceptionGroup):
        facts["members"] = [describe(member) for member in error.exceptions[:8]]
    return facts


class _Lines:
    """Writes lines to a stream, or to what standard error is at that moment."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        stream = self._stream or sys.stderr
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except BrokenPipeError:
            # Who read the log is gone; the process must still drain.
            return

    debug = info = warning = error = critical = msg


class _LibraryHandler(logging.Handler):
    """Turns a library's log record into a line of ours: its template, never what was filled in."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        facts = describe(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
        template = record.msg if isinstance(record.msg, str) and record.args else ""
        level = record.levelname.lower() if record.levelname.lower() in ("warning", "error", "critical") else "info"
        emit = getattr(structlog.get_logger("tradewind.library"), level)
        emit("library_message", logger=record.name, template=template, line=f"{record.module}:{record.lineno}", **facts)
