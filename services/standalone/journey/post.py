"""Waits for the letters that tell an order's steps.

A process that dies between a mail's text and the answer to it leaves a mail of unknown outcome, which Mail never sends again by
itself: it might have arrived. The journey looks into the inbox, so it may: it sends the letter once more by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from tradewind.mail.v1.mail_pb2 import Mailbox, TemplateContent
from tradewind.mail.v1.mail_service_pb2 import SendMailRequest
from tradewind.order.v1.order_pb2 import Order

from services.standalone.journey.letters import Letter
from services.standalone.journey.stage import Stage, amount
from services.standalone.screen import Step

_WORDS: Mapping[str, str] = {
    "order-confirmation": "confirmation",
    "order-receipt": "receipt",
    "order-rejected": "could not",
    "order-cancelled": "cancelled",
}
"""Template to a word that stands in its letters alone."""


async def letter(stage: Stage, step: Step, order_id: str, template: str) -> Letter:
    """Wait for the letter of ``template`` about an order. Raises Unmet, TradewindError."""
    word = _WORDS[template]
    arrival = asyncio.create_task(stage.inbox.find(f"the {word} letter of order {order_id}", word, order_id))
    loss = asyncio.create_task(stage.stats.until("mails", "all delivered", lambda seen: _lost(seen) > stage.lost))
    try:
        await asyncio.wait({arrival, loss}, return_when=asyncio.FIRST_COMPLETED)
        if not arrival.done():
            await loss
            await _send_again(stage, order_id, template)
            step.saw(
                f"a letter was lost from sight when a process died in mid-delivery; sent again by hand ({template})"
            )
        found = await arrival
        stage.lost = _lost(stage.stats.counts())
        return found
    finally:
        for task in (arrival, loss):
            task.cancel()
        await asyncio.gather(arrival, loss, return_exceptions=True)


async def _send_again(stage: Stage, order_id: str, template: str) -> None:
    order = await stage.customer.order.get_order(order_id)
    async with stage.credentials.client("admin") as admin:
        await admin.mail.send_mail(
            SendMailRequest(
                request_id=stage.memory.request_id(f"{template} of {order_id} again"),
                to=Mailbox(address=stage.address),
                template=TemplateContent(template=template, variables_json=json.dumps(_variables(order))),
                track_opens=template == "order-receipt",
            )
        )


def _variables(order: Order) -> dict[str, object]:
    lines = [
        {
            "title": line.title,
            "quantity": line.quantity,
            "unit_price": amount(line.unit_price),
            "amount": amount(line.unit_price, line.quantity),
        }
        for line in order.lines
    ]
    return {"order_id": order.order_id, "name": "", "cause": order.reason, "total": amount(order.total), "lines": lines}


def _lost(counts: Mapping[str, int]) -> int:
    return counts["outcome_unknown"]
