"""An order: its state, its commands, its events, and how events make the state. What a command makes is in ``deciding``, what the saga
does next in ``saga``. Times are microseconds since the Unix epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from services.order.domain.money import NO_MONEY, Line, Money


class Status(IntEnum):
    """How far an order is; numbers are those of the contract's OrderState."""

    NONE = 0
    PLACED = 1
    STOCK_RESERVED = 2
    CONFIRMED = 3
    ACCEPTED = 4
    OUT_FOR_DELIVERY = 5
    DELIVERED = 6
    COMPLETED = 7
    REJECTED = 8
    CANCELLED = 9


class Payment(IntEnum):
    """What became of the money; numbers are those of the contract's PaymentStatus."""

    NONE = 0
    AUTHORIZING = 1
    AUTHORIZED = 2
    DECLINED = 3
    CAPTURING = 4
    CAPTURED = 5
    VOIDING = 6
    VOIDED = 7


class Stocking(IntEnum):
    """What became of the order's units."""

    NONE = 0
    RESERVING = 1
    RESERVED = 2
    SOLD = 3
    RELEASED = 4


class Step(IntEnum):
    """A step of the saga; numbers are those of the contract's OrderStep."""

    NONE = 0
    RESERVE_STOCK = 1
    AUTHORIZE_PAYMENT = 2
    SELL_STOCK = 3
    CAPTURE_PAYMENT = 4
    RELEASE_STOCK = 5
    VOID_PAYMENT = 6


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to write to; personal data."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands."""

    order_id: str = ""
    customer_id: str = ""
    shop_id: str = ""
    courier_id: str = ""
    location: str = ""
    lines: tuple[Line, ...] = ()
    total: Money = NO_MONEY
    payment_method: str = ""
    contact: Contact | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    status: Status = Status.NONE
    payment: Payment = Payment.NONE
    payment_key: str = ""
    stocking: Stocking = Stocking.NONE
    attempt: int = 0
    """Number of the reservation attempt that runs or ran last."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Of items that were reserved again: the attempt that counts for them; 1 for all others."""
    reserving: tuple[str, ...] = ()
    """The items that are being reserved again; empty while all are."""
    may_be_sold: bool = False
    """True once units of it may have been sold, though the order does not know it yet."""
    reason: str = ""
    settled: bool = False
    created_us: int = 0
    updated_us: int = 0
    authorizing_since_us: int = 0
    closed_us: int = 0
    """When it was rejected or cancelled."""
    delayed: Step = Step.NONE
    tries: int = 0
    """How often in a row the step was delayed."""
    retry_us: int = 0
    """When the delayed step is due again; 0 where none is."""

    @property
    def exists(self) -> bool:
        """True once it was placed."""
        return self.status is not Status.NONE

    @property
    def closed(self) -> bool:
        """True once it was rejected or cancelled."""
        return self.status in (Status.REJECTED, Status.CANCELLED)

    def attempt_of(self, sku: str) -> int:
        """Say which reservation attempt counts for an item."""
        return self.attempts.get(sku, 1)

    def demand(self) -> dict[str, int]:
        """Sum the units of each item over all lines, in order of first mention."""
        wanted: dict[str, int] = {}
        for line in self.lines:
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
        return wanted


# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """The order's content."""

    order_id: str
    customer_id: str
    shop_id: str
    location: str
    lines: tuple[Line, ...]
    total: Money
    payment_method: str
    contact: Contact | None
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class StockReservationRequested:
    """The saga will reserve stock; ``skus`` empty means all."""

    attempt: int
    skus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StockReserved:
    """All lines are reserved."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequested:
    """The saga will ask for an authorisation."""

    payment_key: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Authorized:
    """The amount is reserved."""

    gateway_reference: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The order stands. ``order`` is what others need to know of it; None where the event was read back."""

    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The shop took it."""

    courier_id: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A courier has it."""

    courier_id: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The customer has it."""


@dataclass(frozen=True, slots=True)
class CaptureRequested:
    """The saga will ask for a capture."""

    amount: Money


@dataclass(frozen=True, slots=True)
class Captured:
    """The money was taken."""

    amount: Money


@dataclass(frozen=True, slots=True)
class Completed:
    """Done and paid. ``order`` as in Confirmed."""

    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """It could not be had. ``order`` as in Confirmed."""

    reason: str
    sku: str
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was called off. ``order`` as in Confirmed."""

    reason: str
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class VoidRequested:
    """The saga will ask for a void."""


@dataclass(frozen=True, slots=True)
class Voided:
    """The authorisation is given back, or never came to be."""

    existed: bool


@dataclass(frozen=True, slots=True)
class StockReleased:
    """Its units are back."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing of it is reserved or authorised any more."""


@dataclass(frozen=True, slots=True)
class StepDelayed:
    """A step could not be done now; it is done again at ``retry_us``."""

    step: Step
    tries: int
    retry_us: int


Body = (
    Placed
    | StockReservationRequested
    | StockReserved
    | AuthorizationRequested
    | Authorized
    | Confirmed
    | Accepted
    | Dispatched
    | Delivered
    | CaptureRequested
    | Captured
    | Completed
    | Rejected
    | Cancelled
    | VoidRequested
    | Voided
    | StockReleased
    | Settled
    | StepDelayed
)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What happened, when, by whom (empty: the saga), and how far the order then was."""

    at_us: int
    actor_id: str
    status_after: Status
    body: Body


# --- commands -------------------------------------------------------------------------------


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
