"""The reports of one message: who found what wrong with it, and how it was dealt with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from services.chat.domain.refusals import Refused, not_found

MOST_REPORTERS: Final = 1_000
"""Users whose reports of one message are kept; further ones are taken and not counted."""


class Resolution(IntEnum):
    """How a reported message was dealt with; the numbers are the contract's."""

    DISMISSED = 1
    REMOVED = 2
    AUTHOR_BANNED = 3


@dataclass(frozen=True, slots=True)
class Report:
    """Report the message; ``reason`` is a number of the contract's, ``words`` a content as log and store hold it, or nothing.

    ``refusal``: why it cannot be reported, as was looked up; then it is refused, unless the request was done before.
    """

    at_us: int
    actor: str
    acting_service: str
    reason: int
    words: bytes
    sender: str
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Resolve:
    """Deal with it; ``until_us``: where its author is banned, until when, 0: for ever.

    ``words``: what was noted, a content as log and store hold it, in base64, or nothing.
    """

    at_us: int
    actor: str
    acting_service: str
    resolution: Resolution
    words: str
    until_us: int = 0


ReportCommand = Report | Resolve


@dataclass(frozen=True, slots=True)
class Reported:
    """Somebody reported it."""

    at_us: int
    actor: str
    acting_service: str
    reason: int
    words: bytes
    sender: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """It was dealt with; ``note``: what was noted, where it was not kept as ``words`` yet."""

    at_us: int
    actor: str
    acting_service: str
    resolution: Resolution
    note: str = ""
    until_us: int = 0
    words: str = ""


ReportChange = Reported | Resolved


@dataclass(frozen=True, slots=True)
class Reports:
    """What stands.

    ``opened_us``: when the first report of all came. ``reporters``: all who ever reported it. ``count``, ``reasons``: of the reports
    since it was dealt with last. ``resolved``: how it was dealt with; None while it waits.
    """

    sender: str = ""
    opened_us: int = 0
    reporters: tuple[str, ...] = ()
    count: int = 0
    reasons: Mapping[int, int] = field(default_factory=dict)
    resolved: Resolved | None = None


_NONE: Final = Reports()


def initial() -> Reports:
    """Give what stands where nobody ever reported it."""
    return _NONE


def decide(state: Reports, command: ReportCommand) -> Sequence[ReportChange]:
    """Give the events that a command leads to. Raises Refused (NOT_FOUND, REPORT_RESOLVED, and what a report cannot be for)."""
    who = (command.at_us, command.actor, command.acting_service)
    if isinstance(command, Report):
        if command.actor in state.reporters:
            return ()
        if command.refusal is not None:
            raise command.refusal
        if len(state.reporters) >= MOST_REPORTERS:
            return ()
        return (Reported(*who, command.reason, command.words, command.sender),)
    if not state.reporters:
        # In the words of a conversation that never was: whether there is one is not told here.
        raise not_found()
    if state.resolved is not None:
        raise Refused(
            "REPORT_RESOLVED",
            "the message was dealt with already",
            metadata={"resolver_id": state.resolved.actor, "resolution": state.resolved.resolution.name},
        )
    if command.resolution is Resolution.AUTHOR_BANNED and command.actor == state.sender:
        raise Refused("FORBIDDEN", "nobody bans itself", field="resolution")
    return (Resolved(*who, command.resolution, until_us=command.until_us, words=command.words),)


def evolve(state: Reports, event: ReportChange) -> Reports:
    """Give what stands after an event."""
    if isinstance(event, Resolved):
        return replace(state, resolved=event)
    reporters = (*state.reporters, event.actor)
    if state.resolved is not None or not state.count:
        opened_us = state.opened_us or event.at_us
        return Reports(event.sender, opened_us, reporters, 1, {event.reason: 1})
    reasons = {**state.reasons, event.reason: state.reasons.get(event.reason, 0) + 1}
    return Reports(state.sender, state.opened_us, reporters, state.count + 1, reasons)
