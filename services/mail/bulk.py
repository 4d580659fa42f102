"""Many mails over one stream: a bounded number unanswered, an answer for each, and a bad one ends nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Final

from tradewind.mail.v1 import mail_service_pb2 as pb

from services.ledger.decider import Receipt
from services.ledger.ending import end
from services.runtime.call import Call
from services.runtime.errors import Refused, status_of

MOST_UNANSWERED: Final = 256
MOST_RESULTS: Final = 256
RECONNECT_MS: Final = (500, 3000)

Submit = Callable[[pb.SendMailRequest], tuple[str, "asyncio.Future[Receipt]"]]
"""Queues one mail: gives its id and a future of its receipt, or raises what refuses it."""


class Bulk:
    """One ``SendMails`` stream."""

    def __init__(self, call: Call, submit: Submit) -> None:
        """Queue by ``submit``."""
        self._call = call
        self._submit = submit
        self._results: list[pb.SendMailResult] = []
        self._unanswered = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def answers(self, requests: AsyncIterator[pb.SendMailsRequest]) -> AsyncIterator[pb.SendMailsResponse]:
        """Give the frames of answers, until all are given. Raises what ended the reading."""
        reader = asyncio.create_task(self._read(requests), name="send-mails")
        reader.add_done_callback(lambda _: self._changed.set())
        drained = asyncio.create_task(self._call.draining.wait(), name="send-mails-drain")
        drained.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                if drained.done() and not reader.done():
                    reader.cancel()
                await self._changed.wait()
                self._changed.clear()
                while self._results:
                    some, self._results = self._results[:MOST_RESULTS], self._results[MOST_RESULTS:]
                    yield pb.SendMailsResponse(results=some)
                    self._room.set()
                if reader.done() and not self._unanswered and not self._results:
                    break
            if not reader.cancelled():
                reader.result()
            if drained.done():
                yield pb.SendMailsResponse(reconnect_after_ms=random.randint(*RECONNECT_MS))
        finally:
            await end([reader, drained])

    async def _read(self, requests: AsyncIterator[pb.SendMailsRequest]) -> None:
        async for frame in requests:
            await self._admitted(len(frame.mails))
            for mail in frame.mails:
                while self._unanswered + len(self._results) >= MOST_UNANSWERED:
                    self._room.clear()
                    await self._room.wait()
                self._take(mail)

    async def _admitted(self, count: int) -> None:
        """Slow a caller down to its rate."""
        while True:
            wait = self._call.admit(count)
            if not wait:
                return
            await asyncio.sleep(wait)

    def _take(self, mail: pb.SendMailRequest) -> None:
        try:
            mail_id, future = self._submit(mail)
        except Exception as error:  # noqa: BLE001 (whatever refuses one mail is its answer)
            self._answer(pb.SendMailResult(request_id=mail.request_id, error=status_of(error)))
            return
        self._unanswered += 1
        future.add_done_callback(lambda done: self._settle(mail.request_id, mail_id, done))

    def _settle(self, request_id: str, mail_id: str, done: asyncio.Future[Receipt]) -> None:
        self._unanswered -= 1
        result = pb.SendMailResult(request_id=request_id)
        error = Refused("DRAINING", "the server ends; send it again") if done.cancelled() else done.exception()
        if error is None:
            result.mail_id, result.replayed = mail_id, done.result().replayed
        else:
            result.error.CopyFrom(status_of(error))
        self._answer(result)

    def _answer(self, result: pb.SendMailResult) -> None:
        self._results.append(result)
        self._changed.set()
        self._room.set()
