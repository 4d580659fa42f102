"""The checker is itself checked: honest records pass, and each way of lying about them is caught under its own name."""

import ast
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tradewind.chat.v1 import chat_pb2
from tradewind.order.v1 import order_pb2

from tests.drills.checker import findings
from tests.drills.checker.evidence import Entry, Evidence, History, Mail, Payment
from tests.drills.checker.verdict import judge
from tests.drills.records import ACKNOWLEDGED, REFUSED, UNKNOWN, Call, Frame, Recorder, Records, digest

TALK, ORDER, STOCK = "drill/conversation/c1", "drill/order/o1", "drill/stock/shop/main/cup"
STEPS = ("confirmed", "accepted", "dispatched", "delivered", "completed")


def rid(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012x}"


def history(events: list[bytes], request: int) -> History:
    """One event an entry, each by its own command."""
    entries = [
        Entry(10 * n, n, n - 1, 10 * (n - 1), (event,), ((rid(request + n).replace("-", ""), 1),))
        for n, event in enumerate(events, 1)
    ]
    return History(len(entries), 10 * len(entries), entries)


def said(version: int, text: str) -> bytes:
    return chat_pb2.ConversationEvent(
        version=version, actor_id="ann", message=chat_pb2.MessageContent(text=text)
    ).SerializeToString()


def told(version: int, code: str) -> bytes:
    return chat_pb2.ConversationEvent(
        version=version, system_message=chat_pb2.SystemMessage(code=code)
    ).SerializeToString()


def an_order() -> list[bytes]:
    event = order_pb2.OrderEvent
    placed, asked, paid = event(), event(), event()
    placed.placed.lines.add(sku="cup", quantity=2)
    asked.payment_authorization_requested.payment_key = "pay-o1"
    paid.payment_captured.amount.minor_units = 500
    steps = {name: event() for name in STEPS}
    for name, step in steps.items():
        getattr(step, name).SetInParent()
    whole = [placed, asked, *(steps[name] for name in STEPS[:4]), paid, steps["completed"]]
    for version, one in enumerate(whole, 1):
        one.version = version
    return [one.SerializeToString() for one in whole]


def a_stock() -> list[bytes]:
    put, held, sold = order_pb2.StockEvent(version=1), order_pb2.StockEvent(version=2), order_pb2.StockEvent(version=3)
    put.adjusted.delta = 10
    held.reserved.order_id, held.reserved.quantity = "o1", 2
    sold.sold.order_id, sold.sold.quantity = "o1", 2
    return [event.SerializeToString() for event in (put, held, sold)]


def honest() -> tuple[Records, Evidence]:
    """A small run in which everything is as it should be."""
    texts = ["one", "two", "three"]
    talk = history([said(n, text) for n, text in enumerate(texts, 1)], 100)
    order_talk = history([told(n, f"order.{step}") for n, step in enumerate(STEPS, 1)], 200)
    evidence = Evidence(
        logs={
            "chat": {TALK: talk, "drill/conversation/order-o1": order_talk},
            "order": {ORDER: history(an_order(), 300), STOCK: history(a_stock(), 400)},
            "mail": {"drill/mail/m1": history([b"\x08\x01"], 500)},
        },
        messages={"c1": [(n, digest(text)) for n, text in enumerate(texts, 1)]},
        orders={"o1": (7, True)}, stocks={"cup": (8, 0, 2)}, payments={"pay-o1": Payment(3, 500, 0)},
        mails={"m1": Mail("r@x.example", 4, ["deferred", "delivered"])}, inbox=Counter({"r@x.example": 1}),
    )  # fmt: skip
    calls = [
        Call("chat.send", "a", "c1", rid(100 + n), digest(text), 0.0, 0.1, ACKNOWLEDGED, n)
        for n, text in enumerate(texts, 1)
    ]
    calls += [
        Call("chat.send", "a", "c1", rid(1), digest("never"), 0.0, 0.1, REFUSED),
        Call("chat.send", "a", "c1", rid(2), digest("perhaps"), 0.0, 0.1, UNKNOWN),
        Call("order.place", "b", "o1", rid(301), "", 0.0, 0.1, ACKNOWLEDGED),
        Call("stock.adjust", "b", "cup", rid(401), "", 0.0, 0.1, ACKNOWLEDGED, facts={"delta": 10}),
        Call("mail.send", "m", "r@x.example", rid(501), "", 0.0, 0.1, ACKNOWLEDGED, facts={"mail": "m1"}),
    ]
    seen = [(version, digest(event)) for version, event in talk.events()]
    frames = [Frame("w1", "c1", 1, 0.1, seen[:2]), Frame("w2", "c1", 1, 0.1, seen), Frame("w1", "c1", 2, 0.2, seen[2:])]
    return Records(calls, frames), evidence


