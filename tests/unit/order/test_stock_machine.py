"""Stock against a model: nothing is oversold, nothing is lost, whatever comes in whatever order and however often."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.order.domain import stock as s
from services.order.domain.refusal import Refused

ORDERS = [f"order-{number}" for number in range(6)]
orders = st.sampled_from(ORDERS)


class StockMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = s.Stock()
        self.now = 1_000_000
        self.put_in = 0
        self.held: dict[str, s.Reservation] = {}
        self.bought: dict[str, int] = {}

    def run(self, command: s.StockCommand) -> list[s.StockEvent]:
        before = self.state
        events = list(s.decide(before, command))
        assert self.state is before
        for event in events:
            self.state = s.evolve(self.state, event)
        return events

    @rule(delta=st.integers(-20, 40).filter(bool))
    def adjust(self, delta: int) -> None:
        try:
            self.run(s.Adjust(self.now, "shop", delta))
        except Refused as refused:
            assert refused.reason == "STOCK_BELOW_ZERO"
            assert self.state.available + delta < 0
        else:
            self.put_in += delta

    @rule(order=orders, quantity=st.integers(1, 10), lives=st.integers(1, 50))
    def reserve(self, order: str, quantity: int, lives: int) -> None:
        held = dict(self.held)
        try:
            events = self.run(s.Reserve(self.now, order, quantity, self.now + lives))
        except Refused as refused:
            assert refused.reason == "OUT_OF_STOCK"
            overdue = sum(each.quantity for each in held.values() if each.expire_us <= self.now)
            assert self.state.available + overdue < quantity
            return
        if order in held:
            assert events == []
            return
        for event in events[:-1]:
            assert isinstance(event, s.Expired)
            assert self.held.pop(event.order_id).expire_us <= self.now
        self.held[order] = s.Reservation(quantity, self.now + lives)

    @rule(order=orders)
    def sell(self, order: str) -> None:
        held = self.held.get(order)
        try:
            self.run(s.Sell(self.now, order, held.quantity if held else 1))
        except Refused as refused:
            assert refused.reason == "NO_RESERVATION"
            assert held is None
        else:
            assert held is not None
            self.bought[order] = self.bought.get(order, 0) + held.quantity
            del self.held[order]

    @rule(order=orders)
    def release(self, order: str) -> None:
        events = self.run(s.Release(self.now, order))
        assert bool(events) == (order in self.held)
        self.held.pop(order, None)
        assert self.run(s.Release(self.now, order)) == []

    @precondition(lambda self: self.bought)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(sorted(self.bought)))
        self.run(s.TakeBack(self.now, order, self.bought.pop(order)))

    @rule(passed=st.integers(0, 60))
    def time_passes(self, passed: int) -> None:
        self.now += passed
        due = s.next_expiry(self.state)
        self.run(s.Expire(self.now))
        self.held = {order: held for order, held in self.held.items() if held.expire_us > self.now}
        after = s.next_expiry(self.state)
        assert after is None or after > self.now
        assert due is None or after is None or after >= due

    @invariant()
    def conserved(self) -> None:
        state = self.state
        assert state.available + state.reserved + state.sold == self.put_in
        assert min(state.available, state.reserved, state.sold) >= 0

    @invariant()
    def as_modelled(self) -> None:
        assert self.state.reservations == self.held
        assert self.state.reserved == sum(held.quantity for held in self.held.values())
        assert self.state.sold == sum(self.bought.values())


StockMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStock = StockMachine.TestCase


def test_a_sale_of_another_quantity_than_was_held_is_refused() -> None:
    state = s.evolve(s.Stock(), s.Adjusted(1, "shop", 5))
    state = s.evolve(state, s.Reserved(2, "a", 2, 10))
    with pytest.raises(Refused, match="not there any more"):
        s.decide(state, s.Sell(3, "a", 3))


def test_more_cannot_be_taken_back_than_is_sold() -> None:
    with pytest.raises(Refused):
        s.decide(s.Stock(available=3, sold=1), s.TakeBack(1, "a", 2))


def test_a_stock_has_an_upper_end() -> None:
    with pytest.raises(Refused) as refused:
        s.decide(s.Stock(available=s.MOST_UNITS), s.Adjust(1, "shop", 1))
    assert refused.value.field == "delta"


def test_many_overdue_reservations_run_out_in_bounded_entries() -> None:
    held = {f"o{number}": s.Reservation(1, 5) for number in range(s.MOST_EXPIRED + 10)}
    state = s.Stock(reserved=len(held), reservations=held)
    events = s.decide(state, s.Expire(5))
    assert len(events) == s.MOST_EXPIRED
    for event in events:
        state = s.evolve(state, event)
    assert len(s.decide(state, s.Expire(5))) == 10
