"""What makes rounds happen: messages make one due, its timer carries it out. Either may come twice, and a process may die at any line.

A message's entry comes again until its round is due and armed. A timer comes again until its round is over; one that was begun tells up
to the same version again, under the same names, so that the gateway drops what it had.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final
from weakref import WeakValueDictionary

from tradewind.chat.v1 import chat_pb2

from services.chat import commands
from services.chat.config import ChatSettings
from services.chat.push import domain
from services.chat.push.domain import Rounds
from services.chat.push.kinds import ROUNDS
from services.chat.push.round import Outcome, Round
from services.ledger.decider import Delivered, Request, View
from services.ledger.errors import DeadlineExceeded
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

ROLE: Final = "push"
_MOST_KNOWN: Final = 20_000
_LONGEST_RETRY_S: Final = 300.0


class NotNow(Exception):
    """The ledger did not get to it in time: an outage to wait out, and no fault of the message."""

    reason = "DEADLINE_EXCEEDED"
    retry_after = 1.0


class PushWorker:
    """Has the members of conversations told."""

    def __init__(self, ledger: Ledger, round_: Round, settings: ChatSettings) -> None:
        """Carry rounds out with ``round_``."""
        self._ledger = ledger
        self._round = round_
        self._after_us = int(settings.push_after * 1e6)
        self._every_us = int(settings.push_every * 1e6)
        self._retry = settings.push_retry
        self._due: dict[AggregateId, int] = {}
        self.rounds: Counter[str] = Counter()
        """Rounds carried out so far, by what they came to."""
        self._locks: WeakValueDictionary[AggregateId, asyncio.Lock] = WeakValueDictionary()

    @property
    def queued(self) -> int:
        """In how many conversations a round is due, as far as this process knows."""
        return len(self._due)

    def start(self) -> None:
        """Begin to consume Chat's own log, together with all other Chat processes. Timers are handed to ``on_timer`` by others."""
        self._ledger.engine.hearers.on_stored(self._stored)
        self._ledger.consume(role=ROLE, handle=self.handle, kind=commands.KIND)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry of a conversation: where somebody said something, a round is due. Raises LedgerError, NotNow."""
        now = commands.now_us()
        if now < self._due.get(delivered.aggregate, 0):
            return
        said = next((each.version for each in delivered.events if _is_message(each.payload)), 0)
        if not said:
            return
        rounds = AggregateId(delivered.aggregate.tenant, ROUNDS.name, delivered.aggregate.id)
        view: View[Rounds] = await self._ledger.read(rounds, fresh=False)
        due = max(now + self._after_us, view.state.ended_us + self._every_us)
        await self._do(rounds, domain.MakeDue(now, due), now, "due", said)
        await self._ledger.arm(rounds)
        view = await self._ledger.read(rounds, fresh=False)
        if len(self._due) >= _MOST_KNOWN:
            self._due.clear()
        self._due[delivered.aggregate] = view.state.due_us

    def _stored(self, aggregate: AggregateId, _version: int) -> None:
        """A round that was begun or ended is not to come any more, also where that process's clock is ahead of this one's."""
        if aggregate.kind == ROUNDS.name:
            self._due.pop(AggregateId(aggregate.tenant, commands.KIND, aggregate.id), None)

    async def on_timer(self, rounds: AggregateId, _name: str) -> None:
        """Carry a round out that is due. Raises LedgerError, NotNow; the timer then comes again."""
        lock = self._locks.setdefault(rounds, asyncio.Lock())
        async with lock:
            view: View[Rounds] = await self._ledger.read(rounds)
            now = commands.now_us()
            if not view.state.due_us:
                return
            if now < view.state.due_us:
                await self._ledger.arm(rounds)
                return
            await self._carry_out(rounds, view)

    async def _carry_out(self, rounds: AggregateId, view: View[Rounds]) -> None:
        conversation = AggregateId(rounds.tenant, commands.KIND, rounds.id)
        upto = view.state.upto or (await self._ledger.read(conversation)).version
        plans = await self._round.plan(conversation, view.state, upto)
        if not view.state.upto and any(plan.pushes for plan in plans):
            await self._do(rounds, domain.Begin(commands.now_us(), upto), view.state.due_us, "begin", view.version)
            view = await self._ledger.read(rounds, fresh=False)
            if view.state.upto != upto:
                raise NotNow  # another process has begun one, and carries it out
        outcome = await self._round.carry_out(rounds.tenant, plans)
        self.rounds["failed" if outcome.failed else "over"] += 1
        moved = (await self._ledger.read(conversation)).version > upto
        now = commands.now_us()
        over = domain.End(now, upto, self._next(view.state, outcome, moved, now), outcome.failed)
        await self._do(rounds, over, view.state.due_us, "end", view.version)
        await self._ledger.arm(rounds)

    def _next(self, state: Rounds, outcome: Outcome, moved: bool, now: int) -> int:
        """Give when there is more to do: quiet hours end, the gateway is asked again, or something was said meanwhile."""
        dues = [outcome.next_us] if outcome.next_us else []
        if moved:
            dues.append(now + self._every_us)
        if outcome.failed:
            wait = min(_LONGEST_RETRY_S, self._retry * 2 ** min(state.failures, 10))
            dues.append(now + int(wait * 1e6))
        return min(dues, default=0)

    async def _do(self, rounds: AggregateId, command: domain.Command, at_us: int, step: str, version: int) -> None:
        """Write a step down; the same step at the same version is the same record, whoever makes it and however often."""
        name = derive_request_id(at_us, rounds.key, step, str(version))
        try:
            await self._ledger.execute(rounds, command, Request(name, fingerprint(rounds.key, step, version)))
        except DeadlineExceeded as error:
            raise NotNow from error


def _is_message(payload: bytes) -> bool:
    return bool(chat_pb2.ConversationEvent.FromString(payload).HasField("message"))
