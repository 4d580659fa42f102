"""A story full of words that stand nowhere else, at the log's finest level with every call traced: none of them is in the log or a span."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import attachment_service_pb2 as attachments
from tradewind.chat.v1 import bot_service_pb2 as bots
from tradewind.chat.v1 import chat_pb2, moderation_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import device_service_pb2 as devices
from tradewind.chat.v1 import invitation_service_pb2 as invitations
from tradewind.chat.v1 import moderation_service_pb2 as moderation
from tradewind.chat.v1 import presence_service_pb2 as presence
from tradewind.chat.v1 import privacy_service_pb2 as privacy
from tradewind.chat.v1 import schedule_service_pb2 as schedules
from tradewind.chat.v1 import search_service_pb2 as search
from tradewind.push.v1 import push_gateway_service_pb2 as push

from tests.integration.attachment_world import part
from tests.integration.chat_world import ChatWorld, key_file, request_id
from tests.integration.permission_world import Stage
from tests.integration.push_world import push_world
from tests.servers import NatsServer

ANN, BOB, BOT, CHIEF = "quizzann", "quizzbob", "quizzbot", "quizzchief"
ROLES: Mapping[str, tuple[str, ...]] = {ANN: ("customer",), BOB: ("customer",), BOT: ("service",), CHIEF: ("admin",)}
WORDS = {
    word: f"quizz{word}"
    for word in (
        "text", "edited", "title", "picture", "attribute", "value", "file", "bytes", "query", "push", "locale", "device", "report", "note",
        "ban", "scheduled", "card", "press", "answer", "mention", "hostile", "page", "zone", "here",
    )
}  # fmt: skip


class Story:
    """What is done, and the secrets that it gives out."""

    def __init__(self, world: ChatWorld) -> None:
        self.world = world
        self.stage = Stage(world, tokens=ROLES)
        self.secrets: set[str] = set()
        self.conversation = ""

    async def do(self, rpc: str, request: Message, who: str = ANN) -> Any:
        return await self.stage.answer(rpc, request, who)

    async def refused(self, rpc: str, request: Message, who: str = ANN) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await self.do(rpc, request, who)

    @property
    def about(self) -> dict[str, Any]:
        return {"request_id": request_id(), "conversation_id": self.conversation}

    async def talk(self) -> int:
        """Say, edit, react, report, mute; gives the version of what was said."""
        create = chat.CreateConversationRequest(
            request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=[BOB, BOT], title=WORDS["title"],
            picture=WORDS["picture"], attributes={WORDS["attribute"]: WORDS["value"]},
        )  # fmt: skip
        made = await self.do("ChatService/CreateConversation", create)
        self.conversation = made.conversation.conversation_id
        mentions = chat_pb2.Mentions(user_ids=[BOB, WORDS["mention"]])
        said = chat_pb2.MessageContent(text=WORDS["text"], mentions=mentions)
        send = chat.SendMessageRequest(**self.about, content=said)
        version = int((await self.do("ChatService/SendMessage", send)).version)
        edit = chat_pb2.MessageContent(text=WORDS["edited"])
        await self.do(
            "ChatService/EditMessage", chat.EditMessageRequest(**self.about, message_version=version, content=edit)
        )
        await self.do(
            "ChatService/Converse", chat.ConverseRequest(sends=[chat.SendMessageRequest(**self.about, content=said)])
        )
        await self.do("ChatService/Watch", chat.WatchRequest(conversation_id=self.conversation))
        await self.do("ChatService/MuteMember", chat.MuteMemberRequest(**self.about, user_id=BOT))
        device = presence.ReportPresenceRequest(device_id=WORDS["here"], state=presence.PRESENCE_STATE_AWAY)
        await self.do("PresenceService/ReportPresence", device)
        await self.do("PresenceService/SetTyping", presence.SetTypingRequest(conversation_id=self.conversation))
        report = moderation.ReportMessageRequest(
            **self.about, message_version=version, reason=moderation_pb2.REPORT_REASON_OTHER, text=WORDS["report"]
        )
        await self.do("ModerationService/ReportMessage", report, BOB)
        resolve = moderation.ResolveReportRequest(
            **self.about,
            message_version=version,
            resolution=moderation_pb2.REPORT_RESOLUTION_DISMISSED,
            note=WORDS["note"],
        )
        await self.do("ModerationService/ResolveReport", resolve, CHIEF)
        ban = moderation.BanUserRequest(request_id=request_id(), user_id="quizzeve", reason=WORDS["ban"])
        await self.do("ModerationService/BanUser", ban, CHIEF)
        return version

    async def press(self) -> None:
        """A card, a press on it, an answer."""
        await self.do("ChatService/UnmuteMember", chat.UnmuteMemberRequest(**self.about, user_id=BOT))
        action = chat_pb2.CardAction(id="yes", label=WORDS["card"])
        card = chat_pb2.Part(card=chat_pb2.Card(title=WORDS["card"], text=WORDS["card"], actions=[action]))
        posted = await self.do(
            "ChatService/SendMessage",
            chat.SendMessageRequest(**self.about, content=chat_pb2.MessageContent(parts=[card])),
            BOT,
        )
        press = bots.PressActionRequest(
            **self.about, message_version=posted.version, action_id="yes", values={WORDS["press"]: WORDS["press"]}
        )
        version = (await self.do("BotService/PressAction", press)).press_version
        answer = bots.AnswerActionRequest(request_id=request_id(), press_version=version, text=WORDS["answer"])
        await self.do("BotService/AnswerAction", answer, BOT)

    async def let_in(self) -> None:
        """An invitation and its token; a scheduled message."""
        create = invitations.CreateInvitationRequest(**self.about, secret=b"quizzsecretquizzsecret")
        token = (await self.do("InvitationService/CreateInvitation", create)).token
        self.secrets |= {token, base64.b64encode(create.secret).decode()}
        for rpc, request in (
            ("InvitationService/GetInvitation", invitations.GetInvitationRequest(token=token)),
            (
                "InvitationService/JoinByInvitation",
                invitations.JoinByInvitationRequest(request_id=request_id(), token=token),
            ),
        ):
            await self.do(rpc, request, CHIEF)
        content = chat_pb2.MessageContent(text=WORDS["scheduled"])
        soon = Timestamp(seconds=int(time.time()) + 3)
        await self.do(
            "ScheduleService/ScheduleMessage",
            schedules.ScheduleMessageRequest(**self.about, content=content, send_time=soon),
        )

    async def attach(self) -> None:
        """A file, and a link to it that is fetched."""
        data = (WORDS["bytes"] * 10).encode()
        create = attachments.CreateUploadRequest(
            **self.about, name=WORDS["file"], size_bytes=len(data), media_type="text/plain"
        )
        found = (await self.do("AttachmentService/CreateUpload", create)).attachment.attachment_id
        await self.do("AttachmentService/AppendChunk", attachments.AppendChunkRequest(attachment_id=found, data=data))
        complete = attachments.CompleteUploadRequest(request_id=request_id(), attachment_id=found)
        await self.do("AttachmentService/CompleteUpload", complete)
        content = chat_pb2.MessageContent(parts=[part(found, name=WORDS["file"])])
        await self.do("ChatService/SendMessage", chat.SendMessageRequest(**self.about, content=content))
        link = attachments.CreateDownloadLinkRequest(attachment_id=found)
        uri = (await self.do("AttachmentService/CreateDownloadLink", link)).uri
        self.secrets.add(uri.rpartition("/")[2])
        http = self.world.attachments.http
        assert http is not None
        async with aiohttp.ClientSession() as session:
            uri = uri.replace(self.world.settings.attachment_url, f"http://127.0.0.1:{http.port}")
            async with session.get(uri) as answer:
                assert await answer.read() == data
            async with session.get(f"{uri}x") as answer:
                assert answer.status == 403

    async def look(self) -> None:
        """Search, export, and what is refused."""
        await self.do(
            "SearchService/SearchMessages", search.SearchMessagesRequest(query=f"{WORDS['query']} from:{BOB}")
        )
        await self.do("PrivacyService/ExportPerson", privacy.ExportPersonRequest(user_id=ANN))
        wrong = chat.SendMessageRequest(**self.about, content=chat_pb2.MessageContent(text=WORDS["hostile"] * 5_000))
        await self.refused("ChatService/SendMessage", wrong)
        far = chat.ListMessagesRequest(conversation_id=self.conversation, page_token=WORDS["page"])
        await self.refused("ChatService/ListMessages", far)
        await self.refused("SearchService/SearchMessages", search.SearchMessagesRequest(query=f'"{WORDS["query"]}'))
        await self.refused("ChatService/AddMembers", chat.AddMembersRequest(**self.about, user_ids=["quizz\u200bzero"]))
        zone = devices.QuietHours(start_minute=1, end_minute=2, time_zone=WORDS["zone"])
        await self.refused(
            "DeviceService/SetPushPreferences",
            devices.SetPushPreferencesRequest(preferences=devices.PushPreferences(quiet_hours=zone)),
        )
        await self.refused("ChatService/GetConversation", chat.GetConversationRequest(conversation_id="quizzquestion"))


async def test_what_people_say_is_in_no_log_and_no_span(
    own_nats_server: NatsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {
        "log_level": "debug", "trace_dir": tmp_path / "traces", "trace_ratio": 1.0, "search": "embedded",
        "attachment_key_file": key_file(tmp_path),
    }  # fmt: skip
    async with push_world(own_nats_server.url, tmp_path, **options) as (world, pushed):
        story = Story(world)
        register = devices.RegisterDeviceRequest(
            device_id=WORDS["device"], platform=push.PUSH_PLATFORM_FCM, token=WORDS["push"], locale=WORDS["locale"]
        )
        await story.do("DeviceService/RegisterDevice", register, BOB)
        await story.talk()
        await story.press()
        await story.let_in()
        await story.attach()
        await story.look()
        assert await pushed.until(WORDS["push"], 1)
        await _what_is_due(story)
        erase = privacy.ErasePersonRequest(request_id=request_id(), user_id=BOB)
        await story.do("PrivacyService/ErasePerson", erase, CHIEF)
        # What is told while nothing works must not tell more.
        own_nats_server.stop()
        late = chat.SendMessageRequest(**story.about, content=chat_pb2.MessageContent(text=WORDS["text"]))
        await story.refused("ChatService/SendMessage", late)
        own_nats_server.start()
        async with asyncio.timeout(60):
            while not await _says(story, late):
                await asyncio.sleep(0.1)
        tokens = set(story.stage._tokens.values())
        await story.stage.close()
        await world.telemetry.close()
    told = capfd.readouterr()
    spans = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "traces").iterdir())
    assert spans.count("\n") > 40
    assert "server_listening" in told.err
    for text in (told.err, told.out, spans):
        assert "quizz" not in text.lower(), _around(text)
        for secret in (*story.secrets, *tokens):
            assert secret not in text


async def _what_is_due(story: Story) -> None:
    """Wait until the scheduled message was said."""
    async with asyncio.timeout(60):
        while (
            await story.do("ScheduleService/ListScheduledMessages", schedules.ListScheduledMessagesRequest())
        ).scheduled_messages:
            await asyncio.sleep(0.1)


async def _says(story: Story, send: chat.SendMessageRequest) -> bool:
    try:
        await story.do("ChatService/SendMessage", send)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return True


def _around(text: str) -> str:
    at = text.lower().index("quizz")
    return text[max(0, at - 300) : at + 100]
