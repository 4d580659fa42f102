"""Attachments that go: their bytes, and all of a person's."""

from __future__ import annotations

from typing import Final

import structlog

from services.chat import commands
from services.chat.attachments import domain, rows
from services.chat.attachments.pictures import SIZES
from services.chat.attachments.vault import Vault, VaultUnavailable
from services.ledger.decider import Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

_PAGE: Final = 100
_log = structlog.get_logger(__name__)


async def remove_bytes(vault: Vault, tenant: str, attachment_id: str) -> None:
    """Remove an attachment's bytes and thumbnails. Raises VaultUnavailable; then some may be left."""
    for name in (f"{tenant}/{attachment_id}", *(f"{tenant}/{attachment_id}/{size}" for size in SIZES)):
        await vault.remove(name)


async def remove_now(vault: Vault, tenant: str, attachment_id: str) -> None:
    """Remove the bytes of an attachment that was deleted; where that cannot be now, the sweep does it."""
    try:
        await remove_bytes(vault, tenant, attachment_id)
    except VaultUnavailable as error:
        _log.warning("attachment_bytes_left", error=str(error))


def named(aggregate: AggregateId, state: domain.Attachment, word: str) -> Request:
    """Name a command that rests on what an attachment was: whoever comes to the same end names it the same."""
    request_id = derive_request_id(state.since_us, aggregate.key, word, str(state.version))
    return Request(request_id, fingerprint(aggregate.key, word, state.version))


async def erase_person(ledger: Ledger, vault: Vault, tenant: str, user_id: str) -> int:
    """Delete all that a person uploaded, whoever needs it, with its names and bytes; gives how many attachments there were.

    Again goes on where it stopped. Raises LedgerError, VaultUnavailable.
    """
    where, count = rows.owner_partition(tenant, user_id), 0
    after: str | None = None
    while page := await ledger.rows(rows.OWNED, where, after=after, limit=_PAGE):
        for row in page:
            attachment_id = row.key[17:]
            aggregate = rows.aggregate_of(tenant, attachment_id)
            state: domain.Attachment = (await ledger.read(aggregate)).state
            if state.state in domain.THERE:
                command = domain.Delete(commands.now_us(), -1)
                await ledger.execute(aggregate, command, named(aggregate, state, "erase"))
            await remove_bytes(vault, tenant, attachment_id)
            count += 1
        after = page[-1].key
    after = None
    while page := await ledger.rows(rows.NAMES, where, after=after, limit=_PAGE):
        await ledger.put_rows([rows.name_row(tenant, user_id, row.key, None) for row in page])
        after = page[-1].key
    return count
