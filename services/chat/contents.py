"""What people say, made readable: the one way from an event's stored bytes to its words."""

from __future__ import annotations

from collections.abc import Sequence

from tradewind.chat.v1 import chat_pb2


class Contents:
    """Reads events of conversations."""

    async def events(self, tenant: str, payloads: Sequence[bytes]) -> list[chat_pb2.ConversationEvent]:
        """Read events of a tenant's conversations, in the order given, with what was said in them.

        Raises:
            StoreUnavailable: what it takes to read them cannot be had now.
        """
        return [chat_pb2.ConversationEvent.FromString(payload) for payload in payloads]
