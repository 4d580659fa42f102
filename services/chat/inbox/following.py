"""One follower a process: which of its streams is to look at which conversation again, by what is stored and by what is whispered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog
from nats.errors import Error as NatsError
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import commands, domain, projections, receipts
from services.chat.whispers import Listener, Whispers
from services.ledger.archive import Row
from services.ledger.errors import LedgerError, LogUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger

_AT_ONCE: Final = 256
_LOOKS_AT_ONCE: Final = 32
_RETRY_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)
Look = Callable[[AggregateId], Awaitable[int]]


class Stream(Protocol):
    """Somebody who wants to know where to look again. Called on the event loop; neither waits nor raises."""

    def grew(self, conversation: AggregateId) -> None:
        """A conversation that it follows has new events."""

    def turned(self, conversation_id: str) -> None:
        """What its user is or has in a conversation may have changed."""

    def missed(self) -> None:
        """Anything of that may have been missed."""


class Followed:
    """A conversation that streams of this process follow, and its newest version that was heard of.

    ``sure``: somebody looked at it since it is followed, so what was not heard of since is not there.
    """

    __slots__ = ("conversation", "streams", "sure", "version")

    def __init__(self, conversation: AggregateId) -> None:
        """Nobody follows it yet."""
        self.conversation = conversation
        self.version = 0
        self.sure = False
        self.streams: dict[Stream, None] = {}


class Follower:
    """Follows conversations for all streams of the process.

    Args:
        ledger: whose entries are heard of.
        whispers: how processes tell each other what no entry tells.
        look: gives the version of a conversation as the store has it now.
    """

    def __init__(self, ledger: Ledger, whispers: Whispers, look: Look) -> None:
        """Hear of every entry from now on."""
        self._whispers, self._look = whispers, look
        self._followed: dict[AggregateId, Followed] = {}
        self._users: dict[tuple[str, str], dict[Stream, None]] = {}
        self._saying: set[asyncio.Task[None]] = set()
        self._catching_up: asyncio.Task[None] | None = None
        ledger.engine.hearers.on_stored(self._stored)
        ledger.engine.hearers.on_written(self._written)
        ledger.engine.hearers.on_rows(self._put)
        ledger.engine.hearers.on_reconnected(self._reconnected)

    @property
    def follows(self) -> int:
        """How many conversations are followed."""
        return len(self._followed)

    def follow(self, conversation: AggregateId, stream: Stream) -> Followed:
        """Tell a stream when a conversation grows, until ``leave``."""
        followed = self._followed.get(conversation)
        if followed is None:
            followed = self._followed[conversation] = Followed(conversation)
        followed.streams[stream] = None
        return followed

    def leave(self, followed: Followed, stream: Stream) -> None:
        """Tell it no more; again changes nothing."""
        followed.streams.pop(stream, None)
        if not followed.streams and self._followed.get(followed.conversation) is followed:
            del self._followed[followed.conversation]

    def again(self, conversations: Iterable[AggregateId]) -> None:
        """Have all who follow some conversations look at them again."""
        for conversation in conversations:
            followed = self._followed.get(conversation)
            if followed is not None:
                for stream in followed.streams:
                    stream.grew(conversation)

    async def attend(self, tenant: str, user_id: str, stream: Stream) -> Listener:
        """Tell a stream what turns for its user, until ``part``. Raises LogUnavailable where nothing can be heard."""

        def hear(data: bytes) -> None:
            stream.turned(data.decode(errors="replace"))

        self._users.setdefault((tenant, user_id), {})[stream] = None
        try:
            listener = await self._listen(tenant, f"user/{user_id}", stream, hear)
        except BaseException:
            self._forget(tenant, user_id, stream)
            raise
        return listener

    async def part(self, tenant: str, user_id: str, stream: Stream, listener: Listener) -> None:
        """Tell it no more."""
        self._forget(tenant, user_id, stream)
        await self._whispers.leave(listener)

    async def listen(self, conversation: AggregateId, stream: Stream, hear: Callable[[bytes], None]) -> Listener:
        """Hear receipts of a conversation, until ``unlisten``. Raises LogUnavailable where nothing can be heard."""
        return await self._listen(conversation.tenant, f"receipts/{conversation.id}", stream, hear)

    async def _listen(self, tenant: str, topic: str, stream: Stream, hear: Callable[[bytes], None]) -> Listener:
        try:
            listener = await self._whispers.listen(tenant, topic, hear)
        except NatsError as error:
            raise LogUnavailable("nothing can be heard of other processes") from error
        await self._listened(stream, listener)
        return listener

    async def _listened(self, stream: Stream, listener: Listener) -> None:
        """Wait until what is said will be heard; while that cannot be, the store is shown as it is, and looked at again."""
        try:
            await self._whispers.listened()
        except NatsError:
            stream.missed()
        except BaseException:
            await self._whispers.leave(listener)
            raise

    async def unlisten(self, listener: Listener) -> None:
        """Hear them no more."""
        await self._whispers.leave(listener)

    def _forget(self, tenant: str, user_id: str, stream: Stream) -> None:
        streams = self._users.get((tenant, user_id), {})
        streams.pop(stream, None)
        if not streams:
            self._users.pop((tenant, user_id), None)

    def _stored(self, aggregate: AggregateId, version: int) -> None:
        if aggregate.kind == commands.KIND:
            followed = self._followed.get(aggregate)
            if followed is not None and version > followed.version:
                followed.version = version
                for stream in followed.streams:
                    stream.grew(followed.conversation)
        elif aggregate.kind == projections.PLACE:
            conversation_id, _, user_id = aggregate.id.partition("/")
            for stream in self._users.get((aggregate.tenant, user_id), ()):
                stream.turned(conversation_id)

    def _written(self, aggregate: AggregateId, events: Sequence[tuple[int, Any]]) -> None:
        """Tell users that they came or went; a conversation that they do not follow yet tells them nothing."""
        if aggregate.kind != commands.KIND:
            return
        touched: dict[str, None] = {}
        for _, event in events:
            if type(event) is not domain.MessageSent:  # nearly always it is
                touched.update(dict.fromkeys(_touched(event)))
        if touched:
            self._start(self._say(aggregate, tuple(touched)))

    def _put(self, rows: Sequence[Row]) -> None:
        """Tell how far users have got: those who follow receipts, and the users' other devices."""
        cursors: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            if row.table in (receipts.READ, receipts.DELIVERED):
                cursors.setdefault(receipts.whose(row), []).append(row)
        for (tenant, conversation_id, user_id), of_one in cursors.items():
            self._start(self._marked(tenant, conversation_id, receipts.receipt_of(user_id, of_one)))

    async def _marked(self, tenant: str, conversation_id: str, receipt: pb.Receipt) -> None:
        await self._whispers.say(tenant, f"receipts/{conversation_id}", receipt.SerializeToString())
        await self._whispers.say(tenant, f"user/{receipt.user_id}", conversation_id.encode())

    def _reconnected(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()  # the new one looks at everything that it did not get to
        self._catching_up = self._start(self._catch_up())

    async def _catch_up(self) -> None:
        """Look at everything that is followed, once for all streams: entries may have been stored unheard."""
        for stream in {each for streams in self._users.values() for each in streams}:
            stream.missed()
        waiting = list(self._followed.values())
        while waiting:
            waiting = [followed for followed in waiting if followed.streams]
            some, waiting = waiting[:_LOOKS_AT_ONCE], waiting[_LOOKS_AT_ONCE:]
            looks = (self._look(followed.conversation) for followed in some)
            failures = set()
            for followed, found in zip(some, await asyncio.gather(*looks, return_exceptions=True), strict=True):
                if isinstance(found, int):
                    self._stored(followed.conversation, found)
                    continue
                failures.add(getattr(found, "reason", "") or type(found).__name__)
                if isinstance(found, LedgerError) and found.retry_after is not None:
                    waiting.append(followed)  # of all others waiting is no use, and their streams say so when they look
            if failures:
                _log.warning("inbox_catch_up_failed", reasons=sorted(failures), waiting=len(waiting))
                await asyncio.sleep(_RETRY_SECONDS)

    def _start(self, saying: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(saying)
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)
        return task

    async def _say(self, conversation: AggregateId, user_ids: Sequence[str]) -> None:
        data = conversation.id.encode()
        for start in range(0, len(user_ids), _AT_ONCE):
            for user_id in user_ids[start : start + _AT_ONCE]:
                await self._whispers.say(conversation.tenant, f"user/{user_id}", data)
            await asyncio.sleep(0)


def _touched(event: Any) -> Iterable[str]:
    if isinstance(event, domain.ConversationCreated | domain.MembersAdded):
        return (user_id for user_id, _ in event.members)
    if isinstance(event, domain.MembersRemoved):
        return event.user_ids
    if isinstance(event, domain.MemberBanned):
        return (event.user_id,)
    return ()
