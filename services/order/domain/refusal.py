"""How a rule says no."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """A command that a rule does not allow; ``reason`` is a name of ``tradewind.errors.v1.ErrorReason`` without prefix."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        resource: tuple[str, str] | None = None,
    ) -> None:
        """Refuse for ``reason``; ``message`` is for people and holds no personal data, ``resource`` is (type, name)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.resource = resource
