"""Who may do nothing in a tenant: asked at every call, so it is answered from memory, and kept fresh.

A process remembers the bans of each tenant whose users call it. It looks again when another process whispers of a change, and by itself
every few seconds; so a ban is in force everywhere at once, and within ``MOST_STALE`` seconds where the whisper was lost. What it reads
again is only what changed since a minute before it looked last; everything, every ten minutes. While the store cannot be read, what is
remembered stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import structlog
from nats.errors import Error as NatsError
from tradewind.chat.v1 import moderation_pb2

from services.chat import commands
from services.chat.moderation import projections, wire
from services.chat.moderation.domain import standing
from services.chat.whispers import Listener, Whispers
from services.ledger.ending import end
from services.ledger.errors import StoreUnavailable
from services.ledger.lasting import keep_up
from services.ledger.ledger import Ledger
from services.runtime.admission import Cut
from services.runtime.call import Call, Caller

MOST_STALE: Final = 5.0
MOST_BANS: Final = 100_000
"""Bans of a tenant that last at a time."""
TOPIC: Final = "bans"
_LOOK_EVERY: Final = 2.0
_PATIENCE: Final = 1.0
_AFTER_FAILURE: Final = 0.5
_READ_ALL_EVERY: Final = 600.0
_CLOCKS_APART_US: Final = 60_000_000
_MOST_TENANTS: Final = 1024
_PAGE: Final = 500
_CHAT: Final = "/tradewind.chat."
_log = structlog.get_logger(__name__)

HearBanned = Callable[[str, str], Awaitable[None]]
"""Takes a tenant and a user of it who was banned just now. Takes no time to speak of, and does not raise."""


@dataclass(eq=False, slots=True)
class _Tenant:
    """What this process knows of a tenant."""

    name: str
    banned: dict[str, int] = field(default_factory=dict)
    looked_at: float = float("-inf")
    looked_us: int = 0
    failed_at: float = float("-inf")
    read_all_at: float = float("-inf")
    looking: asyncio.Task[None] | None = None
    again: bool = False
    listener: Listener | None = None
    streams: dict[str, set[Cut]] = field(default_factory=dict)


class Bans:
    """Turns away who is banned; see ``services.runtime.admission.Admission``. Make it inside a running loop; ``close`` it."""

    def __init__(self, ledger: Ledger, whispers: Whispers) -> None:
        """Know the bans that ``ledger`` holds."""
        self._ledger = ledger
        self._whispers = whispers
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._hear: list[HearBanned] = []

    def on_banned(self, hear: HearBanned) -> None:
        """Tell of each user who is banned, once this process turns it away; each process does so."""
        self._hear.append(hear)

    def check(self, call: Call) -> Awaitable[None] | None:
        """Raise domain.Refused (USER_BANNED) for a caller who is banned, or on whose behalf a banned user calls."""
        if not call.method.startswith(_CHAT):
            return None
        known = self._known(call.caller.tenant)
        age = self._loop.time() - known.looked_at
        if age > MOST_STALE:
            return self._check_late(known, call.caller)
        if age > _LOOK_EVERY and self._may_look(known):
            self._look(known)
        _refuse(known, call.caller)
        return None

    def hold(self, call: Call, cut: Cut) -> Callable[[], None]:
        """Cut an open stream as soon as its caller is banned."""
        known = self._known(call.caller.tenant)
        names = [name for name in (call.caller.subject, call.caller.on_behalf_of) if name]
        for name in names:
            known.streams.setdefault(name, set()).add(cut)
        if self._ticking is None:
            self._ticking = asyncio.create_task(keep_up("bans", self._tick), name="bans")

        def forget() -> None:
            for name in names:
                open_ = known.streams.get(name, set())
                open_.discard(cut)
                if not open_:
                    known.streams.pop(name, None)

        return forget

    async def require_good(self, tenant: str, user_id: str) -> None:
        """Raise domain.Refused (USER_BANNED) for a user who is banned; for one that a service speaks for."""
        known = self._known(tenant)
        if self._loop.time() - known.looked_at > MOST_STALE:
            await self._settle(known)
        until_us = known.banned.get(user_id)
        if until_us is not None and standing.lasts(until_us, commands.now_us()):
            raise standing.user_banned(until_us)

    async def count(self, tenant: str) -> int:
        """Count the bans that last."""
        known = self._known(tenant)
        await self._settle(known, at_once=True)
        now = commands.now_us()
        return sum(standing.lasts(until_us, now) for until_us in known.banned.values())

    async def changed(self, tenant: str) -> None:
        """Take over a change that was written, and tell the other processes."""
        await self._whispers.say(tenant, TOPIC)
        known = self._known(tenant)
        if known.looking is not None:
            await asyncio.wait([known.looking])  # it may have read before the change
        await self._settle(known, at_once=True)

    async def close(self) -> None:
        """Stop looking."""
        tasks = [known.looking for known in self._tenants.values() if known.looking is not None]
        await end([task for task in (self._ticking, *tasks, *self._leaving) if task is not None])
        for known in self._tenants.values():
            if known.listener is not None:
                await self._whispers.leave(known.listener)

    # --- keeping it fresh -----------------------------------------------------------------------

    def _known(self, tenant: str) -> _Tenant:
        known = self._tenants.get(tenant)
        if known is None:
            known = self._tenants[tenant] = _Tenant(tenant)
            self._make_room(known)
        else:
            self._tenants.move_to_end(tenant)
        return known

    def _make_room(self, wanted: _Tenant) -> None:
        """Forget tenants that nobody of is here, oldest first. Those with streams stay, however many they are."""
        over = len(self._tenants) - _MOST_TENANTS
        idle = (each for each in self._tenants.values() if not (each.streams or each.looking or each is wanted))
        for oldest in list(islice(idle, max(0, over))):
            del self._tenants[oldest.name]
            if oldest.listener is not None:
                leaving = asyncio.create_task(self._whispers.leave(oldest.listener))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def _check_late(self, known: _Tenant, caller: Caller) -> None:
        await self._settle(known)
        _refuse(known, caller)

    async def _settle(self, known: _Tenant, *, at_once: bool = False) -> None:
        """Wait a moment for what is true now. Raises StoreUnavailable where it was never read; else what is remembered will do."""
        if at_once or self._may_look(known):
            await asyncio.wait([self._look(known)], timeout=_PATIENCE)
        if known.read_all_at == float("-inf"):
            raise StoreUnavailable("who is banned cannot be read now")

    def _may_look(self, known: _Tenant) -> bool:
        """Tell whether a call may bring about a look: a store that is down is not asked once a call."""
        return self._loop.time() - known.failed_at >= _AFTER_FAILURE

    def _look(self, known: _Tenant) -> asyncio.Task[None]:
        """Look again, unless that is under way."""
        if known.looking is None:
            known.looking = asyncio.create_task(self._read(known), name="bans-of-tenant")
            known.looking.add_done_callback(lambda task: self._looked(known, task))
        return known.looking

    def _looked(self, known: _Tenant, task: asyncio.Task[None]) -> None:
        known.looking = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            known.failed_at = self._loop.time()
            _log.warning("bans_unread", error=type(error).__name__)
        elif known.again:
            self._look(known)

    def _heard(self, known: _Tenant) -> None:
        known.again = known.looking is not None
        self._look(known)

    async def _read(self, known: _Tenant) -> None:
        known.again = False
        if known.listener is None:
            # Before the first look: what changes after it is whispered of.
            with suppress(NatsError):
                known.listener = await self._whispers.listen(known.name, TOPIC, lambda _: self._heard(known))
        began, began_us = self._loop.time(), commands.now_us()
        if began - known.read_all_at > _READ_ALL_EVERY:
            before, known.banned = known.banned, await self._all(known.name)
            new = [each for each, until_us in known.banned.items() if before.get(each) != until_us]
            new = new if known.looked_us else []  # else they were banned before this process knew of the tenant
            known.read_all_at = began
        else:
            new = await self._news(known)
        known.looked_at, known.looked_us = began, began_us
        self._cut(known)
        for user_id in new:
            for hear in self._hear:
                await hear(known.name, user_id)

    async def _all(self, tenant: str) -> dict[str, int]:
        banned: dict[str, int] = {}
        now = commands.now_us()
        after: str | None = None
        while True:
            page = await self._ledger.rows(projections.BANNED, tenant, after=after, limit=_PAGE)
            for row in page:
                until_us = _until(row.value)
                if standing.lasts(until_us, now):  # those that ended stay among the rows
                    banned[row.key] = until_us
            if len(page) < _PAGE:
                return banned
            after = page[-1].key

    async def _news(self, known: _Tenant) -> list[str]:
        """Take over what changed; gives who is banned now and was not, or not for as long."""
        new: list[str] = []
        # Since the last look, however long ago: the store may have been away, or nobody have called, and a whisper been lost.
        after: str = projections.key(max(0, known.looked_us - _CLOCKS_APART_US))
        while True:
            page = await self._ledger.rows(projections.BAN_CHANGES, known.name, after=after, limit=_PAGE)
            for user_id in {row.key[17:] for row in page}:
                row = await self._ledger.row(projections.BANNED, known.name, user_id)
                if row is None or row.value is None:
                    known.banned.pop(user_id, None)
                    continue
                until_us = _until(row.value)
                if known.banned.get(user_id) != until_us:
                    known.banned[user_id] = until_us
                    new.append(user_id)
            if len(page) < _PAGE:
                return new
            after = page[-1].key

    def _cut(self, known: _Tenant) -> None:
        now = commands.now_us()
        few, many = sorted((known.banned.keys(), known.streams.keys()), key=len)
        for user_id in [name for name in few if name in many]:
            if standing.lasts(known.banned[user_id], now):
                for cut in tuple(known.streams.get(user_id, ())):
                    cut(standing.user_banned(known.banned[user_id]))

    async def _tick(self) -> None:
        """Look by itself for whoever only listens."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            late = self._loop.time() - _LOOK_EVERY
            for known in [each for each in self._tenants.values() if each.streams and each.looked_at < late]:
                self._look(known)


def _refuse(known: _Tenant, caller: Caller) -> None:
    if not known.banned:
        return
    for user_id in (caller.subject, caller.on_behalf_of):
        until_us = known.banned.get(user_id) if user_id else None
        if until_us is not None and standing.lasts(until_us, commands.now_us()):
            raise standing.user_banned(until_us)


def _until(value: bytes | None) -> int:
    return wire.end_of(moderation_pb2.BannedUser.FromString(value or b"").until)
