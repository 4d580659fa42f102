"""Events to bytes and back, states to snapshots and back: nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tradewind.order.v1 import order_pb2

from services.order import kinds, pages
from services.order.domain import commands, deciding, events, evolving, item, stock
from services.order.domain.events import OrderEvent
from services.order.domain.money import Line, Money
from services.order.domain.order import Contact, Order, Payment, Status, Step
from services.order.domain.refusal import Refused
from services.order.wire import catalogue, orders

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.integers(0, 2**52)
units = st.integers(1, 2**40)
money = st.builds(Money, st.sampled_from(["GBP", "EUR"]), st.integers(0, 2**63 - 1))
lines = st.lists(st.builds(Line, texts, st.integers(1, 10**6), money, texts), max_size=3).map(tuple)
bodies = st.one_of(
    st.builds(
        events.Placed,
        texts,
        texts,
        texts,
        texts,
        lines,
        money,
        texts,
        st.none() | st.builds(Contact, texts, texts),
        st.dictionaries(texts, texts, max_size=3),
    ),
    st.builds(events.StockReservationRequested, st.integers(1, 9), st.lists(texts, max_size=3).map(tuple)),
    st.builds(events.StockReserved),
    st.builds(events.AuthorizationRequested, texts, money),
    st.builds(events.Authorized, texts),
    st.builds(events.Confirmed, st.none()),
    st.builds(events.Accepted, texts),
    st.builds(events.Dispatched, texts),
    st.builds(events.Delivered),
    st.builds(events.CaptureRequested, money),
    st.builds(events.Captured, money),
    st.builds(events.Completed, st.none()),
    st.builds(events.Rejected, texts, texts, st.none()),
    st.builds(events.Cancelled, texts, st.none()),
    st.builds(events.VoidRequested),
    st.builds(events.Voided, st.booleans()),
    st.builds(events.StockReleased),
    st.builds(events.Settled),
    st.builds(events.StepDelayed, st.sampled_from(Step), st.integers(1, 99), times),
)


@given(st.builds(OrderEvent, times, texts, st.sampled_from(Status), bodies), st.integers(1, 2**40))
def test_order_events_come_back_as_they_were(event: OrderEvent, version: int) -> None:
    data = orders.encode(event, version)
    assert orders.decode(data) == event
    assert order_pb2.OrderEvent.FromString(data).version == version


stock_events = st.one_of(
    st.builds(stock.Adjusted, times, texts, st.integers(-(2**40), 2**40)),
    st.builds(stock.Reserved, times, texts, units, times),
    st.builds(stock.Released, times, texts, units, st.booleans()),
    st.builds(stock.Sold, times, texts, units),
    st.builds(stock.Expired, times, texts, units),
)


@given(stock_events, st.integers(1, 2**40))
def test_stock_events_come_back_as_they_were(event: stock.StockEvent, version: int) -> None:
    assert catalogue.decode_stock(catalogue.encode_stock(event, version)) == event


@given(st.builds(item.ItemPut, times, texts, texts, texts, texts, money))
def test_item_events_come_back_as_they_were(event: item.ItemPut) -> None:
    assert catalogue.decode_item(catalogue.encode_item(event, 1)) == event


def test_every_event_of_the_contract_is_written_by_one_of_the_domain() -> None:
    names = {field.name for field in order_pb2.OrderEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert names == set(orders._READERS)


@pytest.mark.parametrize(
    ("domain", "contract"), [(Status, "OrderState"), (Payment, "PaymentStatus"), (Step, "OrderStep")]
)
def test_numbers_are_those_of_the_contract(domain: Any, contract: str) -> None:
    assert sorted(int(value) for value in domain) == sorted(
        order_pb2.DESCRIPTOR.enum_types_by_name[contract].values_by_number
    )


@pytest.mark.parametrize("data", [b"", order_pb2.OrderEvent(version=1).SerializeToString()])
def test_events_of_a_later_release_are_named_as_such(data: bytes) -> None:
    with pytest.raises(ValueError, match="this release does not know"):
        orders.decode(data)
    with pytest.raises(ValueError, match="this release does not know"):
        catalogue.decode_stock(data)


def _life() -> list[Order]:
    """An order's states along a life with everything in it."""
    place = commands.PlaceOrder(
        1,
        "carol",
        "o1",
        "carol",
        "shop",
        "main",
        (Line("cup", 2, Money("GBP", 250), "Cup"), Line("tea", 1, Money("GBP", 5))),
        "pm_ok",
        Contact("Carol", "c@example.org"),
        {"invoice": "536365"},
    )
    done: list[commands.OrderCommand] = [
        place,
        commands.RecordReserved(2, 1),
        commands.RecordDelayed(3, Step.AUTHORIZE_PAYMENT, 9),
        commands.RecordReservationLost(10, "ref", ("tea",)),
        commands.RecordReserved(11, 2),
        commands.RecordConfirmed(12, ""),
        commands.CancelOrder(13, "shop", "out of cups"),
        commands.RecordReleased(14),
        commands.RecordVoided(15, existed=True),
    ]
    states = [Order()]
    for command in done:
        for event in deciding.decide(states[-1], command):
            states.append(evolving.evolve(states[-1], event))
    return states


