"""Mail, as methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from tradewind.mail.v1 import mail_pb2, mail_service_pb2, mail_service_pb2_grpc
from tradewind.sdk._bulk import BulkWire, Outcome, in_bulk
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, resuming

SendOutcome = Outcome[mail_service_pb2.SendMailRequest, mail_service_pb2.SendMailResult]
"""What became of one mail of many."""


class StatsFrame(NamedTuple):
    """Rows of statistics, absolute values; `snapshot`: all rows of the current period, to replace what was known."""

    stats: list[mail_service_pb2.MailStats]
    snapshot: bool


class Mails:
    """Mails and their statistics. Every method raises TradewindError; `timeout` is in seconds and covers all tries of a call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = mail_service_pb2_grpc.MailServiceStub(connection.channel)

    async def send_mail(
        self, request: mail_service_pb2.SendMailRequest, *, timeout: float | None = None
    ) -> mail_service_pb2.SendMailResponse:
        """Take a mail: answered once it cannot be lost; delivery follows by itself. A missing request id is made here, once."""
        if not request.request_id:
            request = mail_service_pb2.SendMailRequest.FromString(request.SerializeToString())
            request.request_id = new_request_id()
        return await self._connection.unary(self._stub.SendMail, request, timeout)

    def send_mails(
        self,
        requests: Iterable[mail_service_pb2.SendMailRequest] | AsyncIterable[mail_service_pb2.SendMailRequest],
        *,
        window: int = 256,
        timeout: float | None = None,
    ) -> AsyncGenerator[SendOutcome, None]:
        """Take many mails over one stream; yields an outcome for each, in any order. Requests carry request ids of their own."""
        wire: BulkWire[mail_service_pb2.SendMailRequest, mail_service_pb2.SendMailResult] = BulkWire(
            self._stub.SendMails, lambda mails: mail_service_pb2.SendMailsRequest(mails=mails)
        )
        wait = self._connection.timeout if timeout is None else timeout
        return in_bulk(self._connection, wire, requests, window=window, timeout=wait)

    async def get_mail(self, mail_id: str, *, timeout: float | None = None) -> mail_pb2.Mail:
        """Get a mail with the timeline of its attempts. Raises NotFound."""
        request = mail_service_pb2.GetMailRequest(mail_id=mail_id)
        return (await self._connection.unary(self._stub.GetMail, request, timeout)).mail

    async def get_mail_stats(
        self,
        dimension: mail_service_pb2.StatsDimension.ValueType = mail_service_pb2.STATS_DIMENSION_TENANT,
        period: mail_service_pb2.StatsPeriod.ValueType = mail_service_pb2.STATS_PERIOD_DAY,
        *,
        value: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        timeout: float | None = None,
    ) -> list[mail_service_pb2.MailStats]:
        """Get counts by a dimension and period; `start` and `end` carry a time zone."""
        request = mail_service_pb2.GetMailStatsRequest(
            dimension=dimension, value=value, period=period, start_time=_timestamp(start), end_time=_timestamp(end)
        )
        return list((await self._connection.unary(self._stub.GetMailStats, request, timeout)).stats)

    async def watch_mail_stats(
        self,
        dimension: mail_service_pb2.StatsDimension.ValueType = mail_service_pb2.STATS_DIMENSION_TENANT,
        period: mail_service_pb2.StatsPeriod.ValueType = mail_service_pb2.STATS_PERIOD_DAY,
        *,
        value: str = "",
    ) -> AsyncGenerator[StatsFrame, None]:
        """Iterate over statistics as they change, for ever; after a reconnect a new snapshot comes first."""
        request = mail_service_pb2.WatchMailStatsRequest(dimension=dimension, value=value, period=period)

        def open_call(**context: object) -> object:
            return self._stub.WatchMailStats(request, **context)  # type: ignore[arg-type]

        def read(frame: mail_service_pb2.WatchMailStatsResponse) -> Frame:
            said = bool(frame.stats) or frame.snapshot
            return Frame([StatsFrame(list(frame.stats), frame.snapshot)] if said else [], frame.reconnect_after_ms)

        async with aclosing(resuming(self._connection, open_call, read, ends=False)) as frames:
            async for item in frames:
                yield item


def _timestamp(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(at)
    return timestamp
