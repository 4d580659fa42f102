"""Looks at everything a conversation answers, and compares it with the model."""

from __future__ import annotations

from typing import Any

from tradewind.chat.v1 import chat_pb2

from tests.integration.talk_model import CHIEF, Denied, Told
from tests.integration.talk_player import PEOPLE, Player, Step, counted

_ROLES = {number: name.removeprefix("MEMBER_ROLE_").lower() for name, number in chat_pb2.MemberRole.items()}
_KINDS = {number: name.removeprefix("CONVERSATION_KIND_").lower() for name, number in chat_pb2.ConversationKind.items()}


async def look(player: Player, name: str, way: int, size: int = 0) -> None:
    """Ask all that one user can ask, in pages of a size; who may not see it is told that there is nothing."""
    model = player.model
    if not model.sees(name):
        for rpc in ("ListMessages", "GetUnread", "ListReceipts", "MarkMessages"):
            await _denied(player, name, rpc, way)
        return
    size = size or 1 + way % 9
    expected = model.shown(name)
    assert await listed(player, name, way, page_size=size, oldest_first=True) == expected
    assert await listed(player, name, way + 1, page_size=size + 2) == expected[::-1]
    assert await listed(player, name, way, pinned_only=True, oldest_first=True) == model.shown(name, pinned=True)
    roots = sorted({each.root for each in model.said.values() if each.root})
    for root in roots[: 1 + way % 2]:
        found = await listed(player, name, way, thread_root=root, oldest_first=True, page_size=size)
        assert found == model.shown(name, root)
    await _reactions(player, name, way)
    await _edits(player, name, way)
    await _profile(player, name, way)
    await _counts(player, name, way)


async def look_at_all(player: Player, way: int, size: int = 0) -> None:
    """Let everybody look, and every device hear all that it may; all of them must hold the same bytes."""
    for name in (*PEOPLE, CHIEF):
        await look(player, name, way, size)
    longest: list[bytes] = []
    for place, (name, number) in enumerate(player.devices):
        step = Step("follow", 0, 1, number, way + place)
        device = player.devices[name, number]
        if player.model.sees(name) and not device.open:
            await device.connect(
                player.user(name, way + place), len(device.held), len(player.model.log), talks=place % 2 == 0
            )
        await player._follow(name, step)
        if player.model.sees(name):
            assert len(device.held) == len(player.model.log)
        if len(device.held) > len(longest):
            longest = device.held
    for device in player.devices.values():
        assert device.held == longest[: len(device.held)], "replicas differ"
    events = [chat_pb2.ConversationEvent.FromString(data) for data in longest]
    assert [event.version for event in events] == list(range(1, len(player.model.log) + 1))
    assert [told(event) for event in events] == player.model.log


def told(event: chat_pb2.ConversationEvent) -> Told:
    """An event as the model has it."""
    what = event.WhichOneof("event") or ""
    said = getattr(event, what)
    facts: dict[str, Any] = {}
    match what:
        case "created":
            facts = {"kind": _KINDS[said.kind], "who": [(each.user_id, _ROLES[each.role]) for each in said.members]}
        case "message":
            facts = {"text": said.text, "root": said.thread_root, "to": tuple(said.reply_to), "all": said.mentions.all,
                     "names": tuple(said.mentions.user_ids), "first": said.forwarded.message_version,
                     "replies": event.thread_reply_count}  # fmt: skip
            what = "message"
        case "edited":
            facts = {"of": said.message_version, "text": said.content.text, "edits": said.edits}
        case "deleted":
            facts = {"of": said.message_version, "sender": said.sender_id, "root": said.thread_root,
                     "replies": said.thread_reply_count}  # fmt: skip
        case "pinned" | "unpinned":
            facts = {"of": said.message_version}
        case "reaction_added" | "reaction_removed":
            facts = {"of": said.message_version, "emoji": said.emoji, "count": said.count, "emojis": said.emojis}
        case "members_added":
            facts = {"who": [(each.user_id, _ROLES[each.role]) for each in said.members]}
        case "members_removed":
            facts = {"who": list(said.user_ids)}
        case "role_changed":
            facts = {"who": said.user_id, "role": _ROLES[said.role]}
        case "banned" | "muted":
            facts = {"who": said.user_id, "ever": not said.HasField("until")}
        case "unbanned" | "unmuted":
            facts = {"who": said.user_id}
        case "changed":
            facts = {name: getattr(said, name) if said.HasField(name) else None for name in ("title", "open")}
    return what, event.actor_id, facts, event.message_count


