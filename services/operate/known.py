"""What the commands know of each service: its settings, its kinds of aggregates, and which consumers keep a place in its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.chat.config import ChatSettings
from services.chat.kinds import KEPT as CHAT_KEPT
from services.chat.kinds import KINDS as CHAT_KINDS
from services.chat.kinds import SLICED as CHAT_SLICED
from services.chat.moderation.resolving import ROLE as MODERATION_ROLE
from services.chat.push.worker import ROLE as PUSH_ROLE
from services.chat.scheduling.sending import ROLE as SCHEDULES_ROLE
from services.chat.worker import ROLE as CHAT_ROLE
from services.chat.worker import SOURCE as CHAT_SOURCE
from services.host import ServiceSettings
from services.ledger.decider import Kind
from services.mail.config import MailSettings
from services.mail.kinds import MAIL
from services.mail.worker import DELIVERY_ROLE, ORDER, ORDERS_ROLE
from services.order.config import OrderSettings
from services.order.kinds import KINDS
from services.order.projections import SLICED
from services.order.worker import ROLE as ORDER_ROLE


@dataclass(frozen=True)
class Known:
    """One service.

    Attributes:
        settings: how its settings are read.
        kinds: its aggregates.
        roles: (role, source) of every consumer whose place is in its store. Those that are functions of the log, such as the
            statistics of Mail, begin anew in another store and are not among them.
        kept: its read models that no entry writes, so that a backup must hold them.
        sliced: its read models that a store may cut into slices, as its processes say.
    """

    settings: type[ServiceSettings]
    kinds: tuple[Kind[Any, Any, Any], ...]
    roles: tuple[tuple[str, str], ...]
    sliced: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()


SERVICES: Final[Mapping[str, Known]] = {
    "chat": Known(
        ChatSettings,
        CHAT_KINDS,
        ((CHAT_ROLE, CHAT_SOURCE), (MODERATION_ROLE, "chat"), (SCHEDULES_ROLE, "chat"), (PUSH_ROLE, "chat")),
        CHAT_SLICED,
        CHAT_KEPT,
    ),
    "order": Known(OrderSettings, KINDS, ((ORDER_ROLE, "order"),), SLICED),
    "mail": Known(MailSettings, (MAIL,), ((DELIVERY_ROLE, "mail"), (ORDERS_ROLE, ORDER))),
}
