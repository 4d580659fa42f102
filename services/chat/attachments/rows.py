"""What is kept beside the events of attachments: whose they are, what they are called, which have to be looked at, and who names them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

from services.chat.attachments import domain
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

ATTACHMENT: Final = "attachment"
"""The kind of aggregate."""
OWNED: Final = "attachments_by_owner"
"""A user's attachments by when their upload began, until their bytes are removed: state and declared size."""
NAMES: Final = "attachment_names"
"""What a user calls its attachments, by id (``Names``). In no event, so that it can be forgotten."""
WATCHED: Final = "attachments_watched"
"""All attachments that no message is known to name, spread over slots: what is known of who needs it, and since when."""
LINKS: Final = "attachment_links"
"""The messages that name an attachment, by conversation and version; also those that were deleted since."""
NAMED: Final = "message_attachments"
"""The attachments that the messages of a conversation name, by version."""
RELEASED: Final = "messages_released"
"""Messages that are no more, spread over slots, until it was looked at what they named."""
RESTORED: Final = "attachments_restored"
"""Attachments whose bytes came out of a backup, spread over slots, by when: looked at once more when the log has had its say."""
SLICED: Final = {OWNED: 8, NAMED: 12}
"""By how many characters of a key a store may cut these: 72 minutes of a user's uploads, 65,536 versions of a conversation."""
SLOTS: Final = 64
"""Over how many partitions what is watched is spread; never changed."""
_CONVERSATION: Final = "conversation"
_GONE_SEQ: Final = 2
_PAGE: Final = 200


def aggregate_of(tenant: str, attachment_id: str) -> AggregateId:
    """Name an attachment of a tenant."""
    return AggregateId(tenant, ATTACHMENT, attachment_id)


def owner_partition(tenant: str, user_id: str) -> str:
    """Name what is listed together: one user's attachments."""
    return f"{tenant}/{user_id}"


def rows(
    aggregate: AggregateId, state: domain.Attachment, _events: Sequence[tuple[int, domain.Event]]
) -> Iterable[Row]:
    """Give the rows of an attachment as it stands after events."""
    yield Row(WATCHED, slot_of(aggregate), f"{aggregate.tenant}/{aggregate.id}", _watched(state))
    owned = None if state.state is domain.State.PURGED else f"{state.state.value} {state.size}".encode()
    key = f"{state.created_us:016x}-{aggregate.id}"
    yield Row(OWNED, owner_partition(aggregate.tenant, state.owner), key, owned)


def _watched(state: domain.Attachment) -> bytes | None:
    if state.state is domain.State.PURGED:
        return None
    if state.state is domain.State.COMPLETE and state.care is domain.Care.KEPT:
        return None
    return f"{state.state.value} {state.care.value} {state.since_us}".encode()


def slot_of(aggregate: AggregateId) -> str:
    """Name the slot in which an attachment is watched, or in which stand a conversation's messages that are no more."""
    return str(zlib.crc32(aggregate.key.encode()) % SLOTS)


def restored_row(tenant: str, attachment_id: str, at_us: int) -> Row:
    """Give the row of an attachment whose bytes come out of a backup."""
    key = f"{at_us:016x}-{tenant}/{attachment_id}"
    return Row(RESTORED, slot_of(aggregate_of(tenant, attachment_id)), key, b"", 1)


def name_row(tenant: str, user_id: str, attachment_id: str, name: bytes | None) -> Row:
    """Give the row of an attachment's name, as it is kept; None forgets it for good."""
    return Row(NAMES, owner_partition(tenant, user_id), attachment_id, name, 1 if name is not None else _GONE_SEQ)


def link_rows(conversation: AggregateId, version: int, attachment_ids: Iterable[str]) -> Iterator[Row]:
    """Give the rows of a message, or an edit of one, that names attachments."""
    for attachment_id in attachment_ids:
        where = f"{conversation.tenant}/{attachment_id}"
        yield Row(LINKS, where, f"{conversation.id}/{version:016x}", b"")
        yield Row(NAMED, f"{conversation.tenant}/{conversation.id}", f"{version:016x}{attachment_id}", b"")


def released_row(conversation: AggregateId, version: int, at_us: int) -> Row:
    """Give the row of a message that is no more since a time: what it named, mostly nothing, is to be looked up and looked at."""
    key = f"{conversation.tenant}/{conversation.id}/{version:016x}"
    return Row(RELEASED, slot_of(conversation), key, str(at_us).encode())


async def released(ledger: Ledger, slot: int) -> AsyncIterator[tuple[Row, AggregateId, int]]:
    """Iterate over the messages of a slot that are no more: their rows, conversations and versions."""
    after: str | None = None
    while page := await ledger.rows(RELEASED, str(slot), after=after, limit=_PAGE):
        for row in page:
            (tenant, _, rest), version = row.key[:-17].partition("/"), int(row.key[-16:], 16)
            yield row, AggregateId(tenant, _CONVERSATION, rest), version
        after = page[-1].key


async def links(
    ledger: Ledger, tenant: str, attachment_id: str, conversation_id: str = ""
) -> AsyncIterator[tuple[str, int]]:
    """Iterate over conversations and versions of messages that name, or named, an attachment; all, or those of a conversation."""
    start = f"{conversation_id}/" if conversation_id else ""
    after: str | None = start or None
    while True:
        page = await ledger.rows(LINKS, f"{tenant}/{attachment_id}", after=after, limit=_PAGE)
        for row in page:
            if not row.key.startswith(start):
                return
            conversation, _, version = row.key.rpartition("/")
            yield conversation, int(version, 16)
        if len(page) < _PAGE:
            return
        after = page[-1].key


async def named_by(ledger: Ledger, conversation: AggregateId, version: int) -> list[str]:
    """Read which attachments a message names, or named before an edit."""
    where, place = f"{conversation.tenant}/{conversation.id}", f"{version:016x}"
    found: list[str] = []
    after: str | None = place
    while True:
        page = await ledger.rows(NAMED, where, after=after, limit=_PAGE)
        found += [row.key[16:] for row in page if row.key.startswith(place)]
        if len(page) < _PAGE or not page[-1].key.startswith(place):
            return found
        after = page[-1].key
