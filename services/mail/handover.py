"""One hand-over of one mail: its message, its server, its session, and what came of it. Knows SMTP, and nothing of the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from services.mail.clock import now_us
from services.mail.domain import Lane, Queued, Reply, Verdict
from services.mail.smtp.connection import Endpoint, OutcomeLost, Rejected, Session
from services.mail.smtp.dkim import Signer
from services.mail.smtp.message import BadAddress, Letter, build
from services.mail.smtp.pool import Pool
from services.mail.smtp.replies import ConnectionLost
from services.mail.smtp.routes import NoRoute, Routes
from services.runtime.telemetry import Telemetry

SESSION_WAIT: Final = 15.0

Start = Callable[[Endpoint], Awaitable[float | None]]
"""Writes down that a hand-over to a server begins; gives until when it may be done, or None where it may not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a hand-over ended."""

    kind: Literal["delivered", "deferred", "bounced", "unknown"]
    reply: Reply | None = None


class Unreachable(Exception):
    """Nobody could be talked to, so nothing was handed over; ``final`` where nobody ever can."""

    def __init__(self, host: str, reply: Reply, *, final: bool = False) -> None:
        super().__init__("no server could be talked to")
        self.host = host
        self.reply = reply
        self.final = final


class HandOver:
    """Hands mails over by one pool of sessions."""

    def __init__(self, pool: Pool, routes: Routes, signer: Signer | None, telemetry: Telemetry) -> None:
        """Sign with ``signer``, where there is one."""
        self._pool = pool
        self._routes = routes
        self._signer = signer
        self._telemetry = telemetry

    async def deliver(self, mail_id: str, mail: Queued, start: Start, trace: str | None) -> Outcome | None:
        """Hand a mail over to the first of its domain's servers that talks to us.

        Returns:
            What came of it; None where ``start`` did not allow it.

        Raises:
            Unreachable: no server talked; ``start`` was not called.
            Busy: no session was free.
        """
        try:
            endpoints = await self._routes.of(mail.labels.domain)
        except NoRoute as none:
            raise Unreachable("", none.reply, final=none.reply.verdict is Verdict.HARD) from None
        last = ConnectionLost("no server")
        for endpoint in endpoints:
            with self._telemetry.span("smtp.send", trace, "client", {"smtp.host": endpoint.host}) as span:
                try:
                    async with self._pool.session(endpoint, wait=SESSION_WAIT) as session:
                        message = self._message(mail_id, mail)
                        before = await start(endpoint)
                        if before is None:
                            return None
                        outcome = await self._send(session, mail, message, before)
                except ConnectionLost as error:
                    last = error
                    span.fail("NO_CONNECTION")
                    continue
                except Rejected as rejected:
                    # Passed through the pool, which keeps the session.
                    outcome = _refusal(rejected.reply)
                span.set("smtp.outcome", outcome.kind)
                span.set("smtp.reply_code", outcome.reply.code if outcome.reply else 0)
                return outcome
        raise Unreachable(str(endpoints[-1]), last.reply)

    async def _send(self, session: Session, mail: Queued, message: bytes, before: float) -> Outcome:
        """Send over a session; where a kept one turns out to be dead before the text was sent, over a new one."""
        sender, recipient = mail.sender.address, mail.recipient.address
        kept = session.sent > 0
        try:
            return Outcome("delivered", await session.send(sender, recipient, message, before))
        except OutcomeLost:
            return Outcome("unknown")
        except ConnectionLost as lost:
            if not kept:
                return Outcome("deferred", lost.reply)
        try:
            return Outcome(
                "delivered", await self._pool.send_once(session.endpoint, sender, recipient, message, before)
            )
        except OutcomeLost:
            return Outcome("unknown")
        except ConnectionLost as lost:
            return Outcome("deferred", lost.reply)

    def _message(self, mail_id: str, mail: Queued) -> bytes:
        letter = Letter(
            mail_id=mail_id,
            sender=mail.sender,
            recipient=mail.recipient,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            at_us=mail.at_us,
            bulk=mail.labels.lane is Lane.BULK,
        )
        try:
            message = build(letter)
        except BadAddress:
            raise Unreachable("", Reply(553, "5.1.3"), final=True) from None
        return self._signer.sign(message, now_us() // 1_000_000) if self._signer is not None else message


def _refusal(reply: Reply) -> Outcome:
    return Outcome("bounced" if reply.verdict is Verdict.HARD else "deferred", reply)
