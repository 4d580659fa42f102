"""Who is there, and who types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Final, Self, cast

from tradewind.chat.v1 import presence_service_pb2, presence_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import DeadlineExceeded, SubscriptionEnded, TradewindError, Transient, from_status
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, resuming

_MOST_ASKED: Final = 500
_MOST_ADDED: Final = 2000
_GOODBYE_SECONDS: Final = 2.0


class Presence:
    """Who is there and who types, now; nothing of it is remembered. Every method raises TradewindError; `timeout` is in seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = presence_service_pb2_grpc.PresenceServiceStub(connection.channel)

    def online(self, device_id: str = "", *, away: bool = False, lease: int = 60) -> Lease:
        """Be there for as long as an `async with` lasts, and gone afterwards. A program that is killed fades after `lease` seconds.

        `device_id`: the device's own name, the same for as long as it is installed; empty: one of this program's run.
        """
        return Lease(self, device_id or f"run-{new_request_id()}", away=away, lease=lease)

    async def report(
        self,
        device_id: str,
        state: presence_service_pb2.PresenceState.ValueType,
        *,
        lease: int = 0,
        timeout: float | None = None,
    ) -> presence_service_pb2.ReportPresenceResponse:
        """Say once how a device is: online or away for `lease` seconds (0: 60), or offline. See `online`, which repeats it."""
        request = presence_service_pb2.ReportPresenceRequest(device_id=device_id, state=state, lease_seconds=lease)
        return await self._connection.unary(self._stub.ReportPresence, request, timeout)

    async def get(
        self, user_ids: Sequence[str], *, timeout: float | None = None
    ) -> list[presence_service_pb2.Presence]:
        """Tell who of these is there, in their order; any number of different users."""
        found: list[presence_service_pb2.Presence] = []
        for start in range(0, len(user_ids), _MOST_ASKED):
            request = presence_service_pb2.GetPresenceRequest(user_ids=user_ids[start : start + _MOST_ASKED])
            found.extend((await self._connection.unary(self._stub.GetPresence, request, timeout)).presences)
        return found

    def watch(self, user_ids: Iterable[str] = ()) -> PresenceWatch:
        """Watch up to 10,000 users; iterate over the answer, and add or remove users meanwhile."""
        return PresenceWatch(self._connection, self._stub, user_ids)

    async def set_typing(self, conversation_id: str, *, stopped: bool = False, timeout: float | None = None) -> float:
        """Say that the caller types, or no more; gives for how many seconds it lasts. Repeat it in half of that while it goes on."""
        request = presence_service_pb2.SetTypingRequest(conversation_id=conversation_id, stopped=stopped)
        return (await self._connection.unary(self._stub.SetTyping, request, timeout)).lasts_ms / 1000

    async def watch_typing(
        self, conversation_ids: Iterable[str]
    ) -> AsyncGenerator[presence_service_pb2.Typing | SubscriptionEnded, None]:
        """Iterate over who types in up to 100 conversations, whenever that changes, over any number of reconnects.

        Yields a SubscriptionEnded for a conversation that the caller may not read any more, and ends when none is left.
        """
        wanted = dict.fromkeys(conversation_ids)
        shown: dict[str, list[str]] = {}
        nobody: list[str] = []

        def open_call(**options: Any) -> Any:
            request = presence_service_pb2.WatchTypingRequest(conversation_ids=wanted)
            return self._stub.WatchTyping(request, **options)

        def read(message: presence_service_pb2.WatchTypingResponse) -> Frame:
            away = max(1, message.going_away.reconnect_after_ms) if message.HasField("going_away") else 0
            ended = [SubscriptionEnded(each.conversation_id, from_status(each.error)) for each in message.ended]
            return Frame([*message.typing, *ended], away)

        async with aclosing(resuming(self._connection, open_call, read, ends=True)) as frames:
            async for item in frames:
                if isinstance(item, SubscriptionEnded):
                    wanted.pop(item.conversation_id, None)
                elif shown.get(item.conversation_id, nobody) == list(item.user_ids):
                    continue  # every connection begins with what is known: nobody, most often
                else:
                    shown[item.conversation_id] = list(item.user_ids)
                yield item


