"""How far everybody has got, and what is unread.

A cursor is a row whose sequence is the version it stands at, so the store itself keeps the highest one: it only ever rises, over all
devices and processes, without a log of its own. With it stand the counts by then, which never change; what is unread is then a difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1.inbox_service_pb2 import WatchReceiptsRequest

from services.chat import commands, domain, listings, marks, pages, projections, wire
from services.chat.access import Actor, may_read, readable
from services.chat.domain.unread import Base, base_of, unread
from services.ledger.archive import Row
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

READ: Final = "read_cursors"
DELIVERED: Final = "delivered_cursors"
READ_BY_USER: Final = "read_cursors_by_user"
"""The read cursors of a user, by conversation: all of them in one look. Written with the others, and right where it is ahead of them."""
MOST_RECEIPTS: Final = 100
SLICED: Final = {READ: 2, DELIVERED: 2, READ_BY_USER: 4}
"""A conversation's cursors are cut into 256 slices: a key begins with two digits that spread its users evenly. A user's are cut by when the
conversations began: an id begins with the time, four digits are 50 days."""
_PAGE: Final = 256
_MANY: Final = 500


async def mark(ledger: Ledger, request: pb.MarkMessagesRequest, actor: Actor) -> pb.MarkMessagesResponse:
    """Move a user's cursors up. Raises domain.Refused (NOT_FOUND, NOT_A_MEMBER)."""
    aggregate, now = commands.aggregate_of(actor, request.conversation_id), commands.now_us()
    state = await seated(ledger, actor, aggregate, now)
    rows = []
    read_version = min(request.read_version, state.version)
    if read_version:
        before = await read_base(ledger, aggregate, actor.user_id)
        if before is None or before.version < read_version:
            base = await _base_at(ledger, aggregate, state, actor.user_id, read_version, before)
            rows += _read_rows(aggregate, actor.user_id, base, now)
    delivered_version = max(read_version, min(request.delivered_version, state.version))
    if delivered_version:
        rows.append(_row(DELIVERED, aggregate, actor.user_id, delivered_version, f"{now}"))
    if rows:
        await ledger.put_rows(rows)
    return pb.MarkMessagesResponse(unread=await count(ledger, aggregate, state, actor.user_id))


async def start(ledger: Ledger, aggregate: AggregateId, state: domain.Conversation, user_id: str) -> None:
    """Take all there is as read, for one who begins to read a channel."""
    await ledger.put_rows(_read_rows(aggregate, user_id, Base(state.version, state.messages, 0), commands.now_us()))


async def get(ledger: Ledger, request: pb.GetUnreadRequest, actor: Actor) -> pb.GetUnreadResponse:
    """Count what a user has not read. Raises domain.Refused (NOT_FOUND, NOT_A_MEMBER)."""
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    state = await seated(ledger, actor, aggregate, commands.now_us())
    return pb.GetUnreadResponse(unread=await count(ledger, aggregate, state, actor.user_id))


async def everywhere(ledger: Ledger, request: pb.ListUnreadRequest, actor: Actor) -> pb.ListUnreadResponse:
    """Count what a user has not read in a page of its conversations. Raises domain.Refused (INVALID_PAGE_TOKEN)."""
    listing = ("unread", actor.tenant, actor.user_id)
    after = pages.read(request.page_token, *listing) if request.page_token else None
    wanted = request.page_size or listings.DEFAULT_PAGE
    where = projections.partition(actor.tenant, actor.user_id)
    rows = await ledger.rows(projections.BY_USER, where, after=after, limit=wanted + 1, descending=True)
    response = pb.ListUnreadResponse()
    for row in rows[:wanted]:
        aggregate = commands.aggregate_of(actor, projections.conversation_id_of(row.key))
        state = (await ledger.read(aggregate)).state
        if listings.shows(state, row.key, actor.user_id, commands.now_us()):
            found = await count(ledger, aggregate, state, actor.user_id)
            if found.count:
                response.unread.append(found)
    if len(rows) > wanted:
        response.next_page_token = pages.make(rows[wanted - 1].key, *listing)
    return response


