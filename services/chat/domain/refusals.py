"""What a conversation refuses, and for which reason."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """A command that the conversation does not allow; ``reason`` is a name of ``tradewind.errors.v1.ErrorReason``."""

    def __init__(
        self, reason: str, message: str, *, field: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Refuse for ``reason``; ``field`` is the request's field that is to blame, where one is."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})


def not_found() -> Refused:
    """Refuse without telling whether there is such a conversation."""
    return Refused("NOT_FOUND", "no such conversation")


def not_a_member() -> Refused:
    """Refuse one who knows that the conversation exists, but is not in it."""
    return Refused("NOT_A_MEMBER", "not a member of the conversation")
