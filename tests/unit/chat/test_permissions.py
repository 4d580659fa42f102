"""Who may what: every command by every role in every kind of conversation, beside a table written out by hand, which docs/chat.md shows."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from services.chat import domain
from services.chat.domain import Kind, Permission, Role

AT = 1_700_000_000_000_000
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "chat.md"

# Which roles may in a group and in a channel, and whether both may in a direct conversation.
EXPECTED = {
    "read": ("owner admin moderator member reader", True),
    "post": ("owner admin moderator member", True),
    "mention_all": ("owner admin moderator", False),
    "edit_own": ("owner admin moderator member", True),
    "delete_own": ("owner admin moderator member reader", True),
    "delete_any": ("owner admin moderator", False),
    "pin": ("owner admin moderator", True),
    "react": ("owner admin moderator member reader", True),
    "press_action": ("owner admin moderator member reader", True),
    "leave": ("owner admin moderator member reader", False),
    "skip_slow_mode": ("owner admin moderator", False),
    "add_members": ("owner admin moderator", False),
    "invite": ("owner admin moderator", False),
    "remove_members": ("owner admin moderator", False),
    "ban_members": ("owner admin moderator", False),
    "mute_members": ("owner admin moderator", False),
    "set_roles": ("owner admin", False),
    "change_profile": ("owner admin", False),
    "change_settings": ("owner admin", False),
    "export": ("owner", True),
}
NOT_FOR_OVERSEERS = {
    "post",
    "mention_all",
    "edit_own",
    "delete_own",
    "react",
    "press_action",
    "leave",
    "skip_slow_mode",
}


def commands(actor: str, oversees: bool) -> dict[str, list[domain.Command]]:
    """Every command that needs a permission; whom it is about stands lowest."""
    low = "low"
    return {
        "post": [domain.SendMessage(AT, actor, b"\n\x02hi", 0, oversees)],
        "mention_all": [domain.SendMessage(AT, actor, b"", 0, oversees, "", domain.Said(to_all=True))],
        "edit_own": [domain.EditMessage(AT, actor, domain.Target(2, actor), b"", oversees=oversees)],
        "delete_own": [domain.DeleteMessage(AT, actor, domain.Target(2, actor), oversees=oversees)],
        "delete_any": [domain.DeleteMessage(AT, actor, domain.Target(2, "another"), oversees=oversees)],
        "pin": [
            domain.PinMessage(AT, actor, domain.Target(2, "another"), oversees=oversees),
            domain.UnpinMessage(AT, actor, 2, oversees=oversees),
        ],
        "react": [
            domain.React(AT, actor, domain.Target(2, "another"), "👍", oversees=oversees),
            domain.React(AT, actor, domain.Target(2, "another"), "👍", remove=True, oversees=oversees),
        ],
        "leave": [domain.RemoveMembers(AT, actor, (actor,), oversees=oversees)],
        "add_members": [domain.AddMembers(AT, actor, ("new",), oversees=oversees)],
        "invite": [
            domain.CreateInvitation(AT, actor, "new", "00", Role.MEMBER, oversees=oversees),
            domain.RevokeInvitation(AT, actor, "standing", oversees=oversees),
        ],
        "remove_members": [domain.RemoveMembers(AT, actor, (low,), oversees=oversees)],
        "ban_members": [
            domain.Ban(AT, actor, low, oversees=oversees),
            domain.Unban(AT, actor, "banned", oversees=oversees),
        ],
        "mute_members": [
            domain.Mute(AT, actor, low, oversees=oversees),
            domain.Unmute(AT, actor, "muted", oversees=oversees),
        ],
        "set_roles": [domain.SetRole(AT, actor, "muted", Role.READER, oversees=oversees)],
        "change_profile": [
            domain.ChangeConversation(AT, actor, title="New", oversees=oversees),
            domain.ChangeConversation(AT, actor, picture="New", oversees=oversees),
            domain.ChangeConversation(AT, actor, attributes={"new": ""}, oversees=oversees),
            domain.ChangeConversation(AT, actor, remove_attributes=("new",), oversees=oversees),
        ],
        "change_settings": [
            domain.ChangeConversation(AT, actor, open=True, oversees=oversees),
            domain.ChangeConversation(AT, actor, slow_mode_s=5, oversees=oversees),
            domain.ChangeConversation(AT, actor, message_ttl_s=5, oversees=oversees),
        ],
    }


def state_of(kind: Kind) -> domain.Conversation:
    """A conversation with one of each role that its kind knows, a second owner, and some who are acted on."""
    if kind is Kind.DIRECT:
        members: tuple[tuple[str, Role], ...] = (("owner", Role.OWNER), ("low", Role.OWNER))
    else:
        roles = tuple((role.value, role) for role in Role)
        members = (("first", Role.OWNER), *roles, ("low", Role.READER), ("muted", Role.MEMBER))
    state = domain.evolve(domain.initial(), domain.ConversationCreated(AT, "owner", "", kind, "", members, {}))
    if kind is not Kind.DIRECT:
        state = domain.evolve(state, domain.MemberBanned(AT, "owner", "", "banned", 0))
        state = domain.evolve(state, domain.MemberMuted(AT, "owner", "", "muted", 0))
        state = domain.evolve(state, domain.InvitationCreated(AT, "owner", "", "standing", "ff", Role.MEMBER, 0, 0))
    return state


def outcome(state: domain.Conversation, command: domain.Command) -> tuple[str, str]:
    try:
        domain.decide(state, command)
    except domain.Refused as refused:
        return refused.reason, refused.metadata.get("permission", "")
    return "", ""


@pytest.mark.parametrize("kind", Kind)
def test_every_command_of_every_role(kind: Kind) -> None:
    state = state_of(kind)
    roles = [Role.OWNER] if kind is Kind.DIRECT else list(Role)
    for role in roles:
        for permission, tried in commands(role.value, False).items():
            many, direct = EXPECTED[permission]
            for command in tried:
                found = outcome(state, command)
                if kind is Kind.DIRECT:
                    expected = ("", "") if direct else ("WRONG_CONVERSATION_KIND", permission)
                else:
                    expected = ("", "") if role in many.split() else ("FORBIDDEN", permission)
                if permission == "mention_all" and role is Role.READER:
                    expected = ("FORBIDDEN", "post")  # it may not even speak
                if permission == "mention_all" and kind is Kind.DIRECT:
                    expected = ("FORBIDDEN", "mention_all")  # it is a message all the same
                if kind is Kind.CHANNEL and permission == "set_roles" and expected == ("", ""):
                    expected = ("INVALID_FIELD", "")  # nobody is made a reader of a channel
                assert found == expected, (role, command)


@pytest.mark.parametrize("kind", Kind)
def test_a_stranger_is_told_nothing_and_an_overseer_does_what_it_may(kind: Kind) -> None:
    state = state_of(kind)
    for tried in commands("eve", False).values():
        for command in tried:
            assert outcome(state, command) == ("NOT_FOUND", ""), command
            assert outcome(domain.initial(), command) == ("NOT_FOUND", ""), command
    for permission, tried in commands("chief", True).items():
        for command in tried:
            found = outcome(state, command)
            if permission == "leave":
                assert found == ("", ""), command  # it is not in it
            elif permission == "mention_all":
                assert found == ("NOT_A_MEMBER", "post"), command
            elif kind is Kind.DIRECT and not EXPECTED[permission][1]:
                assert found == ("WRONG_CONVERSATION_KIND", permission), command
            elif permission in NOT_FOR_OVERSEERS:
                assert found == ("NOT_A_MEMBER", permission), command
            elif kind is Kind.CHANNEL and permission == "set_roles":
                assert found == ("INVALID_FIELD", ""), command
            else:
                assert found == ("", ""), command


def test_the_table_is_the_one_written_out_here() -> None:
    assert set(EXPECTED) == {permission.value for permission in Permission}
    for kind, role, permission in product(Kind, Role, Permission):
        many, direct = EXPECTED[permission.value]
        expected = (direct and role is Role.OWNER) if kind is Kind.DIRECT else role.value in many.split()
        assert (permission in domain.permissions(kind, role)) == expected, (kind, role, permission)
    assert {permission.value for permission in domain.OVERSEER} == set(EXPECTED) - NOT_FOR_OVERSEERS


def test_the_document_shows_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.+)\|$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows if name in EXPECTED}
    columns = ("owner", "admin", "moderator", "member", "reader")
    for permission, (many, direct) in EXPECTED.items():
        expected = ["yes" if role in many.split() else "" for role in columns]
        expected += ["yes" if direct else "", "" if permission in NOT_FOR_OVERSEERS else "yes"]
        assert shown[permission][: len(expected)] == expected, permission


@pytest.mark.parametrize("oversees", [False, True])
def test_nobody_but_an_owner_acts_on_its_own_rank_or_above(oversees: bool) -> None:
    state = state_of(Kind.GROUP)
    rank = [Role.READER, Role.MEMBER, Role.MODERATOR, Role.ADMIN, Role.OWNER]
    others = {**{role: role.value for role in rank}, Role.READER: "low", Role.MEMBER: "muted", Role.OWNER: "first"}
    for role in (Role.MODERATOR, Role.ADMIN, Role.OWNER):
        for target in rank:
            if target is role and role is not Role.OWNER:
                continue  # there is one of each, and nobody acts on itself
            may = oversees or role is Role.OWNER or rank.index(target) < rank.index(role)
            for command in (
                domain.RemoveMembers(AT, role.value, (others[target],), oversees=oversees),
                domain.Ban(AT, role.value, others[target], oversees=oversees),
                domain.Mute(AT, role.value, others[target], AT + 5, oversees=oversees),
            ):
                assert (outcome(state, command)[0] == "") == may, command
            if role is not Role.MODERATOR and target is not Role.READER:
                given = domain.SetRole(AT, role.value, "low", target, oversees=oversees)
                assert (outcome(state, given)[0] == "") == may, given
