"""What commands do to an order, step by step, where the order of steps is the point."""

from __future__ import annotations

from typing import Any

import pytest

from services.order.domain import commands, deciding, events, evolving, performing, saga
from services.order.domain.money import LARGEST, Line, Money, total_of
from services.order.domain.order import Contact, Order, Payment, Status, Step
from services.order.domain.refusal import Refused

T0 = 1_700_000_000 * saga.SECOND
LINES = (Line("cup", 1, Money("GBP", 250)), Line("tea", 2, Money("GBP", 100)), Line("cup", 1, Money("GBP", 250)))
PLACE = commands.PlaceOrder(
    T0, "carol", "o1", "carol", "shop", "main", LINES, "pm_ok", Contact("Carol", "c@example.org"), {}
)
RESERVED = commands.RecordReserved(T0 + 1, 1)
CONFIRMED = commands.RecordConfirmed(T0 + 2, "ref-1")
CANCEL = commands.CancelOrder(T0 + 10, "carol", "too late")


def after(*done: commands.OrderCommand) -> Order:
    state = Order()
    for command in done:
        for event in deciding.decide(state, command):
            state = evolving.evolve(state, event)
    return state


def names(state: Order, command: commands.OrderCommand) -> list[str]:
    return [type(event.body).__name__ for event in deciding.decide(state, command)]


def test_the_happy_path_takes_one_entry_a_step() -> None:
    assert names(Order(), PLACE) == ["Placed", "StockReservationRequested"]
    assert names(after(PLACE), RESERVED) == ["StockReserved", "AuthorizationRequested"]
    assert names(after(PLACE, RESERVED), CONFIRMED) == ["Authorized", "Confirmed"]
    shop = (commands.AcceptOrder(T0, "shop", "rider"), commands.DispatchOrder(T0, "shop", ""))
    state = after(PLACE, RESERVED, CONFIRMED, *shop)
    assert state.courier_id == "rider"
    assert names(state, commands.DeliverOrder(T0, "rider")) == ["Delivered", "CaptureRequested"]
    state = after(PLACE, RESERVED, CONFIRMED, *shop, commands.DeliverOrder(T0, "rider"))
    assert names(state, commands.RecordCaptured(T0)) == ["Captured", "Completed"]
    state = after(PLACE, RESERVED, CONFIRMED, *shop, commands.DeliverOrder(T0, "rider"), commands.RecordCaptured(T0))
    assert (state.status, state.payment, state.settled) == (Status.COMPLETED, Payment.CAPTURED, True)


def test_events_that_others_act_on_carry_the_order_as_it_is_after_them() -> None:
    event = deciding.decide(after(PLACE, RESERVED), CONFIRMED)[-1]
    assert isinstance(event.body, events.Confirmed)
    told = event.body.order
    assert told is not None
    assert (told.status, told.payment, told.contact) == (Status.CONFIRMED, Payment.AUTHORIZED, PLACE.contact)


def test_lines_of_one_item_are_reserved_together() -> None:
    effect = saga.next_effect(after(PLACE))
    assert isinstance(effect, saga.ReserveStock)
    assert [(units.sku, units.quantity) for units in effect.units] == [("cup", 2), ("tea", 2)]


def test_the_payment_key_is_made_of_the_order_alone() -> None:
    assert after(PLACE, RESERVED).payment_key == "order-o1"


def test_cancelling_while_stock_is_reserved_asks_the_gateway_nothing() -> None:
    state = after(PLACE, CANCEL)
    assert names(after(PLACE), CANCEL) == ["Cancelled"]
    assert isinstance(saga.next_effect(state), saga.ReleaseStock)
    assert names(state, commands.RecordReleased(T0)) == ["StockReleased", "Settled"]


@pytest.mark.parametrize("done", [(PLACE, RESERVED), (PLACE, RESERVED, CONFIRMED)])
def test_cancelling_with_a_possible_authorisation_releases_then_voids(
    done: tuple[commands.OrderCommand, ...],
) -> None:
    assert names(after(*done), CANCEL) == ["Cancelled", "VoidRequested"]
    state = after(*done, CANCEL, commands.RecordReleased(T0 + 11))
    assert isinstance(saga.next_effect(state), saga.VoidPayment)
    assert names(state, commands.RecordVoided(T0 + 12, existed=True)) == ["Voided", "Settled"]