def test_an_honest_run_passes() -> None:
    verdict = judge(*honest())
    assert verdict.findings == []
    assert verdict.outcomes == {ACKNOWLEDGED: 6, REFUSED: 1, UNKNOWN: 1}


def change(evidence: Evidence, service: str, key: str, entries: list[Entry]) -> None:
    """Puts other entries into a store."""
    last = entries[-1]
    version = last.first_version + len(last.events) - 1
    evidence.logs[service] = {**evidence.logs[service], key: History(version, last.seq, entries)}


def entries_of(evidence: Evidence, service: str, key: str) -> list[Entry]:
    return list(evidence.logs[service][key].entries)


def lose_the_last(_: Records, evidence: Evidence) -> None:
    change(evidence, "chat", TALK, entries_of(evidence, "chat", TALK)[:-1])
    evidence.messages["c1"] = evidence.messages["c1"][:-1]


def say_twice_by_one_id(_: Records, evidence: Evidence) -> None:
    entries = entries_of(evidence, "chat", TALK)
    entries.append(
        replace(entries[2], seq=40, first_version=4, base_version=3, base_seq=30, events=(said(4, "three"),))
    )
    change(evidence, "chat", TALK, entries)


def say_twice_by_two_ids(_: Records, evidence: Evidence) -> None:
    entries = entries_of(evidence, "chat", TALK)
    other = ((rid(9).replace("-", ""), 1),)
    entries.append(Entry(40, 4, 3, 30, (said(4, "three"),), other))
    change(evidence, "chat", TALK, entries)
    evidence.messages["c1"] = [*evidence.messages["c1"], (4, digest("three"))]


def apply_what_was_refused(_: Records, evidence: Evidence) -> None:
    entries = entries_of(evidence, "chat", TALK)
    entries.append(Entry(40, 4, 3, 30, (said(4, "never"),), ((rid(1).replace("-", ""), 1),)))
    change(evidence, "chat", TALK, entries)
    evidence.messages["c1"] = [*evidence.messages["c1"], (4, digest("never"))]


def leave_a_hole(_: Records, evidence: Evidence) -> None:
    entries = entries_of(evidence, "chat", TALK)
    change(evidence, "chat", TALK, [entries[0], entries[2]])


def let_the_head_run_ahead(_: Records, evidence: Evidence) -> None:
    old = evidence.logs["chat"][TALK]
    evidence.logs["chat"] = {**evidence.logs["chat"], TALK: History(4, 40, old.entries)}


def answer_another_version(records: Records, _: Evidence) -> None:
    records.calls[0] = replace(records.calls[0], version=2)


def answer_two_versions(records: Records, _: Evidence) -> None:
    records.calls.append(replace(records.calls[0], version=2))


def change_a_text(_: Records, evidence: Evidence) -> None:
    entries = entries_of(evidence, "chat", TALK)
    entries[1] = replace(entries[1], events=(said(2, "other"),))
    change(evidence, "chat", TALK, entries)


def show_other_bytes(records: Records, _: Evidence) -> None:
    records.frames[1] = replace(records.frames[1], events=[(1, "0" * 32), *records.frames[1].events[1:]])


def skip_a_version(records: Records, _: Evidence) -> None:
    del records.frames[0].events[1]


def repeat_a_version(records: Records, _: Evidence) -> None:
    records.frames[2].events.insert(0, records.frames[0].events[1])


def show_what_is_not_stored(records: Records, _: Evidence) -> None:
    records.frames[2].events.append((4, "0" * 32))


def oversell(_: Records, evidence: Evidence) -> None:
    held = order_pb2.StockEvent(version=4)
    held.reserved.order_id, held.reserved.quantity = "o2", 9
    entries = entries_of(evidence, "order", STOCK)
    entries.append(Entry(40, 4, 3, 30, (held.SerializeToString(),), ((rid(404).replace("-", ""), 1),)))
    change(evidence, "order", STOCK, entries)
    evidence.stocks["cup"] = (-1, 9, 2)


def lose_a_unit(_: Records, evidence: Evidence) -> None:
    evidence.stocks["cup"] = (7, 0, 2)


