"""WatchReceipts: how far the members of a conversation have got, as it is now and then as it rises."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import suppress

from google.protobuf.message import DecodeError
from tradewind.chat.v1 import chat_service_pb2
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat import commands, domain, projections, receipts
from services.chat.access import Actor, may_read
from services.chat.config import ChatSettings
from services.chat.departures import Departures
from services.chat.inbox.following import Follower
from services.chat.watch import going_away
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.runtime.call import Call


class ReceiptsStream:
    """One stream of receipts. What was heard and not told yet is one receipt for each member at most."""

    def __init__(
        self,
        ledger: Ledger,
        follower: Follower,
        departures: Departures,
        actor: Actor,
        call: Call,
        settings: ChatSettings,
        conversation_id: str,
    ) -> None:
        """Follow a conversation's receipts for ``call``."""
        self._ledger, self._follower, self._departures, self._actor = ledger, follower, departures, actor
        self._call, self._settings = call, settings
        self._conversation = commands.aggregate_of(actor, conversation_id)
        self._request = pb.WatchReceiptsRequest(conversation_id=conversation_id)
        self._known: dict[str, chat_service_pb2.Receipt] = {}
        self._risen: dict[str, None] = {}
        self._members: frozenset[str] = frozenset()
        self._grown = False
        self._flag = asyncio.Event()

    # --- heard --------------------------------------------------------------------------------------

    def grew(self, _conversation: AggregateId) -> None:
        """Note that members may have come or gone."""
        self._grown = True
        self._flag.set()

    def doubt(self, *, wake: bool) -> None:
        """Note that the user, a channel's reader, may have left; ``wake``: to be looked at at once."""
        self._grown = True
        if wake:
            self._flag.set()

    def turned(self, _conversation_id: str) -> None:
        """Hear nothing of the user's own list."""

    def missed(self) -> None:
        """Read them anew in time, as ever."""

    def _heard(self, data: bytes) -> None:
        with suppress(DecodeError):  # of another release
            receipt = chat_service_pb2.Receipt.FromString(data)
            if receipt.user_id in self._members:
                self._take(receipt)

    def _take(self, receipt: chat_service_pb2.Receipt) -> None:
        """Let a member's receipt rise; cursors may be heard in any order, and each by itself."""
        known = self._known.get(receipt.user_id)
        if known is None:
            known = self._known[receipt.user_id] = chat_service_pb2.Receipt(user_id=receipt.user_id)
        rose = False
        if receipt.read_version > known.read_version:
            known.read_version, rose = receipt.read_version, True
            known.read_time.CopyFrom(receipt.read_time)
        if receipt.delivered_version > known.delivered_version:
            known.delivered_version, rose = receipt.delivered_version, True
            known.delivered_time.CopyFrom(receipt.delivered_time)
        if rose:
            self._risen[receipt.user_id] = None
            self._flag.set()

    # --- told ---------------------------------------------------------------------------------------

    async def frames(self) -> AsyncGenerator[pb.WatchReceiptsResponse, None]:
        """Give frames until the server drains. Raises domain.Refused (NOT_FOUND, MEMBERS_LIMIT, NOT_A_MEMBER), LedgerError."""
        loop = asyncio.get_running_loop()
        await receipts.receipts(self._ledger, self._request, self._actor)  # refused before anything is heard
        followed = self._follower.follow(self._conversation, self)
        place = projections.place_of(self._conversation, self._actor.user_id)
        self._departures.follow(place, self)
        draining = asyncio.create_task(self._await_drain())
        listener = None
        try:
            listener = await self._follower.listen(self._conversation, self, self._heard)
            await self._read()
            self._risen.clear()
            yield pb.WatchReceiptsResponse(receipts=self._known.values(), whole=True)
            until = self._next_read(loop.time())
            while not self._call.draining.is_set():
                told_at = loop.time()
                if told_at >= until:
                    await self._read()
                    until = self._next_read(told_at)
                frame = await self._changes()
                if frame.receipts or frame.removed_user_ids:
                    yield frame
                await self._something(told_at + self._settings.inbox_interval, until)
        finally:
            draining.cancel()
            self._follower.leave(followed, self)
            self._departures.leave(place, self)
            if listener is not None:
                await self._follower.unlisten(listener)
        yield pb.WatchReceiptsResponse(going_away=going_away(self._settings))

    async def _await_drain(self) -> None:
        await self._call.draining.wait()
        self._flag.set()

    async def _something(self, not_before: float, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._flag.wait()
        if not self._call.draining.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(not_before):
                    await self._call.draining.wait()

    def _next_read(self, now: float) -> float:
        return now + self._settings.inbox_survey * random.uniform(0.75, 1.25)

    async def _read(self) -> None:
        """Read all of them: what was whispered may have been lost."""
        await self._check()
        for receipt in (await receipts.receipts(self._ledger, self._request, self._actor)).receipts:
            self._take(receipt)

    async def _check(self) -> list[str]:
        """Look who is in it, and whether the caller still may know; give whose receipts are void by that."""
        self._grown = False
        state = (await self._ledger.read(self._conversation)).state
        if not await may_read(self._ledger, self._actor, self._conversation, state, commands.now_us()):
            raise domain.not_a_member()
        self._members = frozenset(state.profile.members) if state.profile is not None else frozenset()
        gone = [user_id for user_id in self._known if user_id not in self._members]
        for user_id in gone:
            del self._known[user_id]
            self._risen.pop(user_id, None)
        return gone

    async def _changes(self) -> pb.WatchReceiptsResponse:
        self._flag.clear()
        gone = await self._check() if self._grown else []
        risen, self._risen = [self._known[user_id] for user_id in self._risen], {}
        return pb.WatchReceiptsResponse(receipts=risen, removed_user_ids=gone)