def test_the_cancellers_word_is_only_a_word() -> None:
    state = after(PLACE, RESERVED, commands.CancelOrder(T0, "carol", "PAYMENT_DECLINED"))
    assert state.payment is Payment.VOIDING


def test_never_seen_counts_only_when_nothing_can_be_on_its_way() -> None:
    state = after(PLACE, RESERVED, CANCEL, commands.RecordReleased(T0 + 11))
    early = commands.RecordVoided(T0 + 12, existed=False)
    assert names(state, early) == ["StepDelayed"]
    delayed = after(PLACE, RESERVED, CANCEL, commands.RecordReleased(T0 + 11), early)
    believed_us = T0 + 11 + deciding.AUTHORIZE_DEADLINE_US + deciding.LATE_US + deciding.SKEW_US + 1
    assert saga.timers(delayed) == {"retry": believed_us}
    assert names(delayed, commands.RecordVoided(believed_us, existed=False)) == ["Voided", "Settled"]
    assert names(delayed, commands.RecordVoided(T0 + 13, existed=True)) == ["Voided", "Settled"]
    assert names(delayed, commands.RecordVoided(T0 + 13, existed=False, final=True)) == ["Voided", "Settled"]


def test_never_seen_is_not_waited_for_longer_where_the_clock_of_who_gave_back_was_ahead() -> None:
    wait_us, ahead = deciding.AUTHORIZE_DEADLINE_US + deciding.LATE_US + deciding.SKEW_US, T0 + 3_600_000_000
    told: list[Any] = [PLACE, RESERVED, CANCEL, commands.RecordReleased(ahead)]
    told.append(commands.RecordVoided(ahead + 1, existed=False))
    assert not saga.is_put_off(after(*told), T0 + 20)  # for an hour: that is not believed
    told.append(commands.RecordVoided(T0 + 20, existed=False))
    assert saga.timers(after(*told)) == {"retry": T0 + 20 + wait_us + 1}
    assert saga.is_put_off(after(*told), T0 + 21)
    assert names(after(*told), commands.RecordVoided(T0 + 21 + wait_us, existed=False)) == ["Voided", "Settled"]


def test_records_that_the_order_has_overtaken_change_nothing() -> None:
    out_of_stock = commands.RecordOutOfStock(T0, 1, "OUT_OF_STOCK", "tea")
    lost = commands.RecordReservationLost(T0, "ref", ("tea",))
    for done in ((PLACE, RESERVED), (PLACE, RESERVED, CONFIRMED), (PLACE, CANCEL), (PLACE, RESERVED, lost)):
        state = after(*done)
        assert names(state, out_of_stock) == []
        assert names(state, RESERVED) == []
    late: tuple[commands.OrderCommand, ...] = (
        CONFIRMED,
        lost,
        commands.RecordDeclined(T0),
        commands.RecordCaptured(T0),
    )
    for record in late:
        assert names(after(PLACE, RESERVED, CANCEL), record) == []
    late = (commands.RecordReleased(T0), commands.RecordVoided(T0, existed=True), commands.RecordDeclined(T0))
    for record in late:
        assert names(after(PLACE, RESERVED, CONFIRMED), record) == []


def test_a_reservation_that_ran_out_is_made_again_and_only_that_one() -> None:
    lost = commands.RecordReservationLost(T0 + 3, "ref-1", ("tea",))
    assert names(after(PLACE, RESERVED), lost) == ["Authorized", "StockReservationRequested"]
    state = after(PLACE, RESERVED, lost)
    effect = saga.next_effect(state)
    assert isinstance(effect, saga.ReserveStock)
    assert effect.units == (saga.Units("tea", 2, 2),)
    again = commands.RecordReserved(T0 + 4, 2)
    assert names(state, again) == ["StockReserved"]
    effect = saga.next_effect(after(PLACE, RESERVED, lost, again))
    assert effect == saga.SellStock((saga.Units("cup", 2, 1), saga.Units("tea", 2, 2)))
    assert names(after(PLACE, RESERVED, lost, again), commands.RecordConfirmed(T0 + 5, "")) == ["Confirmed"]
    gone = commands.RecordOutOfStock(T0 + 4, 2, "OUT_OF_STOCK", "tea")
    assert names(state, gone) == ["Rejected", "VoidRequested"]


