"""Privacy as a part of a process of Chat."""

from __future__ import annotations

from tradewind.chat.v1 import privacy_service_pb2

from services.chat.attachments.vault import Vault
from services.chat.contents import Contents
from services.chat.privacy.erasing import Eraser
from services.chat.privacy.exporting import Exporter
from services.chat.privacy.parts import all_parts
from services.chat.privacy.service import PrivacyService
from services.chat.search.service import SearchService
from services.chat.whispers import Whispers
from services.ledger.ledger import Ledger
from services.runtime.server import Server


def serve_privacy(
    server: Server, ledger: Ledger, contents: Contents, whispers: Whispers, vault: Vault, search: SearchService | None
) -> None:
    """Serve exports and erasure on ``server``. ``search`` None: this deployment has none."""
    parts = all_parts(ledger, contents, vault, search)
    service = PrivacyService(Exporter(ledger, contents, parts), Eraser(ledger, contents, whispers, parts))
    server.add(privacy_service_pb2.DESCRIPTOR.services_by_name["PrivacyService"], service)
