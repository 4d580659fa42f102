"""Invoice lines of a shop as CSV (RFC 4180, UTF-8), grouped into orders.

Columns: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country, in any order; others are
passed over. A line is judged by itself first: what is no order line (a cancellation, no quantity, no price) or cannot be read is
refused with its number and rule, and the others go on.
The lines left of one InvoiceNo are one order, wherever in the file they stand.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from tradewind.cli.source import BrokenFile, SourceLine
from tradewind.cli.verdicts import Broken, Refusal

COLUMNS: Final = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
MAX_QUANTITY: Final = 1_000_000
_MAX_RECORD_LINES: Final = 16
_MAX_LINE_AMOUNT: Final = (1 << 63) // 2_000
"""Minor units; a thousand such lines, the most an order has, still add up to an int64."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})")
_CUSTOMER: Final = re.compile(r"([0-9A-Za-z_-]{1,64}?)(\.0*)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(:[0-9]{2})?")

# ISO 4217: currencies whose minor unit is not a hundredth.
_EXPONENTS: Final = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def exponent_of(currency: str) -> int:
    """How many decimals a currency has (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


def in_minor_units(text: str, currency: str) -> int:
    """Turn a decimal such as `2.55` into minor units, exactly. Raises Broken: nothing is rounded."""
    if not _DECIMAL.fullmatch(text):
        raise Broken("price", "UnitPrice is not a decimal number")
    scaled = Decimal(text).scaleb(exponent_of(currency))
    if scaled != scaled.to_integral_value():
        raise Broken(
            "price_precision", f"UnitPrice has more decimals than {currency}, which has {exponent_of(currency)}"
        )
    return int(scaled)


def in_major_units(minor_units: int, currency: str) -> str:
    """Turn minor units into a decimal such as `2.55`, exactly."""
    exponent = exponent_of(currency)
    sign, digits = "-" if minor_units < 0 else "", f"{abs(minor_units):0{exponent + 1}d}"
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A line that can be part of an order. `number`: where its record begins in the file, from 1; `unit_price` in minor units."""

    number: int
    invoice: str
    sku: str
    title: str
    quantity: int
    at: datetime
    unit_price: int
    customer: str
    country: str


def read(lines: Iterable[SourceLine], currency: str) -> Iterator[InvoiceLine | Refusal]:
    """Yield what becomes of every record after the header; blank lines are passed over. Raises BrokenFile for another header."""
    records = _records(lines)
    columns = _columns(next(records, None))
    for record in records:
        if isinstance(record, Refusal):
            yield record
            continue
        try:
            yield _line(record, columns, currency)
        except Broken as broken:
            yield Refusal(record.number, broken.rule, broken.reason)


class _Record(NamedTuple):
    number: int
    fields: list[str]


def _records(lines: Iterable[SourceLine]) -> Iterator[_Record | Refusal]:
    """Cut the file into records. A quote that is never closed costs its own line, not the rest of the file."""
    waiting: list[SourceLine] = []
    source = iter(lines)
    while True:
        first = waiting.pop(0) if waiting else next(source, None)
        if first is None:
            return
        if first.raw is not None and not first.raw.strip():
            continue
        try:
            fields, used = _fields(first, waiting, source)
        except Broken as broken:
            yield Refusal(first.number, broken.rule, broken.reason)
            continue
        del waiting[:used]
        yield _Record(first.number, fields)


def _fields(first: SourceLine, waiting: list[SourceLine], source: Iterator[SourceLine]) -> tuple[list[str], int]:
    """Split a record; gives also how many lines of `waiting`, filled from `source` as needed, it goes on over."""
    text = _decoded(first)
    for used in range(_MAX_RECORD_LINES):
        try:
            return next(csv.reader([text], strict=True)), used
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                raise Broken("csv", f"it is not CSV: {error}") from error
        if used == len(waiting):
            following = next(source, None)
            if following is None:
                break
            waiting.append(following)
        try:
            text += _decoded(waiting[used])
        except Broken:
            break
    raise Broken("quote", "a quote is opened and not closed")


