"""What a typed line does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tradewind.cli.output import shown
from tradewind.cli.terminal import looks, typed
from tradewind.cli.terminal.room import Line, Room

if TYPE_CHECKING:
    from tradewind.cli.terminal.app import ChatApp

_MOST_FOUND: Final = 10


async def perform(app: ChatApp, wanted: typed.Command | str, line: Line | None) -> None:
    """Say words, or do what a command asks, with the chosen line where it is about one. Raises TradewindError, OSError."""
    room = app.room
    if isinstance(wanted, typed.Command):
        await _DOES[wanted.name](app, wanted, room, line)
    elif room is None:
        app.tell("choose a conversation first, or begin one with /direct or /group")
    elif app.editing:
        edited, app.editing = room.lines.get(app.editing), 0
        if edited is not None:
            await app.talking.edit(room, edited, wanted)
    else:
        reply_to, app.reply_to = app.reply_to, 0
        await app.talking.say(room, wanted, reply_to=reply_to, thread_root=app.thread)


async def _direct(app: ChatApp, wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    app.look_at((await app.client.chat.create_direct(wanted.words[0])).conversation_id)


async def _group(app: ChatApp, wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    at = wanted.words.index("--") if "--" in wanted.words else len(wanted.words)
    members, title = wanted.words[:at], " ".join(wanted.words[at + 1 :])
    app.look_at((await app.client.chat.create_group(list(members), title=title)).conversation_id)


async def _join(app: ChatApp, wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    app.look_at((await app.client.chat.join(wanted.words[0])).conversation_id)


async def _add(app: ChatApp, wanted: typed.Command, room: Room | None, _line: Line | None) -> None:
    if room is not None:
        await app.client.chat.add_members(room.conversation_id, list(wanted.words))


async def _title(app: ChatApp, wanted: typed.Command, room: Room | None, _line: Line | None) -> None:
    if room is not None:
        await app.client.chat.update(room.conversation_id, title=wanted.text)


async def _leave(app: ChatApp, _wanted: typed.Command, room: Room | None, _line: Line | None) -> None:
    if room is not None:
        await app.client.chat.leave(room.conversation_id)
        app.tell("left")


async def _react(app: ChatApp, wanted: typed.Command, room: Room | None, line: Line | None) -> None:
    if room is None:
        return
    said = line or next((each for each in reversed(room.seen(app.thread)) if each.sender), None)
    if said is None:
        app.tell("there is no message yet")
    else:
        await app.talking.react(room, said, wanted.words[0])


async def _attach(app: ChatApp, wanted: typed.Command, room: Room | None, _line: Line | None) -> None:
    if room is None:
        return
    path = Path(wanted.words[0]).expanduser()  # noqa: ASYNC240 (asks no disk)

    def progress(done: int, total: int) -> None:
        app.tell(f"sending {shown(path.name)}: {done * 100 // max(1, total)} %")

    await app.talking.attach(room, path, " ".join(wanted.words[1:]), progress, thread_root=app.thread)
    app.tell("")


async def _search(app: ChatApp, wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    found = []
    async for each in app.client.chat.search(wanted.text):
        said = shown(each.message.content.text).replace("\n", " ")
        at = each.message.send_time.ToDatetime()
        found.append(f"{at:%Y-%m-%d} {looks.name_of(each.message.sender_id)}: {said[:100]}")
        if len(found) == _MOST_FOUND:
            break
    app.tell("\n".join(found) or "nothing was found")


async def _help(app: ChatApp, _wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    app.tell(typed.told())


async def _quit(app: ChatApp, _wanted: typed.Command, _room: Room | None, _line: Line | None) -> None:
    app.exit()


_DOES: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    "direct": _direct,
    "group": _group,
    "join": _join,
    "add": _add,
    "title": _title,
    "leave": _leave,
    "react": _react,
    "attach": _attach,
    "search": _search,
    "help": _help,
    "quit": _quit,
}
