"""Templates, and the words of orders in them."""

from pathlib import Path

import pytest
from tradewind.order.v1 import order_pb2
from tradewind.type.v1.money_pb2 import Money

from services.mail.domain import Refused
from services.mail.money import EXPONENTS, written
from services.mail.orders import TOLD, TRACKED, told
from services.mail.rendering import Templates, variables_of

TEMPLATES = Templates()


def event(kind: str, email: str = "ann@example.org", **fields: str) -> order_pb2.OrderEvent:
    made = order_pb2.OrderEvent(version=9)
    news = getattr(made, kind)
    news.order.order_id = "0193-7"
    news.order.total.CopyFrom(Money(currency_code="JPY", minor_units=1200))
    news.order.lines.add(sku="tea", quantity=3, unit_price=Money(currency_code="JPY", minor_units=400))
    news.contact.email, news.contact.name = email, "Ann"
    for name, value in fields.items():
        setattr(news, name, value)
    return made


@pytest.mark.parametrize("kind", TOLD)
def test_every_letter_of_an_order_names_it_and_its_sum(kind: str) -> None:
    letter = told(event(kind))
    assert letter is not None
    assert letter.tracked == (letter.template in TRACKED)
    content = TEMPLATES.render(letter.template, letter.variables)
    for body in (content.text, content.html):
        assert "0193-7" in body
        assert "1,200 JPY" in body
        assert "Hello Ann," in body
        assert "tea" in body


def test_events_without_news_or_address_ask_for_no_letter() -> None:
    assert told(event("confirmed", email="")) is None
    delivered = order_pb2.OrderEvent(version=3)
    delivered.delivered.SetInParent()
    assert told(delivered) is None
    assert told(order_pb2.OrderEvent(version=3)) is None


def test_reasons_are_told_in_words() -> None:
    letter = told(event("rejected", reason="OUT_OF_STOCK"))
    assert letter is not None
    assert "not enough in stock" in TEMPLATES.render(letter.template, letter.variables).text
    letter = told(event("cancelled", reason="<b>changed my mind</b>"))
    assert letter is not None
    assert "&lt;b&gt;changed my mind" in TEMPLATES.render(letter.template, letter.variables).html


def test_what_is_missing_is_refused_without_being_told() -> None:
    for variables in ({}, {"name": "private", "order_id": "7", "total": "1", "lines": 7}):
        with pytest.raises(Refused) as refused:
            TEMPLATES.render("order-receipt", variables)
        assert refused.value.reason == "TEMPLATE_FAILED"
        assert "private" not in refused.value.message


@pytest.mark.parametrize("text", ["[1]", "{", '"a"', "[" * 100_000])
def test_variables_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        variables_of("order-receipt", text)
    assert refused.value.reason == "TEMPLATE_FAILED"


@pytest.mark.parametrize("name", ["no-such", "..", "letter.html.j2"])
def test_an_unknown_template_is_refused(name: str) -> None:
    with pytest.raises(Refused) as refused:
        TEMPLATES.render(name, {})
    assert refused.value.reason == "UNKNOWN_TEMPLATE"


def test_a_subject_stays_one_line_and_a_mail_within_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    (folder / "subject.j2").write_text("a\n{{ word }}\r\nBcc: eve@example.org")
    (folder / "text.j2").write_text("{% for n in range(times) %}0123456789{% endfor %}")
    (folder / "html.j2").write_text("<p>{{ word }}</p>")
    templates = Templates(tmp_path)
    content = templates.render("long", {"word": "x" * 300, "times": 1})
    assert len(content.subject) == 255
    assert "\n" not in content.subject
    with pytest.raises(Refused):
        templates.render("long", {"word": "", "times": 30_000})


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123_456, "GBP", "1,234.56 GBP"),
        (5, "EUR", "0.05 EUR"),
        (-1050, "USD", "-10.50 USD"),
        (1200, "JPY", "1,200 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (12_345, "CLF", "1.2345 CLF"),
        (0, "GBP", "0.00 GBP"),
    ],
)
def test_amounts_are_written_to_the_minor_unit(minor: int, currency: str, text: str) -> None:
    assert written(minor, currency) == text


def test_no_currency_stands_twice() -> None:
    assert set(EXPONENTS.values()) == {0, 3, 4}
    assert len(EXPONENTS) == 17 + 7 + 2
