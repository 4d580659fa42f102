"""How each effect is performed, without performing it: a conversation of questions and answers that ends in the command to record.

The worker asks real stocks and a real gateway, the tests ask models and stop the conversation anywhere. Every question may be asked
again, by the same worker or another, now or after a crash: stock is asked under a name made of order, item and attempt that counts once,
the gateway under the order's one payment key.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum, auto

from services.order.domain import commands, saga
from services.order.domain.commands import OrderCommand
from services.order.domain.order import Order, Step
from services.order.domain.saga import LONGEST_RETRY_US, SECOND, Effect, Units

FIRST_RETRY_US = 1 * SECOND


class Verb(Enum):
    """What is asked of a stock or of the gateway."""

    RESERVE = auto()
    SELL = auto()
    RELEASE = auto()
    TAKE_BACK = auto()
    AUTHORIZE = auto()
    CAPTURE = auto()
    VOID = auto()
    LOOK_UP = auto()


class Said(Enum):
    """What a stock or the gateway said."""

    DONE = auto()
    """The stock did it, now or when it was asked before."""
    NOTHING = auto()
    """The stock had nothing to do."""
    REFUSED = auto()
    """The stock has not enough, or no reservation."""
    AUTHORIZED = auto()
    DECLINED = auto()
    CAPTURED = auto()
    VOIDED = auto()
    NOT_FOUND = auto()
    WRONG_STATE = auto()
    UNKNOWN = auto()
    """The gateway's answer was lost, or it cannot say now."""


@dataclass(frozen=True, slots=True)
class AskStock:
    """A question to the stock of an item."""

    verb: Verb
    units: Units


@dataclass(frozen=True, slots=True)
class AskGateway:
    """A question to the gateway."""

    verb: Verb
    payment_key: str
    effect: saga.AuthorizePayment | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``detail`` is the gateway's reference or the reason of a refusal."""

    said: Said
    detail: str = ""


Questions = tuple[AskStock | AskGateway, ...]
"""Asked at once, in any order."""
Answers = tuple[Answer, ...]
"""In the order of the questions."""
Clock = Callable[[], int]
"""Gives the time in microseconds."""
Conversation = Generator[Questions, Answers, OrderCommand]


def perform(order: Order, effect: Effect, clock: Clock, look_first: bool) -> Conversation:
    """Perform an effect; with ``look_first`` the gateway is asked what it knows before it is asked to do anything: the step may
    have been asked for by one that did not live to hear the answer."""
    match effect:
        case saga.ReserveStock():
            return _reserve(effect, clock)
        case saga.AuthorizePayment():
            return _authorize(order, effect, clock, look_first or order.tries > 0)
        case saga.SellStock():
            return _sell(effect.units, clock, "")
        case saga.CapturePayment():
            return _capture(order, effect, clock, look_first or order.tries > 0)
        case saga.ReleaseStock():
            return _release(effect, clock)
        case saga.VoidPayment():
            return _void(order, effect, clock)


def retry_at(order: Order, step: Step, now_us: int) -> int:
    """Say when a step that could not be done is done again: twice as late each time, up to five minutes, spread by a quarter."""
    tries = order.tries if order.delayed is step else 0
    wait = min(LONGEST_RETRY_US, FIRST_RETRY_US << min(tries, 16))
    # Orders that one outage has stopped must not all come back in the same instant.
    spread = zlib.crc32(f"{order.order_id}/{tries}".encode()) % 1000
    return now_us + wait + wait * spread // 4000


def _reserve(effect: saga.ReserveStock, clock: Clock) -> Conversation:
    answers = yield tuple(AskStock(Verb.RESERVE, units) for units in effect.units)
    for units, answer in zip(effect.units, answers, strict=True):
        if answer.said is Said.REFUSED:
            return commands.RecordOutOfStock(clock(), effect.attempt, answer.detail, units.sku)
    return commands.RecordReserved(clock(), effect.attempt)