class Lease:
    """A device that is there; made by `Presence.online`, used with `async with`.

    It is renewed in the background after a third of its time, over failures that pass. Once a renewal is refused for good it ends:
    `wait` then raises why.
    """

    def __init__(self, presence: Presence, device_id: str, *, away: bool, lease: int) -> None:
        self.device_id = device_id
        self._presence = presence
        self._lease = lease
        self._state = _state(away)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Be there."""
        await self._say()
        self._task = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Be gone; where that cannot be said, the lease ends by itself."""
        if self._task is not None:
            self._task.cancel()
            # Gathered and not awaited: its cancellation is not taken for that of whoever leaves.
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(TradewindError):
            offline = presence_service_pb2.PRESENCE_STATE_OFFLINE
            await self._presence.report(self.device_id, offline, timeout=_GOODBYE_SECONDS)

    async def set_away(self, away: bool = True) -> None:
        """Be away, or back, from now on."""
        self._state = _state(away)
        await self._say()

    async def wait(self) -> None:
        """Wait for as long as the device is there. Raises TradewindError once it cannot be any more."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _say(self, timeout: float | None = None) -> None:
        await self._presence.report(self.device_id, self._state, lease=self._lease, timeout=timeout)

    async def _renew(self) -> None:
        third = self._lease / 3
        while True:
            await asyncio.sleep(third)
            # A server that does not answer must not use the whole lease up.
            with suppress(Transient, DeadlineExceeded):
                await self._say(third)


class PresenceWatch:
    """Users that are watched; made by `Presence.watch`. Iterating yields each one's state once it is known, and then every change.

    It goes on over any number of reconnects; what did not change meanwhile is not told again. `now` has what was told last. Raises
    TradewindError when refused, or when the client's patience has ended.
    """

    def __init__(
        self,
        connection: Connection,
        stub: presence_service_pb2_grpc.PresenceServiceStub,
        user_ids: Iterable[str],
    ) -> None:
        self.now: dict[str, presence_service_pb2.Presence] = {}
        self._connection = connection
        self._stub = stub
        self._wanted = dict.fromkeys(user_ids)
        self._changed = asyncio.Event()

    def add(self, user_ids: Iterable[str]) -> None:
        """Watch these too."""
        self._wanted.update(dict.fromkeys(user_ids))
        self._changed.set()

    def remove(self, user_ids: Iterable[str]) -> None:
        """Watch these no more."""
        for user_id in user_ids:
            self._wanted.pop(user_id, None)
            self.now.pop(user_id, None)
        self._changed.set()

    async def __aiter__(self) -> AsyncGenerator[presence_service_pb2.Presence, None]:
        """Iterate over what changes."""

        def open_call(**options: Any) -> Any:
            # The stubs' types know of plain iterators alone.
            return self._stub.WatchPresence(cast("Any", self._requests()), **options)

        async with aclosing(resuming(self._connection, open_call, self._read, ends=False)) as frames:
            async for presence in frames:
                yield presence

    def _read(self, message: presence_service_pb2.WatchPresenceResponse) -> Frame:
        away = max(1, message.going_away.reconnect_after_ms) if message.HasField("going_away") else 0
        news = []
        for presence in message.presences:
            if presence.user_id in self._wanted and self.now.get(presence.user_id) != presence:
                self.now[presence.user_id] = presence
                news.append(presence)
        return Frame(news, away)

    async def _requests(self) -> AsyncIterator[presence_service_pb2.WatchPresenceRequest]:
        said: frozenset[str] = frozenset()
        while True:
            self._changed.clear()
            wanted = frozenset(self._wanted)
            gone, new = list(said - wanted), list(wanted - said)
            for start in range(0, max(len(gone), len(new)), _MOST_ADDED):
                part = slice(start, start + _MOST_ADDED)
                yield presence_service_pb2.WatchPresenceRequest(add_user_ids=new[part], remove_user_ids=gone[part])
            said = wanted
            await self._changed.wait()


def _state(away: bool) -> presence_service_pb2.PresenceState.ValueType:
    return presence_service_pb2.PRESENCE_STATE_AWAY if away else presence_service_pb2.PRESENCE_STATE_ONLINE
