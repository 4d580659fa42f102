"""Conversations of each kind with somebody of each role in them, and what becomes of any rpc that one of them calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat

from tests.hidden_ends import until_told
from tests.integration.attachment_world import part
from tests.integration.chat_requests import METHODS, Names, requests
from tests.integration.chat_world import TENANT, ChatWorld, request_id
from tests.integration.order_world import new_channel

KINDS = ("direct", "group", "channel", "open group", "open channel")
MEMBERS = ("owner", "admin", "moderator", "member", "reader")
OUTSIDE = ("former", "banned", "stranger")
AUTHOR = "author"
"""A member who said, uploaded and scheduled what requests name."""
TOKENS: Mapping[str, tuple[str, ...]] = {
    "chief": ("admin",),
    "bot": ("service",),
    "keeper": ("operator",),
    "shopkeeper": ("shop",),
    "rider": ("courier",),
    "nobody's": (),
}
"""Callers that are in no conversation, and the roles of their tokens; everybody else's token has the role ``customer``."""
WHO = (*MEMBERS, AUTHOR, *OUTSIDE, *TOKENS, "none")
TITLE = "Where we meet"
SECONDS = 30.0
_MOST_AT_ONCE = 96


@dataclass
class Place:
    """A conversation, and what there is in it."""

    names: Names
    spare: Names
    """The same, for what takes away what it names."""
    own: dict[str, int] = field(default_factory=dict)
    """A message of each who could say one, and stays."""
    doomed: dict[str, int] = field(default_factory=dict)
    """Another of each, to be deleted."""