def _authorize(order: Order, effect: saga.AuthorizePayment, clock: Clock, look_first: bool) -> Conversation:
    look_up = AskGateway(Verb.LOOK_UP, effect.payment_key)
    answer = Answer(Said.NOT_FOUND)
    if look_first:
        (answer,) = yield (look_up,)
    if answer.said is Said.NOT_FOUND:
        (answer,) = yield (AskGateway(Verb.AUTHORIZE, effect.payment_key, effect),)
        if answer.said is Said.UNKNOWN:
            # Never again without knowing, and never under another key.
            (answer,) = yield (look_up,)
    match answer.said:
        case Said.AUTHORIZED | Said.CAPTURED:
            return (yield from _sell(effect.units, clock, answer.detail))
        case Said.DECLINED | Said.VOIDED:
            return commands.RecordDeclined(clock())
        case _:
            return _delayed(order, effect.step, clock)


def _sell(units: tuple[Units, ...], clock: Clock, reference: str) -> Conversation:
    answers = yield tuple(AskStock(Verb.SELL, each) for each in units)
    lost = tuple(each.sku for each, answer in zip(units, answers, strict=True) if answer.said is Said.REFUSED)
    if lost:
        return commands.RecordReservationLost(clock(), reference, lost)
    return commands.RecordConfirmed(clock(), reference)


def _capture(order: Order, effect: saga.CapturePayment, clock: Clock, look_first: bool) -> Conversation:
    look_up = AskGateway(Verb.LOOK_UP, effect.payment_key)
    answer = Answer(Said.AUTHORIZED)
    if look_first:
        (answer,) = yield (look_up,)
    if answer.said is Said.AUTHORIZED:
        (answer,) = yield (AskGateway(Verb.CAPTURE, effect.payment_key),)
        if answer.said is not Said.CAPTURED:
            (answer,) = yield (look_up,)
    if answer.said is Said.CAPTURED:
        return commands.RecordCaptured(clock())
    return _delayed(order, effect.step, clock)


def _release(effect: saga.ReleaseStock, clock: Clock) -> Conversation:
    if effect.sold:
        yield tuple(AskStock(Verb.TAKE_BACK, units) for units in effect.units)
        return commands.RecordReleased(clock())
    answers = yield tuple(AskStock(Verb.RELEASE, units) for units in effect.units)
    gone = tuple(units for units, answer in zip(effect.units, answers, strict=True) if answer.said is Said.NOTHING)
    if effect.sold is None and gone:
        # Sold already, or run out? The sale is asked for once more under its own name: it answers as it did then, and where it was never
        # done it is refused now and for ever, since what it would sell is not there.
        answers = yield tuple(AskStock(Verb.SELL, units) for units in gone)
        sold = tuple(units for units, answer in zip(gone, answers, strict=True) if answer.said is Said.DONE)
        if sold:
            yield tuple(AskStock(Verb.TAKE_BACK, units) for units in sold)
    return commands.RecordReleased(clock())


def _void(order: Order, effect: saga.VoidPayment, clock: Clock) -> Conversation:
    (answer,) = yield (AskGateway(Verb.VOID, effect.payment_key),)
    if answer.said is Said.WRONG_STATE:
        (answer,) = yield (AskGateway(Verb.LOOK_UP, effect.payment_key),)
    match answer.said:
        case Said.VOIDED:
            return commands.RecordVoided(clock(), existed=True)
        case Said.NOT_FOUND:
            return commands.RecordVoided(clock(), existed=False)
        case Said.DECLINED:
            # What was declined stays declined: the gateway answers the same for this key for ever.
            return commands.RecordVoided(clock(), existed=False, final=True)
        case _:
            return _delayed(order, effect.step, clock)


def _delayed(order: Order, step: Step, clock: Clock) -> OrderCommand:
    now = clock()
    return commands.RecordDelayed(now, step, retry_at(order, step, now))
