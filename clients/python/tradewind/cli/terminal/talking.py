"""What the terminal client says to Chat and hears of it: one session, and watchers of what is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tradewind.chat.v1 import chat_pb2
from tradewind.cli.terminal.room import Line, Room
from tradewind.sdk import Client, Session

PAGE: Final = 60
_TYPING_AGAIN: Final = 3.0


class Talking:
    """The rooms that were looked at, and what is done in them.

    Args:
        session: over which everything is said.
        me: whose client it is.
    """

    def __init__(self, client: Client, session: Session, me: str) -> None:
        self._client = client
        self._session = session
        self._me = me
        self._typed_at = -_TYPING_AGAIN
        self.rooms: dict[str, Room] = {}

    async def enter(self, conversation_id: str) -> Room:
        """Look at a conversation: its newest page, and from there on all that happens. Raises TradewindError."""
        known = self.rooms.get(conversation_id)
        if known is not None:
            return known
        room = Room(conversation_id, self._me)
        # The version first: what is said while the page is fetched is in the stream.
        room.version = (await self._client.chat.get_conversation(conversation_id)).version
        await self._load(room)
        self.rooms[conversation_id] = room
        self._session.subscribe(conversation_id, after=room.version)
        return room

    async def older(self, room: Room) -> bool:
        """Fetch the page before what is there; tells whether there was any."""
        before = len(room.lines)
        await self._load(room, next(iter(room.lines), 0))
        return len(room.lines) > before

    async def thread(self, room: Room, root: int) -> None:
        """Fetch a thread's newest page."""
        async for message in self._client.chat.list_messages(room.conversation_id, thread_root=root, page_size=PAGE):
            room.load([message])
            if len(room.seen(root)) > PAGE:
                return

    async def _load(self, room: Room, before: int = 0) -> None:
        found: list[chat_pb2.Message] = []
        async for message in self._client.chat.list_messages(room.conversation_id, from_version=before, page_size=PAGE):
            found.append(message)
            if len(found) == PAGE:
                break
        room.load(found)

    def leave(self, conversation_id: str) -> None:
        """Look at it no more."""
        if self.rooms.pop(conversation_id, None) is not None:
            self._session.unsubscribe(conversation_id)

    async def say(self, room: Room, text: str, *, reply_to: int = 0, thread_root: int = 0) -> None:
        """Say something. ``@name`` mentions that user; ``@all`` everybody."""
        names = {word[1:].rstrip(".,:;!?") for word in text.split() if word.startswith("@")}
        await self._session.send(
            room.conversation_id,
            text,
            reply_to=[reply_to] if reply_to else (),
            thread_root=thread_root,
            mentions=sorted(names - {"all", "here", ""})[:50],
            mention_all="all" in names,
            mention_here="here" in names,
        )
        self._typed_at = -_TYPING_AGAIN

    async def edit(self, room: Room, line: Line, text: str) -> None:
        """Say something else in place of what one said; what it carries beside the text stays."""
        before = line.content
        after = chat_pb2.MessageContent(text=text, attributes=before.attributes, parts=before.parts)
        if before.HasField("mentions"):
            after.mentions.CopyFrom(before.mentions)
        await self._session.edit(room.conversation_id, line.version, after)

    async def delete(self, room: Room, line: Line) -> None:
        """Delete a message for all."""
        await self._session.delete(room.conversation_id, line.version)

    async def react(self, room: Room, line: Line, emoji: str) -> None:
        """Give a message an emoji, or take it back."""
        await self._session.react(room.conversation_id, line.version, emoji, remove=emoji in line.mine)

    async def pin(self, room: Room, line: Line) -> None:
        """Pin a message, or pin it no more."""
        work = self._client.chat.unpin_message if line.pinned else self._client.chat.pin_message
        await work(room.conversation_id, line.version)

    async def read(self, room: Room) -> None:
        """Say that all of it was read."""
        await self._session.mark(room.conversation_id, read=room.version)

    async def attach(
        self, room: Room, path: Path, text: str, progress: Callable[[int, int], None], *, thread_root: int = 0
    ) -> None:
        """Send a file. Raises OSError, TradewindError."""
        info = await self._client.chat.upload(room.conversation_id, path, progress=progress)
        part = self._client.chat.attachment(info)
        await self._session.send(room.conversation_id, text, parts=[part], thread_root=thread_root)

    async def fetch(self, room: Room, line: Line, folder: Path) -> list[Path]:
        """Download a line's files into a folder, under names that were free; gives where they are. Raises OSError, TradewindError."""
        fetched = []
        for file in line.files:
            if file.attachment_id:
                path = _free(folder, file.name)
                await self._client.chat.download_to(file.attachment_id, path, conversation_id=room.conversation_id)
                fetched.append(path)
        return fetched

    async def typing(self, room: Room) -> None:
        """Say that one types, but not with every key."""
        now = asyncio.get_running_loop().time()
        if now - self._typed_at >= _TYPING_AGAIN:
            self._typed_at = now
            await self._session.typing(room.conversation_id)


def _free(folder: Path, name: str) -> Path:
    """Find a free name in a folder; of the one wished for, only the last part counts."""
    wished = Path(name.replace("\\", "/").replace("\0", "")).name.strip(". ") or "file"
    path, number = folder / wished, 1
    while path.exists():
        number += 1
        path = folder / f"{Path(wished).stem}-{number}{Path(wished).suffix}"
    return path
