"""What nobody needs is deleted: uploads that were never completed, attachments that were never sent, and those whose messages are gone.

Any number of processes may sweep at once: each looks, and decides by what it saw; a decision that something overtook does nothing. The
order is condemn, wait, look again, delete, remove the bytes; a process may die between any two, and whoever sweeps next goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Final

import structlog

from services.chat import commands
from services.chat.attachments import domain, rows, seeing
from services.chat.attachments.config import AttachmentSettings
from services.chat.attachments.quota import DAY_US
from services.chat.attachments.removing import named, remove_bytes, remove_now
from services.chat.attachments.scheduled import is_scheduled
from services.chat.attachments.vault import Vault, VaultUnavailable
from services.ledger.archive import Row
from services.ledger.decider import Request
from services.ledger.ending import end
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

_PAGE: Final = 200
_log = structlog.get_logger(__name__)


class Collector:
    """Looks from time to time."""

    def __init__(self, ledger: Ledger, vault: Vault, settings: AttachmentSettings) -> None:
        """Collect what ``settings`` say, of what ``ledger`` and ``vault`` hold."""
        self._ledger, self._vault = ledger, vault
        self._every = settings.attachment_sweep
        self._unsent_us = round(settings.attachment_keep_unsent * 1_000_000)
        self._grace_us = round(settings.attachment_grace * 1_000_000)
        self._task: asyncio.Task[None] | None = None
        self.steps: Counter[str] = Counter()
        """What was done to attachments so far."""

    def start(self) -> None:
        """Begin, with all other processes together."""
        self._task = asyncio.create_task(self._run(), name="attachment-sweep")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            await end([self._task])

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
        """Look at all messages that are no more, then at all that no message is known to name. Raises LedgerError, VaultUnavailable."""
        slots = list(range(rows.SLOTS))
        random.shuffle(slots)  # processes that begin at once do not do the same
        for slot in slots:
            await self._release(slot)
            await self._check_restored(slot)
        for slot in slots:
            after: str | None = None
            while page := await self._ledger.rows(rows.WATCHED, str(slot), after=after, limit=_PAGE):
                for row in page:
                    state, care, since = (row.value or b"").decode().split()
                    if self._is_due(domain.State(state), domain.Care(care), int(since)):
                        tenant, _, attachment_id = row.key.partition("/")
                        await self._look_at_one(tenant, attachment_id)
                after = page[-1].key

    async def _release(self, slot: int) -> None:
        """Look at messages that are no more: what they named may be needed by nobody now."""
        done: list[Row] = []
        async for row, conversation, version in rows.released(self._ledger, slot):
            at_us = int(row.value or b"0")
            for attachment_id in await rows.named_by(self._ledger, conversation, version):
                aggregate = rows.aggregate_of(conversation.tenant, attachment_id)
                cause = (conversation.key, str(version), attachment_id)
                # Named after the message, so that each counts once, whoever comes upon it.
                request = Request(derive_request_id(at_us, *cause), fingerprint(*cause))
                await self._do(aggregate, domain.Release(commands.now_us()), request)
            done.append(replace(row, value=None, seq=row.seq + 1))
            if len(done) == _PAGE:
                await self._ledger.put_rows(done)
                done.clear()
        if done:
            await self._ledger.put_rows(done)

    async def _check_restored(self, slot: int) -> None:
        """Look at what came out of a backup a day ago: its owner may have deleted it since, and the log have told the store."""
        until = f"{commands.now_us() - DAY_US:016x}"
        while page := await self._ledger.rows(rows.RESTORED, str(slot), limit=_PAGE):
            due = [row for row in page if row.key < until]
            for row in due:
                tenant, _, attachment_id = row.key[17:].partition("/")
                state = (await self._ledger.read(rows.aggregate_of(tenant, attachment_id))).state
                if state.state not in domain.THERE:
                    await remove_bytes(self._vault, tenant, attachment_id)
            await self._ledger.put_rows([replace(row, value=None, seq=row.seq + 1) for row in due])
            if len(due) < len(page) or len(page) < _PAGE:
                return

    def _is_due(self, state: domain.State, care: domain.Care, since_us: int) -> bool:
        if state is domain.State.DELETED:
            # It counts for its owner's day, and by then whoever was still writing it has ended.
            wait = max(self._grace_us, DAY_US)
        elif care is domain.Care.CONDEMNED:
            wait = self._grace_us
        else:
            wait = 0 if care is domain.Care.RELEASED else self._unsent_us
        return since_us + wait <= commands.now_us()

    async def _look_at_one(self, tenant: str, attachment_id: str) -> None:
        try:
            await self.look_at(tenant, attachment_id)
        except LedgerError as error:
            if error.retry_after is not None:
                raise
            # An operator must help this one; the others must not wait for that.
            _log.error("attachment_not_looked_at", reason=error.reason, attachment=attachment_id)

    async def look_at(self, tenant: str, attachment_id: str) -> None:
        """Do the next step with an attachment that is due. Raises LedgerError, VaultUnavailable."""
        aggregate = rows.aggregate_of(tenant, attachment_id)
        state: domain.Attachment = (await self._ledger.read(aggregate)).state
        if not self._is_due(state.state, state.care, state.since_us):
            return
        # Only from here on it is looked at who names it: a look from before the grace period was over would not count.
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
            step = type(command).__name__.lower()
            self.steps[step] += 1
            _log.info("attachment_collected", step=step, attachment=aggregate.id)
