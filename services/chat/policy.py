"""Who may call what of Chat, before any conversation is looked at: one row an rpc."""

from __future__ import annotations

from typing import Final

from services.runtime.policy import Policy

_EVERYBODY: Final = frozenset({"customer", "shop", "courier", "service", "admin"})
_REVIEWERS: Final = frozenset({"admin", "service"})

POLICY: Final[Policy] = {
    "/tradewind.chat.v1.ChatService/CreateConversation": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/GetConversation": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListConversations": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/UpdateConversation": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/JoinConversation": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/LeaveConversation": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/AddMembers": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/RemoveMembers": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/SetMemberRole": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/BanMember": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/UnbanMember": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListBans": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/MuteMember": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/UnmuteMember": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/SendMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListMessages": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/EditMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListMessageEdits": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/DeleteMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ForwardMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/PinMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/UnpinMessage": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/AddReaction": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/RemoveReaction": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListReactions": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/MarkMessages": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/GetUnread": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListUnread": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/ListReceipts": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/Watch": _EVERYBODY,
    "/tradewind.chat.v1.ChatService/Converse": _EVERYBODY,
    "/tradewind.chat.v1.DeviceService/RegisterDevice": _EVERYBODY,
    "/tradewind.chat.v1.DeviceService/UnregisterDevice": _EVERYBODY,
    "/tradewind.chat.v1.DeviceService/ListDevices": _EVERYBODY,
    "/tradewind.chat.v1.DeviceService/SetPushPreferences": _EVERYBODY,
    "/tradewind.chat.v1.DeviceService/GetPushPreferences": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/WatchInbox": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/ListInbox": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/GetUnreadTotals": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/ArchiveConversation": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/UnarchiveConversation": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/MuteNotifications": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/UnmuteNotifications": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/HideConversation": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/ShowConversation": _EVERYBODY,
    "/tradewind.chat.v1.InboxService/WatchReceipts": _EVERYBODY,
    "/tradewind.chat.v1.BotService/PressAction": _EVERYBODY,
    "/tradewind.chat.v1.BotService/WatchActions": frozenset({"service"}),
    "/tradewind.chat.v1.BotService/AnswerAction": frozenset({"service"}),
    "/tradewind.chat.v1.ModerationService/ReportMessage": _EVERYBODY,
    "/tradewind.chat.v1.ModerationService/ListReports": _REVIEWERS,
    "/tradewind.chat.v1.ModerationService/ResolveReport": _REVIEWERS,
    "/tradewind.chat.v1.ModerationService/WatchReports": _REVIEWERS,
    "/tradewind.chat.v1.ModerationService/BanUser": _REVIEWERS,
    "/tradewind.chat.v1.ModerationService/UnbanUser": _REVIEWERS,
    "/tradewind.chat.v1.ModerationService/ListBannedUsers": _REVIEWERS,
    "/tradewind.chat.v1.SearchService/SearchMessages": _EVERYBODY,
    "/tradewind.chat.v1.PresenceService/ReportPresence": _EVERYBODY,
    "/tradewind.chat.v1.PresenceService/GetPresence": _EVERYBODY,
    "/tradewind.chat.v1.PresenceService/WatchPresence": _EVERYBODY,
    "/tradewind.chat.v1.PresenceService/SetTyping": _EVERYBODY,
    "/tradewind.chat.v1.PresenceService/WatchTyping": _EVERYBODY,
    "/tradewind.chat.v1.InvitationService/CreateInvitation": _EVERYBODY,
    "/tradewind.chat.v1.InvitationService/ListInvitations": _EVERYBODY,
    "/tradewind.chat.v1.InvitationService/RevokeInvitation": _EVERYBODY,
    "/tradewind.chat.v1.InvitationService/GetInvitation": _EVERYBODY,
    "/tradewind.chat.v1.InvitationService/JoinByInvitation": _EVERYBODY,
    "/tradewind.chat.v1.ScheduleService/ScheduleMessage": _EVERYBODY,
    "/tradewind.chat.v1.ScheduleService/ListScheduledMessages": _EVERYBODY,
    "/tradewind.chat.v1.ScheduleService/UpdateScheduledMessage": _EVERYBODY,
    "/tradewind.chat.v1.ScheduleService/CancelScheduledMessage": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/CreateUpload": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/GetUpload": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/UploadChunks": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/CompleteUpload": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/DeleteUpload": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/GetAttachment": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/ListAttachments": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/DownloadAttachment": _EVERYBODY,
    "/tradewind.chat.v1.AttachmentService/CreateDownloadLink": _EVERYBODY,
}

OVERSEERS: Final = frozenset({"admin", "service"})
"""Roles that see every conversation of their tenant and change any group's members."""

SPEAKS_FOR_OTHERS: Final = "service"
"""The role that may send in a member's name; it is recorded as acting service."""
