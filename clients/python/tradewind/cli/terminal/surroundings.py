"""What is around the words: one's conversations, who is there, who types. Nothing here knows of a screen's parts or of a network."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from tradewind.chat.v1 import inbox_service_pb2, presence_service_pb2
from tradewind.cli.terminal import looks
from tradewind.sdk import InboxList

_MOST_NAMED = 4
_MOST_TYPING = 3


class Surroundings:
    """What was told last.

    Attributes:
        entries: one's conversations, by id.
    """

    def __init__(self) -> None:
        self.entries: dict[str, inbox_service_pb2.InboxEntry] = {}
        self._here: dict[str, presence_service_pb2.Presence] = {}
        self._looked_at: set[str] = set()
        self._typists: dict[str, list[str]] = {}

    def hear(self, news: InboxList | presence_service_pb2.Typing | presence_service_pb2.Presence) -> None:
        """Take what a session tells."""
        if isinstance(news, InboxList):
            self.entries = {entry.conversation_id: entry for entry in news.entries}
        elif isinstance(news, presence_service_pb2.Typing):
            self._typists[news.conversation_id] = [looks.name_of(user_id) for user_id in news.user_ids]
        elif news.user_id in self._looked_at:
            self._here[news.user_id] = news

    def said(self, conversation_id: str, user_id: str) -> None:
        """Take it that who said something types no more."""
        name = looks.name_of(user_id)
        if name in self._typists.get(conversation_id, ()):
            self._typists[conversation_id].remove(name)

    def look_at(self, user_ids: Iterable[str]) -> set[str]:
        """Look at these users from now on; gives those who were looked at before, and are not any more."""
        before, self._looked_at = self._looked_at, set(user_ids)
        self._here = {user_id: here for user_id, here in self._here.items() if user_id in self._looked_at}
        return before - self._looked_at

    def head(self, conversation_id: str, thread: int) -> Text:
        """Write the line over a conversation: what it is called, who is there, and who types."""
        entry = self.entries.get(conversation_id)
        head = Text(looks.called(entry) if entry is not None else conversation_id, style="bold")
        if thread:
            head.append(f" › thread of {thread}")
        online = presence_service_pb2.PRESENCE_STATE_ONLINE
        here = [looks.name_of(user) for user, presence in self._here.items() if presence.state == online]
        if here:
            more = f" +{len(here) - _MOST_NAMED}" if len(here) > _MOST_NAMED else ""
            head.append(f"   ● {', '.join(here[:_MOST_NAMED])}{more}", style="green")
        typists = self._typists.get(conversation_id)
        if typists:
            verb = "types…" if len(typists) == 1 else "type…"
            head.append(f"   {', '.join(typists[:_MOST_TYPING])} {verb}", style="italic yellow")
        return head