class Stage:
    """The service, its callers, and the conversations."""

    def __init__(self, world: ChatWorld, tenant: str = TENANT, tokens: Mapping[str, tuple[str, ...]] = TOKENS) -> None:
        self.world = world
        self.tenant, self.roles = tenant, tokens
        self.channels = [new_channel(world.server.port) for _ in range(4)]
        self.places: dict[str, Place] = {}
        self._tokens: dict[str, str] = {}
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()

    def metadata(self, who: str) -> Sequence[tuple[str, str]]:
        if who == "none":
            return ()
        if who not in self._tokens:
            subject, _, actor = who.partition(" by ")
            roles = self.roles.get(who, ("customer",))
            self._tokens[who] = self.world.signer.mint(subject, self.tenant, roles, actor=actor or None)
        return (("authorization", f"Bearer {self._tokens[who]}"),)

    async def make(self, *kinds: str) -> None:
        """Make conversations of these kinds, or of all, side by side."""
        kinds = kinds or KINDS
        self.places = dict(zip(kinds, await asyncio.gather(*map(self._make, kinds)), strict=True))

    async def answer(self, rpc: str, request: Message, who: str) -> Any:
        """Call an rpc; gives its first answer. Raises AioRpcError."""
        return await until_told(lambda: self._answer(rpc, request, who))

    async def _answer(self, rpc: str, request: Message, who: str) -> Any:
        method = METHODS[rpc]
        path = f"/{method.containing_service.full_name}/{method.name}"
        channel: Any = self.channels[hash(who) % len(self.channels)]
        data = request.SerializeToString()
        options: dict[str, Any] = {"metadata": self.metadata(who), "timeout": SECONDS}
        answer: Any = GetMessageClass(method.output_type)
        if method.client_streaming:
            call = channel.stream_stream(path)(**options)
            with suppress(asyncio.InvalidStateError):  # refused before the request was written; reading tells why
                await call.write(data)
                if method.name == "UploadChunks":
                    await call.done_writing()
        elif method.server_streaming:
            call = channel.unary_stream(path)(data, **options)
        else:
            return answer.FromString(await channel.unary_unary(path)(data, **options))
        try:
            found = await call.read()
            return None if found is grpc.aio.EOF else answer.FromString(found)
        finally:
            call.cancel()

    async def outcome(self, rpc: str, request: Message, who: str) -> str:
        """Tell what becomes of a call: ``yes``, or why not."""
        async with self._free:
            try:
                found = await self.answer(rpc, request, who)
            except grpc.aio.AioRpcError as error:
                details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
                return told(status_pb2.Status.FromString(details))
        if rpc == "ChatService/Converse":
            parts = [*found.results, *found.operation_results, *found.ended]
            return next((told(each.error) for each in parts if each.HasField("error")), "yes")
        return "yes"

    async def _make(self, kind: str) -> Place:
        if kind == "direct":
            wanted = chat.CreateConversationRequest(
                request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_DIRECT, member_ids=[AUTHOR]
            )
            made = await self.answer("ChatService/CreateConversation", wanted, "owner")
            speakers: tuple[str, ...] = ("owner", AUTHOR)
        else:
            made = await self._make_many(kind)
            speakers = (*MEMBERS, AUTHOR, "former", "banned")
        names = Names(made.conversation.conversation_id, user=AUTHOR)
        place = Place(names, names)
        if kind != "direct":
            await self._let_in(place, kind)
        for saying in (place.own, place.doomed):
            for who in speakers:
                saying[who] = await self._say(place, who)
        names = replace(place.names, card=await self._post_card(place))
        place.names, place.spare = await self._furnished(names, kind), await self._furnished(names, kind)
        await self.answer("BotService/PressAction", requests(names)["BotService/PressAction"], "owner")
        for each in (place.names, place.spare):
            rpc = "ModerationService/ReportMessage"
            await self.answer(rpc, requests(each)[rpc], "owner")
        if kind != "direct":
            await self._let_out(place, kind)
        return place

    async def _make_many(self, kind: str) -> Any:
        value = chat_pb2.CONVERSATION_KIND_GROUP if "group" in kind else chat_pb2.CONVERSATION_KIND_CHANNEL
        wanted = chat.CreateConversationRequest(
            request_id=request_id(), kind=value, open=True, title=TITLE, member_ids=["new", "quiet"]
        )
        return await self.answer("ChatService/CreateConversation", wanted, "founder")

    async def _let_in(self, place: Place, kind: str) -> None:
        """Everybody speaks once; a channel's reader is made a member for that long."""
        about: dict[str, Any] = {"conversation_id": place.names.conversation}
        if "channel" in kind:
            joining = chat.JoinConversationRequest(request_id=request_id(), **about)
            await self.answer("ChatService/JoinConversation", joining, "reader")
        people = [*MEMBERS, AUTHOR, "former", "banned"]
        adding = chat.AddMembersRequest(request_id=request_id(), **about, user_ids=people)
        await self.answer("ChatService/AddMembers", adding, "founder")

    async def _let_out(self, place: Place, kind: str) -> None:
        """Give everybody its role."""
        about: dict[str, Any] = {"conversation_id": place.names.conversation}
        for who in MEMBERS:
            if who == "reader" and "channel" in kind:
                continue
            role = chat_pb2.MemberRole.Value(f"MEMBER_ROLE_{who.upper()}")
            setting = chat.SetMemberRoleRequest(request_id=request_id(), **about, user_id=who, role=role)
            await self.answer("ChatService/SetMemberRole", setting, "founder")
        gone = ["former", "reader"] if "channel" in kind else ["former"]
        removing = chat.RemoveMembersRequest(request_id=request_id(), **about, user_ids=gone)
        await self.answer("ChatService/RemoveMembers", removing, "founder")
        banning = chat.BanMemberRequest(request_id=request_id(), **about, user_id="banned")
        await self.answer("ChatService/BanMember", banning, "founder")
        if not kind.startswith("open"):
            closing = chat.UpdateConversationRequest(request_id=request_id(), **about, open=False)
            await self.answer("ChatService/UpdateConversation", closing, "founder")

    async def _say(self, place: Place, who: str, **content: Any) -> int:
        said = chat_pb2.MessageContent(**(content or {"text": "hi"}))
        wanted = chat.SendMessageRequest(
            request_id=request_id(), conversation_id=place.names.conversation, content=said
        )
        return int((await self.answer("ChatService/SendMessage", wanted, who)).version)

    async def _post_card(self, place: Place) -> int:
        """Have a service post what can be pressed."""
        card = chat_pb2.Card(title="Lunch?", actions=[chat_pb2.CardAction(id="yes", label="Yes")])
        posting = chat.SendMessageRequest(
            request_id=request_id(),
            conversation_id=place.names.conversation,
            content=chat_pb2.MessageContent(parts=[chat_pb2.Part(card=card)]),
            sender_id=AUTHOR,
        )
        return int((await self.answer("ChatService/SendMessage", posting, "bot")).version)

    async def _furnished(self, names: Names, kind: str) -> Names:
        """Put in what requests name: a message with an attachment, an upload, a scheduled message, an invitation."""
        attachment, upload = await self._upload(names), await self._upload(names)
        complete = requests(replace(names, upload=attachment))["AttachmentService/CompleteUpload"]
        await self.answer("AttachmentService/CompleteUpload", complete, AUTHOR)
        message = await self._say(Place(names, names), AUTHOR, parts=[part(attachment)])
        rpc = "ScheduleService/ScheduleMessage"
        later = (await self.answer(rpc, requests(names)[rpc], AUTHOR)).scheduled_message.scheduled_id
        found = replace(names, message=message, attachment=attachment, upload=upload, scheduled=later)
        if kind == "direct":
            return found
        rpc = "InvitationService/CreateInvitation"
        invited = await self.answer(rpc, requests(names)[rpc], "founder")
        return replace(found, invitation=invited.invitation.invitation_id, token=invited.token)

    async def _upload(self, names: Names) -> str:
        """Upload four bytes."""
        rpc = "AttachmentService/CreateUpload"
        begun = await self.answer(rpc, requests(names)[rpc], AUTHOR)
        found = str(begun.attachment.attachment_id)
        rpc = "AttachmentService/AppendChunk"
        await self.answer(rpc, requests(replace(names, upload=found))[rpc], AUTHOR)
        return found


def told(status: status_pb2.Status) -> str:
    """Write a refusal as a word: its reason, and the permission that is missing where it names one."""
    if status.message == "the caller's roles do not allow this call":
        return "not by this token"
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            permission = info.metadata.get("permission", "")
            return f"{info.reason}:{permission}" if permission else str(info.reason)
    return f"{status.code} {status.message}"
