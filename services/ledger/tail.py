"""Reading one partition of the own log strictly in order, from a place that the reader keeps beside what it makes of it.

For read models that are functions of a prefix of the log: no acknowledgements, so nothing is handed over out of turn, and several
processes may read the same partition at a time without harm. What is handed over is stored. What the log no longer holds comes out of
the store first.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries
from services.ledger.archive import Archive, Position
from services.ledger.decider import Delivered
from services.ledger.desk import Desk
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId
from services.ledger.log import aggregate_of, stream_name, subject_filter
from services.ledger.pulling import pull
from services.ledger.stored import StoredEntries

_ANNOUNCED_WITHIN = 1.0
_PULL = 500
_IDLE = 2.0
_FORGOTTEN_AFTER = 60.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Entries handed over together.

    Attributes:
        entries: in order of sequence where they come from the log; in any order where they come from the store.
        upto: with these, everything at or below this sequence was handed over; 0 where more of the same stretch follows.
        waiting: so many entries of the log are not handed over yet; 0 where it comes from the store, which does not tell.
        first_at, last_at: when the log took the first and the last of them, in seconds since the epoch; 0 where they come from the store.
    """

    entries: Sequence[Delivered]
    upto: int
    waiting: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


class _Interrupted(Exception):
    """Messages were lost on the way; begin again after the last one taken."""


class Tail:
    """One reader of one partition.

    Args:
        role: under which name the place is kept.
    """

    def __init__(
        self, nats: Client, archive: Archive, desk: Desk, stored: StoredEntries,
        *, role: str, source: str, epoch: int, partition: int,
    ) -> None:  # fmt: skip
        self._js: JetStreamContext = nats.jetstream()
        self._archive, self._desk, self._stored = archive, desk, stored
        self._role, self._source, self._epoch = role, source, epoch
        self.partition = partition
        self._after = 0

    async def keep(self, upto: int) -> None:
        """Keeps the place: everything at or below `upto` need not be handed over again.

        Raises:
            StoreUnavailable: not kept.
        """
        await self._archive.put_position(self._role, self._source, self.partition, Position(self._epoch, upto))

    async def pages(self, after: int | None = None) -> AsyncGenerator[Page, None]:
        """Hands over everything after the kept place, for ever. Outages are waited out.

        Args:
            after: the place, of a reader that keeps it by itself.

        Raises:
            StoreUnavailable, LogUnavailable: at the beginning only.
        """
        if after is None:
            kept = await self._archive.position(self._role, self._source, self.partition)
            after = kept.seq if kept is not None else 0
        self._after = after
        async for page in self._from_store():
            yield page
        wait = 0.05
        while True:
            try:
                async with aclosing(self._from_log()) as pages:
                    async for page in pages:
                        wait = 0.05
                        yield page
            except (TimeoutError, NatsError, LedgerError, _Interrupted) as error:
                _log.warning("tail_interrupted", role=self._role, partition=self.partition, error=type(error).__name__)
            await asyncio.sleep(wait)
            wait = min(2.0, wait * 2)

    async def _from_store(self) -> AsyncIterator[Page]:
        """What the log no longer holds: entries of earlier lives, and aged-out ones."""
        first = await self._first_in_log()
        if self._after >= first - 1:
            return
        query = entry_pb2.ScanRequest(after_seq=self._after, before_seq=first, partition=self.partition)
        while True:
            page = await self._desk.scan(query)
            found = [
                Delivered(AggregateId(e.tenant, e.kind, e.id), e.seq, entries.recorded(entries.parse(e.entry)))
                for e in page.entries
            ]
            yield Page(found, 0 if page.next_key else first - 1)
            if not page.next_key:
                break
            query.after_key = page.next_key
        self._after = first - 1

    async def _first_in_log(self) -> int:
        wait = 0.1
        while True:
            try:
                info = await self._js.stream_info(stream_name(self._source, self._epoch))
                return int(info.state.first_seq)
            except (TimeoutError, NatsError) as error:
                _log.warning("tail_waits", role=self._role, partition=self.partition, error=type(error).__name__)
                await asyncio.sleep(wait)
                wait = min(2.0, wait * 2)

    async def _from_log(self) -> AsyncGenerator[Page, None]:
        stream = stream_name(self._source, self._epoch)
        name = f"{self._role}-{self.partition}-{uuid.uuid4().hex[:12]}"
        config = ConsumerConfig(
            name=name, filter_subject=subject_filter(self._source, self._epoch, self.partition),
            ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._after + 1,
            inactive_threshold=_FORGOTTEN_AFTER, mem_storage=True, num_replicas=1,
        )  # fmt: skip
        await self._js.add_consumer(stream, config)
        subscription = await self._js.pull_subscribe_bind(name, stream)
        taken = 0
        try:
            while True:
                try:
                    messages = await pull(subscription, _PULL, _IDLE)
                except TimeoutError:
                    info = await self._js.consumer_info(stream, name)
                    if info.delivered is not None and info.delivered.consumer_seq > taken:
                        raise _Interrupted from None
                    continue
                handed = []
                for message in messages:
                    taken += 1
                    if message.metadata.sequence.consumer != taken:
                        raise _Interrupted
                    delivered = await self._stored_one(message)
                    if delivered is not None:
                        handed.append(delivered)
                first, last = messages[0].metadata, messages[-1].metadata
                self._after = last.sequence.stream
                yield Page(
                    handed, self._after, last.num_pending, first.timestamp.timestamp(), last.timestamp.timestamp()
                )
        finally:
            await self._forget(subscription, stream, name)

    async def _forget(self, subscription: JetStreamContext.PullSubscription, stream: str, name: str) -> None:
        try:
            await subscription.unsubscribe()
            await self._js.delete_consumer(stream, name)
        except (TimeoutError, NatsError) as error:
            _log.info("tail_left_behind", role=self._role, partition=self.partition, error=type(error).__name__)

    async def _stored_one(self, message: Msg) -> Delivered | None:
        """Waits until an entry is stored; None where it is void or holds no event."""
        seq = message.metadata.sequence.stream
        entry = entries.parse(message.data)
        if not entry.events:
            return None
        aggregate = aggregate_of(message.subject)
        age = time.time() - message.metadata.timestamp.timestamp()
        if not await self._stored.wait(seq, _ANNOUNCED_WITHIN - max(0.0, age)):
            wait = 0.05
            while True:
                try:
                    if await self._desk.settle(aggregate, int(entry.first_version), seq):
                        break
                    return None
                except LedgerError as error:
                    _log.warning("tail_settle_waits", role=self._role, reason=error.reason)
                    await asyncio.sleep(wait)
                    wait = min(2.0, wait * 2)
        return Delivered(aggregate, seq, entries.recorded(entry))
