"""WatchPresence: one stream. It holds whom it watches and who of them changed since its last frame, and no queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Final

from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat import domain
from services.chat.config import ChatSettings
from services.chat.presence import shown
from services.chat.presence.roster import Roster
from services.chat.presence.slots import Key
from services.chat.watch import going_away
from services.ledger.ending import end
from services.runtime.call import Call

MOST_WATCHED: Final = 10_000
FRAME_USERS: Final = 500
PACE: Final = 0.25
"""Seconds between two frames."""


class WatchingPresence:
    """One stream, which is a listener of the roster."""

    def __init__(self, roster: Roster, call: Call, settings: ChatSettings) -> None:
        """Serve one call."""
        self._roster = roster
        self._call = call
        self._settings = settings
        self._watched: set[Key] = set()
        self._unknown: set[Key] = set()
        self._changed: dict[Key, None] = {}
        self._told: dict[Key, object] = {}
        self._incomplete = False
        self._flag = asyncio.Event()

    def changed(self, key: Key) -> None:
        """Take note that a user is otherwise than before."""
        self._changed[key] = None
        self._unknown.discard(key)
        self._flag.set()

    async def serve(
        self, requests: AsyncIterator[pb.WatchPresenceRequest]
    ) -> AsyncGenerator[pb.WatchPresenceResponse, None]:
        """Give the stream's frames. Raises Refused (INVALID_FIELD, OVERLOADED)."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._flag.set())
        try:
            async with aclosing(self.frames(reader)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self.close()
            # What it failed of was raised above, or the stream is gone and it is nobody's any more.
            await end([reader])

    async def frames(self, reader: asyncio.Task[None] | None = None) -> AsyncGenerator[pb.WatchPresenceResponse, None]:
        """Give frames until the server drains. Raises what ``reader`` failed of."""
        drain = asyncio.create_task(self._call.draining.wait())
        drain.add_done_callback(lambda _: self._flag.set())
        try:
            while not self._call.draining.is_set():
                await self._flag.wait()
                self._flag.clear()
                if reader is not None and reader.done():
                    reader.result()  # a frame that breaks a rule ends the stream here; a client that has said all listens on
                told = False
                while (frame := self._frame()) is not None and not self._call.draining.is_set():
                    yield frame
                    told = True
                if told:
                    await self._pause()
            yield pb.WatchPresenceResponse(going_away=going_away(self._settings))
        finally:
            await end([drain])

    def close(self) -> None:
        """Watch nobody any more."""
        self._roster.remove(self, self._watched)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PACE):
                await self._call.draining.wait()
        except TimeoutError:
            return

    async def _read(self, requests: AsyncIterator[pb.WatchPresenceRequest]) -> None:
        async for request in requests:
            wait = self._call.admit()
            while wait > 0:
                await asyncio.sleep(wait)
                wait = self._call.admit()
            self.change(request.remove_user_ids, request.add_user_ids)

    def change(self, remove_user_ids: Iterable[str], add_user_ids: Iterable[str]) -> None:
        """Watch some users no more, and others from now on. Raises domain.Refused (INVALID_FIELD), Refused (OVERLOADED)."""
        tenant = self._call.caller.tenant
        self._drop({(tenant, user_id) for user_id in remove_user_ids})
        self._add({(tenant, user_id) for user_id in add_user_ids} - self._watched)

    def _add(self, keys: set[Key]) -> None:
        if not keys and self._watched:
            return
        if len(self._watched) + len(keys) > MOST_WATCHED:
            raise domain.Refused("INVALID_FIELD", f"at most {MOST_WATCHED} users are watched", field="add_user_ids")
        self._unknown |= keys
        self._watched |= keys
        self._incomplete = True
        self._roster.add(self, keys)
        self._flag.set()

    def _drop(self, keys: set[Key]) -> None:
        keys &= self._watched
        self._roster.remove(self, keys)
        self._watched -= keys
        self._unknown -= keys
        for key in keys:
            self._changed.pop(key, None)
            self._told.pop(key, None)
        self._flag.set()

    def _frame(self) -> pb.WatchPresenceResponse | None:
        """Give what is to be told now, if anything."""
        response = pb.WatchPresenceResponse()
        while self._changed and len(response.presences) < FRAME_USERS:
            for key in list(islice(self._changed, FRAME_USERS - len(response.presences))):
                del self._changed[key]
                seen = self._roster.seen(key)
                # What changed and changed back since the last frame is no news.
                if self._told.get(key) != seen:
                    self._told[key] = seen
                    response.presences.append(shown.presence(key, seen))
        if self._incomplete and not self._unknown and not self._changed:
            self._incomplete = False
            response.complete = True
        return response if response.presences or response.complete else None
