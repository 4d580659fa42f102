"""What a handler knows about the call it serves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from services.runtime.validation import validate

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.runtime.limits import Limiter
    from services.runtime.spans import Span

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the verified token says; ``on_behalf_of`` is the end user a service acts for.

    ``until``: when the token is taken no more, in seconds since the epoch; it is no part of who one is.
    """

    tenant: str
    subject: str
    roles: frozenset[str]
    on_behalf_of: str | None = None
    until: float = field(default=math.inf, compare=False)


ANONYMOUS: Final = Caller("", "", frozenset())
"""The caller of a public method; it has no tenant and no roles."""

EXEMPT: Final = "service"
"""The role whose calls are not limited by rate: services are slowed by back pressure instead."""


class Call:
    """One call: who makes it, until when, and in which trace. Handlers get it as their second argument."""

    __slots__ = ("_deadline", "_limiter", "_loop", "_ours", "_span", "caller", "draining", "expired", "method")

    def __init__(
        self,
        caller: Caller,
        method: str,
        draining: asyncio.Event,
        deadline: float | None,
        ours: bool,
        span: Span,
        limiter: Limiter,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Describe a call; ``deadline`` in the loop's time, None for a stream without one; ``ours`` when grpc does not enforce it."""
        self.caller = caller
        self.method = method
        self.draining = draining
        self.expired = False
        self._deadline = deadline
        self._ours = ours
        self._span = span
        self._limiter = limiter
        self._loop = loop

    @property
    def traceparent(self) -> str | None:
        """The W3C traceparent of this call's span; None when the call is not sampled."""
        return self._span.traceparent

    @property
    def span(self) -> Span:
        """This call's span, to set attributes on; one that does nothing when the call is not sampled."""
        return self._span

    def remaining(self) -> float:
        """Seconds until the deadline, never below 0; infinite for a stream whose client set none."""
        if self._deadline is None:
            return math.inf
        return max(0.0, self._deadline - self._loop.time())

    def within(self, seconds: float) -> Call:
        """Give this call with a deadline so soon, for one piece of a stream's work."""
        until = self._loop.time() + min(seconds, self.remaining())
        return Call(self.caller, self.method, self.draining, until, False, self._span, self._limiter, self._loop)

    def expire_with(self, task: asyncio.Task[Any] | None) -> asyncio.TimerHandle | None:
        """Cancel ``task`` when the deadline passes, so that a call past it does no further work. For the runtime."""
        if not self._ours or self._deadline is None or task is None:
            return None
        return self._loop.call_at(self._deadline, self._expire, task)

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self.expired = True
        task.cancel()

    def admit(self, count: int = 1) -> float:
        """Charge ``count`` units of work of a stream to the caller: 0.0 when it may go on, else seconds to wait before asking again."""
        if EXEMPT in self.caller.roles or self.caller is ANONYMOUS:
            return 0.0
        return self._limiter.take((self.caller.tenant, self.caller.subject), count)

    def validate(self, message: Message) -> None:
        """Check a message against its field rules. Raises Refused (INVALID_FIELD). For handlers marked ``unvalidated`` or ``raw``."""
        validate(message)


current: ContextVar[Call | None] = ContextVar("tradewind_call", default=None)
"""The call this task serves, so that calls it makes carry its deadline and its end user."""


def unvalidated(handler: _Handler) -> _Handler:
    """Mark a handler that gets its requests parsed but not validated, and answers for each item itself (``call.validate``)."""
    handler.validates = False  # type: ignore[attr-defined]
    return handler


def raw(handler: _Handler) -> _Handler:
    """Mark a handler that gets its requests as the bytes that came, neither parsed nor validated."""
    handler.raw = True  # type: ignore[attr-defined]
    return handler
