"""The saga against a hostile world: workers that meet, sleep and die between any two questions, a gateway that applies late or loses its
answers, stock that runs out and reservations that expire. Whatever happened, once it stops happening the order ends consistent."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.order.domain import commands, deciding, evolving, performing, saga
from services.order.domain import stock as s
from services.order.domain.money import Line, Money
from services.order.domain.order import Order, Payment, Status
from services.order.domain.performing import Answer, AskGateway, AskStock, Said, Verb
from services.order.domain.refusal import Refused

SECOND = saga.SECOND
LIVES_US = 60 * SECOND
LINES = (
    Line("cup", 1, Money("GBP", 250)),
    Line("tea", 2, Money("GBP", 100)),
    Line("cup", 1, Money("GBP", 250)),
)
DEMAND = {"cup": 2, "tea": 2}
FAULTS = ["", "", "", "lost before", "lost after", "late"]


@dataclass
class Shelf:
    """One stock and the request names it knows, as the ledger keeps them."""

    state: s.Stock
    known: dict[str, bool] = field(default_factory=dict)

    def run(self, command: s.StockCommand, name: str = "") -> Answer:
        if name and name in self.known:
            return Answer(Said.DONE)
        try:
            events = s.decide(self.state, command)
        except Refused as refused:
            return Answer(Said.REFUSED, refused.reason)
        for event in events:
            self.state = s.evolve(self.state, event)
        if events and name:
            self.known[name] = True
        return Answer(Said.DONE if events else Said.NOTHING)


@dataclass
class Worker:
    """One wake-up: a conversation, and how far it is."""

    talk: performing.Conversation
    questions: performing.Questions
    began_us: int
    answers: list[Answer] = field(default_factory=list)
    result: commands.OrderCommand | None = None

    def hear(self, answer: Answer) -> None:
        self.answers.append(answer)
        if len(self.answers) < len(self.questions):
            return
        try:
            self.questions = self.talk.send(tuple(self.answers))
            self.answers = []
        except StopIteration as stop:
            self.result = stop.value


class SagaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000 * SECOND
        self.order = Order()
        self.shelves = {sku: Shelf(s.Stock(available=3)) for sku in DEMAND}
        self.put_in = dict.fromkeys(DEMAND, 3)
        self.gateway: dict[str, Said] = {}
        self.authorizations = 0
        self.on_the_way: list[int] = []
        self.declines = False
        self.late_last = False
        self.workers: list[Worker] = []
        self.execute(commands.PlaceOrder(self.now, "c", "o1", "c", "shop", "main", LINES, "pm_ok", None, {}))

    # --- what can happen

    @initialize(late_last=st.booleans(), turns=st.integers(0, 2))
    def begin(self, late_last: bool, turns: int) -> None:
        self.late_last = late_last
        for _ in range(turns):
            self.turn(look_first=False, faults=[])

    @precondition(lambda self: not self.workers)
    @rule(look_first=st.booleans(), faults=st.lists(st.sampled_from(FAULTS), max_size=3))
    def turn(self, look_first: bool, faults: list[str]) -> None:
        """One wake-up that nobody disturbs."""
        self.wake(look_first)
        while self.workers:
            self.advance(self.workers[0], faults.pop() if faults else "")

    @precondition(lambda self: not self.workers)
    @rule(look_first=st.booleans(), lives=st.integers(1, 5))
    def turn_and_die(self, look_first: bool, lives: int) -> None:
        """One wake-up that ends after so many answers, at the latest before its record."""
        self.wake(look_first)
        for worker in self.workers:
            while lives and worker.result is None:
                self.answer(worker, "")
                lives -= 1
        self.workers.clear()

    @precondition(lambda self: len(self.workers) < 3)
    @rule(look_first=st.booleans())
    def wake(self, look_first: bool) -> None:
        effect = saga.next_effect(self.order)
        if effect is None or saga.is_put_off(self.order, self.now):
            return
        talk = performing.perform(self.order, effect, lambda: self.now, look_first)
        self.workers.append(Worker(talk, next(talk), self.now))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), fault=st.sampled_from(FAULTS))
    def step(self, data: st.DataObject, fault: str) -> None:
        self.advance(data.draw(st.sampled_from(self.workers)), fault)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.workers.remove(data.draw(st.sampled_from(self.workers)))

    @precondition(lambda self: self.on_the_way)
    @rule()
    def late_authorization_arrives(self) -> None:
        if self.on_the_way.pop() >= self.now:
            self.authorize()

    @rule()
    def cancel(self) -> None:
        self.people(commands.CancelOrder(self.now, "c", "changed my mind"))

    @rule(step=st.sampled_from(["accept", "dispatch", "deliver"]))
    def shop_works(self, step: str) -> None:
        match step:
            case "accept":
                self.people(commands.AcceptOrder(self.now, "shop", "rider"))
            case "dispatch":
                self.people(commands.DispatchOrder(self.now, "shop", ""))
            case _:
                self.people(commands.DeliverOrder(self.now, "rider"))

    @rule(seconds=st.sampled_from([1, 5, 30, 45, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(sku=st.sampled_from(sorted(DEMAND)))
    def reservations_run_out(self, sku: str) -> None:
        self.shelves[sku].run(s.Expire(self.now))

    @rule(sku=st.sampled_from(sorted(DEMAND)), delta=st.sampled_from([-2, -1, 3]))
    def stock_changes(self, sku: str, delta: int) -> None:
        if self.shelves[sku].run(s.Adjust(self.now, "shop", delta)).said is Said.DONE:
            self.put_in[sku] += delta

    @rule()
    def card_is_blocked(self) -> None:
        self.declines = True

    # --- the world's answers

    def execute(self, command: commands.OrderCommand) -> None:
        before = self.order
        for event in deciding.decide(before, command):
            self.order = evolving.evolve(self.order, event)

    def people(self, command: commands.OrderCommand) -> None:
        try:
            self.execute(command)
        except Refused as refused:
            assert refused.reason == "WRONG_ORDER_STATE"

    def advance(self, worker: Worker, fault: str = "") -> None:
        """Answer a worker's next question, or let it record what it found."""
        if worker.result is None:
            self.answer(worker, fault)
        else:
            self.workers.remove(worker)
            self.execute(worker.result)

    def answer(self, worker: Worker, fault: str) -> None:
        question = worker.questions[len(worker.answers)]
        match question:
            case AskStock():
                # The ledger either answers or the worker's wake-up ends; a lost answer is a worker that died.
                worker.hear(self.ask_stock(question))
            case AskGateway():
                worker.hear(self.ask_gateway(question, worker, fault))

    def ask_stock(self, question: AskStock) -> Answer:
        units = question.units
        shelf = self.shelves[units.sku]
        name = f"{question.verb.name}/{units.attempt}"
        match question.verb:
            case Verb.RESERVE:
                return shelf.run(s.Reserve(self.now, "o1", units.quantity, self.now + LIVES_US), name)
            case Verb.SELL:
                return shelf.run(s.Sell(self.now, "o1", units.quantity), name)
            case Verb.RELEASE:
                return shelf.run(s.Release(self.now, "o1"), name)
            case _:
                answer = shelf.run(s.TakeBack(self.now, "o1", units.quantity), name)
                assert answer.said is Said.DONE
                return answer

    def ask_gateway(self, question: AskGateway, worker: Worker, fault: str) -> Answer:
        unknown = Answer(Said.UNKNOWN)
        if question.verb is Verb.AUTHORIZE and self.now > worker.began_us + deciding.AUTHORIZE_DEADLINE_US:
            return unknown
        if fault == "lost before":
            return unknown
        if fault == "late" and question.verb is Verb.AUTHORIZE:
            self.on_the_way.append(worker.began_us + deciding.AUTHORIZE_DEADLINE_US + deciding.LATE_US)
            return unknown
        answer = self.apply(question)
        return unknown if fault else answer

    def apply(self, question: AskGateway) -> Answer:
        key = question.payment_key
        known = self.gateway.get(key)
        match question.verb:
            case Verb.AUTHORIZE:
                return Answer(self.authorize(), "ref")
            case Verb.LOOK_UP:
                return Answer(known or Said.NOT_FOUND, "ref")
            case Verb.CAPTURE if known in (Said.AUTHORIZED, Said.CAPTURED):
                self.gateway[key] = Said.CAPTURED
            case Verb.VOID if known in (Said.AUTHORIZED, Said.VOIDED):
                self.gateway[key] = Said.VOIDED
            case _:
                return Answer(Said.WRONG_STATE if known else Said.NOT_FOUND)
        return Answer(self.gateway[key])

    def authorize(self) -> Said:
        known = self.gateway.get("order-o1")
        if known is None:
            known = Said.DECLINED if self.declines else Said.AUTHORIZED
            self.gateway["order-o1"] = known
            self.authorizations += 1
        return Said.DECLINED if known is Said.VOIDED else known

    # --- what must hold

    @invariant()
    def nothing_is_oversold(self) -> None:
        for sku, shelf in self.shelves.items():
            state = shelf.state
            assert state.available + state.reserved + state.sold == self.put_in[sku]
            assert min(state.available, state.reserved, state.sold) >= 0
            assert state.sold in (0, DEMAND[sku])

    @invariant()
    def confirmed_means_sold_and_authorized(self) -> None:
        if self.order.status in (Status.CONFIRMED, Status.ACCEPTED, Status.OUT_FOR_DELIVERY, Status.DELIVERED):
            assert self.gateway["order-o1"] in (Said.AUTHORIZED, Said.CAPTURED)
            assert {sku: shelf.state.sold for sku, shelf in self.shelves.items()} == DEMAND

    @invariant()
    def one_payment(self) -> None:
        assert self.authorizations <= 1
        assert self.gateway.keys() <= {"order-o1"}

    @invariant()
    def settled_is_settled(self) -> None:
        order = self.order
        if order.closed and order.settled:
            assert self.gateway.get("order-o1") in (None, Said.DECLINED, Said.VOIDED)
            assert all(shelf.state.sold == 0 for shelf in self.shelves.values())

    def late_ones_arrive(self) -> None:
        while self.on_the_way:
            self.late_authorization_arrives()

    def teardown(self) -> None:
        while self.workers:
            self.advance(self.workers[0])
        for _ in range(100):
            if not self.late_last:
                self.late_ones_arrive()
            if saga.next_effect(self.order) is None:
                break
            self.now = max(self.now, self.order.retry_us)
            self.wake(look_first=True)
            while self.workers:
                self.advance(self.workers[0])
        self.late_ones_arrive()
        self.now += LIVES_US
        for shelf in self.shelves.values():
            shelf.run(s.Expire(self.now))
        self.nothing_is_oversold()
        self.settled_is_settled()
        order = self.order
        assert saga.next_effect(order) is None
        assert all(shelf.state.reserved == 0 for shelf in self.shelves.values())
        if order.closed:
            assert order.settled
        else:
            assert order.status in (Status.CONFIRMED, Status.ACCEPTED, Status.OUT_FOR_DELIVERY, Status.COMPLETED)
            captured = order.status is Status.COMPLETED
            assert order.payment is (Payment.CAPTURED if captured else Payment.AUTHORIZED)
            assert self.gateway["order-o1"] is (Said.CAPTURED if captured else Said.AUTHORIZED)


class ShortStories(SagaMachine):
    """Few steps, so that what is still on its way at the end matters."""


SagaMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
ShortStories.TestCase.settings = settings(max_examples=600, stateful_step_count=7, deadline=None)
TestSaga = SagaMachine.TestCase
TestShortStories = ShortStories.TestCase
