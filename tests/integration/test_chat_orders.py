"""Orders open their conversations and tell their steps in them, however often and however torn their events come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.order.v1 import order_pb2

from services.chat import wire
from services.chat.worker import OrderWorker, conversation_id
from services.ledger.decider import Delivered, Kind, Recorded, Request
from services.ledger.ids import AggregateId, fingerprint
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings
from services.ledger.sqlite import SqliteArchive
from tests.integration.chat_world import TENANT, ChatWorld, User, chat_world, request_id, watched
from tests.servers import NatsServer

ORDER = "0193a0de-0000-7000-8000-000000000001"


@dataclass(frozen=True)
class Count:
    """The state of an order here: how many events it has."""

    events: int = 0


ORDERS: Kind[Count, Sequence[order_pb2.OrderEvent], order_pb2.OrderEvent] = Kind(
    name="order",
    initial=Count,
    decide=lambda _state, events: events,
    evolve=lambda state, _event: Count(state.events + 1),
    encode=lambda event, version: order_pb2.OrderEvent(version=version).SerializeToString() + event.SerializeToString(),
    decode=order_pb2.OrderEvent.FromString,
    state_type=Count,
)


def order(courier: str = "") -> order_pb2.Order:
    return order_pb2.Order(order_id=ORDER, customer_id="carla", shop_id="shop", courier_id=courier)


def event(**what: Any) -> order_pb2.OrderEvent:
    made = order_pb2.OrderEvent(**what)
    made.event_time.FromMicroseconds(1_763_700_000_000_000)
    return made


def steps() -> list[order_pb2.OrderEvent]:
    """A whole order, with events that nobody needs to be told of."""
    return [
        event(placed=order_pb2.OrderPlaced(customer_id="carla", shop_id="shop")),
        event(stock_reserved=order_pb2.OrderStockReserved()),
        event(confirmed=order_pb2.OrderConfirmed(order=order())),
        event(accepted=order_pb2.OrderAccepted()),
        event(dispatched=order_pb2.OrderDispatched(courier_id="cody")),
        event(delivered=order_pb2.OrderDelivered()),
        event(payment_captured=order_pb2.PaymentCaptured()),
        event(completed=order_pb2.OrderCompleted(order=order("cody"))),
    ]


TOLD = ["order.confirmed", "order.accepted", "order.dispatched", "order.delivered", "order.completed"]


@asynccontextmanager
async def orders(world: ChatWorld, folder: Path) -> AsyncIterator[Ledger]:
    """An Order service's ledger."""
    archive = SqliteArchive.open(folder / "order.db")
    ledger = await Ledger.open(world.client, archive, world.telemetry, LogSettings("order", partitions=2), [ORDERS])
    try:
        yield ledger
    finally:
        await ledger.close()
        await archive.close()


async def append(ledger: Ledger, events: Sequence[order_pb2.OrderEvent], order_id: str = ORDER) -> None:
    await ledger.execute(AggregateId(TENANT, "order", order_id), events, Request(request_id(), fingerprint(order_id)))


async def codes(user: User, count: int) -> list[str]:
    """What the order's conversation says, once it says so much."""
    async with asyncio.timeout(60):
        while True:
            page = pb.ListMessagesRequest(conversation_id=conversation_id(ORDER), oldest_first=True)
            try:
                messages = (await user.call("ListMessages", page)).messages
            except Exception as error:  # noqa: BLE001 (only NOT_FOUND may come, before the conversation is there)
                assert "NOT_FOUND" in str(error)
                messages = []
            if len(messages) >= count:
                return [message.content.attributes["code"] for message in messages]
            await asyncio.sleep(0.02)


async def test_an_order_is_told_step_by_step(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world, orders(world, tmp_path) as source:
        OrderWorker(world.ledger, world.telemetry).start()
        carla, cody = world.user("carla"), world.user("cody")
        for one in steps():  # an entry each
            await append(source, [one])
        assert await codes(carla, 5) == TOLD
        events = await watched(carla.watch(conversation_id(ORDER)), 7)
        assert [member.user_id for member in events[0].created.members] == ["shop", "carla"]
        assert dict(events[0].created.attributes) == {"order_id": ORDER}
        added = next(one for one in events if one.HasField("members_added"))
        assert [member.user_id for member in added.members_added.members] == ["cody"]
        assert await cody.send(conversation_id(ORDER), "On my way.") == 8


async def test_a_whole_order_in_one_entry_is_told_the_same(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world, orders(world, tmp_path) as source:
        await append(source, steps())
        OrderWorker(world.ledger, world.telemetry).start()
        assert await codes(world.user("carla"), 5) == TOLD


async def test_what_comes_again_changes_nothing(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        worker = OrderWorker(world.ledger, world.telemetry)
        source = AggregateId(TENANT, "order", ORDER)
        recorded = [Recorded(at, one.SerializeToString()) for at, one in enumerate(steps(), 1)]
        target = AggregateId(TENANT, "conversation", conversation_id(ORDER))
        for _ in range(2):
            # Torn anew each time, and several at once.
            for size in (1, 3, len(recorded)):
                for start in range(0, len(recorded), size):
                    handed = Delivered(source, 10 + start, tuple(recorded[start : start + size]))
                    await asyncio.gather(*(worker.handle(handed) for _ in range(3)))
                history = await world.ledger.history(target, limit=100)
                assert len(history) == 7
        told = [shown for one in history if (shown := wire.message(one.payload))]
        assert [message.content.attributes["code"] for message in told] == TOLD


async def test_a_member_who_left_is_not_brought_back(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        worker = OrderWorker(world.ledger, world.telemetry)
        source = AggregateId(TENANT, "order", ORDER)
        recorded = [Recorded(at, one.SerializeToString()) for at, one in enumerate(steps(), 1)]
        await worker.handle(Delivered(source, 1, tuple(recorded[:6])))
        cody = world.user("cody")
        leave = pb.RemoveMembersRequest(
            request_id=request_id(), conversation_id=conversation_id(ORDER), user_ids=["cody"]
        )
        await cody.call("RemoveMembers", leave)
        await worker.handle(Delivered(source, 2, tuple(recorded)))
        shown = await world.user("carla").call(
            "GetConversation", pb.GetConversationRequest(conversation_id=conversation_id(ORDER))
        )
        assert [member.user_id for member in shown.conversation.members] == ["shop", "carla"]


async def test_a_rejected_order_tells_why(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        worker = OrderWorker(world.ledger, world.telemetry)
        rejected = event(rejected=order_pb2.OrderRejected(reason="PAYMENT_DECLINED", order=order()))
        aggregate = AggregateId("umbrella", "order", ORDER)
        await worker.handle(Delivered(aggregate, 1, (Recorded(5, rejected.SerializeToString()),)))
        carla = world.user("carla", tenant="umbrella")
        page = pb.ListMessagesRequest(conversation_id=conversation_id(ORDER))
        (message,) = (await carla.call("ListMessages", page)).messages
        assert message.sender_id == ""
        assert dict(message.content.attributes) == {
            "code": "order.rejected",
            "order_id": ORDER,
            "reason": "PAYMENT_DECLINED",
        }


async def test_what_is_no_order_is_passed_over(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        worker = OrderWorker(world.ledger, world.telemetry)
        stock = AggregateId(TENANT, "stock", "shop/mug/main")
        await worker.handle(Delivered(stock, 1, (Recorded(1, b"\xff\xff"),)))
