"""One user's scheduled messages: what is decided about them.

A message waits, is being sent, or failed; what was sent or cancelled is no more here. Before one is sent it is marked so, and from then
on it can be neither cancelled nor changed: whoever finds it so marked sends it again, under the same request id, until what became of it
is known. What is said stays in the event that said it; the state knows which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from services.chat.domain.refusals import Refused

MAX_WAITING: Final = 100
MAX_FAILED: Final = 100
FARTHEST_US: Final = 366 * 24 * 3600 * 1_000_000
TIMER: Final = "send"


class Status(StrEnum):
    """How a scheduled message stands."""

    WAITING = "waiting"
    SENDING = "sending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Have a message sent later. ``content`` is carried as it is.

    ``refusal``: why it cannot be, as was looked up; then it is refused, unless the request was done before.
    """

    at_us: int
    id: str
    conversation_id: str
    content: bytes
    send_us: int
    acting_service: str = ""
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Say something else, or at another time; empty and 0 stay as they are. ``refusal``: as of ``Schedule``."""

    at_us: int
    id: str
    content: bytes = b""
    send_us: int = 0
    acting_service: str = ""
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have it not sent, or see that it failed."""

    at_us: int
    id: str
    acting_service: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """Mark that it is being sent. ``content``: what it says instead, where the tenant has it say something else."""

    at_us: int
    id: str
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Try it later: it was not sent."""

    at_us: int
    id: str
    until_us: int


@dataclass(frozen=True, slots=True)
class Conclude:
    """Record that it was sent, as a version of its conversation."""

    at_us: int
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Record why it may not be sent. ``begun``: it was tried; else it was only looked at."""

    at_us: int
    id: str
    reason: str
    begun: bool


ScheduleCommand = Schedule | Change | Cancel | Begin | PutOff | Conclude | Fail


@dataclass(frozen=True, slots=True)
class Happened:
    """What every event has."""

    at_us: int
    acting_service: str
    id: str


@dataclass(frozen=True, slots=True)
class Scheduled(Happened):
    """A message is to be sent."""

    conversation_id: str
    content: bytes
    send_us: int


@dataclass(frozen=True, slots=True)
class Changed(Happened):
    """Something else is, or at another time; empty and 0: as before."""

    content: bytes
    send_us: int


@dataclass(frozen=True, slots=True)
class Cancelled(Happened):
    """It is not to be sent."""


@dataclass(frozen=True, slots=True)
class Begun(Happened):
    """It is being sent; empty: as it is."""

    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Waits(Happened):
    """It must wait."""

    until_us: int


@dataclass(frozen=True, slots=True)
class Sent(Happened):
    """It was sent."""

    version: int


@dataclass(frozen=True, slots=True)
class Failed(Happened):
    """It may not be sent."""

    reason: str


ScheduleChange = Scheduled | Changed | Cancelled | Begun | Waits | Sent | Failed


@dataclass(frozen=True, slots=True)
class Item:
    """One message. ``content_version``: of the event that has what it says. ``not_before_us``: until when it must wait."""

    id: str
    conversation_id: str
    send_us: int
    created_us: int
    content_version: int
    acting_service: str
    status: Status = Status.WAITING
    not_before_us: int = 0
    reason: str = ""

    @property
    def due_us(self) -> int:
        """When it is to be tried next (µs since the Unix epoch)."""
        return max(self.send_us, self.not_before_us)


@dataclass(frozen=True, slots=True)
class Schedules:
    """What stands: those that were neither sent nor cancelled, in order of being scheduled."""

    version: int
    items: dict[str, Item]


_NOTHING: Final = Schedules(0, {})


def initial() -> Schedules:
    """Give what stands where nothing was ever scheduled."""
    return _NOTHING


def timers(state: Schedules) -> Mapping[str, int]:
    """Name the timers: one, for the earliest message."""
    due = [each.due_us for each in state.items.values() if each.status is not Status.FAILED]
    return {TIMER: min(due)} if due else {}


def due(state: Schedules, at_us: int) -> Item | None:
    """Give the message to be tried now that is due longest."""
    found = [each for each in state.items.values() if each.status is not Status.FAILED and each.due_us <= at_us]
    return min(found, key=lambda each: each.due_us) if found else None


