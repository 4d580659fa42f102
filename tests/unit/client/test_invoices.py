import csv
import gzip
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.cli.grouping import Plan, Terms, requests_of
from tradewind.cli.invoices import COLUMNS, InvoiceLine, in_major_units, in_minor_units, read
from tradewind.cli.source import BrokenFile, Source, SourceLine
from tradewind.cli.verdicts import Broken, Refusal
from tradewind.order.v1 import order_service_pb2

GOOD = ["536365", "85123A", "WHITE HANGING HEART", "6", "2010-12-01 08:26:00", "2.55", "17850.0", "United Kingdom"]
TERMS = Terms("shop", "GBP", "guest", "pm_visa_ok")


def source(text: str) -> list[SourceLine]:
    """The lines of a text."""
    return [SourceLine(number, raw) for number, raw in enumerate(text.encode().splitlines(keepends=True), 1)]


def table(*rows: list[str]) -> str:
    """Rows as CSV under their header."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([list(COLUMNS), *rows])
    return out.getvalue()


def row(**changed: str) -> list[str]:
    """A good row with some columns changed."""
    return [changed.get(name, value) for name, value in zip(COLUMNS, GOOD, strict=True)]


def outcome(text: str, currency: str = "GBP") -> list[str]:
    """Numbers of lines that are taken, and `number:rule` of the others."""
    return [
        str(i.number) if isinstance(i, InvoiceLine) else f"{i.number}:{i.rule}" for i in read(source(text), currency)
    ]


def planned(text: str, limit: int | None = None) -> tuple[list[order_service_pb2.PlaceOrderRequest], list[Refusal]]:
    """The orders a file becomes, and what is refused on the way."""
    plan = Plan(limit)
    refused = list(plan.read(read(source(text), "GBP")))
    orders = plan.orders(read(source(text), "GBP"))
    return [each.request for name, lines in orders for each in requests_of(name, lines, plan, TERMS)], refused


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"InvoiceNo": "C536365", "Quantity": "-6"}, "cancellation"),
        ({"InvoiceNo": "C536365"}, "cancellation"),
        ({"InvoiceNo": ""}, "invoice"),
        ({"Quantity": "0"}, "no_quantity"),
        ({"Quantity": ""}, "no_quantity"),
        ({"Quantity": "-6"}, "negative_quantity"),
        ({"Quantity": "six"}, "quantity"),
        ({"Quantity": "6.5"}, "quantity"),
        ({"Quantity": "1000001"}, "quantity_limit"),
        ({"UnitPrice": "0.0"}, "no_price"),
        ({"UnitPrice": ""}, "no_price"),
        ({"UnitPrice": "-11062.06"}, "negative_price"),
        ({"UnitPrice": "2.555"}, "price_precision"),
        ({"UnitPrice": "1e3"}, "price"),
        ({"UnitPrice": "nan"}, "price"),
        ({"UnitPrice": "99999999999999999"}, "price"),
        ({"StockCode": " "}, "stock_code"),
        ({"StockCode": "x" * 65}, "stock_code"),
        ({"Description": "x" * 257}, "description"),
        ({"InvoiceDate": "01.12.2010"}, "date"),
        ({"InvoiceDate": "2010-02-30 08:26:00"}, "date"),
        ({"CustomerID": "178 50"}, "customer"),
    ],
)
def test_what_cannot_be_part_of_an_order_is_refused_by_its_rule(changed: dict[str, str], rule: str) -> None:
    assert outcome(table(row(), row(**changed), row())) == ["2", f"3:{rule}", "4"]


def test_what_looks_odd_and_is_right_is_taken() -> None:
    text = table(
        row(StockCode="BANK CHARGES"),
        row(StockCode="gift_0001_40", Description=""),
        row(Description='RECORD FRAME 7" SINGLE, LARGE '),
        row(Description="two\nlines"),
        row(CustomerID="", UnitPrice="3"),
        row(UnitPrice="2.550", Quantity="+6"),
    )
    lines = [line for line in read(source(text), "GBP") if isinstance(line, InvoiceLine)]
    assert [line.number for line in lines] == [2, 3, 4, 5, 7, 8]
    assert [line.customer for line in lines] == ["17850", "17850", "17850", "17850", "", "17850"]
    assert lines[2].title == 'RECORD FRAME 7" SINGLE, LARGE '
    assert [line.unit_price for line in lines[4:]] == [300, 255]


def test_an_open_quote_costs_its_own_line_only() -> None:
    broken = '536365,85123A,"WHITE,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n'
    text = table(row()) + broken + table(*[row()] * 40).split("\n", 1)[1]
    assert outcome(text) == ["2", "3:quote", *(str(number) for number in range(4, 44))]


def test_other_broken_records_are_named_by_line() -> None:
    text = table(row()) + "536365,85123A\n" + '"a"b,c\n' + "\n" + ",".join(GOOD) + "\r\n"
    assert outcome(text) == ["2", "3:columns", "4:csv", "6"]
    assert [i.rule for i in read([*source(table()), SourceLine(2, b"\xff\n")], "GBP") if isinstance(i, Refusal)] == [
        "encoding"
    ]


@pytest.mark.parametrize(("text", "said"), [("", "empty"), ("a,b\n", "InvoiceNo"), (",".join(GOOD) + "\n", "line 1")])
def test_a_file_without_its_header_is_refused_whole(text: str, said: str) -> None:
    with pytest.raises(BrokenFile, match=said):
        list(read(source(text), "GBP"))


def test_columns_stand_in_any_order_and_others_are_passed_over() -> None:
    lines = [["", *reversed(COLUMNS), "Notes"], ["1", *reversed(GOOD), "a, b"]]
    text = "\n".join(",".join(f'"{field}"' for field in line) for line in [*lines, GOOD]) + "\n"
    found = list(read(source(text), "GBP"))
    assert found[0] == next(read(source(table(GOOD)), "GBP"))
    assert found[1] == Refusal(3, "columns", "it has 8 fields; the header has 10")


def test_a_column_that_is_named_twice_is_refused() -> None:
    with pytest.raises(BrokenFile, match="names Country twice"):
        list(read(source(",".join([*COLUMNS, "Country"]) + "\n"), "GBP"))


@given(st.decimals(min_value=0, max_value=10**9, places=2), st.sampled_from(["GBP", "EUR", "KWD", "CLF"]))
def test_amounts_are_exact(amount: Decimal, currency: str) -> None:
    minor = in_minor_units(str(amount), currency)
    assert Decimal(in_major_units(minor, currency)) == amount


@given(st.integers(-(10**12), 10**12), st.sampled_from(["GBP", "JPY", "KWD"]))
def test_amounts_come_back_as_they_were(minor: int, currency: str) -> None:
    assert in_minor_units(in_major_units(minor, currency), currency) == minor


def test_a_currency_without_decimals_takes_none() -> None:
    assert in_minor_units("250", "JPY") == 250
    with pytest.raises(Broken, match="more decimals"):
        in_minor_units("2.5", "JPY")


def test_lines_of_an_invoice_are_one_order_wherever_they_stand() -> None:
    text = table(
        row(InvoiceNo="1", StockCode="A", InvoiceDate="2010-12-01 08:27:00"),
        row(InvoiceNo="2", StockCode="B"),
        row(InvoiceNo="1", StockCode="C", InvoiceDate="2010-12-01 08:26:00"),
        row(InvoiceNo="1", StockCode="A", UnitPrice="0"),
        row(InvoiceNo="1", StockCode="D", CustomerID="9"),
    )
    orders, refused = planned(text)
    assert {order.attributes["invoice"]: [line.sku for line in order.lines] for order in orders} == {
        "2": ["B"],
        "1": ["A", "C"],
    }
    assert {order.attributes["invoice_date"] for order in orders} == {"2010-12-01 08:26:00"}
    assert [(each.number, each.rule) for each in refused] == [(5, "no_price"), (6, "customer_differs")]


def test_a_long_invoice_becomes_several_orders() -> None:
    orders, _ = planned(table(*(row(StockCode=f"S{number}", CustomerID="") for number in range(1114))))
    assert [len(order.lines) for order in orders] == [1000, 114]
    assert [order.attributes["part"] for order in orders] == ["1/2", "2/2"]
    assert len({order.request_id for order in orders}) == 2
    assert {order.customer_id for order in orders} == {"guest"}


def test_a_limit_takes_the_first_invoices_whole() -> None:
    rows = [row(InvoiceNo=invoice) for invoice in ("1", "2", "3", "1")]
    orders, refused = planned(table(*rows, row(Quantity="0")), limit=2)
    assert {order.attributes["invoice"]: len(order.lines) for order in orders} == {"1": 2, "2": 1}
    assert refused == []


def test_the_same_invoice_of_another_file_is_the_same_intent() -> None:
    one, _ = planned(table(row(), row(InvoiceNo="9")))
    other, _ = planned(table(row(InvoiceNo="7"), row()))
    assert one[0] == other[1]
    assert one[0].request_id < one[1].request_id or one[0].attributes["invoice"] == "536365"


def test_gzip_is_told_by_content_and_its_damage_is_said(tmp_path: Path) -> None:
    packed = gzip.compress(table(*[row()] * 5000).encode())
    file = tmp_path / "orders.csv"
    file.write_bytes(packed)
    plain = tmp_path / "plain.csv"
    plain.write_bytes(gzip.decompress(packed))
    one, other = Source(file), Source(plain)
    assert sum(1 for _ in read(one.lines(), "GBP")) == sum(1 for _ in read(other.lines(), "GBP")) == 5000
    assert one.digest.digest() == other.digest.digest()
    file.write_bytes(packed[:-20])
    with pytest.raises(BrokenFile, match="cut off after line"):
        list(read(Source(file).lines(), "GBP"))


@pytest.mark.data
def test_the_recorded_december_comes_to_its_sums(recorded_data: Path) -> None:
    file = Source(recorded_data / "orders" / "online_retail_2010-12.csv")
    plan = Plan()
    refused = [each.rule for each in plan.read(read(file.lines(), "GBP"))]
    orders = [
        each.request
        for name, lines in plan.orders(read(file.lines(), "GBP"))
        for each in requests_of(name, lines, plan, TERMS)
    ]
    counts = {rule: refused.count(rule) for rule in set(refused)}
    assert counts == {"cancellation": 728, "negative_quantity": 70, "no_price": 203}
    assert len(orders) == len({order.request_id for order in orders}) == 1559
    assert sum(line.quantity * line.unit_price.minor_units for order in orders for line in order.lines) == 82_374_614
