"""What is written down of a mail's delivery, and that it is written whatever happens to log and store meanwhile."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Final

import structlog

from services.ledger.decider import Receipt, Request
from services.ledger.errors import DeadlineExceeded, LedgerError
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.mail import domain
from services.mail.clock import now_us
from services.mail.config import SECOND_US, MailSettings
from services.mail.domain import Reply
from services.mail.handover import Outcome, Unreachable
from services.mail.smtp.connection import Endpoint

_EXECUTE_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class Scribe:
    """Writes commands of this process."""

    def __init__(self, ledger: Ledger) -> None:
        """Write into ``ledger``."""
        self._ledger = ledger

    async def write(self, aggregate: AggregateId, command: domain.Command, trace: str | None) -> Receipt | None:
        """Write what happened, for as long as it takes; None where the mail's state has moved on and it no longer matters."""
        name = derive_request_id(now_us(), aggregate.key, type(command).__name__, uuid.uuid4().hex)
        request = Request(name, fingerprint(aggregate.key, name), trace)
        wait = 0.05
        while True:
            try:
                return await self._ledger.execute(aggregate, command, request, _EXECUTE_SECONDS)
            except domain.Refused as refused:
                _log.info("mail_moved_on", reason=refused.reason, command=type(command).__name__)
                return None
            except LedgerError as error:
                # The same request id settles what became of the try before.
                if error.retry_after is None and not isinstance(error, DeadlineExceeded):
                    raise
                _log.warning("mail_waits", reason=error.reason, command=type(command).__name__)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2.0, wait * 2)


class Attempt:
    """One attempt's words in the log."""

    def __init__(
        self,
        scribe: Scribe,
        settings: MailSettings,
        aggregate: AggregateId,
        number: int,
        trace: str | None,
    ) -> None:
        """Speak of attempt ``number`` of a mail."""
        self._scribe = scribe
        self._timeouts = settings.timeouts
        self._backoff = settings.backoff
        self._margin = settings.smtp_attempt_margin
        self.aggregate = aggregate
        self._number = number
        self._trace = trace

    async def start(self, endpoint: Endpoint) -> float | None:
        """Write that it begins. Gives until when, in the loop's time, the mail may be handed over; None where somebody else is at it."""
        loop = asyncio.get_running_loop()
        before = loop.time() + self._timeouts.until_handed_over
        give_up = now_us() + round((self._timeouts.transaction + self._margin) * SECOND_US)
        command = domain.StartAttempt(now_us(), self._number, str(endpoint), give_up)
        receipt = await self._scribe.write(self.aggregate, command, self._trace)
        return None if receipt is None else before

    async def unreachable(self, error: Unreachable) -> None:
        """Write that there was nobody to talk to."""
        command = domain.RecordUnreachable(
            now_us(), self._number, error.host, error.reply, self._backoff, random.random(), error.final
        )
        await self._scribe.write(self.aggregate, command, self._trace)

    async def end(self, outcome: Outcome) -> None:
        """Write how it ended."""
        await self._scribe.write(self.aggregate, self._command(outcome), self._trace)

    def _command(self, outcome: Outcome) -> domain.Command:
        now, number, reply = now_us(), self._number, outcome.reply or Reply()
        match outcome.kind:
            case "delivered":
                return domain.RecordDelivered(now, number, reply)
            case "bounced":
                return domain.RecordBounced(now, number, reply)
            case "unknown":
                return domain.RecordOutcomeUnknown(now, number)
            case _:
                return domain.RecordDeferred(now, number, reply, self._backoff, random.random())