def _decoded(line: SourceLine) -> str:
    if line.raw is None:
        raise Broken("line_too_long", "the line is longer than a mebibyte")
    try:
        return line.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken("encoding", f"byte {error.start + 1} is not UTF-8") from error


class _Columns(NamedTuple):
    """How many fields a record has, and where each of COLUMNS is."""

    fields: int
    places: list[int]


def _columns(header: _Record | Refusal | None) -> _Columns:
    if header is None:
        raise BrokenFile("the file is empty")
    names = [name.strip() for name in header.fields] if isinstance(header, _Record) else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise BrokenFile(f"line {header.number} is not the header: it has no {', '.join(missing)}")
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise BrokenFile(f"line {header.number}, the header, names {', '.join(twice)} twice")
    return _Columns(len(names), [names.index(name) for name in COLUMNS])


def _line(record: _Record, columns: _Columns, currency: str) -> InvoiceLine:
    if len(record.fields) != columns.fields:
        raise Broken("columns", f"it has {len(record.fields)} fields; the header has {columns.fields}")
    invoice, sku, title, quantity, date, price, customer, country = (record.fields[at] for at in columns.places)
    invoice = invoice.strip()
    if invoice[:1] in ("C", "c"):
        raise Broken("cancellation", "it is part of a cancellation, which is no order")
    if not 1 <= len(invoice.encode()) <= 64:
        raise Broken("invoice", "InvoiceNo is not of 1 to 64 bytes")
    units = _quantity(quantity.strip())
    return InvoiceLine(
        number=record.number,
        invoice=invoice,
        sku=_sku(sku.strip()),
        title=_title(title),
        quantity=units,
        at=_date(date.strip()),
        unit_price=_price(price.strip(), currency, units),
        customer=_customer(customer.strip()),
        country=_country(country.strip()),
    )


def _quantity(text: str) -> int:
    if not text:
        raise Broken("no_quantity", "it has no quantity")
    if not _INTEGER.fullmatch(text):
        raise Broken("quantity", "Quantity is not an integer")
    units = int(text.partition(".")[0])
    if units < 0:
        raise Broken("negative_quantity", "its quantity is negative: a return or a correction of stock")
    if units == 0:
        raise Broken("no_quantity", "its quantity is zero")
    if units > MAX_QUANTITY:
        raise Broken("quantity_limit", f"an order line has at most {MAX_QUANTITY} units")
    return units


def _price(text: str, currency: str, units: int) -> int:
    if not text:
        raise Broken("no_price", "it has no price")
    price = in_minor_units(text, currency)
    if price < 0:
        raise Broken("negative_price", "its price is negative")
    if price == 0:
        raise Broken("no_price", "its price is zero")
    if price * units > _MAX_LINE_AMOUNT:
        raise Broken("price", "quantity times price is more than can be counted")
    return price


def _sku(text: str) -> str:
    if not 1 <= len(text) <= 64:
        raise Broken("stock_code", "StockCode is not of 1 to 64 characters")
    return text


def _title(text: str) -> str:
    if len(text) > 256:
        raise Broken("description", "Description is longer than 256 characters")
    return text


def _date(text: str) -> datetime:
    if _DATE.fullmatch(text):
        try:
            # No zone is given; UTC makes the same of it on every machine.
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError as error:
            raise Broken("date", f"InvoiceDate is no date and time: {error}") from error
    raise Broken("date", "InvoiceDate is not a date and time, as 2010-12-01 08:26:00")


def _customer(text: str) -> str:
    if not text:
        return ""
    found = _CUSTOMER.fullmatch(text)
    if not found:
        raise Broken("customer", "CustomerID is not a number or a word")
    return found[1]


def _country(text: str) -> str:
    if len(text.encode()) > 1_024:
        raise Broken("country", "Country is longer than 1,024 bytes")
    return text
