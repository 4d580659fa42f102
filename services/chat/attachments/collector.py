"""What nobody needs is deleted: uploads that were never completed, attachments that were never sent, and those whose messages are gone.

Any number of processes may sweep at once: each looks, and decides by what it saw; a decision that something overtook does nothing. The
order is condemn, wait, look again, delete, remove the bytes; a process may die between any two, and whoever sweeps next goes on.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog
from tradewind.chat.v1 import chat_pb2

from services.chat import commands
from services.chat.attachments import domain, rows, seeing
from services.chat.attachments.config import AttachmentSettings
from services.chat.attachments.quota import DAY_US
from services.chat.attachments.removing import named, remove_bytes, remove_now
from services.chat.attachments.scheduled import is_scheduled
from services.chat.attachments.vault import Vault, VaultUnavailable
from services.chat.wire import microseconds
from services.ledger.decider import Delivered, Request
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

ROLE: Final = "chat-attachments"
_PAGE: Final = 200
_log = structlog.get_logger(__name__)


class Collector:
    """Looks from time to time, and when a message was deleted."""

    def __init__(self, ledger: Ledger, vault: Vault, settings: AttachmentSettings) -> None:
        """Collect what ``settings`` say, of what ``ledger`` and ``vault`` hold."""
        self._ledger, self._vault = ledger, vault
        self._every = settings.attachment_sweep
        self._unsent_us = round(settings.attachment_keep_unsent * 1_000_000)
        self._grace_us = round(settings.attachment_grace * 1_000_000)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with all other processes together."""
        self._ledger.consume(role=ROLE, handle=self.handle, source="chat", kind=commands.KIND)
        self._task = asyncio.create_task(self._run(), name="attachment-sweep")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def handle(self, delivered: Delivered) -> None:
        """Take one stored entry of a conversation: attachments of deleted messages are released."""
        for recorded in delivered.events:
            event = chat_pb2.ConversationEvent.FromString(recorded.payload)
            for version in _gone(event):
                for attachment_id in await rows.named_by(self._ledger, delivered.aggregate, version):
                    aggregate = rows.aggregate_of(delivered.aggregate.tenant, attachment_id)
                    cause = (delivered.aggregate.key, str(version), attachment_id)
                    named = Request(derive_request_id(microseconds(event.event_time), *cause), fingerprint(*cause))
                    await self._do(aggregate, domain.Release(commands.now_us()), named)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every * random.uniform(0.75, 1.25))
            try:
                await self.sweep()
            except (LedgerError, VaultUnavailable) as error:
                _log.warning("attachment_sweep_interrupted", reason=error.reason)
            except Exception:  # noqa: BLE001 - a defect must not end the sweeping
                _log.error("attachment_sweep_failed", exc_info=True)

    async def sweep(self) -> None:
        """Look at all that no message is known to name. Raises LedgerError, VaultUnavailable."""
        slots = list(range(rows.SLOTS))
        random.shuffle(slots)  # processes that begin at once do not do the same
        for slot in slots:
            after: str | None = None
            while page := await self._ledger.rows(rows.WATCHED, str(slot), after=after, limit=_PAGE):
                for row in page:
                    state, care, since = (row.value or b"").decode().split()
                    if self._is_due(domain.State(state), domain.Care(care), int(since)):
                        tenant, _, attachment_id = row.key.partition("/")
                        await self.look_at(tenant, attachment_id)
                after = page[-1].key

    def _is_due(self, state: domain.State, care: domain.Care, since_us: int) -> bool:
        if state is domain.State.DELETED:
            # It counts for its owner's day, and by then whoever was still writing it has ended.
            wait = max(self._grace_us, DAY_US)
        elif care is domain.Care.CONDEMNED:
            wait = self._grace_us
        else:
            wait = 0 if care is domain.Care.RELEASED else self._unsent_us
        return since_us + wait <= commands.now_us()

    async def look_at(self, tenant: str, attachment_id: str) -> None:
        """Do the next step with an attachment that is due. Raises LedgerError, VaultUnavailable."""
        aggregate = rows.aggregate_of(tenant, attachment_id)
        state: domain.Attachment = (await self._ledger.read(aggregate)).state
        if not self._is_due(state.state, state.care, state.since_us):
            return
        now = commands.now_us()
        if state.state is domain.State.DELETED:
            await remove_bytes(self._vault, tenant, attachment_id)
            await self._ledger.put_rows([rows.name_row(tenant, state.owner, attachment_id, None)])
            await self._do(aggregate, domain.Purge(now), named(aggregate, state, "purge"))
        elif await seeing.is_named(self._ledger, tenant, attachment_id):
            await self._do(aggregate, domain.Keep(now, state.version), named(aggregate, state, "keep"))
        elif await is_scheduled(self._ledger, tenant, state.owner, attachment_id):
            return  # it is looked at again by the next sweep
        elif state.care is not domain.Care.CONDEMNED:
            await self._do(aggregate, domain.Condemn(now, state.version), named(aggregate, state, "condemn"))
        else:
            command = domain.Delete(now, state.version)
            await self._do(aggregate, command, named(aggregate, state, "delete"))
            if (await self._ledger.read(aggregate)).state.state is domain.State.DELETED:
                await remove_now(self._vault, tenant, attachment_id)

    async def _do(self, aggregate: AggregateId, command: domain.Command, request: Request) -> None:
        receipt = await self._ledger.execute(aggregate, command, request)
        if receipt.payloads and not receipt.replayed:
            _log.info("attachment_collected", step=type(command).__name__.lower(), attachment=aggregate.id)


def _gone(event: chat_pb2.ConversationEvent) -> list[int]:
    """Give the versions of messages that are no more by an event."""
    which = event.WhichOneof("event")
    if which == "deleted":
        return [event.deleted.message_version]
    return [each.message_version for each in event.messages_expired.messages] if which == "messages_expired" else []
