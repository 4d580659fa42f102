"""What every call passes before its handler, in this order: drain, deadline, token, roles, rate, room.

One object of plain functions, without an await and without an interceptor each: what they cost is paid for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from services.runtime import call as calls
from services.runtime import trace
from services.runtime.admission import Admission
from services.runtime.call import ANONYMOUS, EXEMPT, Call, Caller
from services.runtime.config import RuntimeSettings
from services.runtime.errors import Refused
from services.runtime.limits import CallerLimits, RateLimiter
from services.runtime.policy import PUBLIC, authorise
from services.runtime.refusals import Refusals
from services.runtime.room import Room
from services.runtime.spans import NO_SPAN
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator


class Gate:
    """Lets calls in, and knows how many are inside."""

    def __init__(self, settings: RuntimeSettings, telemetry: Telemetry, authenticator: Authenticator) -> None:
        """Guard one server."""
        self.draining = asyncio.Event()
        self.refusing = False
        self.telemetry = telemetry
        self.admission: Admission | None = None
        self._authenticator = authenticator
        self._refusals = Refusals(telemetry.meter)
        self.limits = CallerLimits(
            RateLimiter(settings.rate_limit, settings.rate_burst, settings.rate_callers, name="caller"),
            RateLimiter(settings.tenant_rate_limit, settings.tenant_rate_burst, settings.rate_callers, name="tenant"),
            self._refusals.count,
        )
        self._deadline_default = settings.deadline_default
        self._deadline_max = settings.deadline_max
        self._room = {
            True: Room(settings.max_streams, settings.tenant_share),
            False: Room(settings.max_unary_calls, settings.tenant_share),
        }
        self._public_room = settings.max_public_streams
        self._public_streams = 0
        self._caller_room = settings.max_caller_streams
        self._caller_streams: dict[tuple[str, str], int] = {}
        self._loop = asyncio.get_running_loop()

    def enter(self, method: str, roles: frozenset[str], streams: bool, context: Any) -> Call:
        """Let a call in, or raise Refused. Whoever was let in must ``leave``."""
        authorization = traceparent = None
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                authorization = value
            elif key == trace.KEY:
                traceparent = value
        deadline, ours = self._deadline(context, streams)
        if traceparent is not None and trace.parse(traceparent) is None:
            traceparent = None
        if roles is PUBLIC:
            self._take_public(streams)
            caller, span = ANONYMOUS, NO_SPAN
        else:
            if self.refusing:
                raise Refused("DRAINING", "the server is draining; connect again")
            caller = self._authenticator.authenticate(authorization)
            if EXEMPT not in caller.roles:
                wait = self.limits.take((caller.tenant, caller.subject))
                if wait:
                    raise Refused("RATE_LIMITED", "the caller sends faster than its limit", retry_after=wait)
            authorise(roles, caller.roles)
            self._take_place(streams, caller)
            span = self.telemetry.root(method[1:], traceparent, "server")
            if span is not NO_SPAN:
                service, _, name = method[1:].partition("/")
                span.set("rpc.system", "grpc")
                span.set("rpc.service", service)
                span.set("rpc.method", name)
                span.set("tradewind.tenant", caller.tenant)
                traceparent = span.traceparent
        call = Call(caller, method, self.draining, deadline, ours, span, self.limits, self._loop)
        # Each call runs in a task of its own, so there is nothing to set back.
        calls.current.set(call)
        if traceparent is not None:
            trace.current.set(traceparent)
        return call

    def leave(self, call: Call, streams: bool, code: str, failure: str | None) -> None:
        """Let a call out, with the name of its status code and, where it failed, the reason."""
        if call.caller is ANONYMOUS:
            self._public_streams -= streams
        else:
            self._give_place_back(streams, call.caller)
        span = call.span
        if span is not NO_SPAN:
            span.set("rpc.grpc.status_code", code)
            if failure is not None:
                span.fail(failure)
            span.end()

    def inside(self) -> Iterable[int]:
        """Give how many streams and how many unary calls are inside, without those that need no token."""
        return tuple(room.inside for room in self._room.values())

    def _take_public(self, streams: bool) -> None:
        """Take the place of a call without a token. Raises Refused (OVERLOADED).

        Counted apart, so that it is not the place of somebody with a token; a probe's single call is always let in.
        """
        if streams and self._public_streams >= self._public_room:
            raise Refused("OVERLOADED", "the server holds as many streams without a token as it allows itself")
        self._public_streams += streams

    def _take_place(self, streams: bool, caller: Caller) -> None:
        """Take a place in the server and, for a stream, one of the caller's own. Raises Refused (OVERLOADED)."""
        room = self._room[streams]
        limited = EXEMPT not in caller.roles
        if not room.has_place(caller.tenant, limited):
            self._refusals.count("room")
            raise Refused("OVERLOADED", "the server holds as much work as it allows itself, or the tenant")
        if streams and limited:
            key = (caller.tenant, caller.subject)
            held = self._caller_streams.get(key, 0)
            if held >= self._caller_room:
                self._refusals.count("caller_streams")
                raise Refused("OVERLOADED", "the caller holds as many streams as it may")
            self._caller_streams[key] = held + 1
        room.enter(caller.tenant)

    def _give_place_back(self, streams: bool, caller: Caller) -> None:
        self._room[streams].leave(caller.tenant)
        if streams and EXEMPT not in caller.roles:
            key = (caller.tenant, caller.subject)
            left = self._caller_streams[key] - 1
            if left:
                self._caller_streams[key] = left
            else:
                del self._caller_streams[key]

    def _deadline(self, context: Any, streams: bool) -> tuple[float | None, bool]:
        """Give the deadline in the loop's time, and whether it is ours to enforce: grpc cancels at the client's own."""
        remaining: float | None = context.time_remaining()
        if streams:
            return (None if remaining is None else self._loop.time() + remaining), False
        if remaining is None:
            return self._loop.time() + self._deadline_default, True
        if remaining <= 0:
            raise Refused("DEADLINE_EXCEEDED", "the deadline had passed when the call arrived")
        if remaining > self._deadline_max:
            return self._loop.time() + self._deadline_max, True
        return self._loop.time() + remaining, False