async def receipts(
    ledger: Ledger, request: pb.ListReceiptsRequest | WatchReceiptsRequest, actor: Actor
) -> pb.ListReceiptsResponse:
    """List how far each member has got. Raises domain.Refused (NOT_FOUND, MEMBERS_LIMIT)."""
    aggregate = commands.aggregate_of(actor, request.conversation_id)
    state = await readable(ledger, actor, aggregate, commands.now_us())
    members = state.profile.members if state.profile is not None else {}
    if len(members) > MOST_RECEIPTS:
        raise domain.Refused(
            "MEMBERS_LIMIT",
            f"receipts are listed for at most {MOST_RECEIPTS} members",
            metadata={"limit": str(MOST_RECEIPTS)},
        )
    response = pb.ListReceiptsResponse()
    for user_id in members:
        receipt = await _receipt(ledger, aggregate, user_id)
        if receipt.read_version or receipt.delivered_version:
            response.receipts.append(receipt)
    return response


async def _receipt(ledger: Ledger, aggregate: AggregateId, user_id: str) -> pb.Receipt:
    rows = [await ledger.row(table, _partition(aggregate), _key(user_id)) for table in (READ, DELIVERED)]
    return receipt_of(user_id, [row for row in rows if row is not None])


def receipt_of(user_id: str, rows: Iterable[Row]) -> pb.Receipt:
    """Give how far a user has got, out of the rows of its cursors."""
    receipt = pb.Receipt(user_id=user_id)
    for row in rows:
        at = wire.timestamp(_numbers(row)[-1])
        if row.table == READ:
            receipt.read_version = row.seq
            receipt.read_time.CopyFrom(at)
        else:
            receipt.delivered_version = row.seq
            receipt.delivered_time.CopyFrom(at)
    return receipt


def whose(row: Row) -> tuple[str, str, str]:
    """Give the tenant, the conversation and the user of a cursor's row."""
    tenant, _, conversation_id = row.partition.rpartition("/")
    return tenant, conversation_id, row.key[2:]


async def count(ledger: Ledger, aggregate: AggregateId, state: domain.Conversation, user_id: str) -> pb.Unread:
    """Count what a user has not read in a conversation as it stands."""
    read = await read_base(ledger, aggregate, user_id)
    base = base_of(state, user_id, read)
    gone, mentions, delivered = await asyncio.gather(
        _gone(ledger, aggregate, user_id, base.version, state.version),
        _mentions(ledger, aggregate, user_id, base.version, state.version),
        ledger.row(DELIVERED, _partition(aggregate), _key(user_id)),
    )
    # A cursor may be moved beyond the state, by another process, after that was looked at: then all of it is read.
    is_behind = base.version < state.version
    return pb.Unread(
        conversation_id=aggregate.id,
        count=unread(state, user_id, base, len(gone)) if is_behind else 0,
        mention_count=len(mentions - gone) if is_behind else 0,
        read_version=read.version if read is not None else 0,
        delivered_version=delivered.seq if delivered is not None else 0,
    )


async def delivered(ledger: Ledger, aggregate: AggregateId, user_id: str) -> int:
    """Give up to which version a user's devices were given everything; 0 where they never said."""
    row = await ledger.row(DELIVERED, _partition(aggregate), _key(user_id))
    return row.seq if row is not None else 0


async def read_everywhere(ledger: Ledger, tenant: str, user_id: str) -> dict[str, int]:
    """Give up to where a user has read in each conversation in which it ever said so."""
    found: dict[str, int] = {}
    after: str | None = None
    while True:
        page = await ledger.rows(READ_BY_USER, f"{tenant}/{user_id}", after=after, limit=_MANY)
        found.update((row.key, row.seq) for row in page)
        if len(page) < _MANY:
            return found
        after = page[-1].key


async def read_base(ledger: Ledger, aggregate: AggregateId, user_id: str) -> Base | None:
    """Give up to where a user has read; None where it never said."""
    row = await ledger.row(READ, _partition(aggregate), _key(user_id))
    if row is None:
        return None
    messages, own, _ = _numbers(row)
    return Base(row.seq, messages, own)


