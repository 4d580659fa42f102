"""What a conversation should be: all remembered as it happened, in dictionaries and lists; its rules are written from the docs alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

CHIEF = "chief"
"""The tenant's administrator, who oversees and is in nothing."""
RANK = {"reader": 1, "member": 2, "moderator": 3, "admin": 4, "owner": 5}
LEAST = {
    "read": 1, "react": 1, "delete_own": 1, "leave": 1, "post": 2, "edit_own": 2, "mention_all": 3, "delete_any": 3, "pin": 3,
    "add_members": 3, "remove_members": 3, "ban_members": 3, "mute_members": 3, "set_roles": 4, "change_profile": 4,
    "change_settings": 4,
}  # fmt: skip
"""Of groups and channels: the lowest rank that may."""
OVERSEER = {
    "read", "delete_any", "pin", "add_members", "remove_members", "ban_members", "mute_members", "set_roles", "change_profile",
    "change_settings",
}  # fmt: skip
DIRECT = {"read", "post", "edit_own", "delete_own", "pin", "react"}


class Denied(Exception):
    """What is refused: the reason, and the permission that is missing."""

    def __init__(self, reason: str, permission: str = "") -> None:
        super().__init__(reason, permission)
        self.why = (reason, permission)


@dataclass
class Said:
    """A message, and what became of it."""

    sender: str
    wordings: list[str]
    root: int = 0
    to: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    to_all: bool = False
    said_first: int = 0
    deleted: bool = False
    last_reply: int = 0
    hidden: set[str] = field(default_factory=set)
    given: dict[str, set[str]] = field(default_factory=dict)


Told = tuple[str, str, dict[str, Any], int]
"""An event: what, by whom, the facts, and how many messages of people there were by then."""


