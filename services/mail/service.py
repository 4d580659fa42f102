"""The rpcs of Mail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from tradewind.mail.v1 import mail_service_pb2 as pb

from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId, fingerprint
from services.ledger.ledger import Ledger
from services.mail import wire
from services.mail.bulk import Bulk
from services.mail.domain import QueueMail
from services.mail.kinds import mail_of, new_mail
from services.mail.rendering import Content, variables_of
from services.mail.stats.counting import SECONDS
from services.mail.stats.live import LiveStats
from services.mail.stats.reading import MOST_ROWS, read_rows, summed
from services.mail.stats.watching import Hub
from services.mail.taking import Desk, Wanted
from services.runtime.call import Call
from services.runtime.errors import Refused

_DEFAULT_SPANS = {
    pb.STATS_PERIOD_MINUTE: 3600,
    pb.STATS_PERIOD_HOUR: 24 * 3600,
    pb.STATS_PERIOD_DAY: 31 * 86_400,
}
_BULK_SECONDS = 30.0


class MailService:
    """Serves ``tradewind.mail.v1.MailService``."""

    def __init__(self, ledger: Ledger, desk: Desk, hub: Hub) -> None:
        """Write into and read out of ``ledger``."""
        self._ledger = ledger
        self._desk = desk
        self._hub = hub

    async def SendMail(self, request: pb.SendMailRequest, call: Call) -> pb.SendMailResponse:
        """See the contract."""
        aggregate, command, named = self._taken(request, call)
        receipt = await self._ledger.execute(aggregate, command, named, call.remaining())
        return pb.SendMailResponse(mail_id=aggregate.id, replayed=receipt.replayed)

    async def SendMails(
        self, requests: AsyncIterator[pb.SendMailsRequest], call: Call
    ) -> AsyncIterator[pb.SendMailsResponse]:
        """See the contract."""
        bulk = Bulk(call, lambda request: self._submit(request, call))
        async for frame in bulk.answers(requests):
            yield frame

    async def GetMail(self, request: pb.GetMailRequest, call: Call) -> pb.GetMailResponse:
        """See the contract."""
        view = await self._ledger.read(mail_of(call.caller.tenant, request.mail_id))
        if view.version == 0:
            raise Refused("NOT_FOUND", "no such mail", resource=("mail", request.mail_id))
        return pb.GetMailResponse(mail=wire.mail_to_proto(request.mail_id, view.state, view.version))

    async def GetMailStats(self, request: pb.GetMailStatsRequest, call: Call) -> pb.GetMailStatsResponse:
        """See the contract."""
        dimension = request.dimension or pb.STATS_DIMENSION_TENANT
        period = request.period or pb.STATS_PERIOD_DAY
        now = int(time.time())
        end = request.end_time.seconds if request.HasField("end_time") else now + 1
        start = request.start_time.seconds if request.HasField("start_time") else _default_start(period, min(end, now))
        if start > end:
            raise Refused("INVALID_FIELD", "start_time is after end_time", field="start_time")
        rows = await read_rows(
            self._ledger, call.caller.tenant, dimension, period, max(start, 0), end, value=request.value
        )
        return pb.GetMailStatsResponse(stats=summed(rows)[:MOST_ROWS])

    async def WatchMailStats(
        self, request: pb.WatchMailStatsRequest, call: Call
    ) -> AsyncIterator[pb.WatchMailStatsResponse]:
        """See the contract."""
        live = LiveStats(
            self._ledger,
            self._hub,
            call,
            dimension=request.dimension or pb.STATS_DIMENSION_TENANT,
            period=request.period or pb.STATS_PERIOD_DAY,
            value=request.value,
        )
        async for frame in live.frames():
            yield frame

    def _submit(self, request: pb.SendMailRequest, call: Call) -> tuple[str, asyncio.Future[Receipt]]:
        """Queue one mail of many. Raises what refuses it at once."""
        call.validate(request)
        aggregate, command, named = self._taken(request, call)
        return aggregate.id, self._ledger.submit(aggregate, command, named, _BULK_SECONDS)

    def _taken(self, request: pb.SendMailRequest, call: Call) -> tuple[AggregateId, QueueMail, Request]:
        try:
            aggregate = new_mail(call.caller.tenant, call.caller.subject, request.request_id)
        except ValueError:
            raise Refused("INVALID_FIELD", "request_id: must be a UUIDv7", field="request_id") from None
        command = self._desk.command(aggregate, _wanted(request), call.traceparent)
        digest = fingerprint(request.SerializeToString(deterministic=True))
        return aggregate, command, Request(request.request_id, digest, call.traceparent)


def _default_start(period: int, end: int) -> int:
    start = end - _DEFAULT_SPANS[pb.StatsPeriod.ValueType(period)]
    return start - start % SECONDS[pb.StatsPeriod.ValueType(period)]


def _wanted(request: pb.SendMailRequest) -> Wanted:
    sender = wire.mailbox_of(getattr(request, "from")) if request.HasField("from") else None
    templated = request.HasField("template")
    template = request.template.template if templated else ""
    return Wanted(
        recipient=wire.mailbox_of(request.to),
        content=None if templated else Content(request.content.subject, request.content.text, request.content.html),
        template=template,
        variables=variables_of(template, request.template.variables_json) if templated else {},
        sender=sender,
        lane=wire.LANES[request.stream],
        campaign=request.campaign,
        tracked=request.track_opens,
        attributes=dict(request.attributes),
    )
