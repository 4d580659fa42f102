"""Every rpc of Chat, by everybody, in every kind of conversation, over a real server: one table says what is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat

from services.chat.policy import POLICY
from services.runtime.policy import ROLES
from tests.integration.chat_requests import METHODS, Names, requests
from tests.integration.chat_world import chat_world, key_file, request_id
from tests.integration.permission_world import AUTHOR, KINDS, MEMBERS, OUTSIDE, TOKENS, Place, Stage
from tests.servers import NatsServer

DIRECT, GROUP, CHANNEL, OPEN_GROUP, OPEN_CHANNEL = KINDS
MANY = KINDS[1:]
COLUMNS = (*MEMBERS, AUTHOR, *OUTSIDE, "chief", "bot")
SIGNS = {"+": "yes", "?": "NOT_FOUND", "b": "BANNED", "t": "not by this token"}
WITH_PERMISSION = {"f": "FORBIDDEN", "m": "NOT_A_MEMBER", "k": "WRONG_CONVERSATION_KIND"}


def everywhere(row: str) -> dict[str, str]:
    return dict.fromkeys(KINDS, row)


def many(group: str, channel: str, open_group: str, open_channel: str, direct: str) -> dict[str, str]:
    return dict(zip((*MANY, DIRECT), (group, channel, open_group, open_channel, direct), strict=True))


# What each may, by the kind of conversation. The columns:
#   owner admin moderator member reader | author of what is named | former member, banned, stranger | token of role admin, service
# and the signs: + it is done; f FORBIDDEN, m NOT_A_MEMBER, k WRONG_CONVERSATION_KIND, each naming the rule's permission; ? NOT_FOUND;
# b BANNED; t turned away for the roles of the token; . nobody such is there. A direct conversation has two owners: the first column and
# the author.
RULES: Mapping[str, Mapping[str, str]] = {
    # rule               group            channel          open group       open channel     direct
    "know":         many("+++++ + ??? ++", "+++++ + ??? ++", "+++++ + +++ ++", "+++++ + +++ ++", "+.... + ..? ++"),
    "read":         many("+++++ + ??? ++", "+++++ + ??? ++", "+++++ + ??? ++", "+++++ + ??? ++", "+.... + ..? ++"),
    "seat":         many("+++++ + ??? mm", "+++++ + ??? mm", "+++++ + ??? mm", "+++++ + ??? mm", "+.... + ..? mm"),
    "post":         many("++++f + ??? mm", "++++f + ??? mm", "++++f + mmm mm", "++++f + fff mm", "+.... + ..? mm"),
    "forward":      many("++++f + ??? mm", "++++f + ??? mm", "++++f + ??? mm", "++++f + ??? mm", "+.... + ..? mm"),
    "schedule":     many("++++f + ??? ??", "++++f + ??? ??", "++++f + mmm mm", "++++f + fff ff", "+.... + ..? ??"),
    "mention_all":  many("+++ff f ??? mm", "+++ff f ??? mm", "+++ff f mmm mm", "+++ff f fff mm", "f.... f ..? mm"),
    "edit_own":     many("++++f + ??? mm", "++++f + ??? mm", "++++f + mmm mm", "++++f + fff mm", "+.... + ..? mm"),
    "edit others'": many("fffff + ??? mm", "fffff + ??? mm", "fffff + mmm mm", "fffff + fff mm", "f.... + ..? mm"),
    "delete_own":   many("+++++ + ??. ..", "+++++ + ??. ..", "+++++ + mm. ..", "+++++ + ff. ..", "+.... + ... .."),
    "delete_any":   many("+++ff . ??? ++", "+++ff . ??? ++", "+++ff . mmm ++", "+++ff . fff ++", "k.... . ..? kk"),
    "react":        many("+++++ + ??? mm", "+++++ + ??? mm", "+++++ + mmm mm", "+++++ + fff mm", "+.... + ..? mm"),
    "pin":          many("+++ff f ??? ++", "+++ff f ??? ++", "+++ff f mmm ++", "+++ff f fff ++", "+.... + ..? ++"),
    "invite":       many("+++ff f ??? ++", "+++ff f ??? ++", "+++ff f mmm ++", "+++ff f fff ++", "k.... k ..? kk"),
    "set_roles":    many("++fff f ??? ++", "++fff f ??? ++", "++fff f mmm ++", "++fff f fff ++", "k.... k ..? kk"),
    "type":         many("++++f + ??? mm", "kkkkf k ??? mm", "++++f + mmm mm", "kkkkf k fff mm", "+.... + ..? mm"),
    "report":       many("+++++ . ??? ++", "+++++ . ??? ++", "+++++ . ??? ++", "+++++ . ??? ++", "+.... . ..? ++"),
    "export":       many("+ffff f ??? ++", "+ffff f ??? ++", "+ffff f ??? ++", "+ffff f ??? ++", "+.... + ..? ++"),
    "invited":      many("+++++ + +b+ ++", "+++++ + +b+ ++", "+++++ + +b+ ++", "+++++ + +b+ ++", "?.... ? ..? ??"),
    "join":         many("+++++ + ??? ??", "+++++ + ??? ??", "+++++ + +b+ ++", "+++++ + +b+ ++", "+.... + ..? ??"),
    "leave":        many("+++++ + ??? ??", "+++++ + ??? ??", "+++++ + ??? ??", "+++++ + ??? ??", "k.... k ..? ??"),
    "uploader":     everywhere("????? + ??? ??"),
    "person":       everywhere("fffff + fff ++"),
    "anybody":      everywhere("+++++ + +++ ++"),
    "overseer":     everywhere("ttttt t ttt ++"),
    "service":      everywhere("ttttt t ttt t+"),
}  # fmt: skip
RULES = {**RULES, "press_action": RULES["react"]}
for _each in ("add_members", "remove_members", "ban_members", "mute_members"):
    RULES = {**RULES, _each: RULES["invite"]}
for _each in ("change_profile", "change_settings"):
    RULES = {**RULES, _each: RULES["set_roles"]}
PERMISSIONS = {
    "seat": "read", "forward": "post", "schedule": "post", "type": "post", "edit others'": "edit_own", "person": "",
}  # fmt: skip
TO_ALL = chat_pb2.MessageContent(text="hi", mentions=chat_pb2.Mentions(all=True))
ONCE_FOR_ALL = {"anybody", "overseer", "service"}

# Which rule holds for which rpc; some are asked in more than one way, each a line.
TABLE: Mapping[str, str] = {
    "ChatService/CreateConversation": "anybody",
    "ChatService/GetConversation": "know",
    "ChatService/ListConversations": "anybody",
    "ChatService/UpdateConversation": "change_profile",
    "ChatService/UpdateConversation settings": "change_settings",
    "ChatService/JoinConversation": "join",
    "ChatService/LeaveConversation": "leave",
    "ChatService/AddMembers": "add_members",
    "ChatService/RemoveMembers": "remove_members",
    "ChatService/SetMemberRole": "set_roles",
    "ChatService/BanMember": "ban_members",
    "ChatService/UnbanMember": "ban_members",
    "ChatService/ListBans": "ban_members",
    "ChatService/MuteMember": "mute_members",
    "ChatService/UnmuteMember": "mute_members",
    "ChatService/SendMessage": "post",
    "ChatService/SendMessage to all": "mention_all",
    "ChatService/EditMessage": "edit others'",
    "ChatService/EditMessage own": "edit_own",
    "ChatService/ListMessageEdits": "read",
    "ChatService/DeleteMessage": "read",
    "ChatService/DeleteMessage own": "delete_own",
    "ChatService/DeleteMessage for all": "delete_any",
    "ChatService/ForwardMessage": "forward",
    "ChatService/PinMessage": "pin",
    "ChatService/UnpinMessage": "pin",
    "ChatService/AddReaction": "react",
    "ChatService/RemoveReaction": "react",
    "ChatService/ListReactions": "read",
    "ChatService/ListMessages": "read",
    "ChatService/MarkMessages": "seat",
    "ChatService/GetUnread": "seat",
    "ChatService/ListUnread": "anybody",
    "ChatService/ListReceipts": "read",
    "ChatService/Watch": "read",
    "ChatService/Converse": "read",
    "ChatService/Converse send": "post",
    "ChatService/Converse pin": "pin",
    "ChatService/Converse mark": "seat",
    "DeviceService/RegisterDevice": "anybody",
    "DeviceService/UnregisterDevice": "anybody",
    "DeviceService/ListDevices": "anybody",
    "DeviceService/SetPushPreferences": "anybody",
    "DeviceService/GetPushPreferences": "anybody",
    "InboxService/WatchInbox": "anybody",
    "InboxService/ListInbox": "anybody",
    "InboxService/GetUnreadTotals": "anybody",
    "InboxService/ArchiveConversation": "seat",
    "InboxService/UnarchiveConversation": "seat",
    "InboxService/MuteNotifications": "seat",
    "InboxService/UnmuteNotifications": "seat",
    "InboxService/HideConversation": "seat",
    "InboxService/ShowConversation": "seat",
    "InboxService/WatchReceipts": "read",
    "BotService/PressAction": "press_action",
    "BotService/WatchActions": "service",
    "BotService/AnswerAction": "service",
    "ModerationService/ReportMessage": "report",
    "ModerationService/ListReports": "overseer",
    "ModerationService/ResolveReport": "overseer",
    "ModerationService/WatchReports": "overseer",
    "ModerationService/BanUser": "overseer",
    "ModerationService/UnbanUser": "overseer",
    "ModerationService/ListBannedUsers": "overseer",
    "SearchService/SearchMessages": "read",
    "PrivacyService/ExportConversation": "export",
    "PrivacyService/ExportPerson": "person",
    "PrivacyService/ErasePerson": "overseer",
    "PresenceService/ReportPresence": "anybody",
    "PresenceService/GetPresence": "anybody",
    "PresenceService/WatchPresence": "anybody",
    "PresenceService/WatchPresenceOf": "anybody",
    "PresenceService/SetTyping": "type",
    "PresenceService/WatchTyping": "read",
    "InvitationService/CreateInvitation": "invite",
    "InvitationService/ListInvitations": "invite",
    "InvitationService/RevokeInvitation": "invite",
    "InvitationService/GetInvitation": "invited",
    "InvitationService/JoinByInvitation": "invited",
    "ScheduleService/ScheduleMessage": "schedule",
    "ScheduleService/ListScheduledMessages": "anybody",
    "ScheduleService/UpdateScheduledMessage": "uploader",
    "ScheduleService/CancelScheduledMessage": "uploader",
    "AttachmentService/CreateUpload": "read",
    "AttachmentService/GetUpload": "uploader",
    "AttachmentService/UploadChunks": "uploader",
    "AttachmentService/AppendChunk": "uploader",
    "AttachmentService/CompleteUpload": "uploader",
    "AttachmentService/DeleteUpload": "uploader",
    "AttachmentService/GetAttachment": "read",
    "AttachmentService/ListAttachments": "anybody",
    "AttachmentService/DownloadAttachment": "read",
    "AttachmentService/CreateDownloadLink": "read",
}


def _converse(part: str) -> Callable[[Place, str], Message]:
    """A frame of one thing alone."""

    def make(place: Place, _who: str) -> Message:
        frame = requests(place.names)["ChatService/Converse"]
        assert isinstance(frame, chat.ConverseRequest)
        operations = [each for each in frame.operations if each.WhichOneof("operation") == part]
        if part == "subscribe":
            return chat.ConverseRequest(subscribe=frame.subscribe)
        return chat.ConverseRequest(sends=frame.sends if part == "sends" else (), operations=operations)

    return make


def _delete(place: Place, who: str) -> Message:
    return chat.DeleteMessageRequest(
        request_id=request_id(), conversation_id=place.names.conversation, message_version=place.doomed.get(who, 1)
    )


def _upload_on(place: Place, _who: str) -> Message:
    request = requests(place.names)["AttachmentService/UploadChunks"]
    request.offset, request.data = 4, b""  # type: ignore[attr-defined]
    return request


def _spare(rpc: str) -> Callable[[Place, str], Message]:
    return lambda place, _who: requests(place.spare)[rpc]


# How those are asked whose plain request would take from others what theirs names, or that ask in another way.
REQUESTS: Mapping[str, Callable[[Place, str], Message]] = {
    "ChatService/UpdateConversation settings": lambda place, _: chat.UpdateConversationRequest(
        request_id=request_id(), conversation_id=place.names.conversation, message_ttl_seconds=0
    ),
    "ChatService/SendMessage to all": lambda place, _: chat.SendMessageRequest(
        request_id=request_id(), conversation_id=place.names.conversation, content=TO_ALL
    ),
    "ChatService/EditMessage own": lambda place, who: requests(
        replace(place.names, message=place.own.get(who, place.names.message))
    )["ChatService/EditMessage"],
    "ChatService/DeleteMessage": _spare("ChatService/DeleteMessage"),
    "ChatService/DeleteMessage own": _delete,
    "ChatService/DeleteMessage for all": lambda place, _: _delete(place, AUTHOR),
    "ChatService/Converse": _converse("subscribe"),
    "ChatService/Converse send": _converse("sends"),
    "ChatService/Converse pin": _converse("pin"),
    "ChatService/Converse mark": _converse("mark"),
    "InvitationService/RevokeInvitation": _spare("InvitationService/RevokeInvitation"),
    "ScheduleService/CancelScheduledMessage": _spare("ScheduleService/CancelScheduledMessage"),
    "AttachmentService/DeleteUpload": _spare("AttachmentService/DeleteUpload"),
    "AttachmentService/UploadChunks": _upload_on,
    "ModerationService/ResolveReport": lambda place, who: requests(place.spare if who == "bot" else place.names)[
        "ModerationService/ResolveReport"
    ],
}


def expected(line: str, kind: str, who: str) -> str:
    """What the table says; an empty text where it says nothing."""
    rule = TABLE[line]
    if who == "none":
        return "UNAUTHENTICATED"
    if who in ("keeper", "nobody's"):
        return SIGNS["t"]
    column = COLUMNS.index(who if who in COLUMNS else "stranger")
    sign = RULES[rule][kind].replace(" ", "")[column]
    if sign not in WITH_PERMISSION:
        return "" if sign == "." else SIGNS[sign]
    permission = PERMISSIONS.get(rule, rule)
    if rule == "mention_all" and who not in (*MEMBERS[:-1], AUTHOR):
        permission = "post"  # it may not even speak
    if rule == "type" and sign == "k":
        permission = ""  # whoever may speak there
    return f"{WITH_PERMISSION[sign]}:{permission}".rstrip(":")


def cells(lines: Iterable[str], kinds: Iterable[str]) -> list[tuple[str, str, str]]:
    """Every line by every kind and caller that it says something of."""
    return [
        (line, kind, who)
        for line in lines
        for kind in ((GROUP,) if TABLE[line] in ONCE_FOR_ALL else kinds)
        for who in (*COLUMNS, *(each for each in (*TOKENS, "none") if kind == GROUP and each not in COLUMNS))
        if expected(line, kind, who)
    ]


def test_every_rpc_has_a_line_and_every_rule_is_used() -> None:
    assert {line.partition(" ")[0] for line in TABLE} == set(METHODS)
    assert set(TABLE.values()) == set(RULES)
    assert set(requests(Names())) == set(METHODS)
    for rows in RULES.values():
        assert {len(row.replace(" ", "")) for row in rows.values()} == {len(COLUMNS)}


def test_the_roles_of_tokens_are_those_of_the_policy() -> None:
    for line, rule in TABLE.items():
        roles = POLICY[f"/tradewind.chat.v1.{line.partition(' ')[0]}"]
        for role in ROLES:
            who = next((each for each, held in TOKENS.items() if held == (role,)), "stranger")
            allowed = expected(line, GROUP, who) != SIGNS["t"]
            assert (role in roles) == allowed, (line, rule, role)


async def test_every_rpc_is_answered_as_the_table_says(own_nats_server: NatsServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "attachment_key_file": key_file(tmp_path),
        "search": "embedded",
        "max_caller_streams": 1000,
    }
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        stage = Stage(world)
        await stage.make()
        leaving, joining, by_invitation = (
            "ChatService/LeaveConversation", "ChatService/JoinConversation", "InvitationService/JoinByInvitation"
        )  # fmt: skip
        closed, opened = (DIRECT, GROUP, CHANNEL), (OPEN_GROUP, OPEN_CHANNEL)
        staying = cells([each for each in TABLE if each not in (leaving, joining, by_invitation)], KINDS)
        # Who is in changes only at the end: all go, and then come again.
        for asked in (
            staying + cells([joining], closed),
            cells([leaving], KINDS),
            cells([joining], opened),
            cells([by_invitation], KINDS),
        ):
            found = await asyncio.gather(*(_ask(stage, *cell) for cell in asked))
            wrong = {cell: each for cell, each in zip(asked, found, strict=True) if each != expected(*cell)}
            assert not wrong, "\n".join(f"{cell}: {each}, not {expected(*cell)}" for cell, each in wrong.items())
        await stage.close()


async def _ask(stage: Stage, line: str, kind: str, who: str) -> str:
    rpc, place = line.partition(" ")[0], stage.places[kind]
    request = REQUESTS[line](place, who) if line in REQUESTS else requests(place.names)[rpc]
    return await stage.outcome(rpc, request, who)
