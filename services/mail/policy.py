"""Who may call what of Mail: one row an rpc."""

from __future__ import annotations

from typing import Final

from services.runtime.policy import Policy

_WRITERS: Final = frozenset({"service", "admin"})
_READERS_OF_STATISTICS: Final = frozenset({"service", "admin", "shop"})

POLICY: Final[Policy] = {
    "/tradewind.mail.v1.MailService/SendMail": _WRITERS,
    "/tradewind.mail.v1.MailService/SendMails": _WRITERS,
    "/tradewind.mail.v1.MailService/GetMail": _WRITERS,
    "/tradewind.mail.v1.MailService/GetMailStats": _READERS_OF_STATISTICS,
    "/tradewind.mail.v1.MailService/WatchMailStats": _READERS_OF_STATISTICS,
}
