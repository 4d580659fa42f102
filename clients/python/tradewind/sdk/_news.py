"""What a session is told beside events: who types, who is there, how the inbox is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Self

from google.protobuf.any_pb2 import Any

from tradewind.chat.v1 import chat_service_pb2, inbox_service_pb2, presence_service_pb2
from tradewind.sdk._chat_inbox import InboxList
from tradewind.sdk._errors import TradewindError, Transient, from_status
from tradewind.sdk._retry import RetryPolicy

_MOST_ADDED: Final = 2000
_TYPING: Final = chat_service_pb2.NEWS_TYPING
_PRESENCE: Final = chat_service_pb2.NEWS_PRESENCE
_INBOX: Final = chat_service_pb2.NEWS_INBOX

Item = presence_service_pb2.Typing | presence_service_pb2.Presence | InboxList


class News:
    """News over a session's stream; `session.news`. Ask with `typing`, `presence` and `inbox`, and iterate.

    Iterating yields `Typing` where who types in a conversation that the session hears has changed, `Presence` where a user's has, and the
    `InboxList` where the inbox has, over any number of reconnects. It is a state, not a list: whoever takes its time misses what was so
    meanwhile, never what is so now. Raises TradewindError where one of the three is refused for good, once, and can be begun again for
    the others; and why the session ended.
    """

    def __init__(
        self, policy: RetryPolicy, poke: Callable[[], None], failed: Callable[[], TradewindError | None]
    ) -> None:
        self._policy = policy
        self._poke = poke
        self._failed = failed
        self._typing = False
        self._typists: dict[str, presence_service_pb2.Typing] = {}
        self._people: dict[str, presence_service_pb2.Presence | None] = {}
        self._list: InboxList | None = None
        self._page_size = 0
        # What to say next: of typing and the inbox whether they are wanted, of people whom to add (True) or remove.
        self._wishes: dict[chat_service_pb2.News.ValueType, bool] = {}
        self._named: dict[str, bool] = {}
        self._failures: dict[chat_service_pb2.News.ValueType, int] = {}
        self._waiting: dict[tuple[chat_service_pb2.News.ValueType, str], Item | TradewindError] = {}
        self._arrived = asyncio.Event()

    def typing(self, *, stop: bool = False) -> None:
        """Be told who types in the conversations that the session hears, or no more."""
        self._typing = not stop
        self._wish(_TYPING, not stop)

    def presence(self, add: Iterable[str] = (), *, remove: Iterable[str] = ()) -> None:
        """Be told who of these users is there, up to 10,000 in all, and of others no more."""
        for user_id in remove:
            self._people.pop(user_id, None)
            self._waiting.pop((_PRESENCE, user_id), None)
            self._named[user_id] = False
        for user_id in add:
            self._people.setdefault(user_id, None)
            self._named[user_id] = True
        self._poke()

    def inbox(self, *, page_size: int = 0, stop: bool = False) -> None:
        """Be told how the caller's inbox is, or no more. See `Chat.watch_inbox`."""
        self._page_size = page_size
        self._list = None if stop else InboxList()
        self._wish(_INBOX, not stop)

    def __aiter__(self) -> Self:
        """Iterate over what changes."""
        return self

    async def __anext__(self) -> Item:
        """Wait for what is otherwise than it was. Raises TradewindError."""
        while not self._waiting:
            error = self._failed()
            if error is not None:
                raise error
            self._arrived.clear()
            await self._arrived.wait()
        key = next(iter(self._waiting))
        item = self._waiting.pop(key)
        if isinstance(item, TradewindError):
            raise item
        return item

    def wake(self) -> None:
        """Have who waits look whether the session goes on."""
        self._arrived.set()

    # --- with the server ---

    def connected(self) -> None:
        """Say everything again."""
        self._wishes = {}
        if self._typing:
            self._wishes[_TYPING] = True
        if self._list is not None:
            self._wishes[_INBOX] = True
        self._named = dict.fromkeys(self._people, True)

    def has_more(self) -> bool:
        """Whether there is something to say."""
        return bool(self._wishes or self._named)

    def say(self, frame: chat_service_pb2.ConverseRequest) -> None:
        """Put what is to be said into a frame, as far as it holds it."""
        if _TYPING in self._wishes:
            frame.subscribe_typing.stop = not self._wishes[_TYPING]
            frame.subscribe_typing.SetInParent()
        if _INBOX in self._wishes:
            frame.subscribe_inbox.stop = not self._wishes[_INBOX]
            frame.subscribe_inbox.page_size = self._page_size
            frame.subscribe_inbox.SetInParent()
        self._wishes.clear()
        for user_id in list(self._named)[:_MOST_ADDED]:
            wanted = frame.subscribe_presence
            (wanted.add_user_ids if self._named.pop(user_id) else wanted.remove_user_ids).append(user_id)

    def hear(self, packed: Any) -> None:
        """Take a frame of news; one of a kind that is not known here is passed over."""
        typing = presence_service_pb2.WatchTypingResponse()
        presence = presence_service_pb2.WatchPresenceResponse()
        inbox = inbox_service_pb2.WatchInboxResponse()
        if packed.Unpack(typing):
            self._failures.pop(_TYPING, None)
            for each in typing.typing:
                self._types(each)
            for gone in typing.ended:
                self.quiet(gone.conversation_id)
        elif packed.Unpack(presence):
            self._failures.pop(_PRESENCE, None)
            for person in presence.presences:
                if person.user_id in self._people and self._people[person.user_id] != person:
                    self._people[person.user_id] = person
                    self._tell(_PRESENCE, person.user_id, person)
        elif packed.Unpack(inbox) and self._list is not None:
            self._failures.pop(_INBOX, None)
            self._list.apply(inbox)
            self._tell(_INBOX, "", self._list)

    def quiet(self, conversation_id: str) -> None:
        """Nobody types in a conversation that is heard no more."""
        self._types(presence_service_pb2.Typing(conversation_id=conversation_id))
        self._typists.pop(conversation_id, None)

    def end(self, ended: chat_service_pb2.NewsEnded) -> None:
        """Take the end of one kind: ask again where that may help, else tell."""
        error = from_status(ended.error)
        if isinstance(error, Transient):
            self._failures[ended.news] = failures = self._failures.get(ended.news, 0) + 1
            asyncio.get_running_loop().call_later(self._policy.wait(failures, error), self._again, ended.news)
            return
        if ended.news == _TYPING:
            self._typing = False
        elif ended.news == _PRESENCE:
            self._people.clear()
        else:
            self._list = None
        self._tell(ended.news, "", error)

    # --- inside ---

    def _again(self, news: chat_service_pb2.News.ValueType) -> None:
        if news == _PRESENCE:
            self._named.update(dict.fromkeys(self._people, True))
            self._poke()
        elif self._typing if news == _TYPING else self._list is not None:
            self._wish(news, True)

    def _wish(self, news: chat_service_pb2.News.ValueType, wanted: bool) -> None:
        self._wishes[news] = wanted
        self._poke()

    def _types(self, typing: presence_service_pb2.Typing) -> None:
        known = self._typists.get(typing.conversation_id)
        if list(typing.user_ids) != list(known.user_ids if known is not None else ()):
            self._typists[typing.conversation_id] = typing
            self._tell(_TYPING, typing.conversation_id, typing)

    def _tell(self, news: chat_service_pb2.News.ValueType, name: str, item: Item | TradewindError) -> None:
        self._waiting[news, name] = item
        self._arrived.set()
