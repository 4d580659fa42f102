"""The slots that this process holds: it hears their devices' reports, lets leases end, answers who asks, and tells what changed.

Each slot is held by two processes, which both hear every report. The first of them speaks; the second takes its place, with all it knows,
when it is gone. A process that comes to hold a slot fetches it from who holds it, and is asked nothing before it has. One that was
cut off from NATS, or stood still, does so anew, since it may have missed reports.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from services.chat.presence import words
from services.chat.presence.peers import SILENT_BEATS, Peers
from services.chat.presence.shelf import Shelf
from services.chat.presence.slots import SLOTS, homes
from services.chat.presence.words import Beat, Told
from services.ledger.ending import end
from services.ledger.lasting import keep_up

TICK: Final = 0.25
"""Seconds between two looks at what changed."""
_MOST_TOLD: Final = 1000
_PAGE: Final = 1000
_FETCHES: Final = 8
_FETCH_SECONDS: Final = 2
_PAGE_BYTES: Final = 512 * 1024
"""NATS takes twice that, unless it is told otherwise."""
_KEPT_BEATS: Final = 3.0
_log = structlog.get_logger(__name__)


class Homes:
    """This process's part of all presence there is.

    Args:
        client: the process's connection to NATS.
        beat: seconds between two signs of life; a process is missed after three and a half.
        most_people: users that this process may hold who are not offline.
        heard: takes every process's sign of life.
        changed: called when slots may have other homes than before.
    """

    def __init__(
        self,
        client: Client,
        beat: float,
        most_people: int,
        heard: Callable[[Beat], None],
        changed: Callable[[], None],
    ) -> None:
        """Hold nothing yet."""
        self.process = uuid.uuid4().hex
        self._client = client
        self._beat = beat
        self._most_people = most_people
        self._tell_changed = changed
        self._peers = Peers(client, self.process, beat, self._numbers, heard, self._on_peers)
        self._shelves: dict[int, Shelf] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._leaving: dict[int, float] = {}
        self._first: list[str] = [""] * SLOTS
        self._moved = asyncio.Event()
        self._settling = True
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the others. Raises nats.errors.Error."""
        await self._client.subscribe(words.holdings_of(self.process), cb=self._on_fetch)
        await self._peers.start()
        self._tasks = [
            asyncio.create_task(keep_up("presence-settle", self._settle), name="presence-settle"),
            asyncio.create_task(keep_up("presence-tick", self._tick), name="presence-tick"),
        ]

    async def close(self) -> None:
        """Leave; the others take over at once."""
        await end(self._tasks)
        await self._peers.close()

    def first(self, slot: int) -> str:
        """Name the process that speaks for a slot; empty where there is none now."""
        return self._first[slot]

    @property
    def processes(self) -> frozenset[str]:
        """The processes that hold presence now."""
        return self._peers.ready

    @property
    def here(self) -> int:
        """How many users are online or away, of those that this process speaks for."""
        first = self._first
        return sum(shelf.there for slot, shelf in tuple(self._shelves.items()) if first[slot] == self.process)

    @property
    def settled(self) -> bool:
        """Whether this process holds what it is to hold, as far as it knows which others there are."""
        return not self._moved.is_set() and not self._settling

    # --- who holds what ---------------------------------------------------------------------------

    def _on_peers(self, gained: bool) -> None:
        if gained:
            # It may have held a slot of ours while neither knew of the other; putting together what both hold does no harm.
            for shelf in self._shelves.values():
                shelf.settled = False
        self._first = [(homes(slot, self._peers.ready) or [""])[0] for slot in range(SLOTS)]
        self._moved.set()
        self._tell_changed()

    def _numbers(self) -> dict[int, int]:
        return {
            slot: shelf.number
            for slot, shelf in self._shelves.items()
            if shelf.number and self._first[slot] == self.process
        }

    async def _settle(self) -> None:
        """Hold what is this process's to hold, whenever that changes."""
        self._moved.set()
        while True:
            self._settling = False
            await self._moved.wait()
            self._moved.clear()
            self._settling = True
            if self.process not in self._peers.ready:
                await self._peers.say(greets=True)
                await asyncio.sleep(self._beat / 2)  # who is there has answered by then
            mine = {slot for slot in range(SLOTS) if self.process in homes(slot, self._peers.ready | {self.process})}
            try:
                await self._take(mine)
            except NatsError as error:
                _log.info("presence_settle_again", error=type(error).__name__)
                await asyncio.sleep(self._beat)
                self._moved.set()
                continue
            if self.process not in self._peers.ready:
                await self._peers.be_ready(True)

    async def _take(self, mine: set[int]) -> None:
        now = asyncio.get_running_loop().time()
        for slot in self._shelves.keys() - mine:
            self._leaving.setdefault(slot, now + _KEPT_BEATS * self._beat)
        for slot in mine:
            self._leaving.pop(slot, None)
            if slot not in self._shelves:
                self._shelves[slot] = Shelf()
                hear = partial(self._on_message, slot)
                self._subscriptions[slot] = await self._client.subscribe(words.all_of(slot), cb=hear)
        unsettled = [slot for slot in mine if not self._shelves[slot].settled]
        # NATS takes a connection's words in their order: reports come from before what is fetched now.
        for start in range(0, len(unsettled), _FETCHES):
            await asyncio.gather(*(self._fetch(slot) for slot in unsettled[start : start + _FETCHES]))

    async def _fetch(self, slot: int) -> None:
        """Fill a slot with what its homes of before hold; one that does not answer is passed over."""
        shelf = self._shelves[slot]
        for process in homes(slot, self._peers.others):
            offset, asked = 0, True
            while asked:
                try:
                    question = json.dumps([slot, offset]).encode()
                    answer = await self._client.request(words.holdings_of(process), question, timeout=_FETCH_SECONDS)
                except NatsError:
                    break
                people, offset = words.decode_people(answer.data, asyncio.get_running_loop().time())
                shelf.fill(people)
                asked = offset > 0
        shelf.settle()

    async def _on_fetch(self, message: Msg) -> None:
        slot, offset = json.loads(message.data)
        shelf = self._shelves.get(slot)
        await self._answer(message, holdings(shelf or Shelf(), offset, asyncio.get_running_loop().time()))

    # --- what is held -----------------------------------------------------------------------------

    async def _on_message(self, slot: int, message: Msg) -> None:
        shelf = self._shelves.get(slot)
        if shelf is None:
            return  # it was given away just now
        if message.subject.endswith(words.REPORT):
            await self._on_report(slot, shelf, message)
        elif self._first[slot] == self.process and shelf.filled:
            people = {key: shelf.answer(key) for key in words.decode_keys(message.data)}
            await self._answer(message, words.encode_told(Told(self.process, shelf.number, people)))

    async def _on_report(self, slot: int, shelf: Shelf, message: Msg) -> None:
        report = words.decode_report(message.data)
        full = not shelf.holds(report.key) and sum(each.there for each in self._shelves.values()) >= self._most_people
        if not full:
            shelf.report(report, asyncio.get_running_loop().time(), time.time_ns() // 1000)
        if self._first[slot] == self.process:
            people = {} if full else {report.key: shelf.seen(report.key)}
            await self._answer(message, words.encode_told(Told(self.process, shelf.number, people)))

    async def _answer(self, message: Msg, data: bytes) -> None:
        if not message.reply:
            return  # it was only said
        try:
            await message.respond(data)
        except NatsError as error:
            _log.info("presence_answer_lost", error=type(error).__name__)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        before, links = loop.time(), self._client.stats["reconnects"]
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            if now - before > SILENT_BEATS * self._beat or self._client.stats["reconnects"] != links:
                links = self._client.stats["reconnects"]
                await self._begin_anew()
            before = now
            for slot, shelf in [each for each in self._shelves.items() if each[1].stirs]:
                shelf.lapse(now)
                if self._first[slot] == self.process and self._client.is_connected:
                    await self._tell(slot, shelf, now)
                else:
                    shelf.hush()
            for slot in [each for each, until in self._leaving.items() if until <= now]:
                await self._drop(slot)

    async def _tell(self, slot: int, shelf: Shelf, now: float) -> None:
        while people := shelf.changes(now, _MOST_TOLD):
            shelf.number += 1
            told = Told(self.process, shelf.number, people)
            try:
                await self._client.publish(words.changes_of(slot), words.encode_told(told))
            except NatsError as error:
                # Who listens sees by the number that it missed something, and asks.
                _log.info("presence_change_lost", error=type(error).__name__)

    async def _begin_anew(self) -> None:
        """Fetch everything again: reports may have been missed."""
        for shelf in self._shelves.values():
            shelf.settled = False
        await self._peers.be_ready(False)
        self._moved.set()

    async def _drop(self, slot: int) -> None:
        del self._leaving[slot]
        self._shelves.pop(slot, None)
        subscription = self._subscriptions.pop(slot, None)
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()


def holdings(shelf: Shelf, offset: int, now: float) -> bytes:
    """Write a page of what a shelf holds: fewer users where they have many devices, so that NATS takes it."""
    limit = _PAGE
    while True:
        people = shelf.page(offset, limit)
        data = words.encode_people(people, now, offset + limit if len(people) == limit else 0)
        if len(data) <= _PAGE_BYTES or limit == 1:
            return data
        limit //= 2
