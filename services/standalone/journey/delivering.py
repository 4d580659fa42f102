"""Steps 4 and 5: the order is delivered and paid, mails arrive by SMTP, the receipt is opened."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
from tradewind.order.v1.order_pb2 import ORDER_STATE_COMPLETED, PAYMENT_STATUS_CAPTURED

from services.standalone.journey import post, seal
from services.standalone.journey.expect import STEP_SECONDS, Unmet, expect
from services.standalone.journey.stage import COURIER, Stage, amount
from services.standalone.screen import Step

_PAUSE_SECONDS = 0.1
_LOOKS = 6
# A person's mail program, not a machine that fetches pictures ahead.
_READER = "Mozilla/5.0 (X11; Linux x86_64) Thunderbird/140.0"


async def deliver(stage: Stage, step: Step) -> None:
    """Dispatched, delivered, captured; the confirmation and the receipt come by mail."""
    order_id, request_id = stage.first.order_id, stage.memory.request_id
    await stage.shop.order.dispatch_order(order_id, courier_id=COURIER, request_id=request_id("dispatch"))
    async with stage.credentials.client(COURIER) as courier:
        await courier.order.deliver_order(order_id, request_id=request_id("deliver"))
    await stage.order_until(order_id, "completed")
    order = await stage.customer.order.get_order(order_id)
    expect("the order's state", ORDER_STATE_COMPLETED, order.state)
    expect("its payment", PAYMENT_STATUS_CAPTURED, order.payment_status)
    await stage.told(order_id, "order.completed")
    step.saw(f"accepted, dispatched, delivered, completed; {amount(order.total)} captured")
    for template in ("order-confirmation", "order-receipt"):
        letter = await post.letter(stage, step, order_id, template)
        domain = await asyncio.to_thread(seal.verify, letter.raw, stage.dkim_public)
        step.saw(f"by SMTP: “{letter.subject}”, signature of {domain} verified")


async def open_receipt(stage: Stage, step: Step) -> None:
    """The picture in the receipt is fetched, and the statistics, watched all along, tell of it."""
    letter = await post.letter(stage, step, stage.first.order_id, "order-receipt")
    address = letter.picture()
    if address is None:
        raise Unmet("the receipt", "a picture that tells of its opening", "none")
    counts = await _open(stage, address)
    step.saw(f"GET {address[:44]}… → a picture")
    step.saw(
        f"WatchMailStats, frame {stage.stats.frames}: "
        f"{counts['queued']} taken, {counts['delivered']} delivered, {counts['unique_opens']} opened"
    )


async def _open(stage: Stage, address: str) -> dict[str, int]:
    """Look at the picture until the statistics tell of it: an opening is noted after the picture is given, so one may be lost."""
    for _ in range(_LOOKS):
        await _fetch(address)
        with contextlib.suppress(Unmet):
            return await _told_of(stage)
    return await _told_of(stage)


async def _told_of(stage: Stage) -> dict[str, int]:
    return await stage.stats.until(
        "mail statistics",
        "2 delivered, 1 opened",
        lambda seen: seen["delivered"] + seen["outcome_unknown"] >= 2 and seen["unique_opens"] >= 1,
        seconds=STEP_SECONDS / _LOOKS,
    )


async def _fetch(address: str) -> None:
    """Fetch a picture as a mail program would; while nobody is there, again. Raises Unmet."""
    loop = asyncio.get_running_loop()
    until = loop.time() + STEP_SECONDS
    async with aiohttp.ClientSession(headers={"User-Agent": _READER}) as session:
        while True:
            try:
                async with session.get(address, timeout=aiohttp.ClientTimeout(total=10)) as answer:
                    if answer.status < 500:
                        expect("the picture's status", 200, answer.status)
                        expect("its type", "image", answer.content_type.partition("/")[0])
                        return
                    seen = f"status {answer.status}"
            except (aiohttp.ClientError, TimeoutError) as error:
                seen = type(error).__name__
            if loop.time() > until:
                raise Unmet("the picture", "to be served", seen)
            await asyncio.sleep(_PAUSE_SECONDS)
