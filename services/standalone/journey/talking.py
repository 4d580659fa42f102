"""Step 3: the order's conversation; customer and courier talk, and the courier is cut off in mid-stream."""

from __future__ import annotations

from services.standalone.journey.cable import Cable
from services.standalone.journey.expect import expect, within
from services.standalone.journey.stage import COURIER, CUSTOMER, SHOP, Stage, conversation_of
from services.standalone.journey.talk import Line, Seat, talk
from services.standalone.screen import Step

_SAID = (
    (CUSTOMER, "Could you come before six?"),
    (COURIER, "I can. Is there a bell?"),
    (CUSTOMER, "There is, the lower one."),
    (COURIER, "Good, the tea is on my bicycle."),
    (CUSTOMER, "Mind the cat, please."),
    (COURIER, "I shall."),
)
_TORN = 3
"""Which line's answer is lost with the connection."""


async def converse(stage: Stage, step: Step) -> None:
    """The shop names a courier, Chat brings everybody together, and they talk."""
    order_id = stage.first.order_id
    await stage.shop.order.accept_order(order_id, courier_id=COURIER, request_id=stage.memory.request_id("accept"))
    await stage.told(order_id, "order.confirmed")
    await stage.told(order_id, "order.accepted")
    conversation = await stage.customer.chat.get_conversation(conversation_of(order_id))
    members = {member.user_id for member in conversation.members}
    expect("the members of the order's conversation", {CUSTOMER, SHOP, COURIER}, members)
    step.saw(f"{conversation.conversation_id}: {', '.join(sorted(members))}; told: confirmed, accepted")
    versions = await within("the dialogue", _talk(stage))
    step.saw(f"{len(versions)} lines over Converse as versions {', '.join(map(str, versions))}")
    step.saw(f"the courier was cut off before the answer to line {_TORN + 1}, and resumed: nothing lost, nothing twice")


async def _talk(stage: Stage) -> list[int]:
    lines = [
        Line(stage.memory.request_id(f"line {number}"), speaker, text, torn=number == _TORN)
        for number, (speaker, text) in enumerate(_SAID)
    ]
    conversation_id = conversation_of(stage.first.order_id)
    async with (
        Cable(stage.credentials.endpoints.chat) as cable,
        stage.credentials.client(CUSTOMER) as customer,
        stage.credentials.client(COURIER, chat=cable.endpoint) as courier,
        customer.chat.converse() as near,
        courier.chat.converse() as far,
        Seat(CUSTOMER, conversation_id, near) as customers,
        Seat(COURIER, conversation_id, far) as couriers,
    ):
        return await talk(lines, customers, couriers, cable)