async def seated(ledger: Ledger, actor: Actor, aggregate: AggregateId, at_us: int) -> domain.Conversation:
    """Give a conversation in which the actor has a place of its own. Raises domain.Refused (NOT_FOUND, NOT_A_MEMBER)."""
    state = await readable(ledger, actor, aggregate, at_us)
    alone = Actor(actor.tenant, actor.user_id, "", False, False)
    if not await may_read(ledger, alone, aggregate, state, at_us):
        raise domain.not_a_member()
    return state


async def _base_at(
    ledger: Ledger, aggregate: AggregateId, state: domain.Conversation, user_id: str, version: int, before: Base | None
) -> Base:
    """Count what there was at a version: all by what the event there says, one's own from the nearest place where it is known."""
    last = domain.sender(state.senders, user_id)
    own = last[0] if last is not None else 0
    if version == state.version:
        return Base(version, state.messages, own)
    messages = await _messages_at(ledger, aggregate, version)
    if last is None or last[1] <= version:
        return Base(version, messages, own)
    start = base_of(state, user_id, before)
    if version <= start.version:
        return Base(version, messages, 0)  # before it joined: what it says of then counts for nothing
    if version - start.version <= state.version - version:
        return Base(version, messages, start.own + await _own(ledger, aggregate, user_id, start.version, version))
    return Base(version, messages, own - await _own(ledger, aggregate, user_id, version, state.version))


async def _messages_at(ledger: Ledger, aggregate: AggregateId, version: int) -> int:
    page = await ledger.history(aggregate, after=version - 1, limit=1)
    counted = wire.message_count(page[0].payload) if page else 0
    if counted:
        return counted
    # None yet, or written by a release that did not count.
    messages: int = (await ledger.read_at(aggregate, version)).state.messages
    return messages


async def _own(ledger: Ledger, aggregate: AggregateId, user_id: str, after: int, until: int) -> int:
    """Count a user's messages between two versions, the upper one included."""
    found = 0
    while after < until:
        page = await ledger.history(aggregate, after=after, limit=min(_PAGE, until - after))
        if not page:
            break
        for recorded in page:
            said = wire.said(recorded.payload)
            found += said is not None and said.sender == user_id
        after = page[-1].version
    return found


async def _gone(ledger: Ledger, aggregate: AggregateId, user_id: str, above: int, until: int) -> set[int]:
    """Give others' messages above a version that were deleted, for all or for the user."""
    own = user_id.encode()
    gone = set()
    for table, where in (
        (marks.DELETED, marks.partition(aggregate)),
        (marks.HIDDEN, marks.partition(aggregate, user_id)),
    ):
        async for row in marks.between(ledger, table, where, above + 1, until):
            if row.value and row.value != own:
                gone.add(marks.version_of(row.key))
    return gone


async def _mentions(ledger: Ledger, aggregate: AggregateId, user_id: str, above: int, until: int) -> set[int]:
    own = user_id.encode()
    found = set()
    for where in (marks.partition(aggregate, "u", user_id), marks.partition(aggregate, "a")):
        async for row in marks.between(ledger, marks.MENTIONS, where, above + 1, until):
            if row.value != own:
                found.add(marks.version_of(row.key))
    return found


def _key(user_id: str) -> str:
    return f"{crc32(user_id.encode()) & 0xFF:02x}{user_id}"


def _partition(aggregate: AggregateId) -> str:
    return marks.partition(aggregate)


def _row(table: str, aggregate: AggregateId, user_id: str, version: int, value: str) -> Row:
    return Row(table, _partition(aggregate), _key(user_id), value.encode(), version)


def _read_rows(aggregate: AggregateId, user_id: str, base: Base, at_us: int) -> list[Row]:
    by_user = Row(READ_BY_USER, f"{aggregate.tenant}/{user_id}", aggregate.id, b"", base.version)
    return [_row(READ, aggregate, user_id, base.version, f"{base.messages} {base.own} {at_us}"), by_user]


def _numbers(row: Row) -> list[int]:
    return [int(number) for number in (row.value or b"").split()]
