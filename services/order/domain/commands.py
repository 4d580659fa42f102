"""What can be done to an order: by people, and by the saga, which records what came of its steps."""

from __future__ import annotations

from dataclasses import dataclass

from services.order.domain.money import Line
from services.order.domain.order import Contact, Step


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Take an order."""

    at_us: int
    actor_id: str
    order_id: str
    customer_id: str
    shop_id: str
    location: str
    lines: tuple[Line, ...]
    payment_method: str
    contact: Contact | None
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Call it off."""

    at_us: int
    actor_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptOrder:
    """Take it as the shop."""

    at_us: int
    actor_id: str
    courier_id: str


@dataclass(frozen=True, slots=True)
class DispatchOrder:
    """Give it to a courier; empty: the one named before."""

    at_us: int
    actor_id: str
    courier_id: str


@dataclass(frozen=True, slots=True)
class DeliverOrder:
    """Say that the customer has it."""

    at_us: int
    actor_id: str


@dataclass(frozen=True, slots=True)
class RecordReserved:
    """The items of this attempt are reserved."""

    at_us: int
    attempt: int


@dataclass(frozen=True, slots=True)
class RecordOutOfStock:
    """An item is not to be had."""

    at_us: int
    attempt: int
    reason: str
    sku: str


@dataclass(frozen=True, slots=True)
class RecordConfirmed:
    """Payment is authorised and all units are sold; the reference is empty where it was recorded before."""

    at_us: int
    gateway_reference: str


@dataclass(frozen=True, slots=True)
class RecordReservationLost:
    """Payment is authorised, but the reservations of some items ran out before they could be sold."""

    at_us: int
    gateway_reference: str
    skus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordDeclined:
    """The issuer refused."""

    at_us: int


@dataclass(frozen=True, slots=True)
class RecordCaptured:
    """The money was taken."""

    at_us: int


@dataclass(frozen=True, slots=True)
class RecordReleased:
    """All units are back."""

    at_us: int


@dataclass(frozen=True, slots=True)
class RecordVoided:
    """The authorisation is given back; or it did not exist, and ``final`` says that it never can any more."""

    at_us: int
    existed: bool
    final: bool = False


@dataclass(frozen=True, slots=True)
class RecordDelayed:
    """The step that is next could not be done."""

    at_us: int
    step: Step
    retry_us: int


OrderCommand = (
    PlaceOrder
    | CancelOrder
    | AcceptOrder
    | DispatchOrder
    | DeliverOrder
    | RecordReserved
    | RecordOutOfStock
    | RecordConfirmed
    | RecordReservationLost
    | RecordDeclined
    | RecordCaptured
    | RecordReleased
    | RecordVoided
    | RecordDelayed
)
