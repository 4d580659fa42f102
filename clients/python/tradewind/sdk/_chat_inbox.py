"""The caller's conversations in order of activity, live, and receipts, live: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from functools import cached_property

from google.protobuf.duration_pb2 import Duration

from tradewind.chat.v1 import chat_service_pb2, inbox_service_pb2, inbox_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, resuming


class InboxList:
    """The caller's list as a stream told it so far.

    Attributes:
        totals: what is unread over all conversations, whether they are among the entries or not.
        changed: what the last frame told: entries that are new or changed.
        removed_ids: conversations that the last frame took away.
        failures: conversations that cannot be read, as the last frame told; they are not among the entries until they can.
        older_page_token: with which `list_inbox` goes on where the first frame ended; empty where there is nothing older.
    """

    def __init__(self) -> None:
        self._entries: dict[str, inbox_service_pb2.InboxEntry] = {}
        self.totals = inbox_service_pb2.UnreadTotals()
        self.changed: list[inbox_service_pb2.InboxEntry] = []
        self.removed_ids: list[str] = []
        self.failures: list[inbox_service_pb2.InboxFailure] = []
        self.older_page_token = ""

    @property
    def entries(self) -> list[inbox_service_pb2.InboxEntry]:
        """What was told, newest activity first."""
        return sorted(self._entries.values(), key=_place, reverse=True)

    def get(self, conversation_id: str) -> inbox_service_pb2.InboxEntry | None:
        """Give an entry by its conversation; None where none was told."""
        return self._entries.get(conversation_id)

    def apply(self, frame: inbox_service_pb2.WatchInboxResponse) -> None:
        """Take what a frame tells."""
        if frame.whole:
            self._entries.clear()
            self.older_page_token = frame.older_page_token
        for entry in frame.entries:
            self._entries[entry.conversation_id] = entry
        for conversation_id in (*frame.removed_ids, *(failure.conversation_id for failure in frame.failures)):
            self._entries.pop(conversation_id, None)
        if frame.HasField("totals"):
            self.totals = frame.totals
        self.changed, self.removed_ids = list(frame.entries), list(frame.removed_ids)
        self.failures = list(frame.failures)


class Inbox:
    """Methods of `Chat`; see there for `timeout` and `request_id`."""

    _connection: Connection

    @cached_property
    def _inbox(self) -> inbox_service_pb2_grpc.InboxServiceAsyncStub:
        stub: inbox_service_pb2_grpc.InboxServiceAsyncStub = inbox_service_pb2_grpc.InboxServiceStub(
            self._connection.channel
        )
        return stub

    async def list_inbox(
        self,
        *,
        unread_only: bool = False,
        archived: bool | None = None,
        muted: bool | None = None,
        include_hidden: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[inbox_service_pb2.InboxEntry, None]:
        """Iterate over the caller's conversations, newest activity first; pages are fetched as needed, `timeout` is for one page.

        `archived`, `muted`: only those that are, or only those that are not. `page_token`: an `InboxList.older_page_token`; it fits
        only without filters.
        """
        while True:
            request = inbox_service_pb2.ListInboxRequest(
                page_size=page_size,
                page_token=page_token,
                unread_only=unread_only,
                archived=_filter(archived),
                muted=_filter(muted),
                include_hidden=include_hidden,
            )
            page = await self._connection.unary(self._inbox.ListInbox, request, timeout)
            for entry in page.entries:
                yield entry
            page_token = page.next_page_token
            if not page_token:
                return

    async def watch_inbox(self, *, page_size: int = 0) -> AsyncGenerator[InboxList, None]:
        """Iterate over states of the caller's list, for ever, over any number of reconnects; it is one object that changes.

        It holds the newest `page_size` entries, and all that changed since. Who takes its time misses states, never the newest one.
        Raises TradewindError: Unavailable once nothing was heard for the retry policy's `stream_patience`.
        """
        told = InboxList()
        request = inbox_service_pb2.WatchInboxRequest(page_size=page_size)

        def open_call(**context: object) -> object:
            return self._inbox.WatchInbox(request, **context)  # type: ignore[arg-type]

        async with aclosing(resuming(self._connection, open_call, _read, ends=False)) as frames:
            async for frame in frames:
                told.apply(frame)
                yield told

    async def get_unread_totals(self, *, timeout: float | None = None) -> inbox_service_pb2.UnreadTotals:
        """Count what is unread over all of the caller's conversations, exactly."""
        request = inbox_service_pb2.GetUnreadTotalsRequest()
        return (await self._connection.unary(self._inbox.GetUnreadTotals, request, timeout)).totals

    async def archive_conversation(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> inbox_service_pb2.InboxEntry:
        """Put a conversation aside until the next message, or for as long as it is muted. Raises NotFound."""
        request = inbox_service_pb2.ArchiveConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._inbox.ArchiveConversation, request, timeout)).entry

    async def unarchive_conversation(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> inbox_service_pb2.InboxEntry:
        """Take a conversation back. Raises NotFound."""
        request = inbox_service_pb2.UnarchiveConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._inbox.UnarchiveConversation, request, timeout)).entry

    async def mute_notifications(
        self,
        conversation_id: str,
        duration: timedelta | None = None,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> inbox_service_pb2.InboxEntry:
        """Want no notifications of a conversation, for a time or for ever; mentions count all the same. Raises NotFound."""
        lasts = None
        if duration is not None:
            lasts = Duration()
            lasts.FromTimedelta(duration)
        request = inbox_service_pb2.MuteNotificationsRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id, duration=lasts
        )
        return (await self._connection.unary(self._inbox.MuteNotifications, request, timeout)).entry

    async def unmute_notifications(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> inbox_service_pb2.InboxEntry:
        """Want them again. Raises NotFound."""
        request = inbox_service_pb2.UnmuteNotificationsRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._inbox.UnmuteNotifications, request, timeout)).entry

    async def hide_conversation(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> inbox_service_pb2.InboxEntry:
        """Take a conversation out of the list until the next message in it. Raises NotFound."""
        request = inbox_service_pb2.HideConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._inbox.HideConversation, request, timeout)).entry

    async def show_conversation(
        self, conversation_id: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> inbox_service_pb2.InboxEntry:
        """Put it into the list again. Raises NotFound."""
        request = inbox_service_pb2.ShowConversationRequest(
            request_id=request_id or new_request_id(), conversation_id=conversation_id
        )
        return (await self._connection.unary(self._inbox.ShowConversation, request, timeout)).entry

    async def watch_receipts(self, conversation_id: str) -> AsyncGenerator[dict[str, chat_service_pb2.Receipt], None]:
        """Iterate over how far the members of a conversation of at most 100 have got, by user, for ever, over any number of reconnects.

        It is one dictionary that changes. Raises TradewindError: PermissionDenied once the caller may not read the conversation any more.
        """
        told: dict[str, chat_service_pb2.Receipt] = {}
        request = inbox_service_pb2.WatchReceiptsRequest(conversation_id=conversation_id)

        def open_call(**context: object) -> object:
            return self._inbox.WatchReceipts(request, **context)  # type: ignore[arg-type]

        async with aclosing(resuming(self._connection, open_call, _read, ends=False)) as frames:
            async for frame in frames:
                if frame.whole:
                    told.clear()
                told.update((receipt.user_id, receipt) for receipt in frame.receipts)
                for user_id in frame.removed_user_ids:
                    told.pop(user_id, None)
                yield told


def _read(frame: inbox_service_pb2.WatchInboxResponse | inbox_service_pb2.WatchReceiptsResponse) -> Frame:
    if frame.HasField("going_away"):
        return Frame((), max(1, frame.going_away.reconnect_after_ms))
    return Frame((frame,), 0)


def _filter(wanted: bool | None) -> inbox_service_pb2.FlagFilter.ValueType:
    if wanted is None:
        return inbox_service_pb2.FLAG_FILTER_UNSPECIFIED
    return inbox_service_pb2.FLAG_FILTER_ONLY if wanted else inbox_service_pb2.FLAG_FILTER_WITHOUT


def _place(entry: inbox_service_pb2.InboxEntry) -> tuple[int, int, str]:
    return entry.activity_time.seconds, entry.activity_time.nanos, entry.conversation_id
