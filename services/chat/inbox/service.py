"""The rpcs of the inbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TypeVar

from google.protobuf.message import Message
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import commands, domain, projections, receipts
from services.chat.access import Actor, actor_of
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.departures import Departures
from services.chat.domain import place
from services.chat.domain.inbox import is_archived
from services.chat.inbox import listing
from services.chat.inbox.following import Follower
from services.chat.inbox.receipts_stream import ReceiptsStream
from services.chat.inbox.surveying import Surveys
from services.chat.inbox.tips import Tips
from services.chat.inbox.watching import InboxStream
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.server import Server

Asks = TypeVar("Asks", bound=Message)


class InboxService:
    """Handlers of ``tradewind.chat.v1.InboxService``; their contract is in ``inbox_service.proto``."""

    def __init__(self, ledger: Ledger, settings: ChatSettings, contents: Contents, whispers: Whispers) -> None:
        """Serve the lists of those who are in the conversations that ``ledger`` holds. One a process: it tells the others of its writes."""
        self._ledger, self._settings = ledger, settings
        tips = Tips(ledger, contents)
        self._surveys = Surveys(ledger, tips, settings.inbox_conversations)
        self._follower = follower = Follower(ledger, whispers, tips.version)
        self._departures = Departures(ledger)
        contents.on_erased(lambda tenant, user_id: follower.again(tips.forget(tenant, user_id)))
        self._streams = 0
        self._lists: set[InboxStream] = set()

    @property
    def waiting(self) -> list[int]:
        """How many conversations each stream of a list is to look at again, in no particular order."""
        return [stream.waiting for stream in self._lists]

    # --- the list -----------------------------------------------------------------------------------

    async def WatchInbox(self, request: pb.WatchInboxRequest, call: Call) -> AsyncIterator[pb.WatchInboxResponse]:
        """Stream the caller's list."""
        async with aclosing(self.watching(request, call)) as frames:
            async for frame in frames:
                yield frame

    async def watching(self, request: pb.WatchInboxRequest, call: Call) -> AsyncGenerator[pb.WatchInboxResponse, None]:
        """Give the frames of the caller's list, for any stream. Raises domain.Refused (OVERLOADED), LedgerError."""
        with self._served():
            actor = actor_of(call.caller)
            stream = InboxStream(self._surveys, self._follower, actor, call, self._settings, request.page_size)
            self._lists.add(stream)
            try:
                async with aclosing(stream.frames()) as frames:
                    async for frame in frames:
                        yield frame
            finally:
                self._lists.discard(stream)

    async def ListInbox(self, request: pb.ListInboxRequest, call: Call) -> pb.ListInboxResponse:
        """List the caller's conversations, newest activity first."""
        return await listing.page(self._surveys, request, actor_of(call.caller))

    async def GetUnreadTotals(self, request: pb.GetUnreadTotalsRequest, call: Call) -> pb.GetUnreadTotalsResponse:
        """Count what is unread over all of the caller's conversations."""
        return pb.GetUnreadTotalsResponse(totals=await listing.totals(self._surveys, actor_of(call.caller)))

    # --- flags --------------------------------------------------------------------------------------

    async def ArchiveConversation(
        self, request: pb.ArchiveConversationRequest, call: Call
    ) -> pb.ArchiveConversationResponse:
        """Put a conversation aside."""
        return pb.ArchiveConversationResponse(entry=await self._set(request, call, _archive))

    async def UnarchiveConversation(
        self, request: pb.UnarchiveConversationRequest, call: Call
    ) -> pb.UnarchiveConversationResponse:
        """Take it back."""
        return pb.UnarchiveConversationResponse(entry=await self._set(request, call, _unarchive))

    async def MuteNotifications(self, request: pb.MuteNotificationsRequest, call: Call) -> pb.MuteNotificationsResponse:
        """Want no notifications of a conversation."""
        return pb.MuteNotificationsResponse(entry=await self._set(request, call, _mute))

    async def UnmuteNotifications(
        self, request: pb.UnmuteNotificationsRequest, call: Call
    ) -> pb.UnmuteNotificationsResponse:
        """Want them again."""
        return pb.UnmuteNotificationsResponse(entry=await self._set(request, call, _unmute))

    async def HideConversation(self, request: pb.HideConversationRequest, call: Call) -> pb.HideConversationResponse:
        """Take a conversation out of the list."""
        return pb.HideConversationResponse(entry=await self._set(request, call, _hide))

    async def ShowConversation(self, request: pb.ShowConversationRequest, call: Call) -> pb.ShowConversationResponse:
        """Put it into the list again."""
        return pb.ShowConversationResponse(entry=await self._set(request, call, _show))

    async def _set(
        self, request: Asks, call: Call, make: Callable[[Asks, Actor, int, int], place.PlaceCommand]
    ) -> pb.InboxEntry:
        """Set a flag of the caller's. Raises domain.Refused (NOT_FOUND, NOT_A_MEMBER), LedgerError.

        One who did so, and is not in the conversation any more, is told by a repeated request that it was done, and nothing else.
        """
        actor, now = actor_of(call.caller), commands.now_us()
        conversation = commands.aggregate_of(actor, request.conversation_id)  # type: ignore[attr-defined]
        here = projections.place_of(conversation, actor.user_id)
        named = commands.named(request, actor, call.traceparent)
        try:
            state = await receipts.seated(self._ledger, actor, conversation, now)
        except domain.Refused as refused:
            await self._ledger.execute(here, place.Withheld(now, refused), named, timeout=call.remaining())
            return pb.InboxEntry(conversation_id=conversation.id)
        command = make(request, actor, now, state.version)
        if isinstance(command, place.Silence):
            tip = await self._surveys.tips.at(conversation, state.version)
            flags = await self._surveys.flags_of(actor, conversation.id)
            command = replace(command, lifted=flags.archived > 0 and not is_archived(flags, tip.said_version, now))
        await self._ledger.execute(here, command, named, timeout=call.remaining())
        return await listing.one(self._surveys, actor, conversation)

    # --- receipts -----------------------------------------------------------------------------------

    async def WatchReceipts(
        self, request: pb.WatchReceiptsRequest, call: Call
    ) -> AsyncIterator[pb.WatchReceiptsResponse]:
        """Stream how far each member of a conversation has got."""
        with self._served():
            actor = actor_of(call.caller)
            follows = (self._follower, self._departures)
            stream = ReceiptsStream(self._ledger, *follows, actor, call, self._settings, request.conversation_id)
            async with aclosing(stream.frames()) as frames:
                async for frame in frames:
                    yield frame

    @contextmanager
    def _served(self) -> Iterator[None]:
        """Count a stream. Raises domain.Refused (OVERLOADED) where there are as many as may be."""
        if self._streams >= self._settings.inbox_streams:
            raise domain.Refused("OVERLOADED", "the process serves as many of these streams as it may", retry_after=1.0)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1