def test_snapshots_of_orders_come_back_as_they_were() -> None:
    adapter = TypeAdapter(kinds.ORDER.state_type)
    states = _life()
    assert states[-1].settled
    for state in states:
        assert adapter.validate_json(adapter.dump_json(state)) == state


def test_an_order_is_the_same_from_what_was_told_and_from_what_was_read() -> None:
    """Events that carry the order are read without it, and that changes no state."""
    for before, command in (
        (_life()[6], commands.RecordReserved(20, 2)),
        (_life()[9], commands.CancelOrder(21, "s", "x")),
    ):
        told_state = read_state = before
        for told in deciding.decide(before, command):
            told_state = evolving.evolve(told_state, told)
            read_state = evolving.evolve(read_state, orders.decode(orders.encode(told, 1)))
        assert told_state == read_state


def test_snapshots_of_stock_and_items_come_back_as_they_were() -> None:
    held = stock.Stock(5, 3, 2, {"o1": stock.Reservation(1, 77), "o2": stock.Reservation(2, 78)})
    stocks = TypeAdapter(kinds.STOCK.state_type)
    assert stocks.validate_json(stocks.dump_json(held)) == held
    items = TypeAdapter(kinds.ITEM.state_type)
    for each in (item.Item(), item.Item("s", "k", "t", Money("GBP", 3))):
        assert items.validate_json(items.dump_json(each)) == each


@given(st.lists(texts, min_size=3, max_size=3), st.lists(texts, min_size=3, max_size=3))
def test_two_stocks_never_share_a_name(one: list[str], other: list[str]) -> None:
    assert (kinds.stock_id("t", *one) == kinds.stock_id("t", *other)) == (one == other)


def test_a_page_holds_what_fits_and_at_least_one() -> None:
    big = b"x" * (3 << 20)
    assert pages.fitting([]) == []
    assert pages.fitting([big, b"y"]) == [big]
    assert pages.fitting([b"y", b"z", big]) == [b"y", b"z"]
    assert pages.fitting([b"y"] * 200) == [b"y"] * 200


def test_page_tokens_are_bound_to_place_and_listing() -> None:
    token = pages.token_after("0193-abc", "acme/shop/s1")
    assert pages.order_id_in(token, "acme/shop/s1") == "0193-abc"
    for wrong in (token[:-1], token + "A", "", "!", "é"):
        with pytest.raises(Refused):
            pages.order_id_in(wrong, "acme/shop/s1")
    with pytest.raises(Refused):
        pages.order_id_in(token, "acme/shop/s2")
