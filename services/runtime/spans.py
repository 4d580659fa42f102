"""Spans: what a trace is made of. An unsampled one is a single shared object that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Status, StatusCode

from services.runtime import trace
from services.runtime.errors import reason_of
from services.runtime.logs import PRIVATE_KEYS

if TYPE_CHECKING:
    from opentelemetry.trace import Span as SdkSpan

Attribute = str | int | float | bool


class Span:
    """A span that is not sampled: every method does nothing. ``traceparent`` is None."""

    __slots__ = ()

    @property
    def traceparent(self) -> str | None:
        """The span's W3C traceparent, for what happens because of it; None when unsampled."""
        return None

    def set(self, key: str, value: Attribute) -> None:
        """Set an attribute; keys that may hold something personal are dropped."""

    def event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Note a moment within the span, by an identifier."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed, for a reason that is an identifier."""

    def end(self) -> None:
        """End the span, where it is not used as a context manager."""

    def __enter__(self) -> Span:
        """Make this the current span of the task."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """End the span; an exception marks it as failed by reason or class, never by text."""


NO_SPAN: Final = Span()


class RecordedSpan(Span):
    """A sampled span, recorded by the OpenTelemetry SDK."""

    __slots__ = ("_sdk", "_token", "_traceparent")

    def __init__(self, sdk: SdkSpan) -> None:
        """Wrap a started span of the SDK."""
        context = sdk.get_span_context()
        self._sdk = sdk
        self._traceparent = trace.render(context.trace_id, context.span_id, sampled=True)
        self._token: Token[str | None] | None = None

    @property
    def traceparent(self) -> str | None:
        """The span's W3C traceparent."""
        return self._traceparent

    def set(self, key: str, value: Attribute) -> None:
        """Set an attribute, unless its last word may hold something personal."""
        if not private(key):
            self._sdk.set_attribute(key, value)

    def event(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Note a moment within the span."""
        self._sdk.add_event(name, allowed(attributes))

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        self._sdk.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """End the span."""
        self._sdk.end()

    def __enter__(self) -> Span:
        """Make this the current span of the task."""
        self._token = trace.current.set(self._traceparent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """End the span, failed when an exception passes."""
        if self._token is not None:
            trace.current.reset(self._token)
            self._token = None
        if error is not None:
            self.fail(reason_of(error) or type(error).__name__)
        self._sdk.end()


def private(key: str) -> bool:
    """Say whether an attribute of this key may hold a secret or something personal."""
    return key.rpartition(".")[2] in PRIVATE_KEYS


def allowed(attributes: Mapping[str, Attribute] | None) -> dict[str, Any] | None:
    """Keep the attributes that may be recorded."""
    if attributes is None:
        return None
    return {key: value for key, value in attributes.items() if not private(key)}
