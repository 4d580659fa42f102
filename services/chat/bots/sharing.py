"""A part of what is pressed on a service's cards, for one of several processes that divide it among them by conversation."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from tradewind.chat.v1 import bot_service_pb2 as pb

from services.chat import domain
from services.ledger.cursor import Frame

_TOLD_EVERY: Final = 256
"""After so many events of others a stream is told how far it is, so that it does not go through them again."""


class Share:
    """What one stream is given."""

    def __init__(self, wanted: pb.ActionShare, after: int) -> None:
        """Begin after a version. Raises domain.Refused (INVALID_FIELD)."""
        if wanted.index >= wanted.count:
            raise domain.Refused("INVALID_FIELD", "must be below the count", field="share.index")
        self._index, self._count = wanted.index, wanted.count
        self._told = after

    def has(self, conversation_id: str) -> bool:
        """Tell whether a conversation's presses are in it."""
        return crc32(conversation_id.encode()) % self._count == self._index

    def of(self, frame: Frame) -> pb.WatchActionsResponse | None:
        """Give what of a frame is in it, and how far that is; None where neither is worth telling."""
        events = pb.WatchActionsResponse.FromString(frame.data).events
        own = [each for each in events if each.HasField("pressed") and self.has(each.pressed.conversation_id)]
        if not own and frame.last < self._told + _TOLD_EVERY:
            return None
        self._told = frame.last
        return pb.WatchActionsResponse(events=own, upto_version=frame.last)
