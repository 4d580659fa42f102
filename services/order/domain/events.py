"""What happens to an order."""

from __future__ import annotations

from dataclasses import dataclass

from services.order.domain.money import Line, Money
from services.order.domain.order import Contact, Order, Status, Step


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
