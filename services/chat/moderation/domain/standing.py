"""A user's standing in a tenant: whether it may do anything there at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.chat.domain.refusals import Refused, kept_out


@dataclass(frozen=True, slots=True)
class BanUser:
    """Keep a user from everything; ``until_us`` 0: for ever.

    ``words``: why, a content as log and store hold it, in base64, or nothing; where it is what it was, so are its bytes.
    ``refusal``: why one more cannot be kept out, as was looked up; then it is refused, unless it is none more or was done before.
    """

    at_us: int
    actor: str
    acting_service: str
    user_id: str
    until_us: int
    words: str
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class UnbanUser:
    """Let it do again what it may."""

    at_us: int
    actor: str
    acting_service: str


StandingCommand = BanUser | UnbanUser


@dataclass(frozen=True, slots=True)
class UserBanned:
    """A user may do nothing from now on; ``reason``: why, where it was not kept as ``words`` yet."""

    at_us: int
    actor: str
    acting_service: str
    until_us: int
    reason: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class UserUnbanned:
    """A user may do again what it may."""

    at_us: int
    actor: str
    acting_service: str


StandingChange = UserBanned | UserUnbanned


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands: the last ban, unless it was taken back."""

    ban: UserBanned | None = None


_GOOD: Final = Standing()


def initial() -> Standing:
    """Give the standing of a user who was never banned."""
    return _GOOD


def decide(state: Standing, command: StandingCommand) -> Sequence[StandingChange]:
    """Give the events that a command leads to; what is so already is no change. Raises Refused (FORBIDDEN, SANCTIONS_LIMIT)."""
    who = (command.at_us, command.actor, command.acting_service)
    if isinstance(command, UnbanUser):
        return (UserUnbanned(*who),) if state.ban is not None else ()
    if command.user_id == command.actor:
        raise Refused("FORBIDDEN", "nobody bans itself", field="user_id")
    ban = state.ban
    if ban is not None and (ban.until_us, ban.words) == (command.until_us, command.words):
        return ()
    if command.refusal is not None and (ban is None or not lasts(ban.until_us, command.at_us)):
        raise command.refusal
    return (UserBanned(*who, command.until_us, words=command.words),)


def evolve(_state: Standing, event: StandingChange) -> Standing:
    """Give the standing after an event."""
    return Standing(event) if isinstance(event, UserBanned) else _GOOD


def lasts(until_us: int, at_us: int) -> bool:
    """Tell whether a ban lasts at a time."""
    return until_us == 0 or until_us > at_us


def user_banned(until_us: int) -> Refused:
    """Refuse one who may do nothing."""
    return kept_out("USER_BANNED", "the user may do nothing here", until_us)
