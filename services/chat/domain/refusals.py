"""What a conversation refuses, and for which reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime


class Refused(Exception):
    """A command that the conversation does not allow; ``reason`` is a name of ``tradewind.errors.v1.ErrorReason``."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Refuse for ``reason``; ``field`` is the request's field that is to blame, ``retry_after`` when to ask again, in seconds."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


def not_found() -> Refused:
    """Refuse without telling whether there is such a conversation."""
    return Refused("NOT_FOUND", "no such conversation")


class Unseen(Refused):
    """Refuses one who is not in a channel that is not open, as if there were none; its readers may know that a permission is missing."""

    def __init__(self, permission: str) -> None:
        """Refuse what needs a permission, which whoever is told NOT_FOUND must not learn."""
        super().__init__("NOT_FOUND", "no such conversation")
        self.permission = permission


def not_a_member(permission: str = "read") -> Refused:
    """Refuse one who knows that the conversation exists, but is not in it."""
    return Refused("NOT_A_MEMBER", "not a member of the conversation", metadata={"permission": permission})


def no_such_attachment(attachment_id: str) -> Refused:
    """Refuse a message that names an attachment which cannot be sent."""
    message = "a message names an attachment that cannot be sent"
    return Refused("NO_SUCH_ATTACHMENT", message, metadata={"attachment_id": attachment_id})


def kept_out(reason: str, message: str, until_us: int, **metadata: str) -> Refused:
    """Refuse for a ban or a mute that lasts until a time, 0: for ever."""
    if until_us:
        metadata["until"] = datetime.fromtimestamp(until_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Refused(reason, message, metadata=metadata)
