"""The stocks as the saga sees them: questions in, an answer each. Every question has a name that counts once, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.order import kinds
from services.order.domain import stock as s
from services.order.domain.order import Order
from services.order.domain.performing import Answer, AskStock, Said, Verb
from services.order.domain.refusal import Refused
from services.order.placing import now_us

_AT_ONCE: Final = 64
_MOST_ARMED: Final = 50_000
_CLOCKS_DIFFER_US: Final = 60_000_000


class Stockroom:
    """Asks the stocks of this service's own ledger."""

    def __init__(self, ledger: Ledger, reservation_lives: float) -> None:
        """Hold units for ``reservation_lives`` seconds."""
        self._ledger = ledger
        self._lives_us = int(reservation_lives * 1_000_000)
        self._armed: dict[AggregateId, int] = {}

    async def ask(
        self, tenant: str, order: Order, questions: Sequence[AskStock], traceparent: str | None
    ) -> tuple[Answer, ...]:
        """Ask some stocks, so many at once; what the ledger refuses for itself is raised."""
        answers: list[Answer] = []
        for start in range(0, len(questions), _AT_ONCE):
            part = questions[start : start + _AT_ONCE]
            places = [kinds.stock_id(tenant, order.shop_id, each.units.sku, order.location) for each in part]
            futures = [
                self._ledger.submit(place, self._command(order, each), _name(tenant, order, each, traceparent))
                for place, each in zip(places, part, strict=True)
            ]
            results = await asyncio.gather(*futures, return_exceptions=True)
            answers.extend(_answer(each, result) for each, result in zip(part, results, strict=True))
            if part[0].verb is Verb.RESERVE:
                # Before the order says that it is reserved, the timer that gives it back stands.
                await asyncio.gather(*(self._watch_expiry(place) for place in places if not self._is_watched(place)))
        return tuple(answers)

    async def expire(self, aggregate: AggregateId) -> None:
        """Give back what has run out, and wait for the next to do so."""
        self._armed.pop(aggregate, None)
        while True:
            at_us = now_us()
            named = derive_request_id(at_us, aggregate.key, "expire", str(at_us))
            receipt = await self._ledger.execute(
                aggregate, s.Expire(at_us), Request(named, fingerprint("expire", at_us))
            )
            if len(receipt.payloads) < s.MOST_EXPIRED:
                break
        await self._watch_expiry(aggregate)

    def _command(self, order: Order, question: AskStock) -> s.StockCommand:
        at_us = now_us()
        quantity = question.units.quantity
        match question.verb:
            case Verb.RESERVE:
                return s.Reserve(at_us, order.order_id, quantity, at_us + self._lives_us)
            case Verb.SELL:
                return s.Sell(at_us, order.order_id, quantity)
            case Verb.RELEASE:
                return s.Release(at_us, order.order_id)
            case _:
                return s.TakeBack(at_us, order.order_id, quantity)

    def _is_watched(self, aggregate: AggregateId) -> bool:
        """Tell whether a timer stands that fires no later than anything here can run out; firing arms it anew.

        Another process may take it when it fires, by a clock that is ahead of this one: one that is due soon counts no more.
        """
        now = now_us()
        return now + _CLOCKS_DIFFER_US < self._armed.get(aggregate, 0) <= now + self._lives_us

    async def _watch_expiry(self, aggregate: AggregateId) -> None:
        """Arm a stock's timer, where anything is held."""
        view = await self._ledger.read(aggregate, fresh=False)
        due_us = s.next_expiry(view.state)
        if due_us is None:
            return
        await self._ledger.arm(aggregate)
        self._armed[aggregate] = due_us
        if len(self._armed) > _MOST_ARMED:
            del self._armed[next(iter(self._armed))]


def _name(tenant: str, order: Order, question: AskStock, traceparent: str | None) -> Request:
    """Name a question: the same order, item, step and attempt is the same question, whoever asks it and whenever."""
    units = question.units
    scope = (tenant, order.order_id, units.sku, question.verb.name, str(units.attempt))
    return Request(derive_request_id(order.created_us, *scope), fingerprint(*scope, units.quantity), traceparent)


def _answer(question: AskStock, result: Receipt | BaseException) -> Answer:
    if isinstance(result, Receipt):
        return Answer(Said.DONE if result.payloads else Said.NOTHING)
    if isinstance(result, Refused) and question.verb is not Verb.TAKE_BACK:
        return Answer(Said.REFUSED, result.reason)
    raise result