def test_a_step_is_delayed_longer_each_time_and_once_by_two_workers() -> None:
    state = after(PLACE, RESERVED)
    waits = []
    now = T0 + 100
    for _ in range(12):
        retry_us = performing.retry_at(state, Step.AUTHORIZE_PAYMENT, now)
        command = commands.RecordDelayed(now, Step.AUTHORIZE_PAYMENT, retry_us)
        for event in deciding.decide(state, command):
            state = evolving.evolve(state, event)
        assert names(state, command) == []
        waits.append(retry_us - now)
        now = retry_us
    assert waits[0] < 2 * saga.SECOND
    assert all(wait <= 375 * saga.SECOND for wait in waits)
    assert waits[5] > 10 * waits[0]
    assert state.tries == 12


def test_a_clock_that_was_ahead_puts_nothing_off_for_long() -> None:
    hour = 3600 * 1_000_000
    ahead = performing.retry_at(Order(order_id="o"), Step.CAPTURE_PAYMENT, hour)
    state = Order(order_id="o", retry_us=ahead)
    assert not saga.is_put_off(state, 0)
    assert saga.is_put_off(state, hour)
    assert not saga.is_put_off(state, ahead)


def test_an_authorisation_that_stays_unknown_is_given_up_and_voided() -> None:
    late = T0 + 1 + deciding.PATIENCE_US + 1
    command = commands.RecordDelayed(late, Step.AUTHORIZE_PAYMENT, late + 1)
    assert names(after(PLACE, RESERVED), command) == ["Cancelled", "VoidRequested"]
    assert after(PLACE, RESERVED, command).reason == saga.PAYMENT_UNKNOWN


def test_people_are_refused_what_the_state_does_not_allow() -> None:
    dispatched = (commands.AcceptOrder(T0, "shop", ""), commands.DispatchOrder(T0, "shop", "rider"))
    for state, command in (
        (after(PLACE), commands.AcceptOrder(T0, "shop", "")),
        (after(PLACE, RESERVED, CONFIRMED, *dispatched), CANCEL),
        (after(PLACE, RESERVED, CONFIRMED), commands.DeliverOrder(T0, "rider")),
    ):
        with pytest.raises(Refused) as refused:
            deciding.decide(state, command)
        assert refused.value.reason == "WRONG_ORDER_STATE"
        assert refused.value.metadata == {"state": state.status.name}
    with pytest.raises(Refused) as refused:
        deciding.decide(Order(), CANCEL)
    assert refused.value.reason == "NOT_FOUND"
    assert names(after(PLACE, CANCEL), CANCEL) == []


def test_a_courier_must_be_named_by_someone() -> None:
    state = after(PLACE, RESERVED, CONFIRMED, commands.AcceptOrder(T0, "shop", ""))
    with pytest.raises(Refused) as refused:
        deciding.decide(state, commands.DispatchOrder(T0, "shop", ""))
    assert refused.value.field == "courier_id"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([Line("a", 1, Money("GBP", 1)), Line("b", 1, Money("EUR", 1))], "CURRENCY_MISMATCH"),
        ([Line("a", 2, Money("GBP", LARGEST))], "INVALID_FIELD"),
        ([Line("a", 2, Money("GBP", 0))], "INVALID_FIELD"),
        ([Line("a", 2, Money("GBP", -1)), Line("b", 9, Money("GBP", 1))], "INVALID_FIELD"),
    ],
)
def test_totals_that_are_none(lines: list[Line], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        total_of(lines)
    assert refused.value.reason == reason


def test_totals_are_exact() -> None:
    assert total_of([Line("a", 1, Money("GBP", LARGEST - 3)), Line("b", 3, Money("GBP", 1))]) == Money("GBP", LARGEST)
