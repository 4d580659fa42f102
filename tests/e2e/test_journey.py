"""The journey, looked at from outside: by the command line, in the inbox, in its trace."""

import email
import email.policy
from collections.abc import Iterator
from typing import Any

import dkim
import pytest
from tradewind.cli.traces import Span, chosen, spans

from services.standalone.keys import Keys
from tests.e2e.standalone_world import Standalone

ORDER, CHAT, MAIL = "tradewind.order.v1.OrderService", "tradewind.chat.v1.ChatService", "tradewind.mail.v1.MailService"
GATEWAY = "tradewind.payment.v1.PaymentGatewayService"


async def orders_by_reason(standalone: Standalone) -> dict[str, dict[str, Any]]:
    """The journey's four orders: by why they ended, "" for the one that travelled."""
    listed = await standalone.json("order", "list", "--shop", "shop")
    return {order.get("reason", ""): order for order in listed if order["lines"][0]["sku"].startswith("tea-")}


async def test_every_step_held_and_says_what_to_try_next(standalone: Standalone) -> None:
    assert [step for step in range(1, 8) if f"✓  {step}. " not in standalone.screen] == []
    offered = [line for line in standalone.screen.splitlines() if "bin/tradewind " in line]
    assert len(offered) == 5
    for line in offered:
        command = line.split("bin/tradewind ")[1].split("  ")[0].split()
        done = await standalone.command(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert done.stdout.strip()


async def test_four_orders_ended_as_the_story_says(standalone: Standalone) -> None:
    orders = await orders_by_reason(standalone)
    ends = {reason: (order["state"], order["payment_status"], order["settled"]) for reason, order in orders.items()}
    assert ends == {
        "": ("ORDER_STATE_COMPLETED", "PAYMENT_STATUS_CAPTURED", True),
        "PAYMENT_DECLINED": ("ORDER_STATE_REJECTED", "PAYMENT_STATUS_DECLINED", True),
        "OUT_OF_STOCK": ("ORDER_STATE_REJECTED", "PAYMENT_STATUS_UNSPECIFIED", True),
        "changed my mind": ("ORDER_STATE_CANCELLED", "PAYMENT_STATUS_VOIDED", True),
    }


async def test_stock_adds_up_to_what_was_put_in(standalone: Standalone) -> None:
    sku = (await orders_by_reason(standalone))[""]["lines"][0]["sku"]
    [stock] = await standalone.json("--as", "shop", "stock", "show", sku)
    counts = {name: int(stock.get(name, 0)) for name in ("available", "reserved", "sold")}
    assert counts == {"available": 1, "reserved": 0, "sold": 2}


async def test_the_conversation_tells_the_orders_steps_and_what_people_said(standalone: Standalone) -> None:
    order_id = (await orders_by_reason(standalone))[""]["order_id"]
    said = await standalone.json("chat", "history", f"order-{order_id}", "--oldest-first")
    versions = [int(message["version"]) for message in said]
    assert versions == sorted(set(versions))
    codes = [message["content"]["attributes"]["code"] for message in said if not message.get("sender_id")]
    assert codes == [f"order.{step}" for step in ("confirmed", "accepted", "dispatched", "delivered", "completed")]
    assert [message["sender_id"] for message in said if message.get("sender_id")] == ["customer", "courier"] * 3


async def test_the_inbox_holds_six_letters_with_good_signatures(standalone: Standalone) -> None:
    public = Keys(standalone.home.keys).dkim_public.read_text()
    record = b"v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1]).encode()
    subjects = []
    for path in (standalone.home.inbox / "new").iterdir():
        raw = path.read_bytes()
        message = email.message_from_bytes(raw, policy=email.policy.default)
        if "ann@" not in str(message["To"]):
            continue  # another test's
        assert dkim.verify(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), dnsfunc=lambda *_, **__: record)
        subjects.append(str(message["Subject"]))
    assert sorted(subjects) == sorted(
        ["Confirmation of your order"] * 2
        + ["We could not take your order"] * 2
        + ["Your order is cancelled", "Receipt for your order: 19.00 GBP"]
    )


# --- the trace ---


class Trace:
    """The spans of the journey, and who stands below whom."""

    def __init__(self, found: list[Span]) -> None:
        self.spans = found
        self._by_id = {span.span_id: span for span in found}

    def above(self, span: Span) -> Iterator[Span]:
        """Its parent, the parent of that, and so on."""
        parent = self._by_id.get(span.parent_id or "")
        while parent is not None:
            yield parent
            parent = self._by_id.get(parent.parent_id or "")

    def has(self, *way: str) -> bool:
        """Whether some span stands below others that are named so, in this order, with others between them or none."""
        return any(self._leads(span, way) for span in self.spans if way[-1] in f"{span.service} {span.name}")

    def _leads(self, span: Span, way: tuple[str, ...]) -> bool:
        wanted = list(way[:-1])
        for parent in self.above(span):
            if wanted and wanted[-1] in f"{parent.service} {parent.name}":
                wanted.pop()
        return not wanted


@pytest.fixture(scope="module")
def trace(standalone: Standalone) -> Trace:
    folder = standalone.home.traces
    trace_id = chosen(folder, "")
    assert trace_id is not None
    return Trace(list(spans(folder, trace_id)))


@pytest.mark.parametrize(
    "way",
    [
        ("journey journey", f"order {ORDER}/PlaceOrder", "order ledger.append"),
        ("journey journey", f"order {ORDER}/PlaceOrder", "order ledger.store"),
        (f"{ORDER}/PlaceOrder", "order consume saga", "order ledger.append"),
        (f"{ORDER}/PlaceOrder", "order consume saga", f"payments {GATEWAY}/AuthorizePayment"),
        (f"{ORDER}/DeliverOrder", "order consume saga", f"payments {GATEWAY}/CapturePayment"),
        (f"{ORDER}/CancelOrder", "order consume saga", f"payments {GATEWAY}/VoidPayment"),
        (f"{ORDER}/PlaceOrder", "chat consume", "chat ledger.append"),
        (f"{ORDER}/PlaceOrder", "chat consume", "chat ledger.store"),
        (f"chat {CHAT}/Converse", "chat ledger.append"),
        (f"chat {CHAT}/Converse", "chat ledger.store"),
        (f"{ORDER}/PlaceOrder", "mail consume", "mail ledger.append"),
        (f"{ORDER}/PlaceOrder", "mail consume", "mail smtp"),
        (f"{ORDER}/DeliverOrder", "mail consume", "mail smtp"),
        (f"{ORDER}/DeliverOrder", "mail mail.open"),
        ("journey journey", f"mail {MAIL}/WatchMailStats"),
        ("journey journey", f"order {ORDER}/WatchOrder"),
    ],
    ids=lambda way: " > ".join(name.rpartition(".")[2] for name in way),
)
def test_one_trace_leads_from_the_call_to_its_last_effect(trace: Trace, way: tuple[str, ...]) -> None:
    assert trace.has(*way)


def test_the_trace_is_one_tree(trace: Trace) -> None:
    known = {span.span_id for span in trace.spans}
    roots = [f"{span.service} {span.name}" for span in trace.spans if span.parent_id not in known]
    assert roots == ["journey journey"]


def test_no_span_failed_that_the_story_does_not_ask_to_fail(trace: Trace) -> None:
    failed = {span.failed for span in trace.spans if span.failed}
    assert failed <= {"PAYMENT_DECLINED", "OUT_OF_STOCK", "NOT_FOUND", "CANCELLED"}
