"""How lines and conversations look on a terminal. Names and texts are other people's: what commands a terminal is shown, not obeyed."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tradewind.chat.v1 import chat_pb2, inbox_service_pb2
from tradewind.cli.output import shown
from tradewind.cli.terminal.room import Line, Room

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green")
_MOST_QUOTED = 60
_MOST_NAME = 24
_LIST_WIDTH = 27


def name_of(user_id: str) -> str:
    """Write a user's name on one line."""
    name = shown(user_id).replace("\n", " ").replace("\t", " ")
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def line_of(line: Line, room: Room, *, in_thread: bool = False) -> Text:
    """Write a line: when, who, what, and beneath it what belongs to it."""
    text = Text()
    at = line.at.astimezone()
    text.append(
        f"{at:%H:%M} " if at.date() == datetime.now(UTC).astimezone().date() else f"{at:%d %b %H:%M} ", style="dim"
    )
    if not line.sender:
        text.append(f"· {shown(line.text)}", style="dim italic")
        return text
    text.append(f"{name_of(line.sender)} ", style=f"bold {_COLOURS[sum(line.sender.encode()) % len(_COLOURS)]}")
    for version in line.reply_to:
        text.append(f"┆ {_quoted(room.lines.get(version), version)} ┆ ", style="dim")
    if line.deleted:
        text.append("deleted", style="dim strike")
    else:
        text.append(shown(line.text), style="bold" if line.to_me else "")
    _append_rest(text, line, in_thread)
    return text


def _append_rest(text: Text, line: Line, in_thread: bool) -> None:
    if line.edited and not line.deleted:
        text.append(" (edited)", style="dim")
    if line.pinned:
        text.append(" 📌")
    for file in line.files:
        text.append(f"\n      📎 {shown(file.name)}", style="underline")
    for card in line.cards:
        text.append(f"\n      ▣ {shown(card)}", style="bold")
    beneath = [f"{shown(emoji)} {count}{'·' if emoji in line.mine else ''}" for emoji, count in line.reactions.items()]
    if line.replies and not in_thread:
        beneath.append(f"↳ {line.replies} in thread")
    if beneath:
        text.append(f"\n      {'  '.join(beneath)}", style="cyan")


def _quoted(line: Line | None, version: int) -> str:
    if line is None:
        return f"#{version}"
    said = shown(line.text).replace("\n", " ") or "…"
    return f"{name_of(line.sender)}: {said if len(said) <= _MOST_QUOTED else said[: _MOST_QUOTED - 1] + '…'}"


def called(entry: inbox_service_pb2.InboxEntry) -> str:
    """Give what a conversation is called in a list."""
    if entry.kind == chat_pb2.CONVERSATION_KIND_DIRECT:
        return name_of(entry.peer_id)
    sign = "#" if entry.kind == chat_pb2.CONVERSATION_KIND_CHANNEL else "&"
    # Ids differ at their ends.
    return f"{sign}{name_of(entry.title)}" if entry.title else f"{sign}…{shown(entry.conversation_id)[-12:]}"


def entry_of(entry: inbox_service_pb2.InboxEntry) -> Text:
    """Write a conversation as an entry of a list."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(called(entry), style="bold" if entry.unread_count else "")
    if entry.unread_count:
        text.append(f" {entry.unread_count}", style="bold black on green" if not entry.muted else "dim")
    if entry.mention_count:
        text.append(f" @{entry.mention_count}", style="bold black on yellow")
    last = entry.last_message
    if last.version:
        words = "deleted" if last.deleted else shown(last.text).replace("\n", " ")
        said = f"{name_of(last.sender_id)}: {words}" if last.sender_id else words
        text.append(
            f"\n {said if cell_len(said) < _LIST_WIDTH else set_cell_size(said, _LIST_WIDTH - 1) + '…'}", style="dim"
        )
    return text
