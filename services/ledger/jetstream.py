"""The log on JetStream: fenced appends, reads of one aggregate's subject, and lives that are streams."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from services.ledger.errors import LogLost, LogUnavailable
from services.ledger.ids import AggregateId
from services.ledger.log import Ends, LogMessage, stream_name, subject_filter, subject_of
from services.ledger.publisher import Publisher

_TAIL_BATCH = 256
_ANSWER_WITHIN = 2.0
_NO_MESSAGE = 10037


class JetStreamLog:
    """A `log.Log` on one stream.

    Args:
        stored: gives the newest sequence that the store holds; None: nothing is compared with the store.
    """

    def __init__(
        self,
        nats: Client,
        publisher: Publisher,
        service: str,
        epoch: int,
        partitions: int,
        stored: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._nats = nats
        self._publisher = publisher
        self.service = service
        self.epoch = epoch
        self.partitions = partitions
        self.stream = stream_name(service, epoch)
        self._direct = f"$JS.API.DIRECT.GET.{self.stream}"
        self._sure = f"$JS.API.STREAM.MSG.GET.{self.stream}"
        self._stored = stored
        self._newest = epoch - 1
        self._connection = nats.stats["reconnects"]
        self._looking = asyncio.Lock()

    def subject(self, aggregate: AggregateId) -> str:
        """See `Log.subject`."""
        return subject_of(self.service, self.epoch, self.partitions, aggregate)

    async def append(self, subject: str, data: bytes, fence: int) -> int:
        """See `Log.append`."""
        if self._nats.stats["reconnects"] != self._connection:
            await self._look_again()
        seq = await self._publisher.publish(subject, data, {"Nats-Expected-Last-Subject-Sequence": str(fence)})
        self._newest = max(self._newest, seq)
        return seq

    async def _look_again(self) -> None:
        """After a reconnect: the servers may have lost the log's end with their power, and would give its sequences anew.

        The newest of it may be another process's, so what counts is what any of them stored, asked before the log is.
        """
        async with self._looking:
            connection = self._nats.stats["reconnects"]
            if connection != self._connection:
                if self._stored is not None:
                    self._newest = max(self._newest, await self._stored())
                await self.ends()
                self._connection = connection

    async def last(self, subject: str, *, sure: bool = False) -> LogMessage | None:
        """See `Log.last`."""
        if sure:
            return await self._get_sure({"last_by_subj": subject})
        return await self._get(f"{self._direct}.{subject}", b"")

    async def _get(self, subject: str, query: bytes) -> LogMessage | None:
        answer = await self._ask(subject, query)
        return _message(answer)

    async def _get_sure(self, query: dict[str, Any]) -> LogMessage | None:
        """What the stream's leader has, which no other copy is ahead of."""
        answer = json.loads((await self._ask(self._sure, json.dumps(query).encode())).data)
        error = answer.get("error")
        if error is not None:
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise LogUnavailable(f"the log answered with error {error.get('err_code')}")
        found = answer["message"]
        return LogMessage(int(found["seq"]), base64.b64decode(found.get("data", "")), found["subject"])

    async def _ask(self, subject: str, query: bytes) -> Msg:
        if not self._nats.is_connected:
            raise LogUnavailable("no connection to the log")
        try:
            return await self._nats.request(subject, query, timeout=_ANSWER_WITHIN)
        except NoRespondersError as error:
            raise LogUnavailable("this life of the log is down or lost") from error
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error

    async def tail(self, subject: str, after: int, until: int, *, sure: bool = False) -> Sequence[LogMessage]:
        """See `Log.tail`."""
        found: list[LogMessage] = []
        while after < until:
            page: Sequence[LogMessage]
            if sure:
                one = await self._get_sure({"seq": after + 1, "next_by_subj": subject})
                page = () if one is None else (one,)
            elif not found:  # mostly one is all: one entry of another writer
                one = await self._get(self._direct, json.dumps({"seq": after + 1, "next_by_subj": subject}).encode())
                page = () if one is None else (one,)
            else:
                page = await self._page(subject, after + 1)
            if not page:
                break
            found.extend(message for message in page if message.seq <= until)
            after = page[-1].seq
        return found

    async def page(self, start: int, until: int) -> Sequence[LogMessage]:
        """See `Log.page`. A copy that is behind shows by its last sequence; then the leader is asked."""
        found: list[LogMessage] = []
        everything = subject_filter(self.service, self.epoch)
        while start <= until:
            page = await self._page(everything, start, until - start + 1)
            if not page and (one := await self._get_sure({"seq": start, "next_by_subj": everything})) is not None:
                page = [one]
            if not page:
                break
            found.extend(message for message in page if message.seq <= until)
            start = page[-1].seq + 1
        return found

    async def _page(self, subject: str, start: int, limit: int = _TAIL_BATCH) -> list[LogMessage]:
        inbox = self._nats.new_inbox()
        page: list[LogMessage] = []
        subscription = await self._nats.subscribe(inbox)
        try:
            query = {"seq": start, "batch": limit, "next_by_subj": subject}
            await self._nats.publish(self._direct, json.dumps(query).encode(), reply=inbox)
            while len(page) < limit:
                answer = await subscription.next_msg(timeout=_ANSWER_WITHIN)
                message = _message(answer)
                if message is None:
                    break
                page.append(message)
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
        finally:
            await subscription.unsubscribe()
        return page

    async def ends(self) -> Ends:
        """See `Log.ends`.

        Raises:
            LogLost: it is shorter than what this process saw of it.
        """
        newest = self._newest  # what is appended while the question is under way need not be in the answer
        try:
            state = (await self._nats.jetstream().stream_info(self.stream)).state
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
        if state.last_seq < newest:
            raise LogLost("the log is shorter than it was: an operator must recover it")
        self._newest = max(self._newest, int(state.last_seq))
        return Ends(int(state.first_seq), int(state.last_seq))


def _message(answer: Msg) -> LogMessage | None:
    headers = answer.headers or {}
    status = headers.get("Status")
    if status in ("404", "204"):
        return None
    if status is not None:
        raise LogUnavailable(f"the log answered with status {status}")
    return LogMessage(int(headers["Nats-Sequence"]), answer.data, headers["Nats-Subject"])
