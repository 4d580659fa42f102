"""Who stored what: announcements on core NATS, so that consumers hand on only what is stored.

Writers announce stored entries in batches; nobody waits for an announcement that was lost, because an entry that is not announced
within a second is settled: its owner loads the aggregate, which stores it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.ids import AggregateId

_FLUSH_AFTER = 0.004
_MOST_KNOWN = 200_000
_MOST_BATCH = 500


def subject(service: str, epoch: int) -> str:
    """Where a service's stored entries are announced."""
    return f"stored.{epoch}.{service}"


class Announcer:
    """Announces what this process stored, in batches."""

    def __init__(self, nats: Client, service: str, epoch: int, writer: str) -> None:
        self._nats = nats
        self._subject = subject(service, epoch)
        self._writer = writer
        self._batch: list[entry_pb2.StoredEntry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def announce(self, aggregate: AggregateId, seq: int, version: int) -> None:
        """Adds one entry to the next batch."""
        self._batch.append(
            entry_pb2.StoredEntry(
                seq=seq, kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, version=version
            )
        )
        if len(self._batch) >= _MOST_BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_AFTER, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            task = asyncio.get_running_loop().create_task(self._publish(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _publish(self, batch: list[entry_pb2.StoredEntry]) -> None:
        message = entry_pb2.Stored(writer=self._writer, entries=batch)
        try:
            await self._nats.publish(self._subject, message.SerializeToString())
        except NatsError:
            return  # an announcement is only speed: what is not announced is settled

    async def close(self) -> None:
        """Announces what is left."""
        self._flush()
        await asyncio.gather(*self._tasks)


class StoredEntries:
    """What is known to be stored of one life of one service's log; bounded, the oldest is forgotten first.

    Args:
        heard: called with each announcement of another process.
    """

    def __init__(self, writer: str, heard: Callable[[entry_pb2.Stored], None] | None = None) -> None:
        self._writer = writer
        self._heard = heard
        self._known: dict[int, None] = {}
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._subscription: Subscription | None = None

    async def listen(self, nats: Client, service: str, epoch: int) -> None:
        """Hears the announcements of all processes of a service."""
        self._subscription = await nats.subscribe(subject(service, epoch), cb=self._announced)

    async def close(self) -> None:
        """Hears nothing any more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except NatsError:
                return  # the connection is gone, and the subscription with it

    def add(self, seq: int) -> None:
        """Notes that an entry is stored."""
        known = self._known
        known[seq] = None
        if len(known) > _MOST_KNOWN:
            for oldest in list(islice(known, _MOST_KNOWN // 4)):  # many at once: see `RequestMemory`
                del known[oldest]
        for waiting in self._waiting.pop(seq, ()):
            if not waiting.done():
                waiting.set_result(None)

    def knows(self, seq: int) -> bool:
        """True: the entry is known to be stored."""
        return seq in self._known

    async def wait(self, seq: int, timeout: float) -> bool:
        """True as soon as the entry is known to be stored; False where that is not heard within `timeout` seconds."""
        if seq in self._known:
            return True
        if timeout <= 0:
            return False
        waiting = asyncio.get_running_loop().create_future()
        others = self._waiting.setdefault(seq, [])  # each role waits for itself, as long as it likes
        others.append(waiting)
        try:
            async with asyncio.timeout(timeout):
                await waiting
        except TimeoutError:
            return seq in self._known
        finally:
            others.remove(waiting)
            if not others and self._waiting.get(seq) is others:
                del self._waiting[seq]
        return True

    async def _announced(self, message: Msg) -> None:
        stored = entry_pb2.Stored.FromString(message.data)
        if stored.writer == self._writer:
            return
        for entry in stored.entries:
            self.add(entry.seq)
        if self._heard is not None:
            self._heard(stored)
