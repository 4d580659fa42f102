"""What a session hears: conversations, each from where its reader is, over any number of streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tradewind.chat.v1 import chat_pb2, chat_service_pb2
from tradewind.sdk._errors import SubscriptionEnded, TradewindError
from tradewind.sdk._resume import Place

_CONTROLS = 256


@dataclass(slots=True)
class _Subscription:
    """A conversation that is heard. `stale`: frames of an earlier place may still arrive and are passed over.

    `paused`: the reader is behind; the server was told to stop, and is told where to go on when there is room.
    """

    place: Place
    stale: bool = False
    paused: bool = False


class Hearing:
    """The subscriptions of a session, and what arrived of them and was not taken yet: about `buffer` events at most.

    `poke`: called when there is something to say to the server.
    """

    def __init__(self, buffer: int, poke: Callable[[], None]) -> None:
        self._buffer = buffer
        self._poke = poke
        self._events: deque[tuple[str, chat_pb2.ConversationEvent] | SubscriptionEnded] = deque()
        self._arrived = asyncio.Event()
        self._subscriptions: dict[str, _Subscription] = {}
        self._paused: set[str] = set()
        self._heard_here: set[str] = set()
        # What to say next of each conversation: True to hear it, False to hear it no more. The last wish counts.
        self._wishes: dict[str, bool] = {}

    def subscribe(self, conversation_id: str, after: int) -> None:
        """Hear a conversation from the event after version `after` on."""
        moved = conversation_id in self._heard_here
        self._subscriptions[conversation_id] = _Subscription(Place(conversation_id, after), stale=moved)
        self._paused.discard(conversation_id)
        self._wish(conversation_id, True)

    def unsubscribe(self, conversation_id: str) -> None:
        """Hear it no more."""
        if self._subscriptions.pop(conversation_id, None) is not None:
            self._paused.discard(conversation_id)
            self._wish(conversation_id, False)

    async def take(self, failed: Callable[[], TradewindError | None]) -> tuple[str, chat_pb2.ConversationEvent]:
        """Wait for the next event. Raises SubscriptionEnded, or why the session has ``failed``."""
        while not self._events:
            error = failed()
            if error is not None:
                raise error
            self._arrived.clear()
            await self._arrived.wait()
        item = self._events.popleft()
        if self._paused and len(self._events) <= self._buffer // 2:
            self._go_on()
        if isinstance(item, SubscriptionEnded):
            raise item
        return item

    def wake(self) -> None:
        """Have who waits look whether the session goes on."""
        self._arrived.set()

    # --- with the server ---

    def connected(self) -> None:
        """Say every subscription again, from where it is."""
        self._heard_here.clear()
        self._wishes = {}
        for conversation_id, subscription in self._subscriptions.items():
            subscription.stale = False
            if not subscription.paused:
                self._wishes[conversation_id] = True

    def has_more(self) -> bool:
        """Whether there is something to say."""
        return bool(self._wishes)

    def say(self, frame: chat_service_pb2.ConverseRequest) -> None:
        """Put what is to be said into a frame, as far as it holds it."""
        for conversation_id in list(self._wishes)[:_CONTROLS]:
            if self._wishes.pop(conversation_id):
                place = self._subscriptions[conversation_id].place
                frame.subscribe.add(conversation_id=conversation_id, after_version=place.last)
                self._heard_here.add(conversation_id)
            else:
                frame.unsubscribe.add(conversation_id=conversation_id)

    def deliver(self, delivery: chat_service_pb2.Delivery) -> None:
        """Take events. Raises VersionGap."""
        subscription = self._subscriptions.get(delivery.conversation_id)
        if subscription is None or subscription.paused:
            return  # said before the server read that it is not wanted now
        for event in delivery.events:
            if subscription.stale and event.version != subscription.place.last + 1:
                continue
            subscription.stale = False
            subscription.place.step(event.version)
            self._events.append((delivery.conversation_id, event))
        self._arrived.set()
        if len(self._events) >= self._buffer:
            subscription.paused = True
            self._paused.add(delivery.conversation_id)
            self._wish(delivery.conversation_id, False)

    def end(self, conversation_id: str, error: TradewindError) -> None:
        """Take the end of a subscription."""
        if self._subscriptions.pop(conversation_id, None) is None:
            return
        self._paused.discard(conversation_id)
        self._wishes.pop(conversation_id, None)
        self._events.append(SubscriptionEnded(conversation_id, error))
        self._arrived.set()

    # --- inside ---

    def _wish(self, conversation_id: str, hear: bool) -> None:
        self._wishes[conversation_id] = hear
        self._poke()

    def _go_on(self) -> None:
        for conversation_id in self._paused:
            subscription = self._subscriptions[conversation_id]
            subscription.paused = False
            subscription.stale = conversation_id in self._heard_here
            self._wish(conversation_id, True)
        self._paused.clear()
