"""The rpcs of presence and typing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat.access import actor_of
from services.chat.config import ChatSettings
from services.chat.presence import shown, typists
from services.chat.presence.domain import DEFAULT_LEASE, State
from services.chat.presence.roster import Roster
from services.chat.presence.typists import Seats, WatchingTyping
from services.chat.presence.watching import WatchingPresence
from services.chat.presence.words import Report
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import Refused

ONLINE_SECONDS: Final = 1.0
"""So long a message that mentions who is here waits to learn it."""
_log = structlog.get_logger(__name__)


class PresenceService:
    """Handlers of ``tradewind.chat.v1.PresenceService``; their contract is in ``presence_service.proto``."""

    def __init__(self, ledger: Ledger, client: Client, whispers: Whispers, settings: ChatSettings) -> None:
        """Serve over the process's connection to NATS, once it was entered."""
        self._ledger = ledger
        self._client = client
        self._whispers = whispers
        self._settings = settings
        self._seats = Seats(settings.typing_watched)
        self.roster = Roster(client, settings.presence_beat, settings.presence_people, settings.presence_watched)

    async def __aenter__(self) -> Self:
        """Join the other processes. Raises nats.errors.Error."""
        await self.roster.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Leave them: they take over at once."""
        await self.roster.close()

    async def banned(self, tenant: str, user_id: str) -> None:
        """Show a user who was banned from the tenant as gone: it is refused to say so itself, or that it is there."""
        await self.roster.sign_off((tenant, user_id))

    async def online(self, tenant: str, user_ids: Collection[str]) -> frozenset[str] | None:
        """Give those of some users who are online; None where that cannot be found out now."""
        try:
            async with asyncio.timeout(ONLINE_SECONDS):
                found = await self.roster.ask([(tenant, user_id) for user_id in user_ids], ONLINE_SECONDS)
        except (TimeoutError, Refused, NatsError) as error:
            _log.info("online_unknown", error=type(error).__name__)
            return None
        if any(seen.state is State.UNKNOWN for seen in found.values()):
            return None
        return frozenset(key[1] for key, seen in found.items() if seen.state is State.ONLINE)

    async def ReportPresence(self, request: pb.ReportPresenceRequest, call: Call) -> pb.ReportPresenceResponse:
        """Take a device's report."""
        actor = actor_of(call.caller)
        key, state = (actor.tenant, actor.user_id), shown.state(request.state)
        lease = 0 if state is State.OFFLINE else request.lease_seconds or DEFAULT_LEASE
        seen = await self.roster.report(Report(key, request.device_id, state, float(lease)), call.remaining())
        return pb.ReportPresenceResponse(presence=shown.presence(key, seen), lease_seconds=lease)

    async def GetPresence(self, request: pb.GetPresenceRequest, call: Call) -> pb.GetPresenceResponse:
        """Answer who is there."""
        keys = [(call.caller.tenant, user_id) for user_id in request.user_ids]
        found = await self.roster.ask(keys, call.remaining())
        return pb.GetPresenceResponse(presences=[shown.presence(key, found[key]) for key in keys])

    def WatchPresence(
        self, requests: AsyncIterator[pb.WatchPresenceRequest], call: Call
    ) -> AsyncIterator[pb.WatchPresenceResponse]:
        """Stream who is there."""
        return self.watching(call).serve(requests)

    async def WatchPresenceOf(self, request: pb.WatchPresenceOfRequest, call: Call) -> AsyncIterator[bytes]:
        """Stream who is there of those that were named."""

        async def once() -> AsyncIterator[pb.WatchPresenceRequest]:
            yield pb.WatchPresenceRequest(add_user_ids=request.user_ids)

        frames = self.watching(call).serve(once())
        async with aclosing(frames):
            async for frame in frames:
                yield frame.SerializeToString()  # the two responses have the same fields

    async def SetTyping(self, request: pb.SetTypingRequest, call: Call) -> pb.SetTypingResponse:
        """Say that the caller types."""
        lasts = self._settings.typing_lasts
        return await typists.say(self._ledger, self._whispers, self._client.is_connected, request, call, lasts)

    async def WatchTyping(self, request: pb.WatchTypingRequest, call: Call) -> AsyncIterator[pb.WatchTypingResponse]:
        """Stream who types."""
        async with aclosing(self.watching_typing(call).serve(request)) as frames:
            async for frame in frames:
                yield frame

    @property
    def typing_watched(self) -> int:
        """In how many conversations it is watched who types, counted once for each stream."""
        return self._seats.taken

    # --- for other streams --------------------------------------------------------------------------

    def watching(self, call: Call) -> WatchingPresence:
        """Watch users, for a stream of one's own."""
        return WatchingPresence(self.roster, call, self._settings)

    def watching_typing(self, call: Call) -> WatchingTyping:
        """Watch who types, for a stream of one's own."""
        return WatchingTyping(self._ledger, self._whispers, call, self._settings, self._seats)
