"""Values that many messages hold: times, money, lines, contacts."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.order.v1 import order_pb2
from tradewind.type.v1 import money_pb2

from services.order.domain.money import Line, Money
from services.order.domain.order import Contact


def timestamp(at_us: int) -> Timestamp:
    """Give a time in microseconds since the Unix epoch as a Timestamp."""
    seconds, rest = divmod(at_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def micros(at: Timestamp) -> int:
    """Give a Timestamp in microseconds since the Unix epoch."""
    return int(at.seconds) * 1_000_000 + at.nanos // 1000


def money(amount: Money) -> money_pb2.Money:
    """Give an amount as the contract's message."""
    return money_pb2.Money(currency_code=amount.currency_code, minor_units=amount.minor_units)


def to_money(message: money_pb2.Money) -> Money:
    """Read an amount."""
    return Money(message.currency_code, message.minor_units)


def lines(of: Iterable[Line]) -> list[order_pb2.OrderLine]:
    """Give lines as the contract's messages."""
    return [
        order_pb2.OrderLine(sku=line.sku, quantity=line.quantity, unit_price=money(line.unit_price), title=line.title)
        for line in of
    ]


def to_lines(messages: Iterable[order_pb2.OrderLine]) -> tuple[Line, ...]:
    """Read lines that have their prices."""
    return tuple(Line(each.sku, each.quantity, to_money(each.unit_price), each.title) for each in messages)


def contact(of: Contact | None) -> order_pb2.Contact | None:
    """Give a contact as the contract's message; None stays absent."""
    return None if of is None else order_pb2.Contact(name=of.name, email=of.email)


def to_contact(message: order_pb2.Contact) -> Contact:
    """Read a contact."""
    return Contact(message.name, message.email)
