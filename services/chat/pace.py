"""How fast people may say things: each user, and each conversation, whoever speaks there.

This comes on top of what the runtime allows a caller and a tenant for calls of any kind. What is refused here is refused with
RATE_LIMITED and the time after which to try again; a stream is slowed instead. Services are slowed by back pressure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Final, Protocol, TypeVar

from opentelemetry.metrics import Meter, NoOpMeter

from services.chat import domain
from services.chat.config import ChatSettings
from services.runtime.call import EXEMPT, Call, Caller
from services.runtime.errors import Refused
from services.runtime.limits import Rate, RateLimiter
from services.runtime.refusals import Refusals

_NO_LIMIT: Final = Rate(0.0, 1.0)


class Pace:
    """Allows messages, edits and reactions; the limits are shared with other processes by ``limiters``."""

    def __init__(self, user: Rate = _NO_LIMIT, conversation: Rate = _NO_LIMIT, capacity: int = 100_000) -> None:
        """Allow each user and each conversation so much; remember at most so many of them."""
        self._users = RateLimiter(*user, capacity, name="user_messages")
        self._conversations = RateLimiter(*conversation, capacity, name="conversation_messages")
        self._refusals = Refusals(NoOpMeter("chat"))

    @classmethod
    def of(cls, settings: ChatSettings) -> Pace:
        """Allow what the settings say."""
        return cls(
            Rate(settings.user_message_rate, settings.user_message_burst),
            Rate(settings.conversation_message_rate, settings.conversation_message_burst),
            settings.rate_callers,
        )

    def metered(self, meter: Meter) -> None:
        """Count with ``meter`` what is refused, or slowed."""
        self._refusals = Refusals(meter)

    @property
    def limiters(self) -> tuple[RateLimiter, ...]:
        """Give what is to be shared."""
        return (self._users, self._conversations)

    def admit(self, caller: Caller, conversation_id: str) -> None:
        """Let one message through. Raises Refused (RATE_LIMITED)."""
        wait = self.wait(caller, {conversation_id: 1})
        if wait:
            raise Refused(
                "RATE_LIMITED", "more is said, by the caller or in the conversation, than its limit", retry_after=wait
            )

    def wait(self, caller: Caller, counts: Mapping[str, int]) -> float:
        """Let so many messages through in each conversation and give 0.0, or none at all and give the seconds to wait."""
        if EXEMPT in caller.roles:
            return 0.0
        tenant = caller.tenant
        user = (tenant, caller.subject)
        count = sum(counts.values())
        wait = self._users.take(user, count)
        if wait:
            self._refusals.count(self._users.name)
            return wait
        taken: list[tuple[tuple[str, str], int]] = []
        for conversation_id, said in counts.items():
            key = (tenant, conversation_id)
            wait = self._conversations.take(key, said)
            if wait:
                for charged in taken:
                    self._conversations.give_back(*charged)
                self._users.give_back(user, count)
                self._refusals.count(self._conversations.name)
                return wait
            taken.append((key, said))
        return 0.0

    def refused(self, caller: Caller, conversation_id: str, refusal: BaseException) -> None:
        """Give a conversation back what it was charged for one message that its rules refused; the user stays charged.

        So nobody slows a conversation in which it may say nothing, or takes its time by what is not said.
        """
        if isinstance(refusal, domain.Refused) and EXEMPT not in caller.roles:
            self._conversations.give_back((caller.tenant, conversation_id))


class _Paces(Protocol):
    pace: Pace


class _Names(Protocol):
    conversation_id: str


_Self = TypeVar("_Self", bound=_Paces)
_Asked = TypeVar("_Asked", bound=_Names)
_Given = TypeVar("_Given")
_Act = Callable[[_Self, _Asked, Call], Coroutine[Any, Any, _Given]]


def paced(act: _Act[_Self, _Asked, _Given]) -> _Act[_Self, _Asked, _Given]:
    """Let a method through at the pace of its object. Raises Refused (RATE_LIMITED), and what the method raises."""

    @wraps(act)
    async def within(self: _Self, request: _Asked, call: Call) -> _Given:
        self.pace.admit(call.caller, request.conversation_id)
        try:
            return await act(self, request, call)
        except domain.Refused as refusal:
            self.pace.refused(call.caller, request.conversation_id, refusal)
            raise

    return within
