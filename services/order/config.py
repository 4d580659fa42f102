"""Settings of the Order service, beside those of every service: same environment prefix, same file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.host import ServiceSettings
from services.runtime.config import Address, Seconds


class OrderSettings(ServiceSettings):
    """What Order can be told."""

    store_file: Path = Path("order.db")
    """The SQLite file that remembers orders, items and stock."""
    payment_gateway: Address = "127.0.0.1:8474"
    """Where the payment gateway listens."""
    reservation_lives: Seconds = Field(900.0, gt=0)
    """So long units are held for an order that is not confirmed."""
    place_orders_unanswered: int = Field(256, ge=1, le=4096)
    """Orders of one PlaceOrders stream that may be unanswered before its next frame is read."""
    reconnect_spread: Seconds = 3.0
    """Clients of a draining server are told to come back after a random time up to this."""
