"""How fast people may say things: each user, and each conversation, whoever speaks there.

This comes on top of what the runtime allows a caller and a tenant for calls of any kind. What is refused here is refused with
RATE_LIMITED and the time after which to try again; a stream is slowed instead. Services are slowed by back pressure alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from opentelemetry.metrics import Meter, NoOpMeter

from services.chat import domain
from services.chat.config import ChatSettings
from services.runtime.call import EXEMPT, Call, Caller
from services.runtime.errors import Refused
from services.runtime.limits import Rate, RateLimiter
from services.runtime.refusals import Refusals

_NO_LIMIT: Final = Rate(0.0, 1.0)


class Wait(NamedTuple):
    """How long to wait, 0.0: not at all; ``full``: the conversation whose limit it is, empty where it is the user's."""

    seconds: float = 0.0
    full: str = ""


_NOW: Final = Wait()
Knows = Callable[[Caller, str], Awaitable[bool]]
"""Tells whether a caller may know of a conversation."""


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

    async def admit(self, caller: Caller, conversation_id: str, knows: Knows) -> bool:
        """Let one message through; tells whether its conversation was charged. Raises Refused (RATE_LIMITED).

        Whoever may not know of a conversation is not told that much is said there: it goes on, to be refused as anywhere else.
        """
        wait, charged = self.take(caller, {conversation_id: 1}), True
        if wait.full and not await knows(caller, conversation_id):
            wait, charged = self.take(caller, {}, 1), False
        if wait.seconds:
            self.count(wait)
            raise Refused(
                "RATE_LIMITED",
                "more is said, by the caller or in the conversation, than its limit",
                retry_after=wait.seconds,
            )
        return charged

    def count(self, wait: Wait) -> None:
        """Count that somebody is refused, or slowed."""
        self._refusals.count(self._conversations.name if wait.full else self._users.name)

    def take(self, caller: Caller, counts: Mapping[str, int], others: int = 0) -> Wait:
        """Let so many messages through in each conversation, or none at all and give how long to wait.

        ``others``: so many more, which no conversation is charged for.
        """
        if EXEMPT in caller.roles:
            return _NOW
        tenant = caller.tenant
        user = (tenant, caller.subject)
        count = sum(counts.values()) + others
        wait = self._users.take(user, count)
        if wait:
            return Wait(wait)
        taken: list[tuple[tuple[str, str], int]] = []
        for conversation_id, said in counts.items():
            key = (tenant, conversation_id)
            wait = self._conversations.take(key, said)
            if wait:
                for charged in taken:
                    self._conversations.give_back(*charged)
                self._users.give_back(user, count)
                return Wait(wait, conversation_id)
            taken.append((key, said))
        return _NOW

    def refused(self, caller: Caller, conversation_id: str, refusal: BaseException) -> None:
        """Give a conversation back what it was charged for one message that its rules refused; the user stays charged.

        So nobody slows a conversation in which it may say nothing, or takes its time by what is not said.
        """
        if isinstance(refusal, domain.Refused) and EXEMPT not in caller.roles:
            self._conversations.give_back((caller.tenant, conversation_id))


class _Paces(Protocol):
    pace: Pace

    async def knows(self, caller: Caller, conversation_id: str) -> bool: ...


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
        charged = await self.pace.admit(call.caller, request.conversation_id, self.knows)
        try:
            return await act(self, request, call)
        except domain.Refused as refusal:
            if charged:
                self.pace.refused(call.caller, request.conversation_id, refusal)
            raise

    return within
