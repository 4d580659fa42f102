"""A tenant's own look at messages before they are decided: asks its hook, and holds it to the contract.

What the hook says is put on the command after the command was named, so a repeated request is the same request whatever the hook says
then: the log answers it with what was decided first. Also a refusal goes to the log, as a command that is refused there unless the request
was done before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

import grpc
import structlog
from opentelemetry.metrics import Meter, NoOpMeter
from tradewind.chat.v1 import chat_pb2, message_hook_service_pb2_grpc
from tradewind.chat.v1 import message_hook_service_pb2 as pb

from services.chat import commands, domain
from services.chat.access import Actor
from services.chat.moderation.bans import Bans
from services.chat.moderation.hook_meter import HookMeter
from services.chat.moderation.hook_settings import MessageHook
from services.ledger.ids import AggregateId
from services.runtime.errors import Refused
from services.runtime.validation import validate

_MOST_ANSWER_BYTES: Final = 64 * 1024
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MOST_ANSWER_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 0),
]
_LATE: Final = frozenset({"late", "deadline_exceeded"})
_FAIR_SHARE: Final = 0.5
"""A hook that had less than this part of its time is not late: its place was long in coming, or the caller's deadline was near."""
_log = structlog.get_logger(__name__)
_Says = TypeVar("_Says", domain.SendMessage, domain.EditMessage)


class Verdict(NamedTuple):
    """What becomes of a message: refused, said otherwise, or neither."""

    refusal: domain.Refused | None = None
    content: chat_pb2.MessageContent | None = None

    def on(self, command: _Says) -> _Says | domain.Withheld:
        """Put it on the message's command, whose content is already what is to be written."""
        return command if self.refusal is None else domain.Withheld(command, self.refusal)


FREE: Final = Verdict()
"""Nobody objects."""


class Reviewer:
    """Says what may be said. ``close`` it.

    Args:
        hooks: of tenants that have one; of others nothing is asked.
        bans: who may say nothing at all.
    """

    def __init__(self, hooks: Mapping[str, MessageHook], bans: Bans | None = None, meter: Meter | None = None) -> None:
        """Connect to nothing before the first message; ``meter`` takes how long hooks are asked, and what they say."""
        self._bans = bans
        asked = HookMeter(meter or NoOpMeter("chat"))
        self._hooks = {tenant: _Hook(tenant, settings, asked) for tenant, settings in hooks.items()}

    def asks(self, tenant: str) -> bool:
        """Tell whether a tenant looks at its messages."""
        return tenant in self._hooks

    async def require_good(self, actor: Actor) -> None:
        """Raise domain.Refused (USER_BANNED) for a user whom a service names as sender, and who is banned."""
        if self._bans is not None:
            await self._bans.require_good(actor.tenant, actor.user_id)

    async def review(
        self,
        conversation: AggregateId,
        actor: Actor,
        said: pb.ReviewMessageRequest,
        left: float = math.inf,
    ) -> Verdict:
        """Ask about what an actor says in a conversation (``said`` tells what and why), within so many seconds at most."""
        hook = self._hooks.get(conversation.tenant)
        if hook is None:
            return FREE
        said.tenant, said.conversation_id = conversation.tenant, conversation.id
        said.sender_id, said.acting_service = actor.user_id, actor.acting_service
        return await hook.review(said, left)

    async def close(self) -> None:
        """Hang up."""
        for hook in self._hooks.values():
            await hook.close()


class _NoAnswer(Exception):
    """The hook gave none that counts."""


class _NotAsked(Exception):
    """It had no chance to answer: that is nothing against it, nor a reason to do without it."""


