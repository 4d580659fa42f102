"""What a Converse stream tells beside events: who types, who is there, how the inbox is.

Each kind is the very stream that its own rpc serves, read by one task that begins when it is first asked for; a stream that asks for none
holds nothing of it. A task hands one frame over and waits until it is sent. Until then the stream behind it holds what changed as a set,
and makes its next frame of how things are by then: whoever does not read costs no queue, and misses no newest state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import inbox_service_pb2

from services.chat.inbox.service import InboxService
from services.chat.presence.service import PresenceService
from services.chat.presence.typists import WatchingTyping
from services.chat.presence.watching import WatchingPresence
from services.ledger.ending import end
from services.ledger.ids import AggregateId
from services.runtime.call import Call
from services.runtime.errors import status_of

_FIELDS: Final[Mapping[pb.News.ValueType, str]] = {
    pb.NEWS_TYPING: "subscribe_typing",
    pb.NEWS_PRESENCE: "subscribe_presence",
    pb.NEWS_INBOX: "subscribe_inbox",
}


@dataclass(frozen=True)
class Sources:
    """Who tells of what."""

    presence: PresenceService
    inbox: InboxService


def asks(request: pb.ConverseRequest) -> bool:
    """Tell whether a frame asks for news."""
    has = request.HasField  # of every frame of every stream, most of which ask for none
    return has("subscribe_typing") or has("subscribe_presence") or has("subscribe_inbox")


class _Feed:
    """One kind of news of one stream.

    Args:
        frames: gives its frames; it ends with one that says ``going_away``.
        say: takes a frame, encoded as a field of ConverseResponse, to be sent.
        failed: told why it ended by itself.
        close: takes back what the frames stand on.
    """

    __slots__ = ("_close", "_failed", "_say", "_sent", "_task", "over")

    def __init__(
        self,
        frames: AsyncGenerator[Any, None],
        say: Callable[[bytes], None],
        failed: Callable[[Exception], None],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        """Begin."""
        self.over = False
        self._say, self._failed, self._close = say, failed, close
        self._sent = asyncio.Event()
        self._task = asyncio.create_task(self._run(frames), name="chat-news")

    def sent(self) -> None:
        """Note that nothing waits to be sent."""
        self._sent.set()

    async def close(self) -> None:
        """End, and take everything back."""
        await end([self._task])
        await self._close()

    async def _run(self, frames: AsyncGenerator[Any, None]) -> None:
        try:
            async with aclosing(frames):
                async for frame in frames:
                    if frame.HasField("going_away"):
                        break  # the stream says so itself
                    self._sent.clear()
                    self._say(_encoded(frame))
                    await self._sent.wait()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the end of this kind of news)
            self.over = True
            self._failed(error)


class News:
    """All news of one stream; one that asked for none has none of these.

    Args:
        say: takes what is to be sent, encoded as a field of ConverseResponse.
    """

    __slots__ = ("_call", "_feeds", "_presence", "_say", "_sources", "_typing")

    def __init__(self, sources: Sources, call: Call, say: Callable[[bytes], None]) -> None:
        """Tell nothing yet."""
        self._sources = sources
        self._call = call
        self._say = say
        self._feeds: dict[pb.News.ValueType, _Feed] = {}
        self._typing: WatchingTyping | None = None
        self._presence: WatchingPresence | None = None

    @property
    def under_way(self) -> bool:
        """Whether there may be more to tell."""
        return any(not feed.over for feed in self._feeds.values())

    def sent(self) -> None:
        """Note that all that was said so far is being sent."""
        for feed in self._feeds.values():
            feed.sent()

    async def close(self) -> None:
        """Tell nothing any more."""
        for news in list(self._feeds):
            await self._stop(news)

    async def ask(self, request: pb.ConverseRequest, heard: Collection[AggregateId]) -> None:
        """Do as a frame asks; ``heard``: the conversations that the stream hears after it. What is refused is told, and ends that kind."""
        for news, name in _FIELDS.items():
            feed = self._feeds.get(news)
            asked = request.HasField(name)  # type: ignore[arg-type]
            if not asked and (news != pb.NEWS_TYPING or feed is None or feed.over):
                continue
            try:
                if asked:
                    await self._asked(news, getattr(request, name))
                if news == pb.NEWS_TYPING and self._typing is not None:
                    await self._typing.keep(heard)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is this subscription's answer)
                await self._stop(news)
                self._say(_ended(news, error))

    async def _asked(
        self, news: pb.News.ValueType, wanted: pb.SubscribeTyping | pb.SubscribePresence | pb.SubscribeInbox
    ) -> None:
        self._call.validate(wanted)
        feed = self._feeds.get(news)
        if wanted.stop or isinstance(wanted, pb.SubscribeInbox) or (feed is not None and feed.over):
            await self._stop(news)
        if isinstance(wanted, pb.SubscribePresence):
            if not wanted.stop or wanted.add_user_ids:
                self._tell_presence(wanted)
        elif not wanted.stop and news not in self._feeds:
            if isinstance(wanted, pb.SubscribeInbox):
                request = inbox_service_pb2.WatchInboxRequest(page_size=wanted.page_size)
                self._begin(news, self._sources.inbox.watching(request, self._call), _nothing)
            else:
                self._typing = self._sources.presence.watching_typing(self._call)
                self._begin(news, self._typing.frames(lasting=True), self._typing.close)

    def _tell_presence(self, wanted: pb.SubscribePresence) -> None:
        if self._presence is None:
            self._presence = watching = self._sources.presence.watching(self._call)

            async def close() -> None:
                watching.close()

            self._begin(pb.NEWS_PRESENCE, watching.frames(), close)
        self._presence.change(wanted.remove_user_ids, wanted.add_user_ids)

    def _begin(
        self, news: pb.News.ValueType, frames: AsyncGenerator[Any, None], close: Callable[[], Awaitable[None]]
    ) -> None:
        def failed(error: Exception) -> None:
            self._say(_ended(news, error))

        self._feeds[news] = _Feed(frames, self._say, failed, close)

    async def _stop(self, news: pb.News.ValueType) -> None:
        feed = self._feeds.pop(news, None)
        if news == pb.NEWS_TYPING:
            self._typing = None
        elif news == pb.NEWS_PRESENCE:
            self._presence = None
        if feed is not None:
            await feed.close()


async def _nothing() -> None:
    """Take back nothing: the frames do it themselves."""


def _encoded(frame: Message) -> bytes:
    packed = Packed()
    packed.Pack(frame)
    return pb.ConverseResponse(news=[packed]).SerializeToString()


def _ended(news: pb.News.ValueType, error: Exception) -> bytes:
    return pb.ConverseResponse(news_ended=[pb.NewsEnded(news=news, error=status_of(error))]).SerializeToString()
