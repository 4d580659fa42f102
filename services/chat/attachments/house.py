"""All that attachments need in one process, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tradewind.chat.v1 import attachment_service_pb2

from services.chat.attachments.collector import Collector
from services.chat.attachments.config import AttachmentSettings
from services.chat.attachments.downloads import Downloads
from services.chat.attachments.files import Files
from services.chat.attachments.http import DownloadServer
from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.links import Links
from services.chat.attachments.pictures import Drawer
from services.chat.attachments.service import AttachmentService
from services.chat.attachments.transfers import Transfers
from services.chat.attachments.uploads import Uploads
from services.chat.attachments.vault import Vault
from services.chat.privacy.keys import PersonKeys
from services.ledger.ledger import Ledger
from services.runtime import nats
from services.runtime.config import Unstartable
from services.runtime.server import Server


@dataclass(frozen=True)
class House:
    """What a process serves attachments with."""

    service: AttachmentService
    vault: Vault
    files: Files
    collector: Collector
    transfers: tuple[Transfers, ...]
    http: DownloadServer | None


@asynccontextmanager
async def attachments(
    server: Server, ledger: Ledger, settings: AttachmentSettings, keys: PersonKeys | None
) -> AsyncIterator[House]:
    """Serve attachments on ``server`` until left, sealed with ``keys`` where there are some.

    Raises:
        Unstartable: a key or an address cannot be used.
    """
    links = None
    if settings.attachment_key_file is not None:
        links = Links.from_file(settings.attachment_url, settings.attachment_key_file, settings.attachment_link_lasts)
    # A connection of its own: files must not stand in the way of the log.
    vault = JetStreamVault(
        await nats.connect(settings, "chat-attachments"),
        settings.attachment_bucket,
        replicas=settings.attachment_replicas,
        max_bytes=settings.attachment_bucket_bytes,
    )
    drawer = Drawer(
        pixels=settings.picture_pixels,
        memory=settings.picture_memory,
        seconds=settings.picture_seconds,
        at_once=settings.picture_processes,
    )
    transfers = Transfers(settings.attachment_transfers, settings.attachment_caller_transfers)
    files = Files(vault, keys)
    uploads = Uploads(ledger, files, drawer, transfers, settings)
    service = AttachmentService(uploads, Downloads(ledger, files, transfers, links))
    collector = Collector(ledger, vault, settings)
    http, counted = None, [transfers]
    try:
        if links is not None:
            # Of its own, so that people who only look leave room for those who send; by tenants, as links know nobody else.
            by_http = Transfers(settings.attachment_transfers, max(1, settings.attachment_transfers // 2))
            counted.append(by_http)
            http = DownloadServer(ledger, files, by_http, links, cache=settings.attachment_link_cache)
            await _listen(http, settings.attachment_listen)
        server.add(attachment_service_pb2.DESCRIPTOR.services_by_name["AttachmentService"], service)
        collector.start()
        yield House(service, vault, files, collector, tuple(counted), http)
    finally:
        await collector.close()
        if http is not None:
            await http.close()
        await vault.close()


async def _listen(http: DownloadServer, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        await http.start(host.strip("[]"), int(port))
    except OSError as error:
        raise Unstartable(f"cannot listen for downloads on {address}: {error.strerror or error}") from error
