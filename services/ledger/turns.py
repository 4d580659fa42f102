"""Whose turn it is: an entry is taken only after the entry before it of the same aggregate, by whichever process.

Processes of one service share a durable consumer, so neighbours may come to different processes, and what a dead process held comes
again after what is new. Who took an entry tells the others in batches on core NATS. For what was not heard (a process that has just
started has heard nothing) one question for all that waits goes to the others, and to the durable, whose floor tells it too; an entry
that the log no longer holds is waited for by nobody.
"""

from __future__ import annotations

import asyncio
import struct
from itertools import islice

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from services.ledger.ending import end

_FLUSH_AFTER = 0.004
_MOST_KNOWN = 50_000
_MOST_ASKED = 1000
_LOOK_AGAIN = 0.25
_LOOK_LATEST = 2.0
_NUMBER = struct.Struct(">Q")


class Turns:
    """What is known to be taken of one durable.

    Args:
        floor: everything at or below this sequence needs no waiting for.
    """

    def __init__(self, nats: Client, stream: str, durable: str, floor: int) -> None:
        self._nats = nats
        self._js: JetStreamContext = nats.jetstream()
        self._stream, self._durable = stream, durable
        self._subject = f"taken.{stream}.{durable}"
        self._questions = f"asked.{stream}.{durable}"
        self._floor = floor
        self._known: dict[int, None] = {}
        self._waiting: dict[int, asyncio.Event] = {}
        self._batch: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._asker: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Hears what other processes took, and what they ask."""
        await self._nats.subscribe(self._subject, cb=self._heard)
        await self._nats.subscribe(self._questions, cb=self._asked)

    def took(self, seq: int) -> None:
        """Notes that an entry was taken, and tells the others soon."""
        self._know(seq)
        self._will_tell(seq)

    def known(self, seq: int) -> bool:
        """True: it was taken. False: nobody here knows."""
        return seq <= self._floor or seq in self._known

    async def wait(self, seq: int) -> None:
        """Waits a moment for an entry to be taken; where nothing is heard of it, it is asked for. Look again with `known`."""
        news = self._waiting.setdefault(seq, asyncio.Event())
        if self._asker is None or self._asker.done():
            self._asker = asyncio.create_task(self._ask_again_and_again(), name=f"turns-{self._durable}")
        try:
            async with asyncio.timeout(_LOOK_LATEST):
                await news.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.pop(seq, None)

    async def close(self) -> None:
        """Tells what is left, if that is quickly done."""
        self._flush()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await end([*self._tasks, *([self._asker] if self._asker is not None else [])])

    async def _ask_again_and_again(self) -> None:
        """One for all that wait, while any does; an outage is asked into more and more rarely."""
        pause = _LOOK_AGAIN
        while self._waiting:
            await asyncio.sleep(pause)
            unheard = list(islice(self._waiting, _MOST_ASKED))
            try:
                await self._ask_log(unheard)
                if left := [seq for seq in unheard if not self.known(seq)]:
                    await self._nats.publish(self._questions, b"".join(map(_NUMBER.pack, left)))
                pause = _LOOK_AGAIN
            except (TimeoutError, NatsError):
                pause = min(_LOOK_LATEST, pause * 2)

    async def _ask_log(self, unheard: list[int]) -> None:
        durable = await self._js.consumer_info(self._stream, self._durable)
        if durable.ack_floor is not None:
            self._floor = max(self._floor, durable.ack_floor.stream_seq)
        first = (await self._js.stream_info(self._stream)).state.first_seq
        for seq in unheard:
            if seq <= self._floor or seq < first:  # taken; or aged out, so it will never come
                self._know(seq)

    async def _asked(self, message: Msg) -> None:
        """Another process asks: what was taken is told once more."""
        for (seq,) in _NUMBER.iter_unpack(message.data):
            if seq in self._known:
                self._will_tell(seq)

    def _will_tell(self, seq: int) -> None:
        self._batch.append(seq)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_AFTER, self._flush)

    def _know(self, seq: int) -> None:
        self._known[seq] = None
        if len(self._known) > _MOST_KNOWN:
            for oldest in list(islice(self._known, _MOST_KNOWN // 4)):
                del self._known[oldest]
        news = self._waiting.get(seq)
        if news is not None:
            news.set()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            task = asyncio.get_running_loop().create_task(self._tell(b"".join(map(_NUMBER.pack, batch))))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, numbers: bytes) -> None:
        try:
            await self._nats.publish(self._subject, numbers)
        except NatsError:
            return  # only speed was lost: the durable's floor tells it too

    async def _heard(self, message: Msg) -> None:
        for (seq,) in _NUMBER.iter_unpack(message.data):
            self._know(seq)
