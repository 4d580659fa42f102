"""From invoice lines to orders, in two readings of the file.

The first tells which invoices there are, where each ends and which items they name; it keeps a few words an invoice. The second
gives every order as soon as its invoice's last line was read; it keeps the lines of open invoices only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tradewind.cli.invoices import InvoiceLine
from tradewind.cli.naming import milliseconds
from tradewind.cli.verdicts import Refusal
from tradewind.order.v1 import order_pb2, order_service_pb2
from tradewind.sdk import derive_request_id
from tradewind.type.v1 import money_pb2

MAX_ORDER_LINES: Final = 1_000
_DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class Invoice:
    """What the first reading keeps of an invoice."""

    customer: str
    at: datetime
    last: int
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Item:
    """An item as the line `number` names it first; price in minor units."""

    sku: str
    title: str
    unit_price: int
    at: datetime
    number: int


@dataclass(slots=True)
class Plan:
    """What the first reading tells. With a limit, only as many invoices, by where they begin; nothing after them is looked at."""

    limit: int | None = None
    invoices: dict[str, Invoice] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    lines: int = 0
    full_at: int | None = None

    def read(self, lines: Iterable[InvoiceLine | Refusal]) -> Iterator[Refusal]:
        """Take in all lines; yields what is refused of them."""
        for line in lines:
            if isinstance(line, Refusal):
                if self.full_at is None:
                    yield line
                continue
            refusal = self._take(line)
            if refusal is not None:
                yield refusal

    def _take(self, line: InvoiceLine) -> Refusal | None:
        invoice = self.invoices.get(line.invoice)
        if invoice is None:
            if self.limit is not None and len(self.invoices) >= self.limit:
                self.full_at = self.full_at or line.number
                return None
            self.invoices[line.invoice] = Invoice(line.customer, line.at, line.number)
        elif invoice.customer != line.customer:
            return Refusal(line.number, "customer_differs", "its customer is not that of its invoice's first line")
        else:
            invoice.lines += 1
            invoice.last = line.number
            invoice.at = min(invoice.at, line.at)
        self.lines += 1
        self.items.setdefault(line.sku, Item(line.sku, line.title, line.unit_price, line.at, line.number))
        return None

    def orders(self, lines: Iterable[InvoiceLine | Refusal]) -> Iterator[tuple[str, list[InvoiceLine]]]:
        """Yield every invoice of the plan with its lines, as it ends, from a second reading."""
        open_invoices: dict[str, list[InvoiceLine]] = {}
        for line in lines:
            if isinstance(line, Refusal):
                continue
            invoice = self.invoices.get(line.invoice)
            if invoice is None or invoice.customer != line.customer:
                continue
            open_invoices.setdefault(line.invoice, []).append(line)
            if line.number == invoice.last:
                yield line.invoice, open_invoices.pop(line.invoice)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all orders of an import."""

    shop: str
    currency: str
    guest: str
    payment_method: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order to place, and the numbers of the lines it is made of."""

    request: order_service_pb2.PlaceOrderRequest
    numbers: tuple[int, ...]


def requests_of(invoice: str, lines: list[InvoiceLine], plan: Plan, terms: Terms) -> Iterator[PlannedOrder]:
    """Make the orders of one invoice: one, or as many as it takes at a thousand lines each."""
    parts = -(-len(lines) // MAX_ORDER_LINES)
    for part in range(parts):
        some = lines[part * MAX_ORDER_LINES : (part + 1) * MAX_ORDER_LINES]
        attributes = {
            "invoice": invoice,
            "invoice_date": plan.invoices[invoice].at.strftime("%Y-%m-%d %H:%M:%S"),
            "country": some[0].country,
        }
        if parts > 1:
            attributes["part"] = f"{part + 1}/{parts}"
        request = order_service_pb2.PlaceOrderRequest(
            request_id=order_request_id(terms.shop, invoice, part, plan.invoices[invoice].at),
            customer_id=some[0].customer or terms.guest,
            shop_id=terms.shop,
            lines=[_order_line(line, terms.currency) for line in some],
            payment_method=terms.payment_method,
            location=terms.location,
            attributes=attributes,
        )
        yield PlannedOrder(request, tuple(line.number for line in some))


def order_request_id(shop: str, invoice: str, part: int, at: datetime) -> str:
    """Name the intent to place an invoice: the same in every file that holds it, so importing two that overlap places it once.

    It leads with the invoice's day plus its number, so that orders sort as their invoices do, and a line added later does not move it.
    """
    digits = "".join(character for character in invoice if character in "0123456789")
    day = milliseconds(at.replace(hour=0, minute=0, second=0))
    return derive_request_id(day + int(digits[-12:] or "0") % _DAY_MS, "import", "order", shop, invoice, str(part))


def item_request_id(shop: str, item: Item, currency: str) -> str:
    """Name the intent to put an item as it is here."""
    parts = (shop, item.sku, item.title, currency, str(item.unit_price))
    return derive_request_id(milliseconds(item.at), "import", "item", *parts)


def stock_request_id(shop: str, item: Item, location: str, digest: str, units: int) -> str:
    """Name the intent to stock an item for a file: once per file and number of units."""
    parts = (shop, item.sku, location, digest, str(units))
    return derive_request_id(milliseconds(item.at), "import", "stock", *parts)


def _order_line(line: InvoiceLine, currency: str) -> order_pb2.OrderLine:
    price = money_pb2.Money(currency_code=currency, minor_units=line.unit_price)
    return order_pb2.OrderLine(sku=line.sku, quantity=line.quantity, unit_price=price, title=line.title)
