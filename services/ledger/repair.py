"""Repair: every entry of the log that nobody announced as stored is loaded, and a load stores what is missing.

A writer that dies between append and store leaves entries in the log only; this consumer finds them. It needs no event itself, so it
pulls headers alone, waits until entries are a second old, and acknowledges what is known to be stored by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from services.ledger.errors import HistoryGap, LedgerError
from services.ledger.ids import AggregateId
from services.ledger.log import aggregate_of, stream_name, subject_filter
from services.ledger.stored import StoredEntries

_DURABLE = "repair"
_BATCH = 2048
_IDLE = 5.0
_AGE = 1.0
_ACK_WAIT = 30.0
_log = structlog.get_logger(__name__)


class Repair:
    """One partition's repair; processes of one service share the durable.

    Args:
        refresh: loads an aggregate.
    """

    def __init__(
        self,
        nats: Client,
        service: str,
        epoch: int,
        partition: int,
        stored: StoredEntries,
        refresh: Callable[[AggregateId], Awaitable[object]],
    ) -> None:
        self._js: JetStreamContext = nats.jetstream()
        self._stream = stream_name(service, epoch)
        self._subject = subject_filter(service, epoch, partition)
        self._durable = f"{_DURABLE}-{partition}"
        self._stored, self._refresh = stored, refresh

    async def run(self) -> None:
        """Repairs until cancelled; outages are waited out."""
        subscription: JetStreamContext.PullSubscription | None = None
        while True:
            try:
                if subscription is None:
                    subscription = await self._subscribe()
                await self._settle(await subscription.fetch(_BATCH, timeout=_IDLE))
            except TimeoutError:
                continue  # nothing came
            except (NatsError, LedgerError) as error:
                _log.warning("repair_waits", stream=self._stream, error=type(error).__name__)
                subscription = None
                await asyncio.sleep(1.0)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            durable_name=self._durable, filter_subject=self._subject, ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT, max_ack_pending=_BATCH * 4, headers_only=True,
        )  # fmt: skip
        await self._js.add_consumer(self._stream, config)
        return await self._js.pull_subscribe_bind(self._durable, self._stream)

    async def _settle(self, messages: Sequence[Msg]) -> None:
        newest = messages[-1].metadata.timestamp.timestamp()
        await asyncio.sleep(min(_AGE, max(0.0, newest + _AGE - time.time())))
        gaps: set[AggregateId] = set()
        unknown = [m for m in messages if not self._stored.knows(m.metadata.sequence.stream)]
        for aggregate in dict.fromkeys(aggregate_of(message.subject) for message in unknown):
            try:
                await self._refresh(aggregate)
            except HistoryGap:
                _log.error("history_gap", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)
                gaps.add(aggregate)
        for message in messages:
            if not gaps or aggregate_of(message.subject) not in gaps:
                await message.ack()
