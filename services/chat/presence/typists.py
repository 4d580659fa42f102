"""Who types: said by whisper in each conversation, heard by whom may read it, and forgotten after some seconds."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

from nats.errors import Error as NatsError
from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat import commands, domain
from services.chat.access import Actor, actor_of, may_read, readable, telling
from services.chat.config import ChatSettings
from services.chat.watch import going_away
from services.chat.whispers import Listener, Whispers
from services.ledger.ending import end
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call
from services.runtime.errors import Refused, status_of

MOST_MEMBERS: Final = 200
PACE: Final = 0.25
"""Seconds between two frames of a stream."""


async def say(
    ledger: Ledger, whispers: Whispers, is_connected: bool, request: pb.SetTypingRequest, call: Call, lasts: float
) -> pb.SetTypingResponse:
    """Tell whoever watches that the caller types for ``lasts`` seconds, or no more.

    Raises domain.Refused as the contract says, Refused (DEPENDENCY_UNAVAILABLE).
    """
    actor, now = actor_of(call.caller), commands.now_us()
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    state: domain.Conversation = (await ledger.read(aggregate)).state
    async with telling(ledger, actor, aggregate, now):
        _may_type(state, actor, now)
    if not is_connected:
        raise Refused("DEPENDENCY_UNAVAILABLE", "who watches cannot be reached now")
    await whispers.say(actor.tenant, _topic(aggregate), json.dumps([actor.user_id, not request.stopped]).encode())
    return pb.SetTypingResponse(lasts_ms=0 if request.stopped else int(lasts * 1000))


def _may_type(state: domain.Conversation, actor: Actor, at_us: int) -> None:
    profile = domain.require(state, actor.user_id, domain.Permission.POST, oversees=actor.oversees)
    if domain.lasts(profile.mutes, actor.user_id, at_us):
        until_us = profile.mutes[actor.user_id]
        raise domain.kept_out(
            "MUTED", "the member may not speak now", until_us, permission=domain.Permission.POST.value
        )
    if profile.kind is domain.Kind.CHANNEL:
        raise domain.Refused(
            "WRONG_CONVERSATION_KIND", "who types in a channel is not told", metadata={"kind": profile.kind.value}
        )
    if len(profile.members) > MOST_MEMBERS:
        raise domain.Refused(
            "MEMBERS_LIMIT",
            f"who types is told among at most {MOST_MEMBERS} members",
            metadata={"limit": str(MOST_MEMBERS)},
        )


class Seats:
    """How many conversations all streams of a process may watch, counted once for each stream."""

    def __init__(self, most: int) -> None:
        """All are free."""
        self._most = most
        self.taken = 0

    def require(self, count: int) -> None:
        """See that so many are free. Raises Refused (OVERLOADED)."""
        if self.taken + count > self._most:
            raise Refused("OVERLOADED", "as many conversations are watched as the server may hear")

    def take(self) -> None:
        """Take one. Raises Refused (OVERLOADED) where none is free."""
        self.require(1)
        self.taken += 1

    def give(self) -> None:
        """Give one back."""
        self.taken -= 1


class WatchingTyping:
    """One stream: who types in each of its conversations, and until when unless heard of again. ``close`` ends it."""

    def __init__(self, ledger: Ledger, whispers: Whispers, call: Call, settings: ChatSettings, seats: Seats) -> None:
        """Serve one call."""
        self._ledger = ledger
        self._whispers = whispers
        self._call = call
        self._settings = settings
        self._seats = seats
        self._actor = actor_of(call.caller)
        self._typists: dict[AggregateId, dict[str, float]] = {}
        self._told: dict[AggregateId, tuple[str, ...]] = {}
        self._changed: dict[AggregateId, None] = {}
        self._listeners: dict[AggregateId, Listener] = {}
        self._flag = asyncio.Event()

    async def serve(self, request: pb.WatchTypingRequest) -> AsyncGenerator[pb.WatchTypingResponse, None]:
        """Give the stream's frames. Raises domain.Refused (NOT_FOUND), Refused (DEPENDENCY_UNAVAILABLE, OVERLOADED)."""
        try:
            wanted = [commands.aggregate_of(self._actor, each) for each in request.conversation_ids]
            await self._listen_to(wanted)
            async with aclosing(self.frames(lasting=False)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            await self.close()

    async def frames(self, *, lasting: bool) -> AsyncGenerator[pb.WatchTypingResponse, None]:
        """Give frames until the server drains, or, unless it is ``lasting``, until no conversation is left."""
        drain = asyncio.create_task(self._call.draining.wait())
        drain.add_done_callback(lambda _: self._flag.set())
        try:
            while (lasting or self._listeners) and not self._call.draining.is_set():
                await self._woken()
                frame = await self._frame()
                if frame.typing or frame.ended:
                    yield frame
                    await self._pause()
            if self._call.draining.is_set():
                yield pb.WatchTypingResponse(going_away=going_away(self._settings))
        finally:
            await end([drain])

    async def close(self) -> None:
        """Hear nothing any more; again changes nothing."""
        for aggregate in list(self._listeners):
            await self._leave(aggregate)

    async def keep(self, wanted: Collection[AggregateId]) -> None:
        """Watch these and no others, but for those that may not be read. Raises Refused (DEPENDENCY_UNAVAILABLE, OVERLOADED), LedgerError.

        One at a time: not again before it is done.
        """
        for aggregate in [each for each in self._listeners if each not in wanted]:
            await self._leave(aggregate)
        await self._listen_to([each for each in wanted if each not in self._listeners], passes=(domain.Refused,))

    async def _listen_to(self, wanted: Collection[AggregateId], passes: tuple[type[Exception], ...] = ()) -> None:
        """Listen where nobody does yet; ``passes``: for what a conversation is left out."""
        if not wanted:
            return
        self._seats.require(len(wanted))
        try:
            for aggregate in wanted:
                with suppress(*passes):
                    await self._listen(aggregate)
            await self._whispers.listened()
        except NatsError:
            raise Refused("DEPENDENCY_UNAVAILABLE", "who types cannot be heard now") from None
        self._changed.update(dict.fromkeys(each for each in wanted if each in self._listeners))
        self._flag.set()

    async def _listen(self, aggregate: AggregateId) -> None:
        await readable(self._ledger, self._actor, aggregate, commands.now_us())
        self._seats.take()
        try:
            hear = partial(self._hear, aggregate)
            self._listeners[aggregate] = await self._whispers.listen(aggregate.tenant, _topic(aggregate), hear)
        except BaseException:
            self._seats.give()
            raise
        self._typists[aggregate] = {}

    async def _leave(self, aggregate: AggregateId) -> None:
        listener = self._listeners.pop(aggregate)
        self._seats.give()
        del self._typists[aggregate]
        self._told.pop(aggregate, None)
        self._changed.pop(aggregate, None)
        await self._whispers.leave(listener)

    def _hear(self, aggregate: AggregateId, data: bytes) -> None:
        user_id, types = json.loads(data)
        typists = self._typists.get(aggregate)
        if typists is None or user_id == self._actor.user_id:
            return
        if types and (user_id in typists or len(typists) < MOST_MEMBERS):
            typists[user_id] = asyncio.get_running_loop().time() + self._settings.typing_lasts
        elif not types:
            typists.pop(user_id, None)
        self._changed[aggregate] = None
        self._flag.set()

    async def _woken(self) -> None:
        """Wait until somebody was heard, or somebody fades."""
        until = min((at for typists in self._typists.values() for at in typists.values()), default=math.inf)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                await self._flag.wait()
        except TimeoutError:
            self._fade(asyncio.get_running_loop().time())
        self._flag.clear()

    def _fade(self, now: float) -> None:
        for aggregate, typists in self._typists.items():
            for user_id in [each for each, until in typists.items() if until <= now]:
                del typists[user_id]
                self._changed[aggregate] = None

    async def _frame(self) -> pb.WatchTypingResponse:
        """Give what is otherwise than before, to one who may still read it."""
        response = pb.WatchTypingResponse()
        changed, self._changed = self._changed, {}
        self._fade(asyncio.get_running_loop().time())
        for aggregate in changed | self._changed:
            if aggregate not in self._typists:
                continue
            typists = tuple(sorted(self._typists[aggregate]))
            if typists == self._told.get(aggregate):
                continue
            state = (await self._ledger.read(aggregate)).state
            may = await may_read(self._ledger, self._actor, aggregate, state, commands.now_us())
            if aggregate not in self._typists:
                continue  # it was left meanwhile
            if not may:
                response.ended.add(conversation_id=aggregate.id, error=status_of(domain.not_a_member()))
                await self._leave(aggregate)
                continue
            self._told[aggregate] = typists
            response.typing.add(conversation_id=aggregate.id, user_ids=typists)
        return response

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PACE):
                await self._call.draining.wait()
        except TimeoutError:
            return


def _topic(aggregate: AggregateId) -> str:
    return f"typing/{aggregate.id}"
