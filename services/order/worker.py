"""The saga's engine: woken by an order's events and timers, it performs what the order waits for and records what came of it.

One wake-up does as many steps as it can, so most orders need one. It may die between any two lines: the entry that woke it comes again, or
the timer does, and the state says what is next. Two wake-ups of one order, here or in another process, are harmless: every question to a
stock counts once, the gateway knows the payment by one key, and a record that came too late changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final
from weakref import WeakValueDictionary

import structlog

from services.ledger.decider import Delivered, Request, View
from services.ledger.errors import DeadlineExceeded
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.order import kinds
from services.order.domain import performing, saga
from services.order.domain.commands import OrderCommand
from services.order.domain.deciding import AUTHORIZE_DEADLINE_US
from services.order.domain.order import Order
from services.order.domain.performing import Answers, AskGateway, AskStock, Questions
from services.order.domain.saga import AuthorizePayment, Effect
from services.order.gateway import Gateway
from services.order.placing import now_us
from services.order.stockroom import Stockroom
from services.runtime import trace
from services.runtime.telemetry import Telemetry

ROLE: Final = "saga"
_MOST_STEPS: Final = 24
"""A wake-up that has not come to rest after so many steps is a defect, and must not spin."""
_MOST_UNSURE: Final = 10_000


class NotNow(Exception):
    """The ledger did not get to it in time: an outage to wait out, and no fault of the event that woke the saga."""

    reason = "DEADLINE_EXCEEDED"
    retry_after = 1.0


class NoRest(Exception):
    """A saga did not come to rest; the event that woke it becomes a dead letter."""


class Saga:
    """Carries the orders of one process on."""

    def __init__(self, ledger: Ledger, stockroom: Stockroom, gateway: Gateway, telemetry: Telemetry) -> None:
        """Work on the orders in ``ledger``."""
        self._ledger = ledger
        self._stockroom = stockroom
        self._gateway = gateway
        self._telemetry = telemetry
        self._locks: WeakValueDictionary[AggregateId, asyncio.Lock] = WeakValueDictionary()
        self._unsure: dict[AggregateId, None] = {}
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin to listen to the order log and to due timers."""
        self._ledger.consume(role=ROLE, handle=self.handle, kind=kinds.ORDER.name)
        self._ledger.on_timer(self.on_timer)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry: carry its order on as far as it goes."""
        if delivered.aggregate.kind == kinds.ORDER.name:
            last = delivered.events[-1].version
            await self.carry_on(delivered.aggregate, delivered.traceparent, again=delivered.tries > 0, at_least=last)

    async def on_timer(self, aggregate: AggregateId, name: str) -> None:
        """Take a due timer: of an order whose step was delayed, or of a stock whose reservations run out."""
        del name
        if aggregate.kind == kinds.STOCK.name:
            await self._stockroom.expire(aggregate)
        elif aggregate.kind == kinds.ORDER.name:
            # A step that is tried again belongs to the trace that the order began in.
            placed = await self._ledger.history(aggregate, limit=1)
            # Whoever armed it may be another process, of whose last words this one has not heard.
            view: View[Order] = await self._ledger.read(aggregate)
            traceparent = (placed[0].traceparent or None) if placed else None
            await self.carry_on(aggregate, traceparent, again=True, at_least=view.version)

    async def carry_on(self, aggregate: AggregateId, traceparent: str | None, again: bool, at_least: int = 0) -> None:
        """Do what an order waits for until it waits for nothing, or not now. ``again``: a step may have been begun before.

        ``at_least``: nothing older than this version is looked at.

        Raises what the ledger refuses for itself, NotNow and NoRest; whoever woke this wakes it again.
        """
        lock = self._locks.setdefault(aggregate, asyncio.Lock())
        async with lock:
            again = again or aggregate in self._unsure
            try:
                await self._steps(aggregate, traceparent, again, at_least)
            except DeadlineExceeded as error:
                self._doubt(aggregate)
                raise NotNow from error
            except BaseException:
                self._doubt(aggregate)
                raise
            self._unsure.pop(aggregate, None)

    def _doubt(self, aggregate: AggregateId) -> None:
        """Remember that what was asked for an order may have been done: the next wake-up asks first."""
        self._unsure[aggregate] = None
        if len(self._unsure) > _MOST_UNSURE:
            del self._unsure[next(iter(self._unsure))]

    async def _steps(self, aggregate: AggregateId, traceparent: str | None, again: bool, at_least: int) -> None:
        fenced = False
        for _ in range(_MOST_STEPS):
            authorize_until = time.monotonic() + AUTHORIZE_DEADLINE_US / 1e6
            view: View[Order] = await self._ledger.read(aggregate, fresh=False, at_least=at_least)
            effect = saga.next_effect(view.state)
            if isinstance(effect, AuthorizePayment) and not fenced:
                # What this process remembers may be old, and money is not asked for on a memory. An own record just now is proof enough.
                view = await self._ledger.read(aggregate)
                effect = saga.next_effect(view.state)
            if effect is None:
                return
            if saga.is_put_off(view.state, now_us()):
                await self._ledger.arm(aggregate)
                return
            with self._telemetry.span(f"saga {effect.step.name.lower()}", parent=traceparent) as span:
                parent = span.traceparent or traceparent
                command = await self._perform(aggregate, view.state, effect, again, authorize_until, parent)
                await self._record(aggregate, view, command, parent)
            again, fenced = False, True
        self._log.error("saga_without_rest", kind=aggregate.kind)
        raise NoRest

    async def _perform(
        self,
        aggregate: AggregateId,
        order: Order,
        effect: Effect,
        again: bool,
        authorize_until: float,
        traceparent: str | None,
    ) -> OrderCommand:
        """Hold the effect's conversation with the real stocks and the real gateway."""
        talk = performing.perform(order, effect, now_us, again)
        try:
            questions = next(talk)
            while True:
                answers = await self._ask(aggregate.tenant, order, questions, authorize_until, traceparent)
                questions = talk.send(answers)
        except StopIteration as end:
            command: OrderCommand = end.value
            return command

    async def _ask(
        self, tenant: str, order: Order, questions: Questions, authorize_until: float, traceparent: str | None
    ) -> Answers:
        to_stocks = [each for each in questions if isinstance(each, AskStock)]
        if to_stocks:
            return await self._stockroom.ask(tenant, order, to_stocks, traceparent)
        (question,) = (each for each in questions if isinstance(each, AskGateway))
        token = trace.current.set(traceparent)
        try:
            return (await self._gateway.ask(tenant, question, authorize_until),)
        finally:
            trace.current.reset(token)

    async def _record(
        self, aggregate: AggregateId, view: View[Order], command: OrderCommand, traceparent: str | None
    ) -> None:
        """Write down what came of it. What another has written meanwhile is seen at the next step."""
        step = type(command).__name__
        # The same step at the same version is the same record, whoever makes it and however often.
        scope = (aggregate.tenant, aggregate.id, str(view.version), step)
        named = derive_request_id(view.state.created_us, *scope)
        receipt = await self._ledger.submit(aggregate, command, Request(named, fingerprint(*scope), traceparent))
        if not receipt.payloads:
            await self._ledger.read(aggregate)
