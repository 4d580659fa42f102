"""Server streams that go on: connect, hear, connect again exactly after the last version heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol, TypeVar

import grpc.aio

from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import TradewindError, Transient, Unauthenticated, Unavailable, VersionGap, from_rpc
from tradewind.sdk._retry import RetryPolicy

_GOOD_ONCE_SECONDS = 1.0
_MOST_RENEWALS = 3


class Versioned(Protocol):
    """An event with a dense version."""

    @property
    def version(self) -> int:
        """1, 2, 3, … without a hole."""


Event = TypeVar("Event", bound=Versioned)


class Frame(NamedTuple):
    """What a frame says: its items, and after how many milliseconds to connect again; 0 where it says nothing of that."""

    items: Sequence[Any]
    reconnect_after_ms: int


class Patience:
    """Decides whether and when to connect again. A frame heard, or a connection that held a while, forgives all failures before.

    `renews`: whoever gives the token can give another. A server ends a stream when its token expires; that is then a reason to connect
    again at once. Only tokens that are refused as soon as they are shown, several in a row, are not worth another try.
    """

    def __init__(self, policy: RetryPolicy, *, renews: bool = False) -> None:
        self._policy = policy
        self._renews = renews
        self._renewals = 0
        self._begun_at = 0.0
        self._failures = 0
        self._down_since: float | None = None
        self._connected_at: float | None = None

    def begun(self) -> None:
        """Note that a connection is asked for."""
        self._begun_at = asyncio.get_running_loop().time()

    def connected(self) -> None:
        """Note that a connection stands."""
        self._connected_at = asyncio.get_running_loop().time()

    def heard(self) -> None:
        """Note a frame."""
        self._failures = 0
        self._down_since = None
        self._renewals = 0

    def wait(self, error: TradewindError) -> float:
        """Seconds to wait before the next connection. Raises `error` where it is not Transient or patience has ended."""
        now = asyncio.get_running_loop().time()
        if self._connected_at is not None and now - self._connected_at > max(1.0, self._policy.longest_wait):
            self.heard()
        self._connected_at = None
        if isinstance(error, Unauthenticated) and self._renews:
            return self._renew(error, now - self._begun_at)
        if not isinstance(error, Transient):
            raise error
        self._failures += 1
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since > self._policy.stream_patience:
            raise error
        return self._policy.wait(self._failures, error)

    def _renew(self, error: TradewindError, lasted: float) -> float:
        # A stream on which nothing happened shows only by its length that its token was good once.
        self._renewals = 1 if lasted > _GOOD_ONCE_SECONDS else self._renewals + 1
        if self._renewals > _MOST_RENEWALS:
            raise error
        return 0.0 if self._renewals == 1 else self._policy.wait(self._renewals, error)


async def resuming(
    connection: Connection, open_call: Callable[..., Any], read: Callable[[Any], Frame], *, ends: bool
) -> AsyncGenerator[Any, None]:
    """Yield the items of all frames, over as many connections as it takes.

    `open_call(metadata)` begins a stream where the caller now is. `ends`: the server ends the stream when there is nothing more to come;
    otherwise an end is taken for a broken connection. Raises TradewindError when refused, or when patience has ended.
    """
    patience = Patience(connection.policy, renews=connection.renews)
    while True:
        wait = 0.0
        try:
            metadata = await connection.metadata()
            patience.begun()
            async with connection.streaming(open_call, metadata=metadata) as call:
                await call.wait_for_connection()
                patience.connected()
                async for message in call:
                    patience.heard()
                    frame = read(message)
                    for item in frame.items:
                        yield item
                    if frame.reconnect_after_ms:
                        wait = frame.reconnect_after_ms / 1000
                        break
                else:
                    if ends:
                        return
                    wait = patience.wait(Unavailable("the stream ended"))
        except grpc.aio.AioRpcError as error:
            wait = patience.wait(from_rpc(error))
        await asyncio.sleep(wait)


class Place:
    """Where a reader of one resource's events is."""

    def __init__(self, resource_id: str, after: int) -> None:
        self.resource_id = resource_id
        self.last = after

    def step(self, version: int) -> None:
        """Take the next event's version. Raises VersionGap where it is not the next."""
        if version != self.last + 1:
            raise VersionGap(self.resource_id, self.last + 1, version)
        self.last = version

    def reached(self, upto: int) -> None:
        """Hear that nothing more is to come up to a version; in events without a gap that says nothing new."""


async def watching(
    connection: Connection,
    open_call: Callable[..., Any],
    read: Callable[[Any], Frame],
    place: Place,
    *,
    ends: bool,
) -> AsyncGenerator[Any, None]:
    """Yield events after `place`, each once and without a gap; `open_call` is to begin after `place.last`."""
    async with aclosing(resuming(connection, open_call, read, ends=ends)) as events:
        async for event in events:
            # Moved before the event is given away: whoever stops here and goes on later has seen it.
            place.step(event.version)
            yield event