def decide(state: Schedules, command: ScheduleCommand) -> Sequence[ScheduleChange]:
    """Give the events that a command leads to. Raises Refused."""
    item = state.items.get(command.id)
    if isinstance(command, Schedule):
        return _schedule(state, command)
    if isinstance(command, Change | Cancel):
        return _take_back(item, command)
    if item is None:
        return ()  # what became of it was recorded by another
    match command:
        case Begin():
            is_due = item.status is Status.WAITING and item.due_us <= command.at_us
            return (Begun(command.at_us, "", item.id, command.content),) if is_due else ()
        case PutOff():
            later = item.status is not Status.FAILED and command.until_us > item.not_before_us
            return (Waits(command.at_us, "", item.id, command.until_us),) if later else ()
        case Conclude():
            return (Sent(command.at_us, "", item.id, command.version),)
        case Fail():
            fails = item.status is (Status.SENDING if command.begun else Status.WAITING)
            return (Failed(command.at_us, "", item.id, command.reason),) if fails else ()
    raise TypeError(f"no command of a schedule: {type(command).__name__}")


def _schedule(state: Schedules, command: Schedule) -> Sequence[ScheduleChange]:
    if command.id in state.items:
        return ()
    if command.refusal is not None:
        raise command.refusal
    _in_reach(command.send_us, command.at_us)
    waiting = sum(1 for each in state.items.values() if each.status is not Status.FAILED)
    if waiting >= MAX_WAITING:
        raise Refused(
            "SCHEDULED_LIMIT", f"at most {MAX_WAITING} messages wait at a time", metadata={"limit": str(MAX_WAITING)}
        )
    who = (command.at_us, command.acting_service, command.id)
    return (Scheduled(*who, command.conversation_id, command.content, command.send_us),)


def _take_back(item: Item | None, command: Change | Cancel) -> Sequence[ScheduleChange]:
    if item is None or (item.status is Status.FAILED and isinstance(command, Change)):
        raise no_such_message()
    if item.status is Status.SENDING:
        raise Refused("SCHEDULED_SEND_BEGUN", "the message is being sent")
    who = (command.at_us, command.acting_service, command.id)
    if isinstance(command, Cancel):
        return (Cancelled(*who),)
    if command.refusal is not None:
        raise command.refusal
    if command.send_us:
        _in_reach(command.send_us, command.at_us)
    return (Changed(*who, command.content, command.send_us),) if command.content or command.send_us else ()


def _in_reach(send_us: int, at_us: int) -> None:
    if not at_us < send_us <= at_us + FARTHEST_US:
        raise Refused("INVALID_FIELD", "a message is scheduled for the future, at most a year ahead", field="send_time")


def no_such_message() -> Refused:
    """Refuse what is no message that waits."""
    return Refused("NOT_FOUND", "no such scheduled message")


def evolve(state: Schedules, event: ScheduleChange) -> Schedules:
    """Give the state after an event."""
    version = state.version + 1
    items = dict(state.items)
    if isinstance(event, Scheduled):
        items[event.id] = Item(
            event.id, event.conversation_id, event.send_us, event.at_us, version, event.acting_service
        )
    elif isinstance(event, Cancelled | Sent):
        items.pop(event.id, None)
    else:
        items[event.id] = _changed(items[event.id], event, version)
    if isinstance(event, Failed):
        failed = [each.id for each in items.values() if each.status is Status.FAILED]
        for oldest in failed[: max(0, len(failed) - MAX_FAILED)]:
            del items[oldest]
    return Schedules(version, items)


def _changed(item: Item, event: Changed | Begun | Waits | Failed, version: int) -> Item:
    match event:
        case Changed():
            return replace(
                item,
                send_us=event.send_us or item.send_us,
                not_before_us=0 if event.send_us else item.not_before_us,
                content_version=version if event.content else item.content_version,
            )
        case Begun():
            says = version if event.content else item.content_version
            return replace(item, status=Status.SENDING, content_version=says)
        case Waits():
            return replace(item, not_before_us=event.until_us)
        case Failed():
            return replace(item, status=Status.FAILED, reason=event.reason)
