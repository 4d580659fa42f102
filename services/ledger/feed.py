"""Pulling from a durable consumer: bounded in flight, in order per key, kept alive while it is worked on.

One pull loop per durable; messages of one key wait for each other (over all processes where `before` tells which one comes first),
those of different keys do not. What is under way longer than
a moment is reported in progress, so that only a process that died lets go of its messages.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.ledger.ending import end
from services.ledger.errors import LogUnavailable
from services.ledger.pulling import pull
from services.ledger.turns import Turns

_ACK_WAIT = 2.5  # so long does what a dead process held wait for another
_HEARTBEAT = 0.75
_PULL = 256
_IDLE = 2.0  # so long a pull that was lost with its connection is waited for
_log = structlog.get_logger(__name__)

Take = Callable[[Msg], Awaitable[bool]]


class Feed:
    """One durable pull consumer.

    Args:
        nats: the connection.
        stream, durable, subject: what is pulled, under which name, filtered by which subject.
        key: a message's key; messages of one key are handed over one after the other.
        take: handles a message; True acknowledges it, False leaves it to be delivered again.
        arrived: told of each message as it comes, long before its turn.
        before: the sequence of the message of the same key that must be taken before a message; None where order does not matter.
        floor: what is at or below needs no waiting for.
        in_flight: most messages worked on here; those that wait for their turn come on top, up to four times as many.
    """

    def __init__(
        self, nats: Client, stream: str, durable: str, subject: str, key: Callable[[Msg], str], take: Take,
        before: Callable[[Msg], int] | None = None, floor: int = 0, in_flight: int = 1024,
        arrived: Callable[[Msg], None] | None = None,
    ) -> None:  # fmt: skip
        self._js: JetStreamContext = nats.jetstream()
        self._stream, self._durable, self._subject = stream, durable, subject
        self._key, self._take = key, take
        self._in_flight = in_flight
        self._before, self._arrived = before, arrived
        self._turns = Turns(nats, stream, durable, floor)
        self._chains: dict[str, list[Msg]] = {}
        self._aside: set[str] = set()
        self._held: dict[int, tuple[Msg, float]] = {}
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pulls until cancelled. Outages are waited out: the durable keeps the place."""
        heartbeat = asyncio.create_task(self._keep_alive(), name=f"heartbeat-{self._durable}")
        try:
            await self._pull()
        finally:
            held = [message for message, _ in self._held.values()]
            await end([heartbeat, *self._tasks])
            await self._turns.close()
            await self._hand_back(held)

    async def floor(self) -> int:
        """Everything at or below this stream sequence is acknowledged.

        Raises:
            nats.errors.Error, asyncio.TimeoutError: it cannot be asked now.
        """
        info = await self._js.consumer_info(self._stream, self._durable)
        return int(info.ack_floor.stream_seq) if info.ack_floor else 0

    async def first(self) -> int:
        """The first sequence that the stream still holds, or else would give next.

        Raises:
            LogUnavailable: it cannot be asked now.
        """
        try:
            return int((await self._js.stream_info(self._stream)).state.first_seq)
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error

    async def _hand_back(self, held: list[Msg]) -> None:
        """What was not taken is another process's at once, which else would wait until it counts as lost."""
        try:
            for message in held:
                if not message.is_acked:
                    await message.nak()
        except NatsError:
            return  # it will be delivered again, only later

    async def _pull(self) -> None:
        if self._before is not None:
            await self._turns.listen()
        wait = 0.05
        while True:
            try:
                subscription = await self._subscribe()
                try:
                    while True:
                        await self._pull_some(subscription)
                        wait = 0.05
                finally:
                    await self._leave(subscription)
            except (TimeoutError, NatsError) as error:
                _log.warning("feed_interrupted", durable=self._durable, error=type(error).__name__)
                await asyncio.sleep(wait)
                wait = min(2.0, wait * 2)

    async def _pull_some(self, subscription: JetStreamContext.PullSubscription) -> None:
        while (room := self._in_flight - self._worked_on()) <= 0:
            self._room.clear()
            await self._room.wait()
        try:
            for message in await pull(subscription, min(_PULL, room), _IDLE):
                self._add(message)
        except TimeoutError:
            return  # nothing came

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            durable_name=self._durable, filter_subject=self._subject, ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL, ack_wait=_ACK_WAIT, max_ack_pending=self._in_flight * 4,
        )  # fmt: skip
        await self._js.add_consumer(self._stream, config)
        return await self._js.pull_subscribe_bind(self._durable, self._stream)

    async def _leave(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            await subscription.unsubscribe()
        except NatsError as error:
            _log.info("feed_left_behind", durable=self._durable, error=type(error).__name__)

    def _worked_on(self) -> int:
        """How many messages are held, without those that wait for one that is still to come: it must find room."""
        return len(self._held) - sum(len(self._chains[key]) for key in self._aside)

    def _add(self, message: Msg) -> None:
        seq = _seq(message)
        if seq in self._held:
            return  # delivered again while it is being worked on
        self._held[seq] = (message, time.monotonic())
        if self._arrived is not None:
            self._arrived(message)
        key = self._key(message)
        chain = self._chains.get(key)
        if chain is not None:
            insort(chain, message, key=_seq)  # what a dead process held comes again, after what is newer
            return
        self._chains[key] = [message]
        task = asyncio.create_task(self._work(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, key: str) -> None:
        chain = self._chains[key]
        try:
            while chain:
                message = chain[0]
                if await self._has_turn(key, message):
                    await self._handle(message)
                    chain.remove(message)
                    self._held.pop(_seq(message), None)
                    self._room.set()
        finally:
            for message in chain:
                self._held.pop(_seq(message), None)
            self._chains.pop(key, None)
            self._room.set()

    async def _has_turn(self, key: str, message: Msg) -> bool:
        before = self._before(message) if self._before is not None else 0
        if self._before is None or self._turns.known(before):
            return True
        self._aside.add(key)
        self._room.set()
        try:
            await self._turns.wait(before)
        finally:
            self._aside.discard(key)
        return False

    async def _handle(self, message: Msg) -> None:
        seq = _seq(message)
        ordered = self._before is not None
        try:
            if ordered and self._turns.known(seq):
                await message.ack()  # taken before, but the acknowledgement was lost
            elif await self._take(message):
                if ordered:
                    self._turns.took(seq)
                await message.ack()
        except NatsError as error:
            _log.warning("ack_lost", durable=self._durable, error=type(error).__name__)
        except Exception:  # noqa: BLE001 - a defect: it is told, the message comes again, the others go on
            _log.error("message_failed", durable=self._durable, seq=seq, exc_info=True)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            old = time.monotonic() - _HEARTBEAT
            for message, since in list(self._held.values()):
                if since > old:
                    continue
                try:
                    await message.in_progress()
                except NatsError:
                    break  # not connected: it will be delivered again


def _seq(message: Msg) -> int:
    return int(message.metadata.sequence.stream)