def sell_to_nobody(_: Records, evidence: Evidence) -> None:
    order = order_pb2.OrderEvent.FromString(an_order()[0])
    order.placed.lines[0].quantity = 1
    entries = entries_of(evidence, "order", ORDER)
    entries[0] = replace(entries[0], events=(order.SerializeToString(),))
    change(evidence, "order", ORDER, entries)


def capture_twice(_: Records, evidence: Evidence) -> None:
    evidence.payments["pay-o1"] = Payment(3, 1000, 0)


def capture_nothing(_: Records, evidence: Evidence) -> None:
    del evidence.payments["pay-o1"]


def tell_a_step_twice(_: Records, evidence: Evidence) -> None:
    key = "drill/conversation/order-o1"
    entries = entries_of(evidence, "chat", key)
    entries.append(Entry(60, 6, 5, 50, (told(6, "order.completed"),), ((rid(206).replace("-", ""), 1),)))
    change(evidence, "chat", key, entries)


def tell_nothing(_: Records, evidence: Evidence) -> None:
    evidence.logs["chat"] = {TALK: evidence.logs["chat"][TALK]}


def lose_an_order(_: Records, evidence: Evidence) -> None:
    evidence.logs["order"] = {STOCK: evidence.logs["order"][STOCK]}
    evidence.orders.clear()


def lose_a_mail(_: Records, evidence: Evidence) -> None:
    evidence.mails.clear()


def mail_twice(_: Records, evidence: Evidence) -> None:
    evidence.inbox["r@x.example"] = 2


def mail_nothing(_: Records, evidence: Evidence) -> None:
    evidence.inbox.clear()


@pytest.mark.parametrize(
    ("lie", "caught"),
    [
        (lose_the_last, findings.LOST),
        (say_twice_by_one_id, findings.DOUBLED),
        (say_twice_by_two_ids, findings.DOUBLED),
        (apply_what_was_refused, findings.REFUSED_BUT_THERE),
        (leave_a_hole, findings.HOLE),
        (let_the_head_run_ahead, findings.HOLE),
        (answer_another_version, findings.ANSWERS_DIFFER),
        (answer_two_versions, findings.ANSWERS_DIFFER),
        (change_a_text, findings.CONTENT),
        (show_other_bytes, findings.BYTES),
        (skip_a_version, findings.SKIPPED),
        (repeat_a_version, findings.SKIPPED),
        (show_what_is_not_stored, findings.MADE_UP),
        (oversell, findings.OVERSOLD),
        (lose_a_unit, findings.STOCK),
        (sell_to_nobody, findings.STOCK),
        (capture_twice, findings.MONEY),
        (capture_nothing, findings.MONEY),
        (tell_a_step_twice, findings.TOLD),
        (tell_nothing, findings.TOLD),
        (lose_an_order, findings.LOST),
        (lose_a_mail, findings.LOST),
        (mail_twice, findings.MAILED),
        (mail_nothing, findings.UNDELIVERED),
    ],
)
def test_every_lie_is_caught(lie: Callable[[Records, Evidence], None], caught: str) -> None:
    records, evidence = honest()
    lie(records, evidence)
    assert caught in {finding.rule for finding in judge(records, evidence).findings}


def test_an_unknown_outcome_may_be_there_once() -> None:
    records, evidence = honest()
    entries = entries_of(evidence, "chat", TALK)
    entries.append(Entry(40, 4, 3, 30, (said(4, "perhaps"),), ((rid(2).replace("-", ""), 1),)))
    change(evidence, "chat", TALK, entries)
    evidence.messages["c1"] = [*evidence.messages["c1"], (4, digest("perhaps"))]
    assert judge(records, evidence).findings == []


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records, _ = honest()
    with Recorder(tmp_path / "records.jsonl") as recorder:
        for call in records.calls:
            recorder.add(call)
        for frame in records.frames:
            recorder.add(frame)
    read = Records.read(tmp_path / "records.jsonl")
    assert read.calls == records.calls
    assert [[tuple(event) for event in frame.events] for frame in read.frames] == [f.events for f in records.frames]


def test_the_checker_shares_no_code_with_the_services() -> None:
    folder = Path(__file__).parent
    files = [*(folder / "checker").glob("*.py"), folder / "records.py", folder / "fields.py"]
    imported = {
        name
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    ours = {name for name in imported if name.split(".")[0] in ("services", "tests", "tradewind")}
    allowed = ("tests.drills.checker", "tests.drills.records", "tests.drills.fields")
    assert {name for name in ours if not (name.endswith(".v1") or name.startswith(allowed))} == set()
