"""What becomes of messages after they were said: part of `Chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping

from tradewind.chat.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tradewind.sdk._connection import Connection
from tradewind.sdk._request_ids import new_request_id


def content_of(
    text: str,
    *,
    reply_to: Iterable[int] = (),
    thread_root: int = 0,
    mentions: Iterable[str] = (),
    mention_all: bool = False,
    mention_here: bool = False,
    parts: Iterable[chat_pb2.Part] = (),
    attributes: Mapping[str, str] | None = None,
    expire_after: float | None = None,
) -> chat_pb2.MessageContent:
    """Put together what is said; `expire_after`: how long it lasts, in seconds."""
    content = chat_pb2.MessageContent(
        text=text, reply_to=reply_to, thread_root=thread_root, parts=parts, attributes=attributes or {}
    )
    user_ids = tuple(mentions)
    if user_ids or mention_all or mention_here:
        content.mentions.CopyFrom(chat_pb2.Mentions(user_ids=user_ids, all=mention_all, here=mention_here))
    if expire_after is not None:
        content.expire_after.FromNanoseconds(round(expire_after * 1e9))
    return content


class Amending:
    """Methods of `Chat`; see there for `request_id` and `timeout`."""

    _connection: Connection
    _stub: chat_service_pb2_grpc.ChatServiceAsyncStub

    async def edit_message(
        self,
        conversation_id: str,
        message_version: int,
        text: str,
        *,
        mentions: Iterable[str] = (),
        parts: Iterable[chat_pb2.Part] = (),
        attributes: Mapping[str, str] | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Say something else in place of what the caller said; gives the version of the event of it."""
        request = chat_service_pb2.EditMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            content=content_of(text, mentions=mentions, parts=parts, attributes=attributes),
        )
        return (await self._connection.unary(self._stub.EditMessage, request, timeout)).version

    async def list_message_edits(
        self, conversation_id: str, message_version: int, *, timeout: float | None = None
    ) -> list[chat_service_pb2.Wording]:
        """List what a message said, oldest first."""
        request = chat_service_pb2.ListMessageEditsRequest(
            conversation_id=conversation_id, message_version=message_version
        )
        return list((await self._connection.unary(self._stub.ListMessageEdits, request, timeout)).wordings)

    async def delete_message(
        self,
        conversation_id: str,
        message_version: int,
        *,
        for_me: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Delete a message for all, or with `for_me` for the caller alone."""
        request = chat_service_pb2.DeleteMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            for_me=for_me,
        )
        await self._connection.unary(self._stub.DeleteMessage, request, timeout)

    async def forward_message(
        self,
        from_conversation_id: str,
        message_version: int,
        conversation_id: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_service_pb2.ForwardMessageResponse:
        """Say again in `conversation_id` what was said in `from_conversation_id`."""
        request = chat_service_pb2.ForwardMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            from_conversation_id=from_conversation_id,
            message_version=message_version,
        )
        return await self._connection.unary(self._stub.ForwardMessage, request, timeout)

    async def pin_message(
        self,
        conversation_id: str,
        message_version: int,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Pin a message."""
        request = chat_service_pb2.PinMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
        )
        return (await self._connection.unary(self._stub.PinMessage, request, timeout)).conversation

    async def unpin_message(
        self,
        conversation_id: str,
        message_version: int,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> chat_pb2.Conversation:
        """Pin it no more."""
        request = chat_service_pb2.UnpinMessageRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
        )
        return (await self._connection.unary(self._stub.UnpinMessage, request, timeout)).conversation

    async def add_reaction(
        self,
        conversation_id: str,
        message_version: int,
        emoji: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Give a message an emoji; again changes nothing."""
        request = chat_service_pb2.AddReactionRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            emoji=emoji,
        )
        await self._connection.unary(self._stub.AddReaction, request, timeout)

    async def remove_reaction(
        self,
        conversation_id: str,
        message_version: int,
        emoji: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Take an emoji back."""
        request = chat_service_pb2.RemoveReactionRequest(
            request_id=request_id or new_request_id(),
            conversation_id=conversation_id,
            message_version=message_version,
            emoji=emoji,
        )
        await self._connection.unary(self._stub.RemoveReaction, request, timeout)

    async def list_reactions(
        self, conversation_id: str, message_version: int, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[chat_service_pb2.GivenReaction, None]:
        """Iterate over who gave a message which emoji, by emoji and then by user; pages are fetched as needed."""
        token = ""
        while True:
            request = chat_service_pb2.ListReactionsRequest(
                conversation_id=conversation_id, message_version=message_version, page_size=page_size, page_token=token
            )
            page = await self._connection.unary(self._stub.ListReactions, request, timeout)
            for reaction in page.reactions:
                yield reaction
            token = page.next_page_token
            if not token:
                return
