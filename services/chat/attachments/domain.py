"""An attachment: how it comes to be, and when it goes. Pure; time comes in with the command.

What a message names must never be deleted, though a message is sent without asking here again. So nothing is deleted that was not
condemned a grace period before, longer than any send takes: who sends a condemned attachment spares it first, and who deletes it looks once
more whether a message names it. Both look before they decide, so what they decide holds only if nothing happened since (``seen``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How far an attachment has got."""

    NONE = "none"
    UPLOADING = "uploading"
    COMPLETE = "complete"
    DELETED = "deleted"
    PURGED = "purged"


class Care(StrEnum):
    """What is known of those who need it."""

    FRESH = "fresh"
    """Nobody was seen to name it yet."""
    KEPT = "kept"
    """A message names it."""
    RELEASED = "released"
    """A message that named it was deleted."""
    CONDEMNED = "condemned"
    """Nobody names it."""


THERE: Final = (State.UPLOADING, State.COMPLETE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """All that is known. ``since_us``: when its state, or who needs it, changed last. Digests are hexadecimal.

    ``sealed``: whether the object store has nothing but what is sealed.
    """

    version: int = 0
    state: State = State.NONE
    care: Care = Care.FRESH
    since_us: int = 0
    owner: str = ""
    size: int = 0
    declared_type: str = ""
    declared_sha256: str = ""
    created_us: int = 0
    sha256: str = ""
    media_type: str = ""
    width: int = 0
    height: int = 0
    thumbnails: tuple[int, ...] = ()
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Create:
    """Begin an upload of ``size`` bytes."""

    at_us: int
    owner: str
    size: int
    declared_type: str
    declared_sha256: str


@dataclass(frozen=True, slots=True)
class Complete:
    """All bytes are here and were checked."""

    at_us: int
    sha256: str
    media_type: str
    width: int = 0
    height: int = 0
    thumbnails: tuple[int, ...] = ()
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """A message was seen to name it."""

    at_us: int
    seen: int


@dataclass(frozen=True, slots=True)
class Release:
    """A message that named it was deleted."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Condemn:
    """No message was seen to name it."""

    at_us: int
    seen: int


@dataclass(frozen=True, slots=True)
class Spare:
    """It is about to be sent. Raises Refused (NO_SUCH_ATTACHMENT) where it cannot be."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Nobody needs it: it was condemned, and no message was seen to name it. ``seen`` -1: whoever needs it, it has to go."""

    at_us: int
    seen: int


@dataclass(frozen=True, slots=True)
class Purge:
    """Its bytes are removed."""

    at_us: int


Command = Create | Complete | Keep | Release | Condemn | Spare | Delete | Purge


@dataclass(frozen=True, slots=True)
class Created:
    """An upload began."""

    at_us: int
    owner: str
    size: int
    declared_type: str
    declared_sha256: str


@dataclass(frozen=True, slots=True)
class Completed:
    """All bytes are here."""

    at_us: int
    sha256: str
    media_type: str
    width: int
    height: int
    thumbnails: tuple[int, ...]
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A message names it."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Released:
    """A message that named it was deleted."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Condemned:
    """No message names it."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Spared:
    """Somebody sends it after all."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """It is no more."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Purged:
    """Its bytes are removed."""

    at_us: int


Event = Created | Completed | Kept | Released | Condemned | Spared | Deleted | Purged


class Refused(Exception):
    """A command that an attachment does not allow; ``reason`` is a name of ``tradewind.errors.v1.ErrorReason``."""

    def __init__(self, reason: str, message: str, *, field: str | None = None, **metadata: str) -> None:
        """Refuse for ``reason``; ``metadata`` is for programs."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = metadata


def initial() -> Attachment:
    """Give what is known of an attachment before there is one."""
    return Attachment()


def not_found() -> Refused:
    """Refuse without telling whether there is such an attachment."""
    return Refused("NOT_FOUND", "no such attachment")


def no_such_attachment(attachment_id: str = "") -> Refused:
    """Refuse a message that names an attachment which cannot be sent."""
    named = {"attachment_id": attachment_id} if attachment_id else {}
    return Refused("NO_SUCH_ATTACHMENT", "a message names an attachment that cannot be sent", **named)


def wrong_state(state: str) -> Refused:
    """Refuse what an attachment's state does not allow."""
    return Refused("WRONG_UPLOAD_STATE", f"the attachment's state does not allow it: {state}", state=state)


def open_for_bytes(state: Attachment) -> bool:
    """Tell whether an upload takes bytes: it is not complete, and has not expired."""
    return state.state is State.UPLOADING and state.care is not Care.CONDEMNED


def decide(state: Attachment, command: Command) -> Sequence[Event]:
    """Decide what a command does. Raises Refused."""
    match command:
        case Create():
            return _create(state, command)
        case Complete():
            return _complete(state, command)
        case Spare():
            return _spare(state, command)
        case _:
            return _decay(state, command)


def _create(state: Attachment, it: Create) -> Sequence[Event]:
    if state.state is not State.NONE:
        return ()
    return (Created(it.at_us, it.owner, it.size, it.declared_type, it.declared_sha256),)


def _complete(state: Attachment, it: Complete) -> Sequence[Event]:
    if state.state is State.COMPLETE:
        return ()
    if not open_for_bytes(state):
        raise wrong_state("expired" if state.state in THERE else state.state.value)
    return (Completed(it.at_us, it.sha256, it.media_type, it.width, it.height, it.thumbnails, it.sealed),)


def _spare(state: Attachment, it: Spare) -> Sequence[Event]:
    if state.state is not State.COMPLETE:
        raise no_such_attachment()
    return (Spared(it.at_us),) if state.care is Care.CONDEMNED else ()


def _decay(state: Attachment, it: Keep | Release | Condemn | Delete | Purge) -> Sequence[Event]:
    complete = state.state is State.COMPLETE
    match it:
        case Keep():
            return (Kept(it.at_us),) if complete and it.seen == state.version and state.care is not Care.KEPT else ()
        case Release():
            # Always an event: whoever looked before it must look again.
            return (Released(it.at_us),) if complete else ()
        case Condemn():
            wanted = state.state in THERE and it.seen == state.version and state.care is not Care.CONDEMNED
            return (Condemned(it.at_us),) if wanted else ()
        case Delete():
            wanted = it.seen < 0 or (it.seen == state.version and state.care is Care.CONDEMNED)
            return (Deleted(it.at_us),) if wanted and state.state in THERE else ()
        case Purge():
            return (Purged(it.at_us),) if state.state is State.DELETED else ()


def evolve(state: Attachment, event: Event) -> Attachment:
    """Give what is known after an event."""
    after = replace(state, version=state.version + 1, since_us=event.at_us)
    match event:
        case Created():
            return replace(
                after,
                state=State.UPLOADING,
                owner=event.owner,
                size=event.size,
                declared_type=event.declared_type,
                declared_sha256=event.declared_sha256,
                created_us=event.at_us,
            )
        case Completed():
            return replace(
                after,
                state=State.COMPLETE,
                sha256=event.sha256,
                media_type=event.media_type,
                width=event.width,
                height=event.height,
                thumbnails=event.thumbnails,
                sealed=event.sealed,
            )
        case Kept():
            return replace(after, care=Care.KEPT)
        case Released():
            return replace(after, care=Care.RELEASED)
        case Condemned():
            return replace(after, care=Care.CONDEMNED)
        case Spared():
            return replace(after, care=Care.FRESH)
        case Deleted():
            return replace(after, state=State.DELETED)
        case Purged():
            return replace(after, state=State.PURGED)