class _Hook:
    """One tenant's."""

    def __init__(self, tenant: str, settings: MessageHook, meter: HookMeter) -> None:
        self._meter = meter
        self._tenant = tenant
        self._settings = settings
        self._token = settings.token_file.read_text(encoding="utf-8").strip() if settings.token_file else ""
        self._places = asyncio.Semaphore(settings.in_flight)
        self._channel: grpc.aio.Channel | None = None
        self._failed = 0
        self._asked_again_at = 0.0

    async def review(self, request: pb.ReviewMessageRequest, left: float) -> Verdict:
        """Ask; without an answer that counts, do as the settings say."""
        if time.monotonic() >= self._asked_again_at:
            begun = time.monotonic()
            try:
                verdict = await self._ask(request, left)
            except _NotAsked:
                self._meter.unasked("crowded")
                # Whoever brings more than the hook may be asked, or leaves it no time, must not get past it so.
                return _unanswered(1.0)
            except _NoAnswer as error:
                late = str(error) in _LATE
                self._meter.asked("late" if late else "failed", time.monotonic() - begun)
                self._note_failure(str(error))
            else:
                self._failed = 0
                self._meter.asked(_outcome(verdict), time.monotonic() - begun)
                return verdict
        else:
            self._meter.unasked("paused")
        if self._settings.when_down == "accept":
            return FREE
        return _unanswered(max(1.0, self._asked_again_at - time.monotonic()))

    async def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            await self._channel.close()

    async def _ask(self, request: pb.ReviewMessageRequest, left: float) -> Verdict:
        """Ask, once there is a place for it. Raises _NotAsked, _NoAnswer."""
        until = time.monotonic() + min(left, self._settings.timeout)
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._places.acquire()
        except TimeoutError:
            raise _NotAsked from None
        try:
            return await self._answered(request, until - time.monotonic())
        finally:
            self._places.release()

    async def _answered(self, request: pb.ReviewMessageRequest, seconds: float) -> Verdict:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._stub().ReviewMessage(request, metadata=self._metadata(), timeout=seconds)
        except (TimeoutError, grpc.aio.AioRpcError) as error:
            late = isinstance(error, TimeoutError) or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if late and seconds < _FAIR_SHARE * self._settings.timeout:
                raise _NotAsked from None
            raise _NoAnswer("late" if isinstance(error, TimeoutError) else error.code().name.lower()) from None
        return _verdict(request.content, answer)

    def _note_failure(self, reason: str) -> None:
        self._failed += 1
        if self._failed >= self._settings.failures:
            self._asked_again_at = time.monotonic() + self._settings.pause
        if self._failed == 1 or self._failed == self._settings.failures:
            _log.warning("message_hook_unanswered", tenant=self._tenant, reason=reason, in_a_row=self._failed)

    def _stub(self) -> message_hook_service_pb2_grpc.MessageHookServiceAsyncStub:
        if self._channel is None:
            settings = self._settings
            if settings.ca_file is None:
                self._channel = grpc.aio.insecure_channel(settings.target, _OPTIONS)
            else:
                credentials = grpc.ssl_channel_credentials(settings.ca_file.read_bytes())
                self._channel = grpc.aio.secure_channel(settings.target, credentials, _OPTIONS)
        return message_hook_service_pb2_grpc.MessageHookServiceStub(self._channel)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"),) if self._token else ()


def _outcome(verdict: Verdict) -> str:
    if verdict.refusal is not None:
        return "refused"
    return "accepted" if verdict.content is None else "changed"


def _unanswered(wait: float) -> Verdict:
    return Verdict(
        domain.Refused("DEPENDENCY_UNAVAILABLE", "the tenant's review of messages does not answer", retry_after=wait)
    )


def _verdict(said: chat_pb2.MessageContent, answer: pb.ReviewMessageResponse) -> Verdict:
    """Read an answer. Raises _NoAnswer for one that breaks a rule of the contract."""
    try:
        validate(answer)
    except Refused:
        raise _NoAnswer("invalid answer") from None
    which = answer.WhichOneof("verdict")
    if which == "refuse":
        text = answer.refuse.reason or "the message is refused"
        return Verdict(domain.Refused("MESSAGE_REFUSED", text))
    if which == "accept":
        return FREE
    content = chat_pb2.MessageContent()
    content.CopyFrom(said)
    content.text = answer.change.text
    content.attributes.clear()
    content.attributes.update(answer.change.attributes)
    checked = chat_pb2.MessageContent()
    checked.CopyFrom(content)
    checked.ClearField("forwarded")  # set by Chat itself, and refused of others
    try:
        commands.checked(checked)
    except domain.Refused:
        raise _NoAnswer("invalid change") from None
    return Verdict(content=content)


def changed(command: _Says, content: bytes) -> _Says:
    """Give a command that says something else."""
    if isinstance(command, domain.SendMessage):
        return command._replace(content=content)
    return replace(command, content=content)