def serve_inbox(
    server: Server, ledger: Ledger, settings: ChatSettings, contents: Contents, whispers: Whispers
) -> InboxService:
    """Let a server serve the inbox."""
    inbox = InboxService(ledger, settings, contents, whispers)
    server.add(pb.DESCRIPTOR.services_by_name["InboxService"], inbox)
    return inbox


def _archive(_request: pb.ArchiveConversationRequest, actor: Actor, at_us: int, version: int) -> place.Archive:
    return place.Archive(at_us, actor.user_id, version, actor.acting_service)


def _unarchive(_request: pb.UnarchiveConversationRequest, actor: Actor, at_us: int, _version: int) -> place.Archive:
    return place.Archive(at_us, actor.user_id, 0, actor.acting_service)


def _mute(request: pb.MuteNotificationsRequest, actor: Actor, at_us: int, _version: int) -> place.Silence:
    lasts = request.duration
    until_us = at_us + lasts.ToMicroseconds() if request.HasField("duration") else place.FOR_EVER
    return place.Silence(at_us, actor.user_id, until_us, actor.acting_service)


def _unmute(_request: pb.UnmuteNotificationsRequest, actor: Actor, at_us: int, _version: int) -> place.Silence:
    return place.Silence(at_us, actor.user_id, 0, actor.acting_service)


def _hide(_request: pb.HideConversationRequest, actor: Actor, at_us: int, version: int) -> place.Hide:
    return place.Hide(at_us, actor.user_id, version, actor.acting_service)


def _show(_request: pb.ShowConversationRequest, actor: Actor, at_us: int, _version: int) -> place.Hide:
    return place.Hide(at_us, actor.user_id, 0, actor.acting_service)
