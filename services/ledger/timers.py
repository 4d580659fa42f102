"""Timers that outlive every process: JetStream scheduled messages (ADR-51 of NATS), armed from an aggregate's state.

A timer is only a command that comes later; firing twice or late is harmless. What an aggregate waits for is a function of its state, so
arming again is always right, and after a lost log all aggregates that wait are found in the store.
"""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from tradewind.ledger.v1 import entry_pb2

from services.ledger.archive import Archive, Position, Row
from services.ledger.engine import Tracer
from services.ledger.errors import HistoryGap, LedgerError
from services.ledger.feed import Feed
from services.ledger.ids import AggregateId, partition_of, token
from services.ledger.lives import timers_stream
from services.ledger.publisher import Publisher

TimerHandler = Callable[[AggregateId, str], Awaitable[None]]

TABLE = "timers"
"""The rows of all aggregates that wait for a timer."""
SLOTS = 1024
"""Into how many partitions of the store they are spread; never changed."""
_REARM = "rearm"
_MOST_ARMED = 50_000
_TRIES = 10
_CLOCK_BEHIND = 5.0
_log = structlog.get_logger(__name__)


def row_of(aggregate: AggregateId, *, waits: bool) -> Row:
    """The row that says whether an aggregate waits for a timer."""
    return Row(TABLE, str(partition_of(aggregate.key, SLOTS)), aggregate.key, b"1" if waits else None)


class Timers:
    """A service's timers in one life of its log."""

    def __init__(
        self, nats: Client, publisher: Publisher, tracer: Tracer, service: str, epoch: int, partitions: int
    ) -> None:
        self._nats, self._publisher, self._tracer = nats, publisher, tracer
        self._service, self._epoch, self._partitions = service, epoch, partitions
        self._armed: dict[tuple[str, str], int] = {}

    async def arm(self, aggregate: AggregateId, wanted: Mapping[str, int], *, anew: bool = False) -> None:
        """Schedules the timers an aggregate waits for; one that was scheduled here for the same time is passed over, unless `anew`.
        Another process may have scheduled it for another time since.

        Raises:
            LogUnavailable: not scheduled.
        """
        for name, due in wanted.items():
            place = (aggregate.key, name)
            if not anew and self._armed.get(place) == due:
                continue
            await self._schedule(aggregate, name, due)
            self._armed.pop(place, None)
            self._armed[place] = due
            if len(self._armed) > _MOST_ARMED:
                for oldest in list(islice(self._armed, _MOST_ARMED // 4)):
                    del self._armed[oldest]

    def feeds(self, handle: TimerHandler) -> list[Feed]:
        """One feed of due timers per partition."""

        async def take(message: Msg) -> bool:
            return await self._fire(message, handle)

        return [
            Feed(
                self._nats, timers_stream(self._service, self._epoch), f"due-{partition}", self._due(partition),
                key=_key, take=take,
            )
            for partition in range(self._partitions)
        ]  # fmt: skip

    async def _schedule(self, aggregate: AggregateId, name: str, due: int) -> None:
        partition = partition_of(aggregate.key, self._partitions)
        subject = (
            f"timers.{self._epoch}.{self._service}.at.{partition}"
            f".{token(aggregate.tenant)}.{aggregate.kind}.{token(aggregate.id)}.{token(name)}"
        )
        rounded_up = -(-due // 1000) / 1000  # never before it is due: the handler would find nothing to do
        at = datetime.datetime.fromtimestamp(rounded_up, datetime.UTC).isoformat(timespec="milliseconds")
        headers = {"Nats-Schedule": f"@at {at.replace('+00:00', 'Z')}", "Nats-Schedule-Target": self._due(partition)}
        timer = entry_pb2.Timer(kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, name=name, due_us=due)
        await self._publisher.publish(subject, timer.SerializeToString(), headers)

    def _due(self, partition: int) -> str:
        return f"timers.{self._epoch}.{self._service}.due.{partition}"

    async def _fire(self, message: Msg, handle: TimerHandler) -> bool:
        timer = entry_pb2.Timer.FromString(message.data)
        aggregate = AggregateId(timer.tenant, timer.kind, timer.id)
        # Another process may have armed this time in place of the one armed here: what stands now nobody knows, so arm anew.
        self._armed.pop((aggregate.key, timer.name), None)
        # By this clock it may not be due yet, and would find nothing to do and be armed again, which by the log's clock is at once.
        await asyncio.sleep(min(max(0.0, timer.due_us / 1e6 - time.time()), _CLOCK_BEHIND))
        wait, failures = 0.1, 0
        while failures < _TRIES:
            try:
                await handle(aggregate, timer.name)
                return True
            except Exception as error:  # noqa: BLE001 - a timer is a hint: the state that wants it stays, and arms it again
                outage = getattr(error, "retry_after", None) is not None
                failures += 0 if outage else 1
                reason = getattr(error, "reason", "") or type(error).__name__
                _log.warning("timer_failed", kind=timer.kind, timer=timer.name, reason=reason, exc_info=not outage)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(5.0, wait * 2)
        _log.error("timer_given_up", kind=timer.kind, timer=timer.name)
        return True


def _key(message: Msg) -> str:
    timer = entry_pb2.Timer.FromString(message.data)
    return f"{timer.tenant}/{timer.kind}/{timer.id}"


async def rearm(archive: Archive, service: str, epoch: int, arm: Callable[[AggregateId], Awaitable[None]]) -> None:
    """After a lost log the scheduled messages are gone: what waits for a timer is found in the store, once in each life."""
    wait = 0.1
    while True:
        try:
            return await _rearm_all(archive, service, epoch, arm)
        except LedgerError as error:
            _log.warning("rearm_waits", reason=error.reason)
            await asyncio.sleep(wait)
            wait = min(2.0, wait * 2)


async def _rearm_all(archive: Archive, service: str, epoch: int, arm: Callable[[AggregateId], Awaitable[None]]) -> None:
    done = await archive.position(_REARM, service, 0)
    if done is not None and done.epoch == epoch:
        return
    for slot in range(SLOTS):
        after: str | None = None
        while page := await archive.rows(TABLE, str(slot), after=after, limit=200):
            for row in page:
                if row.seq < epoch:
                    await _arm_again(arm, AggregateId.from_key(row.key))
            after = page[-1].key
    await archive.put_position(_REARM, service, 0, Position(epoch, epoch))


async def _arm_again(arm: Callable[[AggregateId], Awaitable[None]], aggregate: AggregateId) -> None:
    try:
        await arm(aggregate)
    except HistoryGap:  # nobody can say what it waits for; the others' timers must not wait for an operator
        _log.error("history_gap", kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id)
