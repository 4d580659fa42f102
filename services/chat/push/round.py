"""One round: everybody who is away and does not know yet what was said in a conversation is told, or put off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from tradewind.chat.v1 import chat_pb2
from tradewind.push.v1 import push_gateway_service_pb2 as pb

from services.chat import commands, domain, projections, receipts
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.domain.place import FOR_EVER
from services.chat.push import devices, everywhere, news, notices, quiet, told
from services.chat.push.devices import Reach
from services.chat.push.domain import Rounds
from services.chat.push.gateway import MOST_AT_ONCE, Gateway
from services.chat.push.news import News, Tail, Wishes
from services.chat.push.presence import Presence
from services.chat.push.told import Held
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

MOST_NAMED: Final = 1000
"""In larger groups and in channels: mentions are looked for in so many of the last events, and so many users are told at most."""
MOST_BADGE_MEMBERS: Final = 100
"""A badge costs a look at every conversation of a user: it is counted in small conversations."""
_AT_ONCE: Final = 8
_PAGE: Final = 200
_T = TypeVar("_T")

RequireGood = Callable[[str, str], Awaitable[None]]
"""Raises domain.Refused for a user, (tenant, user), whom its tenant has banned."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a round. ``next_us``: when quiet hours end for which something is held back, 0: never; ``failed``: not all were told."""

    next_us: int = 0
    failed: bool = False


