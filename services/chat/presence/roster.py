"""What this process's callers ask and watch: one view of each slot that somebody watches, kept true by the slot's home.

However many streams watch however many users, a process listens to at most one subject a slot, and has one question under way a slot.
Changes come numbered; where a number is missing, where the home is another than before, or after NATS was away, the home is asked for
everybody watched in the slot again. Streams are told which users changed and nothing else, so that one that does not read costs its set
of users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError

from services.chat.presence import words
from services.chat.presence.asking import AGAIN, ASK_SECONDS, TOGETHER, Asking
from services.chat.presence.domain import State
from services.chat.presence.homes import Homes
from services.chat.presence.slots import Key, slot_of
from services.chat.presence.views import Listener, View, Watched
from services.chat.presence.words import Beat, Report, Seen
from services.ledger.ending import end
from services.ledger.lasting import keep_up
from services.runtime.errors import Refused

MOST_ASKED: Final = 1000
"""Users in one question."""
_UNKNOWN: Final = Seen(State.UNKNOWN)
_log = structlog.get_logger(__name__)


class Roster:
    """Asks and watches.

    Args:
        client: the process's connection to NATS.
        beat: seconds between two signs of life of a process.
        most_people: users that this process may hold who are not offline.
        most_watched: users that all its streams together may watch, counted once for each stream.
    """

    def __init__(self, client: Client, beat: float, most_people: int, most_watched: int) -> None:
        """Watch nobody."""
        self._client = client
        self._asking = Asking(client, 3 * beat)
        self._patience = 3 * beat
        self._most_watched = most_watched
        self._watching = 0
        self._views: dict[int, View] = {}
        self._wanting: set[int] = set()
        self._flag = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._homes = Homes(client, beat, most_people, self._on_beat, self._on_homes)

    async def start(self) -> None:
        """Join the other processes. Raises nats.errors.Error."""
        await self._homes.start()
        self._tasks = [
            asyncio.create_task(keep_up("presence-learn", self._learn), name="presence-learn"),
            asyncio.create_task(keep_up("presence-mind", self._mind), name="presence-mind"),
        ]

    async def close(self) -> None:
        """Leave them."""
        await end(self._tasks)
        await self._homes.close()

    @property
    def processes(self) -> frozenset[str]:
        """The processes that hold presence now."""
        return self._homes.processes

    @property
    def here(self) -> int:
        """How many users are online or away, of those that this process speaks for."""
        return self._homes.here

    @property
    def watching(self) -> int:
        """How many users are watched, counted once for each listener."""
        return self._watching

    @property
    def settled(self) -> bool:
        """Whether this process holds what it is to hold, as far as it knows which others there are."""
        return self._homes.settled

    # --- once -------------------------------------------------------------------------------------

    @property
    def questions(self) -> int:
        """How many were asked so far."""
        return self._asking.questions

    async def report(self, report: Report, seconds: float) -> Seen:
        """Report a device, and give its user's state after it. Raises Refused (DEPENDENCY_UNAVAILABLE, OVERLOADED)."""
        return await self._asking.report(report, seconds)

    async def sign_off(self, key: Key) -> None:
        """Say that a user is gone with all its devices. Where that is lost, their leases end by themselves."""
        await self._asking.sign_off(key)

    async def ask(self, keys: Sequence[Key], seconds: float) -> dict[Key, Seen]:
        """Give the state of users as it is. Raises Refused (DEPENDENCY_UNAVAILABLE)."""
        return await self._asking.ask(keys, seconds)

    # --- watched ----------------------------------------------------------------------------------

    def add(self, listener: Listener, keys: Collection[Key]) -> None:
        """Tell a listener of users from now on, at first of their state. Raises Refused (OVERLOADED)."""
        if self._watching + len(keys) > self._most_watched:
            raise Refused("OVERLOADED", "as many users are watched as the server may hold")
        for key in keys:
            slot = slot_of(key)
            view = self._views.get(slot)
            if view is None:
                view = self._views[slot] = View(slot)
            watched = view.people.get(key)
            if watched is None:
                watched = view.people[key] = Watched()
                view.unasked.add(key)
                self._want(view)
            if listener not in watched.listeners:
                self._watching += 1
                watched.listeners.add(listener)
                if watched.seen is not None:
                    listener.changed(key)

    def remove(self, listener: Listener, keys: Iterable[Key]) -> None:
        """Tell a listener of users no more."""
        for key in keys:
            view = self._views.get(slot_of(key))
            watched = view.people.get(key) if view is not None else None
            if view is None or watched is None or listener not in watched.listeners:
                continue
            self._watching -= 1
            watched.listeners.remove(listener)
            if not watched.listeners:
                del view.people[key]
                view.unasked.discard(key)
                if not view.people:
                    self._want(view)  # which ends it, unless somebody watches there again by then

    def seen(self, key: Key) -> Seen:
        """Give the state of a user that is watched."""
        view = self._views.get(slot_of(key))
        watched = view.people.get(key) if view is not None else None
        return watched.seen if watched is not None and watched.seen is not None else _UNKNOWN

    # --- keeping it true --------------------------------------------------------------------------

    def _want(self, view: View) -> None:
        self._wanting.add(view.slot)
        self._flag.set()

    def _doubt(self, view: View) -> None:
        view.stale = True
        self._want(view)

    def _on_beat(self, beat: Beat) -> None:
        for slot, number in beat.numbers.items():
            view = self._views.get(slot)
            if view is None or view.process != beat.process:
                continue
            # What it has told by now may still be on its way; what it had told a beat ago is lost.
            if view.behind > view.number:
                self._doubt(view)
            view.behind = number

    def _on_homes(self) -> None:
        for view in self._views.values():
            if view.process and self._homes.first(view.slot) != view.process:
                self._doubt(view)

    async def _on_changes(self, view: View, message: Msg) -> None:
        told = words.decode_told(message.data)
        if told.process != view.process:
            if view.process:
                self._doubt(view)
            return
        if told.number > view.number + 1:
            self._doubt(view)
        view.number = max(view.number, told.number)
        view.take(told, later=True)

    async def _learn(self) -> None:
        """Ask for what is wanted, of a few slots at a time."""
        loop = asyncio.get_running_loop()
        self._wanting.update(self._views)  # where it is begun again
        self._flag.set()
        while True:
            await self._flag.wait()
            self._flag.clear()
            wanting = list(self._wanting)
            self._wanting.clear()
            for start in range(0, len(wanting), TOGETHER):
                views = [self._views[slot] for slot in wanting[start : start + TOGETHER] if slot in self._views]
                done = await asyncio.gather(*(self._learn_of(view) for view in views))
                for view, is_known in zip(views, done, strict=True):
                    if not is_known:
                        loop.call_later(AGAIN, self._want, view)

    async def _learn_of(self, view: View) -> bool:
        """Ask a slot's home for whom is to be asked. Tells whether all of them are known then."""
        if not view.people:
            await self._close(view)
            return True
        keys = list(view.people if view.stale else view.unasked)
        stale, view.stale = view.stale, False
        view.unasked.clear()
        try:
            if view.subscription is None:
                subject = words.changes_of(view.slot)
                view.subscription = await self._client.subscribe(subject, cb=partial(self._on_changes, view))
            for start in range(0, len(keys), MOST_ASKED):
                await self._question(view, keys[start : start + MOST_ASKED], stale=stale and start == 0)
        except NatsError:
            view.stale = view.stale or stale
            view.unasked.update(key for key in keys if key in view.people)
            self._failed(view)
            return False
        view.failing_since = None
        return not view.stale

    async def _question(self, view: View, keys: list[Key], *, stale: bool) -> None:
        if not self._client.is_connected:
            raise ConnectionClosedError  # the question would wait, and its answer come long after it
        self._asking.questions += 1
        answer = await self._client.request(words.questions_of(view.slot), words.encode_keys(keys), timeout=ASK_SECONDS)
        told = words.decode_told(answer.data)
        if told.process != view.process:
            for watched in view.people.values():
                watched.number = 0
            view.stale = not stale  # the others' states came from the home of before
            view.process, view.number, view.behind = told.process, told.number, 0
        elif stale:
            view.number = max(view.number, told.number)
        view.take(told, later=False)

    def _failed(self, view: View) -> None:
        now = asyncio.get_running_loop().time()
        if view.failing_since is None:
            view.failing_since = now
        if now - view.failing_since >= self._patience:
            for key, watched in view.people.items():
                watched.set(key, _UNKNOWN)

    async def _close(self, view: View) -> None:
        subscription, view.subscription = view.subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()
        if view.people:
            self._doubt(view)
        elif self._views.get(view.slot) is view:
            del self._views[view.slot]

    async def _mind(self) -> None:
        """Doubt everything after NATS was away, and while it is."""
        links = self._client.stats["reconnects"]
        while True:
            await asyncio.sleep(AGAIN)
            if self._client.is_connected and self._client.stats["reconnects"] == links:
                self._on_homes()  # one that is not the home any more may have answered in between
                continue
            if self._client.is_connected:
                links = self._client.stats["reconnects"]
            for view in self._views.values():
                self._doubt(view)
