"""Items and stock, and their events."""

from __future__ import annotations

from typing import Any

from tradewind.order.v1 import order_pb2

from services.order.domain import stock as s
from services.order.domain.item import Item, ItemPut
from services.order.domain.stock import Stock, StockEvent
from services.order.wire import values


def item(of: Item, version: int) -> order_pb2.Item:
    """Give an item that exists at a version."""
    price = None if of.unit_price is None else values.money(of.unit_price)
    return order_pb2.Item(shop_id=of.shop_id, sku=of.sku, title=of.title, unit_price=price, version=version)


def encode_item(event: ItemPut, version: int) -> bytes:
    """Give an item's event as bytes."""
    put = order_pb2.ItemPut(
        sku=event.sku, title=event.title, unit_price=values.money(event.unit_price), shop_id=event.shop_id
    )
    message = order_pb2.ItemEvent(
        version=version, event_time=values.timestamp(event.at_us), actor_id=event.actor_id, put=put
    )
    return message.SerializeToString(deterministic=True)


def decode_item(data: bytes) -> ItemPut:
    """Read an item's event."""
    message = order_pb2.ItemEvent.FromString(data)
    put = message.put
    at_us = values.micros(message.event_time)
    return ItemPut(at_us, message.actor_id, put.shop_id, put.sku, put.title, values.to_money(put.unit_price))


def stock(of: Stock, version: int, shop_id: str, sku: str, location: str) -> order_pb2.Stock:
    """Give a stock at a version."""
    return order_pb2.Stock(
        shop_id=shop_id,
        sku=sku,
        location=location,
        available=of.available,
        reserved=of.reserved,
        sold=of.sold,
        version=version,
    )


def encode_stock(event: StockEvent, version: int) -> bytes:
    """Give a stock's event as bytes."""
    actor_id = event.actor_id if isinstance(event, s.Adjusted) else ""
    body: dict[str, Any]
    match event:
        case s.Adjusted():
            body = {"adjusted": order_pb2.StockAdjusted(delta=event.delta)}
        case s.Reserved():
            expire_time = values.timestamp(event.expire_us)
            reserved = order_pb2.StockReserved(
                order_id=event.order_id, quantity=event.quantity, expire_time=expire_time
            )
            body = {"reserved": reserved}
        case s.Released():
            released = order_pb2.StockReleased(
                order_id=event.order_id, quantity=event.quantity, was_sold=event.was_sold
            )
            body = {"released": released}
        case s.Sold():
            body = {"sold": order_pb2.StockSold(order_id=event.order_id, quantity=event.quantity)}
        case s.Expired():
            body = {"expired": order_pb2.ReservationExpired(order_id=event.order_id, quantity=event.quantity)}
    message = order_pb2.StockEvent(version=version, event_time=values.timestamp(event.at_us), actor_id=actor_id, **body)
    return message.SerializeToString(deterministic=True)


def decode_stock(data: bytes) -> StockEvent:
    """Read a stock's event. Raises ValueError for one of a later release that this one does not know."""
    message = order_pb2.StockEvent.FromString(data)
    at_us = values.micros(message.event_time)
    match message.WhichOneof("event"):
        case "adjusted":
            return s.Adjusted(at_us, message.actor_id, message.adjusted.delta)
        case "reserved":
            body = message.reserved
            return s.Reserved(at_us, body.order_id, body.quantity, values.micros(body.expire_time))
        case "released":
            released = message.released
            return s.Released(at_us, released.order_id, released.quantity, released.was_sold)
        case "sold":
            return s.Sold(at_us, message.sold.order_id, message.sold.quantity)
        case "expired":
            return s.Expired(at_us, message.expired.order_id, message.expired.quantity)
        case unknown:
            raise ValueError(f"a stock event of a kind this release does not know: {unknown}")
