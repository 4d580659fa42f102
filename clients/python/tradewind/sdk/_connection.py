"""One channel to one service: who calls, how long a call may take, and what is tried again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tradewind.sdk._errors import ClientClosed, Unauthenticated, from_rpc
from tradewind.sdk._retry import RetryPolicy, retrying
from tradewind.sdk._trace import traceparent

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function (plain or async) that gives one; it is asked before every call, so it should remember.

A stream ends when its token expires. With a function it goes on with the token that is then given; else it raises Unauthenticated.
"""

Answer = TypeVar("Answer", bound=Message)
Metadata = tuple[tuple[str, str], ...]

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.primary_user_agent", "tradewind-python"),
    # gRPC's own pause between connections grows to two minutes; a stream that resumes must not wait so long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A server that vanished without a word is noticed within 30 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.lb_policy_name", "round_robin"),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Encrypts the channel: PEM bytes. Without `roots` the system's are used; `key` and `chain` are the client's own, for mTLS."""

    roots: bytes | None = None
    key: bytes | None = None
    chain: bytes | None = None


def open_channel(target: str, tls: Tls | None) -> grpc.aio.Channel:
    """Open a channel; nothing is connected before the first call. `target` is a gRPC name, such as `host:port`."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.chain)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


class Connection:
    """Calls one service."""

    def __init__(self, channel: grpc.aio.Channel, token: Token | None, policy: RetryPolicy, timeout: float) -> None:
        """Call over `channel` as the bearer of `token`; a call takes at most `timeout` seconds unless it says otherwise."""
        self.channel = channel
        self.policy = policy
        self.timeout = timeout
        self._token = token
        self._closed = False

    async def close(self) -> None:
        """End all that is under way."""
        self._closed = True
        await self.channel.close()

    @contextmanager
    def closing_told(self) -> Iterator[None]:
        """Raise ClientClosed where this connection was closed. gRPC cancels then whoever waits, which is nobody's cancellation."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            raise ClientClosed("the client was closed") from None
        except grpc.aio.UsageError:
            if not self._closed:
                raise
            raise ClientClosed("the client was closed") from None

    @asynccontextmanager
    async def streaming(self, open_call: Callable[..., Any], *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """Begin a stream, and cancel it when it is left, however it is left, so that the server does not go on for nobody."""
        with self.closing_told():
            call = open_call(*arguments, **options)
            try:
                yield call
            finally:
                call.cancel()

    @property
    def renews(self) -> bool:
        """Whether the token comes from a function, which can give another one."""
        return callable(self._token)

    async def metadata(self) -> Metadata:
        """What travels with a call: authorization, and the trace it belongs to."""
        headers = []
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        if token:
            headers.append(("authorization", f"Bearer {token}"))
        trace = traceparent()
        if trace is not None:
            headers.append(("traceparent", trace))
        return tuple(headers)

    async def unary(
        self, method: Callable[..., Awaitable[Answer]], request: Message, timeout: float | None = None
    ) -> Answer:
        """Call a method; tried again while that makes sense, all within `timeout` seconds. Raises TradewindError."""

        async def attempt(left: float) -> Answer:
            metadata = await self.metadata()
            try:
                with self.closing_told():
                    return await method(request, timeout=left, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise from_rpc(error) from error

        async def authenticated(left: float) -> Answer:
            try:
                return await attempt(left)
            except Unauthenticated:
                if not self.renews:
                    raise
            # A provider may hold a token that expired on the way; it is asked once more.
            return await attempt(left)

        return await retrying(authenticated, self.policy, self.timeout if timeout is None else timeout)
