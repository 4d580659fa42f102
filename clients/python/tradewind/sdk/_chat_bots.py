"""Cards that are pressed, and the services that answer: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from tradewind.chat.v1 import bot_service_pb2, bot_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._errors import VersionGap
from tradewind.sdk._request_ids import new_request_id
from tradewind.sdk._resume import Frame, Place, watching


class _Part(Place):
    """Where a reader of a part of the events is: those of others are missing."""

    def __init__(self, resource_id: str, after: int) -> None:
        super().__init__(resource_id, after)
        self._upto = after

    def step(self, version: int) -> None:
        if version <= self.last:
            raise VersionGap(self.resource_id, self.last + 1, version)
        self.last = version

    def reached(self, upto: int) -> None:
        # What the frame before said: all that was in it has been taken by now.
        self.last = max(self.last, self._upto)
        self._upto = max(self._upto, upto)


class Pressing:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection

    @property
    def _bots(self) -> bot_service_pb2_grpc.BotServiceAsyncStub:
        return bot_service_pb2_grpc.BotServiceStub(self._connection.channel)

    async def press_action(
        self,
        conversation_id: str,
        message_version: int,
        action_id: str,
        *,
        values: Mapping[str, str] | None = None,
        wait: float = 0.0,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> bot_service_pb2.PressActionResponse:
        """Press an action of a card; waits up to `wait` seconds (at most 10) for the service's answer."""
        request = bot_service_pb2.PressActionRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            action_id=action_id,
            values=values or {},
        )
        if wait:
            request.wait.FromNanoseconds(round(wait * 1e9))
        return await self._connection.unary(self._bots.PressAction, request, timeout)

    def watch_actions(
        self, after: int = 0, *, share: tuple[int, int] | None = None
    ) -> AsyncGenerator[bot_service_pb2.ActionEvent, None]:
        """Iterate over what is pressed on the caller's cards (role `service`) from the one after version `after` on, for ever.

        Each comes once and none is missing, over any number of reconnects; who remembers the last version goes on there after a restart.
        `share`: of several processes that divide the presses among them by conversation, which one this is (from 0), and how many they are.
        """
        place = Place("actions", after) if share is None else _Part("actions", after)
        wanted = bot_service_pb2.ActionShare(index=share[0], count=share[1]) if share is not None else None

        def open_call(**context: object) -> object:
            place.reached(place.last)
            request = bot_service_pb2.WatchActionsRequest(after_version=place.last, share=wanted)
            return self._bots.WatchActions(request, **context)  # type: ignore[arg-type]

        def read(frame: bot_service_pb2.WatchActionsResponse) -> Frame:
            place.reached(frame.upto_version)
            away = max(1, frame.going_away.reconnect_after_ms) if frame.HasField("going_away") else 0
            return Frame(frame.events, away)

        return watching(self._connection, open_call, read, place, ends=False)

    async def answer_action(
        self,
        press_version: int,
        text: str = "",
        *,
        attributes: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Answer who pressed (role `service`); gives the answer's version among the caller's actions."""
        request = bot_service_pb2.AnswerActionRequest(
            request_id=request_id or new_request_id(),
            press_version=press_version,
            text=text,
            attributes=attributes or {},
        )
        return (await self._connection.unary(self._bots.AnswerAction, request, timeout)).version
