"""WatchInbox: a user's list over a server stream, as it is now and then as it becomes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat.access import Actor
from services.chat.config import ChatSettings
from services.chat.inbox import listing
from services.chat.inbox.following import Follower
from services.chat.inbox.held import Held
from services.chat.inbox.surveying import Surveys
from services.chat.watch import going_away
from services.ledger.ids import AggregateId
from services.runtime.call import Call

_MOST_A_FRAME: Final = 100


class InboxStream:
    """One stream of a user's list.

    What it was told of and did not look at yet is a set of ids, never more than the user has conversations.
    """

    def __init__(
        self, surveys: Surveys, follower: Follower, actor: Actor, call: Call, settings: ChatSettings, page_size: int
    ) -> None:
        """Follow ``actor``'s list for ``call``."""
        self._surveys, self._follower, self._actor = surveys, follower, actor
        self._call, self._settings = call, settings
        self._page_size = page_size or listing.DEFAULT_PAGE
        self._held = Held(surveys, actor, follower, self)
        self._grew: dict[str, None] = {}
        self._turned: dict[str, None] = {}
        self._flag = asyncio.Event()
        self._told_totals = b""
        self._missed = False
        self._next_survey = 0.0

    @property
    def waiting(self) -> int:
        """How many conversations it is to look at again."""
        return len(self._grew) + len(self._turned)

    # --- heard --------------------------------------------------------------------------------------

    def grew(self, conversation: AggregateId) -> None:
        """Note that a conversation has new events."""
        self._grew[conversation.id] = None
        self._flag.set()

    def turned(self, conversation_id: str) -> None:
        """Note that what the user is or has in a conversation may have changed."""
        if len(self._turned) < self._settings.inbox_conversations:
            self._turned[conversation_id] = None
        else:
            self._next_survey = 0.0  # more than a list can hold: see what came or went
        self._flag.set()

    def missed(self) -> None:
        """Look soon at what was not heard; not all streams at once."""
        self._missed = True
        soon = asyncio.get_running_loop().time() + random.uniform(0, self._settings.reconnect_spread)
        self._next_survey = min(self._next_survey, soon)
        self._flag.set()

    # --- told ---------------------------------------------------------------------------------------

    async def frames(self) -> AsyncGenerator[pb.WatchInboxResponse, None]:
        """Give frames until the server drains. Raises LedgerError."""
        actor, loop = self._actor, asyncio.get_running_loop()
        self._survey_later(loop.time())
        listener = await self._follower.attend(actor.tenant, actor.user_id, self)
        draining = asyncio.create_task(self._await_drain())
        try:
            yield await self._first()
            while not self._call.draining.is_set():
                told_at = loop.time()
                await self._something(loop)
                frame = await self._changes(loop.time())
                if frame is not None:
                    yield frame
                await self._pause(told_at + self._settings.inbox_interval - loop.time())
        finally:
            draining.cancel()
            self._held.close()
            await self._follower.part(actor.tenant, actor.user_id, self, listener)
        yield pb.WatchInboxResponse(going_away=going_away(self._settings))

    async def _await_drain(self) -> None:
        await self._call.draining.wait()
        self._flag.set()

    async def _something(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until there is something to look at."""
        until = min(self._next_survey, loop.time() + self._held.seconds_to_next_end())
        if self._flag.is_set() or until <= loop.time():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._flag.wait()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0 and not self._call.draining.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._call.draining.wait()

    async def _first(self) -> pb.WatchInboxResponse:
        await self._held.open()
        shown, older = await self._held.newest(self._page_size)
        failures = self._held.failures()
        frame = pb.WatchInboxResponse(entries=shown, whole=True, totals=self._held.totals(), failures=failures)
        if older:
            frame.older_page_token = listing.token_after(self._actor, pb.ListInboxRequest(), older)
        self._told_totals = frame.totals.SerializeToString()
        return frame

    async def _changes(self, now: float) -> pb.WatchInboxResponse | None:
        """Look where something may have changed, and give it; None where nothing did."""
        self._flag.clear()
        await self._survey(now)
        turned, grew = self._take()
        entries, removed = await self._held.look(turned, grew)
        frame = pb.WatchInboxResponse(entries=entries, removed_ids=removed, failures=self._held.failures())
        totals = self._held.totals()
        if (encoded := totals.SerializeToString()) != self._told_totals:
            self._told_totals = encoded
            frame.totals.CopyFrom(totals)
        return frame if frame.ByteSize() else None

    def _take(self) -> tuple[Sequence[str], Sequence[str]]:
        """Take what the next frame looks at; what is left keeps the flag up."""
        for ended in self._held.ended():
            self._turned[ended] = None
        turned = list(islice(self._turned, _MOST_A_FRAME))
        for conversation_id in turned:
            del self._turned[conversation_id]
            self._grew.pop(conversation_id, None)
        grew = list(islice(self._grew, _MOST_A_FRAME - len(turned)))
        for conversation_id in grew:
            del self._grew[conversation_id]
        if self._turned or self._grew:
            self._flag.set()
        return turned, grew

    async def _survey(self, now: float) -> None:
        """From time to time look at all: what was whispered, or announced, may have been lost."""
        if now < self._next_survey:
            return
        self._survey_later(now)
        missed, self._missed = self._missed, False
        for conversation_id in await self._held.suspects(missed=missed):
            self._turned[conversation_id] = None

    def _survey_later(self, now: float) -> None:
        self._next_survey = now + self._settings.inbox_survey * random.uniform(0.75, 1.25)
