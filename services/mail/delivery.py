"""Delivery: looks at a mail, does what is to be done, and leaves it with a next step that outlives this process.

An attempt is written down before the first command that could hand the mail over, and its outcome after it. Whoever's ``StartAttempt``
is taken sends; everybody else who looks at the same mail is refused by its state. A process that dies in between leaves an attempt
without outcome, which the next look after its time finds, and gives up as unknown: such a mail is never sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from services.ledger.ending import end
from services.ledger.errors import LogUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.mail import domain, wire
from services.mail.attempt import Attempt, Scribe
from services.mail.clock import now_us
from services.mail.config import SECOND_US, MailSettings
from services.mail.domain import Lane, Mail, NextStep, Queued, next_step
from services.mail.handover import HandOver, Unreachable
from services.mail.lanes import Lanes
from services.mail.peers import Peers
from services.mail.smtp.connection import Endpoint
from services.mail.smtp.pool import Busy
from services.runtime.telemetry import Telemetry

HANDED_BACK_AFTER: Final = 25.0
"""A look that takes longer goes on, but a timer takes over from whoever waits for it."""
TURN_WAIT: Final = 15.0
_log = structlog.get_logger(__name__)


class Delivery:
    """Delivers mails; one look at a mail at a time in this process."""

    def __init__(
        self,
        ledger: Ledger,
        hand_overs: Mapping[Lane, HandOver],
        settings: MailSettings,
        telemetry: Telemetry,
        peers: Peers,
    ) -> None:
        """Send each lane's mails by its own hand-over, and only this process's share of what all may send to a domain."""
        self._ledger = ledger
        self._hand_overs = hand_overs
        self._telemetry = telemetry
        self._scribe = Scribe(ledger)
        self._settings = settings
        self._lanes = Lanes(settings.smtp_mails_per_domain, settings.smtp_waiting_per_domain, share=peers.share)
        self._closing = False
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._begun: set[str] = set()

    async def wake(self, aggregate: AggregateId, queued: Queued | None = None, parent: str | None = None) -> None:
        """Look at a mail; returns once it is final, or its next step is armed.

        Args:
            aggregate: the mail.
            queued: its first event, where it is at hand.
            parent: the trace to go on with; else the one the mail was sent in.

        Raises:
            LedgerError: not now; call again.
        """
        if self._closing:
            raise LogUnavailable("the process is ending")
        task = self._under_way.get(aggregate.key)
        if task is None:
            task = asyncio.create_task(self._look(aggregate, queued, parent), name="deliver")
            self._under_way[aggregate.key] = task
            task.add_done_callback(partial(self._ended, aggregate.key))
        done, _ = await asyncio.wait({task}, timeout=HANDED_BACK_AFTER)
        if done:
            await task
        else:
            await self._ledger.arm(aggregate)

    async def close(self, grace: float) -> None:
        """Let attempts that have begun end, at most so many seconds; what has not begun is left to others, or to the next start."""
        self._closing = True
        tasks = dict(self._under_way)
        begun = [task for key, task in tasks.items() if key in self._begun]
        await end(task for key, task in tasks.items() if key not in self._begun)
        if begun:
            await asyncio.wait(begun, timeout=grace)
        await end(begun)

    def _begins(self, aggregate: AggregateId) -> bool:
        """Note that an attempt is about to be written down; False where this process ends and begins no more."""
        if not self._closing:
            self._begun.add(aggregate.key)
        return not self._closing

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(key, None)
        self._begun.discard(key)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Whoever waits is told too; but nobody may be waiting any more.
            _log.warning("look_failed", reason=getattr(error, "reason", "") or type(error).__name__)

    async def _look(self, aggregate: AggregateId, queued: Queued | None, parent: str | None) -> None:
        # Who was handed the first event may be quicker than its writer, whose memory then knows nothing of the mail yet.
        mail: Mail = (await self._ledger.read(aggregate, fresh=queued is None, at_least=1)).state
        step = next_step(mail, now_us())
        if step is NextStep.NOTHING:
            return
        with self._telemetry.span("mail.deliver", parent or mail.traceparent or None) as span:
            span.set("mail.step", step.value)
            trace = span.traceparent
            if step is NextStep.ATTEMPT:
                await self._attempt(aggregate, mail, queued, trace)
            elif step is NextStep.EXPIRE:
                await self._scribe.write(aggregate, domain.Expire(now_us()), trace)
            elif step is NextStep.GIVE_UP_ATTEMPT:
                await self._scribe.write(aggregate, domain.RecordOutcomeUnknown(now_us(), len(mail.attempts)), trace)
        await self._ledger.arm(aggregate)

    async def _attempt(self, aggregate: AggregateId, mail: Mail, queued: Queued | None, trace: str | None) -> None:
        labels = mail.labels
        number = len(mail.attempts) + 1
        attempt = Attempt(self._scribe, self._settings, aggregate, number, trace)
        try:
            async with self._lanes.turn(labels.domain, labels.lane, TURN_WAIT):
                letter = queued or await self._first_event(aggregate)
                start = partial(self._start, attempt)
                outcome = await self._hand_overs[labels.lane].deliver(aggregate.id, letter, start, trace)
        except Busy:
            seconds = self._lanes.put_off(labels.domain, labels.lane) * random.uniform(0.95, 1.05)
            until = now_us() + round(seconds * SECOND_US)
            await self._scribe.write(aggregate, domain.Postpone(now_us(), until), trace)
            return
        except Unreachable as error:
            await attempt.unreachable(error)
            return
        if outcome is not None:
            await attempt.end(outcome)

    async def _start(self, attempt: Attempt, endpoint: Endpoint) -> float | None:
        return await attempt.start(endpoint) if self._begins(attempt.aggregate) else None

    async def _first_event(self, aggregate: AggregateId) -> Queued:
        recorded = await self._ledger.history(aggregate, after=0, limit=1)
        event = wire.decode(recorded[0].payload)
        if not isinstance(event, Queued):
            raise wire.UnknownEvent("a mail does not begin with its text")
        return event