class Model:
    """One conversation."""

    def __init__(self, kind: str, owner: str, others: Sequence[str], *, is_open: bool) -> None:
        self.kind, self.open, self.title = kind, is_open, ""
        role = "owner" if kind == "direct" else "member"
        self.roles = {owner: "owner", **dict.fromkeys(others, role)}
        self.since = dict.fromkeys(self.roles, 1)
        self.readers: set[str] = set()
        self.bans: dict[str, bool] = {}
        self.mutes: dict[str, bool] = {}
        self.said: dict[int, Said] = {}
        self.pins: list[int] = []
        self.read: dict[str, int] = {}
        self.delivered: dict[str, int] = {}
        self.cuts: dict[str, list[int]] = {}
        self.log: list[Told] = []
        self.tell("created", owner, kind=kind, who=list(self.roles.items()))

    # --- who may ------------------------------------------------------------------------------

    def tell(self, what: str, actor: str, **facts: Any) -> int:
        """Write an event; answers its version."""
        self.log.append((what, actor, facts, len(self.said) + (what == "message")))
        return len(self.log)

    def reads(self, user: str) -> bool:
        """Whether somebody reads the channel without being in it."""
        return user in self.readers and user not in self.roles and user not in self.bans

    def sees(self, user: str) -> bool:
        return user == CHIEF or user in self.roles or self.reads(user)

    def must_see(self, user: str) -> None:
        if not self.sees(user):
            raise Denied("NOT_FOUND")

    def need(self, user: str, permission: str) -> None:
        """Raise Denied where somebody may not."""
        offered = self.kind != "direct" or permission in DIRECT
        rank = RANK[self.roles[user]] if user in self.roles else RANK["reader"] if self.reads(user) else 0
        if not rank and user != CHIEF:
            if not self.open:
                raise Denied("NOT_FOUND")
            raise Denied("FORBIDDEN" if self.kind == "channel" else "NOT_A_MEMBER", permission)
        if not offered:
            raise Denied("WRONG_CONVERSATION_KIND", permission)
        if user == CHIEF:
            if permission not in OVERSEER:
                raise Denied("NOT_A_MEMBER", permission)
        elif rank < LEAST[permission] and self.kind != "direct":
            raise Denied("FORBIDDEN", permission)

    def above(self, actor: str, role: str, permission: str) -> None:
        if actor != CHIEF and self.roles[actor] != "owner" and RANK[self.roles[actor]] <= RANK[role]:
            raise Denied("FORBIDDEN", permission)

    def an_owner_stays(self, without: str) -> None:
        if all(role != "owner" for user, role in self.roles.items() if user != without):
            raise Denied("LAST_OWNER")

    def there(self, version: int) -> Said:
        """A message that is one, and not deleted."""
        if version not in self.said or self.said[version].deleted:
            raise Denied("NO_SUCH_MESSAGE")
        return self.said[version]

    # --- messages -----------------------------------------------------------------------------

    def may_send(self, actor: str, said: Said) -> None:
        self.need(actor, "post")
        if actor in self.mutes:
            raise Denied("MUTED", "post")
        if any(version not in self.said for version in said.to):
            raise Denied("NO_SUCH_MESSAGE")
        if said.to_all and self.kind == "direct":
            raise Denied("FORBIDDEN", "mention_all")  # it is a message all the same
        if said.to_all:
            self.need(actor, "mention_all")
        if said.root and said.root not in self.said:
            raise Denied("NO_SUCH_MESSAGE")
        if said.root and self.said[said.root].root:
            raise Denied("INVALID_FIELD")

    def send(self, said: Said) -> int:
        """Say what may be said."""
        version = self.tell("message", said.sender, text=said.wordings[0], root=said.root, to=said.to, names=said.names,
                            all=said.to_all, first=said.said_first,
                            replies=self.replies(said.root) + 1 if said.root else 0)  # fmt: skip
        self.said[version] = said
        if said.root:
            self.said[said.root].last_reply = version
        return version

    def replies(self, root: int) -> int:
        return sum(each.root == root and not each.deleted for each in self.said.values()) if root else 0

    def forward(self, actor: str, version: int) -> int:
        """Say again here what was said here; who edits what it forwarded says something of its own."""
        self.must_see(actor)
        found = self.there(version)
        first = version if len(found.wordings) > 1 or not found.said_first else found.said_first
        again = Said(actor, [found.wordings[-1]], said_first=first)
        self.may_send(actor, again)
        return self.send(again)

    def edit(self, actor: str, version: int, text: str) -> int:
        self.need(actor, "edit_own")
        found = self.there(version)
        if found.sender != actor:
            raise Denied("FORBIDDEN", "edit_own")
        if actor in self.mutes:
            raise Denied("MUTED", "edit_own")
        found.wordings.append(text)
        return self.tell("edited", actor, of=version, text=text, edits=len(found.wordings) - 1)

    def delete(self, actor: str, version: int) -> None:
        found = self.said.get(version)
        if found is None:
            self.need(actor, "read")
            raise Denied("NO_SUCH_MESSAGE")
        self.need(actor, "delete_own" if found.sender == actor else "delete_any")
        if not found.deleted:
            found.deleted = True
            self.pins = [pin for pin in self.pins if pin != version]
            left = self.replies(found.root)
            self.tell("deleted", actor, of=version, sender=found.sender, root=found.root, replies=left)

    def hide(self, actor: str, version: int) -> None:
        self.must_see(actor)
        if version not in self.said:
            raise Denied("NO_SUCH_MESSAGE")
        self.said[version].hidden.add(actor)

    def react(self, actor: str, version: int, emoji: str, *, remove: bool) -> None:
        self.need(actor, "react")
        given = self.there(version).given
        if (actor in given.get(emoji, ())) != remove:
            return
        who = given.setdefault(emoji, set())
        (who.remove if remove else who.add)(actor)
        if not who:
            del given[emoji]
        what = "reaction_removed" if remove else "reaction_added"
        self.tell(what, actor, of=version, emoji=emoji, count=len(who), emojis=len(given))

    def pin(self, actor: str, version: int) -> None:
        self.need(actor, "pin")
        self.there(version)
        if version not in self.pins:
            self.pins.append(version)
            self.tell("pinned", actor, of=version)

    def unpin(self, actor: str, version: int) -> None:
        self.need(actor, "pin")
        if version in self.pins:
            self.pins.remove(version)
            self.tell("unpinned", actor, of=version)

    # --- members ------------------------------------------------------------------------------

    def let_in(self, actor: str, new: Iterable[str]) -> None:
        new = [user for user in new if user not in self.roles]
        if new:
            version = self.tell("members_added", actor, who=[(user, "member") for user in new])
            self.roles.update(dict.fromkeys(new, "member"))
            self.since.update(dict.fromkeys(new, version))

    def let_go(self, actor: str, user: str) -> None:
        version = self.tell("members_removed", actor, who=[user])
        del self.roles[user], self.since[user]
        if self.reads(user):
            self.read[user] = version  # it reads on, from here
        else:
            self.cuts.setdefault(user, []).append(version)

    def add(self, actor: str, users: Sequence[str]) -> None:
        self.need(actor, "add_members")
        if any(user in self.bans and user not in self.roles for user in users):
            raise Denied("BANNED")
        self.let_in(actor, users)

    def remove(self, actor: str, user: str) -> None:
        """Let another go."""
        self.need(actor, "remove_members")
        if user in self.roles:
            self.above(actor, self.roles[user], "remove_members")
            self.an_owner_stays(user)
            self.let_go(actor, user)

    def leave(self, actor: str) -> None:
        if actor in self.roles:
            self.need(actor, "leave")
            self.an_owner_stays(actor)
            self.let_go(actor, actor)
        elif actor in self.readers:
            self.readers.remove(actor)
        else:
            raise Denied("NOT_FOUND")

    def join(self, actor: str) -> None:
        if actor in self.roles or self.reads(actor):
            return
        if not self.open:
            raise Denied("NOT_FOUND")
        if actor in self.bans:
            raise Denied("BANNED")
        if self.kind == "group":
            self.let_in(actor, [actor])
        else:
            self.readers.add(actor)
            self.read[actor] = len(self.log)

    def set_role(self, actor: str, user: str, role: str) -> None:
        self.need(actor, "set_roles")
        if user not in self.roles:
            raise Denied("NO_SUCH_MEMBER")
        if self.kind == "channel" and role == "reader":
            raise Denied("INVALID_FIELD")
        if self.roles[user] == role:
            return
        if user != actor:
            self.above(actor, self.roles[user], "set_roles")
        self.above(actor, role, "set_roles")
        if role != "owner":
            self.an_owner_stays(user)
        self.roles[user] = role
        self.tell("role_changed", actor, who=user, role=role)

    def ban(self, actor: str, user: str, *, ever: bool) -> None:
        self.need(actor, "ban_members")
        if actor == user and actor in self.roles:
            raise Denied("FORBIDDEN", "ban_members")
        seen = self.sees(user)
        if user in self.roles:
            self.above(actor, self.roles[user], "ban_members")
            self.an_owner_stays(user)
            self.bans.setdefault(user, not ever)  # so that it does not read on
            self.let_go(actor, user)
            seen = False
        if self.bans.get(user) is not True or not ever:
            version = self.tell("banned", actor, who=user, ever=ever)
            if seen:
                self.cuts.setdefault(user, []).append(version)
        self.bans[user] = ever

    def unban(self, actor: str, user: str) -> None:
        self.need(actor, "ban_members")
        if self.bans.pop(user, None) is not None:
            self.tell("unbanned", actor, who=user)

    def mute(self, actor: str, user: str, *, ever: bool) -> None:
        self.need(actor, "mute_members")
        if actor == user and actor in self.roles:
            raise Denied("FORBIDDEN", "mute_members")
        if user not in self.roles:
            raise Denied("NO_SUCH_MEMBER")
        self.above(actor, self.roles[user], "mute_members")
        if self.mutes.get(user) is not True or not ever:
            self.tell("muted", actor, who=user, ever=ever)
        self.mutes[user] = ever

    def unmute(self, actor: str, user: str) -> None:
        self.need(actor, "mute_members")
        if user in self.mutes:
            if actor == user:
                raise Denied("FORBIDDEN", "mute_members")
            del self.mutes[user]
            self.tell("unmuted", actor, who=user)

    def change(self, actor: str, title: str | None, is_open: bool | None) -> None:
        for wanted, permission in ((is_open, "change_settings"), (title, "change_profile")):
            if wanted is not None:
                self.need(actor, permission)
        facts = {"title": None if title == self.title else title, "open": None if is_open == self.open else is_open}
        if facts != {"title": None, "open": None}:
            self.tell("changed", actor, **facts)
        self.title = self.title if title is None else title
        self.open = self.open if is_open is None else is_open

    # --- what is read -------------------------------------------------------------------------

    def mark(self, user: str, read: int, delivered: int) -> tuple[int, int, int, int]:
        """Say how far somebody got; answers what `unread` does."""
        self.seat(user)
        newest = len(self.log)
        if read:
            self.read[user] = max(self.read.get(user, 0), min(read, newest))
        if read or delivered:
            at = max(min(read, newest), min(delivered, newest))
            self.delivered[user] = max(self.delivered.get(user, 0), at)
        return self.unread(user)

    def seat(self, user: str) -> None:
        """Raise Denied for one who has no place of its own."""
        self.must_see(user)
        if user == CHIEF:
            raise Denied("NOT_A_MEMBER", "read")

    def unread(self, user: str) -> tuple[int, int, int, int]:
        """How many are unread, how many of them mention the user, and how far it has read and was given."""
        self.seat(user)
        floor = max(self.read.get(user, 0), self.since.get(user, 0))
        news = [
            each
            for version, each in self.said.items()
            if version > floor and each.sender != user and not each.deleted and user not in each.hidden
        ]
        mentions = sum(each.to_all or user in each.names for each in news)
        return len(news), mentions, self.read.get(user, 0), self.delivered.get(user, 0)

    def shown(self, user: str, root: int = 0, *, pinned: bool = False) -> list[dict[str, Any]]:
        """Messages as somebody should see them, oldest first."""
        return [
            self._shown(user, version, each)
            for version, each in self.said.items()
            if user not in each.hidden and (not root or each.root == root) and (not pinned or version in self.pins)
        ]

    def _shown(self, user: str, version: int, each: Said) -> dict[str, Any]:
        there = not each.deleted
        return {
            "version": version, "sender": each.sender, "root": each.root, "edits": len(each.wordings) - 1, "deleted": each.deleted,
            "text": each.wordings[-1] if there else "", "to": each.to if there else (),
            "first": each.said_first if there else 0, "pinned": version in self.pins,
            "thread": (self.replies(version), each.last_reply) if each.last_reply else None,
            "given": {emoji: (len(who), user in who) for emoji, who in each.given.items()} if there else {},
        }  # fmt: skip