async def listed(player: Player, name: str, way: int, **asked: Any) -> list[dict[str, Any]]:
    """All pages of a listing, each asked of another server."""
    found: list[dict[str, Any]] = []
    while True:
        page = await player.ask(name, "ListMessages", way, **asked)
        found += [shown(message) for message in page.messages]
        if not page.next_page_token:
            return found
        asked["page_token"] = page.next_page_token
        way += 2


def shown(message: chat_pb2.Message) -> dict[str, Any]:
    """A message as the model has it."""
    content = message.content
    return {
        "version": message.version, "sender": message.sender_id, "root": content.thread_root, "edits": message.edits,
        "deleted": message.HasField("delete_time"), "text": content.text, "to": tuple(content.reply_to),
        "first": content.forwarded.message_version, "pinned": message.pinned,
        "thread": (message.thread.reply_count, message.thread.last_reply_version) if message.HasField("thread") else None,
        "given": {each.emoji: (each.count, each.mine) for each in message.reactions},
    }  # fmt: skip


async def _denied(player: Player, name: str, rpc: str, way: int) -> None:
    try:
        await player.ask(name, rpc, way)
    except Denied as denied:
        assert denied.why[0] == "NOT_FOUND"
    else:
        raise AssertionError(f"{rpc} told somebody of what it may not see")


async def _reactions(player: Player, name: str, way: int) -> None:
    given = [(version, each.given) for version, each in player.model.said.items() if each.given]
    for version, emojis in given[way % 3 :: 3]:
        answer = await player.ask(name, "ListReactions", way, message_version=version)
        expected = {(emoji, user) for emoji, users in emojis.items() for user in users}
        assert {(each.emoji, each.user_id) for each in answer.reactions} == expected
        assert len(answer.reactions) == len(expected)


async def _edits(player: Player, name: str, way: int) -> None:
    edited = [(version, each) for version, each in player.model.said.items() if len(each.wordings) > 1]
    for version, each in edited[way % 3 :: 3]:
        try:
            answer = await player.ask(name, "ListMessageEdits", way, message_version=version)
        except Denied as denied:
            assert each.deleted
            assert denied.why[0] == "NO_SUCH_MESSAGE"
        else:
            assert not each.deleted
            assert [wording.content.text for wording in answer.wordings] == each.wordings


async def _profile(player: Player, name: str, way: int) -> None:
    model = player.model
    now = (await player.ask(name, "GetConversation", way)).conversation
    assert (now.version, now.title, now.open) == (len(model.log), model.title, model.open)
    assert {each.user_id: _ROLES[each.role] for each in now.members} == model.roles
    assert {each.user_id: each.since_version for each in now.members} == model.since
    assert {each.user_id for each in now.members if each.muted} == set(model.mutes) & set(model.roles)
    assert list(now.pinned_versions) == model.pins


async def _counts(player: Player, name: str, way: int) -> None:
    model = player.model
    receipts = (await player.ask(name, "ListReceipts", way)).receipts
    got = {user: (model.read.get(user, 0), model.delivered.get(user, 0)) for user in model.roles}
    assert {each.user_id: (each.read_version, each.delivered_version) for each in receipts} == {
        user: versions for user, versions in got.items() if any(versions)
    }
    if name == CHIEF:
        return
    expected = model.unread(name)
    assert counted((await player.ask(name, "GetUnread", way)).unread) == expected
    everywhere = (await player.everywhere(name, "ListUnread", way)).unread
    assert [counted(each) for each in everywhere] == ([expected] if expected[0] else [])
    conversations = (await player.everywhere(name, "ListConversations", way)).conversations
    assert [each.conversation_id for each in conversations] == [player.id]
