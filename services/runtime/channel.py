"""Channels to other services: every call carries a token of this service, the end user it acts for, the trace and the deadline.

Inside a handler all of that comes from the call being served. Elsewhere (consumers, timers) say for whom: ``with acting(tenant, user):``.
"""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import grpc

from services.runtime import call as calls
from services.runtime import trace
from services.runtime.config import RuntimeSettings
from services.runtime.tokens import BadKey, Signer

_TOKEN_TTL_S: Final = 300.0
_RENEW_AFTER_S: Final = 200.0
_MOST_TOKENS: Final = 10_000
_DEFAULT_TIMEOUT_S: Final = 10.0
_Pair = tuple[str, str]

_acting: ContextVar[tuple[str, str | None] | None] = ContextVar("tradewind_acting", default=None)

# Commands carry request ids, so a call may be repeated; the throttle is the retry budget: once a tenth of the calls fail, none are.
_SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}


class NoTenant(Exception):
    """A call between services was made neither while serving a call nor inside ``acting``."""


@contextmanager
def acting(tenant: str, on_behalf_of: str | None = None) -> Iterator[None]:
    """Make calls for this tenant and end user, with a deadline of their own instead of the served call's."""
    token = _acting.set((tenant, on_behalf_of))
    try:
        yield
    finally:
        _acting.reset(token)


class Credentials:
    """What this service shows of itself to others: short-lived tokens, one for each end user it acts for, kept until they age."""

    def __init__(self, signer: Signer, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Sign as ``service``, role ``service``."""
        self._signer = signer
        self._service = service
        self._clock = clock
        self._tokens: OrderedDict[tuple[str, str | None], tuple[str, float]] = OrderedDict()

    def authorization(self, tenant: str, on_behalf_of: str | None) -> str:
        """Give the value of ``authorization`` for a tenant and an end user."""
        now = self._clock()
        known = self._tokens.get((tenant, on_behalf_of))
        if known is not None and now < known[1]:
            return known[0]
        if on_behalf_of is None:
            token = self._signer.mint(self._service, tenant, ["service"], ttl=_TOKEN_TTL_S)
        else:
            token = self._signer.mint(on_behalf_of, tenant, ["service"], ttl=_TOKEN_TTL_S, actor=self._service)
        value = f"Bearer {token}"
        self._tokens[tenant, on_behalf_of] = (value, now + _RENEW_AFTER_S)
        self._tokens.move_to_end((tenant, on_behalf_of))
        if len(self._tokens) > _MOST_TOKENS:
            self._tokens.popitem(last=False)
        return value

    def metadata(self) -> tuple[_Pair, _Pair]:
        """Give the metadata of a call made now. Raises NoTenant."""
        acted = _acting.get()
        if acted is None:
            call = calls.current.get()
            if call is None or not call.caller.tenant:
                raise NoTenant("a call between services is made while serving one, or inside acting(tenant)")
            caller = call.caller
            acted = (caller.tenant, caller.on_behalf_of or (None if "service" in caller.roles else caller.subject))
        return ("authorization", self.authorization(*acted)), (trace.KEY, trace.current.get() or trace.unsampled())


def service_channel(
    settings: RuntimeSettings, target: str, service_name: str, *, retries: bool = True
) -> grpc.aio.Channel:
    """Open a channel to ``target`` (host:port) for the calls of service ``service_name``.

    Without ``retries`` a call is sent once, for callers that must look first at what became of it.

    Needs ``service_key_file``; uses TLS when ``channel_ca_file`` is set. Raises BadKey.
    """
    if settings.service_key_file is None:
        raise BadKey("TRADEWIND_SERVICE_KEY_FILE: not set, but needed for calls to other services")
    signer = Signer.from_file(settings.service_key_file, issuer=settings.auth_issuer, audience=settings.auth_audience)
    options = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", int(retries)),
        ("grpc.keepalive_time_ms", int(settings.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", settings.max_message_bytes * 4),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if settings.channel_ca_file is None:
        inner = grpc.aio.insecure_channel(target, options)
    else:
        pair = (settings.channel_key_file, settings.channel_cert_file)
        key, cert = (file.read_bytes() if file is not None else None for file in pair)
        credentials = grpc.ssl_channel_credentials(settings.channel_ca_file.read_bytes(), key, cert)
        inner = grpc.aio.secure_channel(target, credentials, options)
    return ServiceChannel(inner, Credentials(signer, service_name))


class ServiceChannel(grpc.aio.Channel):
    """A channel whose calls carry credentials, trace and deadline; a wrapper costs less than grpc's interceptors."""

    def __init__(self, inner: grpc.aio.Channel, credentials: Credentials) -> None:
        """Wrap ``inner``."""
        self._inner = inner
        self._credentials = credentials

    async def __aenter__(self) -> ServiceChannel:
        """Enter."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close."""
        await self._inner.close()

    async def close(self, grace: float | None = None) -> None:
        """Close; calls under way get ``grace`` seconds."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Give the connection's state."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self._inner.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a unary rpc's callable."""
        return self._carrying(self._inner.unary_unary(*args, **kwargs), unary=True)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a server-streaming rpc's callable."""
        return self._carrying(self._inner.unary_stream(*args, **kwargs), unary=False)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Make a client-streaming rpc's callable."""
        return self._carrying(self._inner.stream_unary(*args, **kwargs), unary=False)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Make a bidirectional rpc's callable."""
        return self._carrying(self._inner.stream_stream(*args, **kwargs), unary=False)

    def _carrying(self, callable_: Callable[..., Any], *, unary: bool) -> Callable[..., Any]:
        def start(
            request: Any = None, *, timeout: float | None = None, metadata: Sequence[_Pair] | None = None, **kwargs: Any
        ) -> Any:
            carried = (*(metadata or ()), *self._credentials.metadata())
            return callable_(request, timeout=_timeout(timeout, unary=unary), metadata=carried, **kwargs)

        return start


def _timeout(asked: float | None, *, unary: bool) -> float | None:
    """Choose the timeout: what is asked, but never more than the served call has left; a unary call always gets one."""
    call = calls.current.get() if _acting.get() is None else None
    left = call.remaining() if call is not None else math.inf
    if asked is None:
        asked = _DEFAULT_TIMEOUT_S if unary else math.inf
    timeout = min(asked, left)
    return None if math.isinf(timeout) else timeout