@dataclass(slots=True)
class Plan:
    """What to do about one user: what to push to which devices, and what to write down when that is done."""

    user_id: str
    pushes: list[tuple[str, pb.Notification]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    held_until: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is read once for a whole round."""

    end: Tail
    floors: Mapping[str, int]
    held: Mapping[str, Held]
    now: int


class Round:
    """Tells the members of conversations."""

    def __init__(
        self,
        ledger: Ledger,
        contents: Contents,
        gateway: Gateway,
        presence: Presence,
        require_good: RequireGood,
        settings: ChatSettings,
    ) -> None:
        """Tell over ``gateway`` who is not here by ``presence``."""
        self._ledger = ledger
        self._contents = contents
        self._gateway = gateway
        self._presence = presence
        self._require_good = require_good
        self._members = settings.push_members
        self._previews = settings.push_previews

    async def plan(self, conversation: AggregateId, rounds: Rounds, upto: int) -> Sequence[Plan]:
        """Find out what to do about all who do not know what was said up to a version. Raises LedgerError."""
        now = commands.now_us()
        view = await self._ledger.read(conversation, fresh=False, at_least=upto)
        state: domain.Conversation = view.state
        if state.profile is None:
            return ()
        held = await told.held(self._ledger, conversation)
        users = await self._candidates(conversation, state, (rounds.told, upto), held)
        floors = await self._floors(conversation, state, users)
        # Nothing is held back any more for who has read it meanwhile, or is not in it.
        over = [each for each, what in held.items() if floors.get(each, upto) >= what.upto]
        if over:
            await self._ledger.put_rows([told.held_row(conversation, each, None) for each in over])
            held = {each: what for each, what in held.items() if each not in over}
        away = await self._away(conversation.tenant, [each for each in users if floors[each] < upto])
        if not away:
            return ()
        end = await news.tail(self._ledger, self._contents, conversation, state, upto)
        known = _Known(end, floors, held, now)
        return await _gathered([self._plan(known, user_id, reach) for user_id, reach in away.items()])

    async def carry_out(self, tenant: str, plans: Sequence[Plan]) -> Outcome:
        """Do it. Raises LedgerError; who was told until then stays told."""
        failed = not await self._carry_out(tenant, plans)
        return Outcome(min((plan.held_until for plan in plans if plan.held_until), default=0), failed)

    async def _candidates(
        self, conversation: AggregateId, state: domain.Conversation, said: tuple[int, int], held: Mapping[str, Held]
    ) -> Collection[str]:
        """Give who is told at all: everybody, or in a large group or a channel those whom somebody mentioned."""
        profile = state.profile
        assert profile is not None
        if self._tells_all(state):
            return profile.members
        named = dict.fromkeys(held)
        told_upto, upto = said
        after = max(told_upto, upto - MOST_NAMED)
        while after < upto and len(named) < MOST_NAMED:
            page = await self._ledger.history(conversation, after=after, limit=min(_PAGE, upto - after))
            if not page:
                break
            for recorded in page:
                named.update(
                    dict.fromkeys(chat_pb2.ConversationEvent.FromString(recorded.payload).message.mentions.user_ids)
                )
            after = page[-1].version
        is_channel = profile.kind is domain.Kind.CHANNEL

        async def is_in(user_id: str) -> bool:
            return user_id in profile.members or (
                is_channel and await projections.reads(self._ledger, conversation, user_id, profile.created_us)
            )

        return [user_id for user_id in list(named)[:MOST_NAMED] if await is_in(user_id)]

    async def _floors(
        self, conversation: AggregateId, state: domain.Conversation, users: Collection[str]
    ) -> dict[str, int]:
        """Give up to where each knows: by all cursors of a small group at once, else by those of each."""
        if self._tells_all(state):
            read, was_told = await asyncio.gather(
                told.read(self._ledger, conversation), told.told(self._ledger, conversation)
            )
            return {each: news.floor(state, each, read.get(each, 0), was_told.get(each, 0)) for each in users}
        floors = await _gathered([self._floor(conversation, state, each) for each in users])
        return dict(zip(users, floors, strict=True))

    async def _floor(self, conversation: AggregateId, state: domain.Conversation, user_id: str) -> int:
        base = await receipts.read_base(self._ledger, conversation, user_id)
        was_told = await told.told_one(self._ledger, conversation, user_id)
        return news.floor(state, user_id, base.version if base is not None else 0, was_told)

    def _tells_all(self, state: domain.Conversation) -> bool:
        """Tell whether all members are told, and not only whom a message names."""
        profile = state.profile
        return profile is not None and profile.kind is not domain.Kind.CHANNEL and len(profile.members) <= self._members

    async def _away(self, tenant: str, users: Sequence[str]) -> dict[str, Reach]:
        """Give those who have devices and are not here."""
        reaches = await _gathered([devices.reach(self._ledger, tenant, user_id) for user_id in users])
        reachable = {user_id: reach for user_id, reach in zip(users, reaches, strict=True) if reach.devices}
        here = await self._presence.is_here(tenant, reachable) if reachable else set()
        return {user_id: reach for user_id, reach in reachable.items() if user_id not in here}

    async def _plan(self, known: _Known, user_id: str, reach: Reach) -> Plan:
        conversation, plan = known.end.conversation, Plan(user_id)
        if reach.preferences.muted or not await self._is_good(conversation.tenant, user_id):
            plan.rows = self._done(known, user_id)
            return plan
        wishes = await self._wishes(conversation, user_id, reach, known.now)
        found = await news.news(self._ledger, known.end, user_id, known.floors[user_id], wishes)
        if found is None:
            plan.rows = self._done(known, user_id)
            return plan
        plan.held_until = self._quiet_until(reach, known.now)
        if plan.held_until:
            plan.rows = [told.held_row(conversation, user_id, Held(plan.held_until, known.end.upto))]
            return plan
        plan.rows = self._done(known, user_id)
        all_found, ended_us = [found], 0
        if user_id in known.held:
            ended_us = known.held[user_id].until_us
            for elsewhere, other in await self._held_elsewhere(conversation, user_id, reach, known.now):
                plan.rows.append(told.held_row(elsewhere, user_id, None))
                if other is not None:
                    all_found.append(other)
                    plan.rows.append(told.told_row(elsewhere, user_id, other.upto))
        await self._write(plan, known, reach, all_found, ended_us)
        return plan

    async def _write(self, plan: Plan, known: _Known, reach: Reach, found: Sequence[News], ended_us: int) -> None:
        tenant, profile = known.end.conversation.tenant, known.end.state.profile
        small = profile is not None and len(profile.members) <= MOST_BADGE_MEMBERS
        badge = await everywhere.badge(self._ledger, tenant, plan.user_id, known.now) if small else None
        previews = self._previews and not reach.preferences.hide_previews
        for device in reach.devices:
            if await devices.sold(self._ledger, tenant, plan.user_id, device):
                continue
            if len(found) == 1:
                notification = notices.message(plan.user_id, device, found[0], previews, badge)
            else:
                notification = notices.digest(tenant, plan.user_id, device, found, ended_us, badge)
            plan.pushes.append((device.device.device_id, notification))

    def _done(self, known: _Known, user_id: str) -> list[Row]:
        conversation = known.end.conversation
        rows = [told.told_row(conversation, user_id, known.end.upto)]
        if user_id in known.held:
            rows.append(told.held_row(conversation, user_id, None))
        return rows

    async def _held_elsewhere(
        self, here: AggregateId, user_id: str, reach: Reach, now: int
    ) -> list[tuple[AggregateId, News | None]]:
        """Find what was held back for a user in other conversations, whose rounds then find nothing left to tell."""
        found: list[tuple[AggregateId, News | None]] = []
        for conversation in await everywhere.conversations(self._ledger, here.tenant, user_id, now):
            if conversation == here:
                continue
            held = await told.held_one(self._ledger, conversation, user_id)
            if held is None:
                continue
            state: domain.Conversation = (await self._ledger.read(conversation, fresh=False)).state
            floor = await self._floor(conversation, state, user_id)
            other = None
            if floor < held.upto:
                end = await news.tail(self._ledger, self._contents, conversation, state, state.version)
                wishes = await self._wishes(conversation, user_id, reach, now)
                other = await news.news(self._ledger, end, user_id, floor, wishes)
            found.append((conversation, other))
        return found

    async def _is_good(self, tenant: str, user_id: str) -> bool:
        try:
            await self._require_good(tenant, user_id)
        except domain.Refused:
            return False
        return True

    async def _wishes(self, conversation: AggregateId, user_id: str, reach: Reach, now: int) -> Wishes:
        where = projections.partition(conversation.tenant, user_id)
        row = await self._ledger.row(projections.FLAGS, where, conversation.id)
        muted_until = int((row.value or b"0").split()[-1]) if row is not None else 0
        return Wishes(reach.preferences.mentions_only, muted_until == FOR_EVER or muted_until > now)

    def _quiet_until(self, reach: Reach, now: int) -> int:
        if not reach.preferences.HasField("quiet_hours"):
            return 0
        hours = reach.preferences.quiet_hours
        return quiet.until_us(quiet.Quiet(hours.start_minute, hours.end_minute, hours.time_zone), now)

    async def _carry_out(self, tenant: str, plans: Sequence[Plan]) -> bool:
        """Push, forget devices that are no more, and write down who was told; False where somebody was not."""
        quietly = [row for plan in plans if not plan.pushes for row in plan.rows]
        if quietly:
            await self._ledger.put_rows(quietly)
        loud, complete = [plan for plan in plans if plan.pushes], True
        for group in _groups(loud):
            pushes = [(plan, device_id, each) for plan in group for device_id, each in plan.pushes]
            outcomes = await self._gateway.push(tenant, [each for _, _, each in pushes])
            late: set[str] = set()
            for (plan, device_id, notification), outcome in zip(pushes, outcomes, strict=True):
                if outcome == pb.PUSH_OUTCOME_TOKEN_INVALID:
                    await devices.invalid(self._ledger, tenant, plan.user_id, device_id, notification.device_token)
                elif outcome != pb.PUSH_OUTCOME_DELIVERED:
                    late.add(plan.user_id)
            await self._ledger.put_rows([row for plan in group if plan.user_id not in late for row in plan.rows])
            complete = complete and not late
        return complete


def _groups(plans: Sequence[Plan]) -> list[list[Plan]]:
    """Cut plans into groups that fit into one call of the gateway; no user's devices are apart."""
    groups: list[list[Plan]] = [[]]
    size = 0
    for plan in plans:
        if size + len(plan.pushes) > MOST_AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(plan)
        size += len(plan.pushes)
    return [group for group in groups if group]


async def _gathered(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do all, a few at once."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Coroutine[Any, Any, _T]) -> _T:
        async with room:
            return await each

    return await asyncio.gather(*(one(each) for each in work))
