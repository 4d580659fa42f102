"""A good request for each rpc of Chat, made of what it names, and every rpc there is as the contracts tell."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tradewind.chat.v1
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tradewind.chat.v1 import attachment_service_pb2 as attachments
from tradewind.chat.v1 import bot_service_pb2 as bots
from tradewind.chat.v1 import chat_pb2, moderation_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import device_service_pb2 as devices
from tradewind.chat.v1 import inbox_service_pb2 as inbox
from tradewind.chat.v1 import invitation_service_pb2 as invitations
from tradewind.chat.v1 import moderation_service_pb2 as moderation
from tradewind.chat.v1 import presence_service_pb2 as presence
from tradewind.chat.v1 import privacy_service_pb2 as privacy
from tradewind.chat.v1 import schedule_service_pb2 as schedules
from tradewind.chat.v1 import search_service_pb2 as search
from tradewind.push.v1 import push_gateway_service_pb2 as push

from tests.integration.chat_world import request_id

ABSENT = "01900000-0000-7000-8000-000000000000"
NO_TOKEN = "A" * 43
SERVED_BY_TENANTS = {"MessageHookService"}
SECRET = bytes(range(16))


def _every_service() -> dict[str, ServiceDescriptor]:
    found = {}
    for module in pkgutil.iter_modules(tradewind.chat.v1.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"tradewind.chat.v1.{module.name}").DESCRIPTOR
            found.update(descriptor.services_by_name)
    return {name: found[name] for name in sorted(found) if name not in SERVED_BY_TENANTS}


SERVICES = _every_service()
METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}
"""Every rpc that Chat serves, by service and name."""


@dataclass(frozen=True)
class Names:
    """What requests name."""

    conversation: str = ABSENT
    message: int = 2
    user: str = "nobody"
    card: int = 2
    attachment: str = ABSENT
    upload: str = ABSENT
    invitation: str = "none"
    token: str = NO_TOKEN
    scheduled: str = "none"


def requests(names: Names) -> Mapping[str, Message]:
    """A good request for each rpc."""
    return {
        **_conversations(names),
        **_messages(names),
        **_own(names),
        **_inbox(names),
        **_presence(names),
        **_timed(names),
        **_attachments(names),
        **_moderation(names),
        **_privacy(names),
    }


def _conversations(names: Names) -> dict[str, Message]:
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": names.conversation}
    kind = chat_pb2.CONVERSATION_KIND_GROUP
    return {
        "ChatService/CreateConversation": chat.CreateConversationRequest(
            request_id=request_id(), kind=kind, member_ids=["new"]
        ),
        "ChatService/GetConversation": chat.GetConversationRequest(conversation_id=names.conversation),
        "ChatService/ListConversations": chat.ListConversationsRequest(),
        "ChatService/UpdateConversation": chat.UpdateConversationRequest(**about, title="Talk"),
        "ChatService/JoinConversation": chat.JoinConversationRequest(**about),
        "ChatService/LeaveConversation": chat.LeaveConversationRequest(**about),
        "ChatService/AddMembers": chat.AddMembersRequest(**about, user_ids=["new"]),
        "ChatService/RemoveMembers": chat.RemoveMembersRequest(**about, user_ids=["nobody"]),
        "ChatService/SetMemberRole": chat.SetMemberRoleRequest(
            **about, user_id=names.user, role=chat_pb2.MEMBER_ROLE_MEMBER
        ),
        "ChatService/BanMember": chat.BanMemberRequest(**about, user_id="foe"),
        "ChatService/UnbanMember": chat.UnbanMemberRequest(**about, user_id="nobody"),
        "ChatService/ListBans": chat.ListBansRequest(conversation_id=names.conversation),
        "ChatService/MuteMember": chat.MuteMemberRequest(**about, user_id="quiet"),
        "ChatService/UnmuteMember": chat.UnmuteMemberRequest(**about, user_id="nobody"),
    }


def _messages(names: Names) -> dict[str, Message]:
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": names.conversation}
    which: dict[str, Any] = {"conversation_id": names.conversation, "message_version": names.message}
    content = chat_pb2.MessageContent(text="hi")
    return {
        "ChatService/SendMessage": chat.SendMessageRequest(**about, content=content),
        "ChatService/EditMessage": chat.EditMessageRequest(request_id=request_id(), **which, content=content),
        "ChatService/ListMessageEdits": chat.ListMessageEditsRequest(**which),
        "ChatService/DeleteMessage": chat.DeleteMessageRequest(request_id=request_id(), **which, for_me=True),
        "ChatService/ForwardMessage": chat.ForwardMessageRequest(
            **about, from_conversation_id=names.conversation, message_version=names.message
        ),
        "ChatService/PinMessage": chat.PinMessageRequest(request_id=request_id(), **which),
        "ChatService/UnpinMessage": chat.UnpinMessageRequest(request_id=request_id(), **which),
        "ChatService/AddReaction": chat.AddReactionRequest(request_id=request_id(), **which, emoji="👍"),
        "ChatService/RemoveReaction": chat.RemoveReactionRequest(request_id=request_id(), **which, emoji="👍"),
        "ChatService/ListReactions": chat.ListReactionsRequest(**which),
        "ChatService/ListMessages": chat.ListMessagesRequest(conversation_id=names.conversation),
        "ChatService/MarkMessages": chat.MarkMessagesRequest(conversation_id=names.conversation, read_version=1),
        "ChatService/GetUnread": chat.GetUnreadRequest(conversation_id=names.conversation),
        "ChatService/ListReceipts": chat.ListReceiptsRequest(conversation_id=names.conversation),
        "ChatService/Watch": chat.WatchRequest(conversation_id=names.conversation),
        "ChatService/Converse": chat.ConverseRequest(
            sends=[chat.SendMessageRequest(**about, content=content)],
            subscribe=[chat.Subscribe(conversation_id=names.conversation)],
            operations=[
                chat.Operation(operation_id=1, pin=chat.PinMessageRequest(request_id=request_id(), **which)),
                chat.Operation(operation_id=2, mark=chat.MarkMessagesRequest(conversation_id=names.conversation)),
            ],
        ),
        "SearchService/SearchMessages": search.SearchMessagesRequest(query="hi", conversation_ids=[names.conversation]),
        "BotService/PressAction": bots.PressActionRequest(
            request_id=request_id(),
            conversation_id=names.conversation,
            message_version=names.card,
            action_id="yes",
        ),
    }


def _own(names: Names) -> dict[str, Message]:
    """What is about the caller alone."""
    platform = push.PUSH_PLATFORM_FCM
    quiet = devices.PushPreferences(quiet_hours=devices.QuietHours(start_minute=1, end_minute=2, time_zone="UTC"))
    return {
        "ChatService/ListUnread": chat.ListUnreadRequest(),
        "InboxService/WatchInbox": inbox.WatchInboxRequest(),
        "InboxService/ListInbox": inbox.ListInboxRequest(include_hidden=True),
        "InboxService/GetUnreadTotals": inbox.GetUnreadTotalsRequest(),
        "DeviceService/RegisterDevice": devices.RegisterDeviceRequest(
            device_id="phone", platform=platform, token=f"token-{request_id()}"
        ),
        "DeviceService/UnregisterDevice": devices.UnregisterDeviceRequest(device_id="tablet"),
        "DeviceService/ListDevices": devices.ListDevicesRequest(),
        "DeviceService/SetPushPreferences": devices.SetPushPreferencesRequest(preferences=quiet),
        "DeviceService/GetPushPreferences": devices.GetPushPreferencesRequest(),
        "ScheduleService/ListScheduledMessages": schedules.ListScheduledMessagesRequest(),
        "AttachmentService/ListAttachments": attachments.ListAttachmentsRequest(),
    }


def _inbox(names: Names) -> dict[str, Message]:
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": names.conversation}
    return {
        "InboxService/ArchiveConversation": inbox.ArchiveConversationRequest(**about),
        "InboxService/UnarchiveConversation": inbox.UnarchiveConversationRequest(**about),
        "InboxService/MuteNotifications": inbox.MuteNotificationsRequest(**about),
        "InboxService/UnmuteNotifications": inbox.UnmuteNotificationsRequest(**about),
        "InboxService/HideConversation": inbox.HideConversationRequest(**about),
        "InboxService/ShowConversation": inbox.ShowConversationRequest(**about),
        "InboxService/WatchReceipts": inbox.WatchReceiptsRequest(conversation_id=names.conversation),
    }


def _presence(names: Names) -> dict[str, Message]:
    return {
        "PresenceService/ReportPresence": presence.ReportPresenceRequest(
            device_id="phone", state=presence.PRESENCE_STATE_ONLINE
        ),
        "PresenceService/GetPresence": presence.GetPresenceRequest(user_ids=[names.user]),
        "PresenceService/WatchPresence": presence.WatchPresenceRequest(add_user_ids=[names.user]),
        "PresenceService/WatchPresenceOf": presence.WatchPresenceOfRequest(user_ids=[names.user]),
        "PresenceService/SetTyping": presence.SetTypingRequest(conversation_id=names.conversation),
        "PresenceService/WatchTyping": presence.WatchTypingRequest(conversation_ids=[names.conversation]),
    }


def _timed(names: Names) -> dict[str, Message]:
    about: dict[str, Any] = {"request_id": request_id(), "conversation_id": names.conversation}
    scheduled: dict[str, Any] = {"request_id": request_id(), "scheduled_id": names.scheduled}
    content = chat_pb2.MessageContent(text="later")
    at = Timestamp(seconds=int(time.time()) + 3600)
    return {
        "InvitationService/CreateInvitation": invitations.CreateInvitationRequest(**about, secret=SECRET),
        "InvitationService/ListInvitations": invitations.ListInvitationsRequest(conversation_id=names.conversation),
        "InvitationService/RevokeInvitation": invitations.RevokeInvitationRequest(
            **about, invitation_id=names.invitation
        ),
        "InvitationService/GetInvitation": invitations.GetInvitationRequest(token=names.token),
        "InvitationService/JoinByInvitation": invitations.JoinByInvitationRequest(
            request_id=request_id(), token=names.token
        ),
        "ScheduleService/ScheduleMessage": schedules.ScheduleMessageRequest(**about, content=content, send_time=at),
        "ScheduleService/UpdateScheduledMessage": schedules.UpdateScheduledMessageRequest(**scheduled, content=content),
        "ScheduleService/CancelScheduledMessage": schedules.CancelScheduledMessageRequest(**scheduled),
    }


def _attachments(names: Names) -> dict[str, Message]:
    which: dict[str, Any] = {"attachment_id": names.attachment}
    upload: dict[str, Any] = {"attachment_id": names.upload}
    return {
        "AttachmentService/CreateUpload": attachments.CreateUploadRequest(
            request_id=request_id(), conversation_id=names.conversation, name="a", size_bytes=4
        ),
        "AttachmentService/GetUpload": attachments.GetUploadRequest(**upload),
        "AttachmentService/UploadChunks": attachments.UploadChunksRequest(**upload, data=b"bits"),
        "AttachmentService/AppendChunk": attachments.AppendChunkRequest(**upload, data=b"bits"),
        "AttachmentService/CompleteUpload": attachments.CompleteUploadRequest(request_id=request_id(), **upload),
        "AttachmentService/DeleteUpload": attachments.DeleteUploadRequest(request_id=request_id(), **upload),
        "AttachmentService/GetAttachment": attachments.GetAttachmentRequest(**which),
        "AttachmentService/DownloadAttachment": attachments.DownloadAttachmentRequest(**which),
        "AttachmentService/CreateDownloadLink": attachments.CreateDownloadLinkRequest(**which),
    }


def _moderation(names: Names) -> dict[str, Message]:
    about: dict[str, Any] = {
        "request_id": request_id(),
        "conversation_id": names.conversation,
        "message_version": names.message,
    }
    dismissed = moderation_pb2.REPORT_RESOLUTION_DISMISSED
    return {
        "ModerationService/ReportMessage": moderation.ReportMessageRequest(
            **about, reason=moderation_pb2.REPORT_REASON_SPAM
        ),
        "ModerationService/ListReports": moderation.ListReportsRequest(),
        "ModerationService/ResolveReport": moderation.ResolveReportRequest(**about, resolution=dismissed),
        "ModerationService/WatchReports": moderation.WatchReportsRequest(),
        "ModerationService/BanUser": moderation.BanUserRequest(request_id=request_id(), user_id="villain"),
        "ModerationService/UnbanUser": moderation.UnbanUserRequest(request_id=request_id(), user_id="nobody"),
        "ModerationService/ListBannedUsers": moderation.ListBannedUsersRequest(),
        "BotService/WatchActions": bots.WatchActionsRequest(),
        "BotService/AnswerAction": bots.AnswerActionRequest(request_id=request_id(), press_version=1),
    }


def _privacy(names: Names) -> dict[str, Message]:
    return {
        "PrivacyService/ExportConversation": privacy.ExportConversationRequest(conversation_id=names.conversation),
        "PrivacyService/ExportPerson": privacy.ExportPersonRequest(user_id=names.user),
        "PrivacyService/ErasePerson": privacy.ErasePersonRequest(request_id=request_id(), user_id="ghost"),
    }
