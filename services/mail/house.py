"""All of Mail in one process, put together: rpcs, delivery, statistics and pictures."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from functools import partial
from typing import Final

import structlog
from tradewind.mail.v1 import mail_service_pb2

from services.host import Host
from services.ledger.decider import Request
from services.ledger.ending import end
from services.ledger.errors import LedgerError
from services.ledger.ids import derive_request_id, fingerprint
from services.mail.clock import now_us
from services.mail.config import MailSettings
from services.mail.delivery import Delivery
from services.mail.domain import Lane, Mail, RecordOpen, Refused
from services.mail.handover import HandOver
from services.mail.kinds import mail_of
from services.mail.peers import Peers
from services.mail.rendering import Templates
from services.mail.service import MailService
from services.mail.smtp.dkim import Signer, load_signer
from services.mail.smtp.pool import Pool
from services.mail.smtp.routes import Routes
from services.mail.stats.lease import Lease
from services.mail.stats.rollup import ROLE, Rollup, keep
from services.mail.stats.watching import Announcer, Hub
from services.mail.taking import Desk
from services.mail.tracking import Links, PictureServer
from services.mail.worker import DeliveryWorker, OrderWorker

SERVICE: Final = "mail"
_OPEN_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class House:
    """What a Mail process is made of."""

    def __init__(self, host: Host[MailSettings]) -> None:
        """Put together what does not wait. Raises UnusableKey, jinja2.TemplateError."""
        settings = host.settings
        self._host = host
        self._links = _links(settings)
        self._desk = Desk(settings, Templates(), self._links)
        self._pools = {lane: _pool(settings) for lane in Lane}
        routes, signer = Routes(settings.route_table), _signer(settings)
        hand_overs = {lane: HandOver(pool, routes, signer, host.telemetry) for lane, pool in self._pools.items()}
        self._peers = Peers(host.nats)
        self.delivery = Delivery(host.ledger, hand_overs, settings, host.telemetry, self._peers)
        self._leases: list[asyncio.Task[None]] = []
        self.pictures = PictureServer(self._links, self._opened) if self._links is not None else None

    async def open(self) -> None:
        """Serve, deliver and count. Raises OSError where a port is taken."""
        host = self._host
        service = MailService(host.ledger, self._desk, Hub(host.nats))
        host.server.add(mail_service_pb2.DESCRIPTOR.services_by_name["MailService"], service)
        if self.pictures is not None:
            address, _, port = host.settings.tracking_listen.rpartition(":")
            await self.pictures.start(address.strip("[]"), int(port))
            _log.info("pictures_served", listen=host.settings.tracking_listen, port=self.pictures.port)
        await self._peers.open()
        DeliveryWorker(host.ledger, self.delivery).start()
        if host.settings.order_events:
            OrderWorker(host.ledger, self._desk, host.telemetry).start()
        for partition in range(host.settings.log_partitions):
            lease = Lease(host.nats, f"{ROLE}-{partition}", replicas=host.settings.log_replicas)
            work = partial(self._count, partition)
            self._leases.append(asyncio.create_task(lease.hold(work), name=f"statistics-{partition}"))

    async def close(self) -> None:
        """Stop counting, let deliveries under way end, and leave servers politely."""
        await end(self._leases)
        if self.pictures is not None:
            await self.pictures.close()
        await self.delivery.close(self._host.settings.drain_grace)
        await self._peers.close()
        for pool in self._pools.values():
            await pool.close()

    async def _count(self, partition: int) -> None:
        settings, ledger = self._host.settings, self._host.ledger
        rollup = Rollup(ledger, partition, settings.stats_rows)
        announcer = Announcer(self._host.nats)
        both = [
            asyncio.create_task(keep(ledger.tail(ROLE, partition), rollup, settings.stats_flush, announcer.announce)),
            asyncio.create_task(rollup.calendar.keep()),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await end(both)

    async def _opened(self, tenant: str, mail_id: str) -> None:
        """Write an opening down; the picture is handed out whatever becomes of it."""
        aggregate = mail_of(tenant, mail_id)
        ledger = self._host.ledger
        try:
            mail: Mail = (await ledger.read(aggregate, fresh=False)).state
            with self._host.telemetry.span("mail.open", mail.traceparent or None, "server") as span:
                now = now_us()
                name = derive_request_id(now, aggregate.key, uuid.uuid4().hex)
                request = Request(name, fingerprint(name), span.traceparent)
                await ledger.execute(aggregate, RecordOpen(now), request, _OPEN_SECONDS)
        except (LedgerError, Refused) as error:
            _log.warning("opening_not_written", reason=error.reason)


def _links(settings: MailSettings) -> Links | None:
    if settings.tracking_key_file is None:
        return None
    return Links.from_file(settings.tracking_url, settings.tracking_key_file)


def _signer(settings: MailSettings) -> Signer | None:
    if settings.dkim_key_file is None:
        return None
    return load_signer(settings.dkim_domain, settings.dkim_selector, settings.dkim_key_file)


def _pool(settings: MailSettings) -> Pool:
    context = ssl.create_default_context() if settings.smtp_tls == "required" else None
    return Pool(settings.hello, settings.limits, settings.timeouts, context)
