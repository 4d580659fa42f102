"""The screen: conversations on the left, what is said on the right, and a line to type in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from tradewind.chat.v1 import inbox_service_pb2
from tradewind.cli.output import shown
from tradewind.cli.terminal import looks, typed
from tradewind.cli.terminal.acting import perform
from tradewind.cli.terminal.log import Log
from tradewind.cli.terminal.room import Line, Room
from tradewind.cli.terminal.surroundings import Surroundings
from tradewind.cli.terminal.talking import Talking
from tradewind.sdk import Client, InboxList, Session, SubscriptionEnded, TradewindError

_MOST_WATCHED: Final = 50


class ChatApp(App[None]):
    """The terminal client; `me` is whose it is, `first` the conversation to begin with, empty for the most recent one."""

    TITLE = "Tradewind"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #list { width: 30; border-right: solid $panel; }
    #room { width: 1fr; }
    #head { height: 1; background: $panel; padding: 0 1; }
    #told { height: auto; max-height: 14; padding: 0 1; color: $text-muted; }
    OptionList { border: none; padding: 0; height: 1fr; }
    Input { border: none; height: 1; padding: 0 1; background: $boost; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next_pane", "switch", priority=True),
        Binding("escape", "leave_off", "back"),
        Binding("r", "on_line('reply')", "reply"),
        Binding("t", "on_line('thread')", "thread"),
        Binding("e", "on_line('edit')", "edit"),
        Binding("d", "on_line('delete')", "delete"),
        Binding("plus", "on_line('react')", "react"),
        Binding("p", "on_line('pin')", "pin"),
        Binding("o", "on_line('open')", "save file"),
        Binding("ctrl+q", "quit", "quit", priority=True),
    ]

    def __init__(self, client: Client, session: Session, me: str, first: str = "") -> None:
        super().__init__()
        self.client = client
        self.session = session
        self.me = me
        self.talking = Talking(client, session, me)
        self.room: Room | None = None
        self.thread = self.reply_to = self.editing = 0
        self._first = first
        self._around = Surroundings()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Horizontal():
            yield OptionList(id="list")
            with Vertical(id="room"):
                yield Static(id="head")
                yield Log(id="log")
                yield Static(id="told")
                yield Input(placeholder="a message, or /help", id="input", select_on_focus=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to listen."""
        self._work(self._listen, "listen")
        self._work(self._hear_news, "news")
        self.query_one(Input).focus()
        if self._first:
            self.look_at(self._first)

    # --- what is heard ----------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                async for conversation_id, event in self.session:
                    room = self.talking.rooms.get(conversation_id)
                    changed = room.apply(event) if room is not None else []
                    if room is not None and room is self.room and changed:
                        self._show(changed)
                        self._around.said(conversation_id, event.actor_id)
                        self._head()
                        self._read()
            except SubscriptionEnded as ended:
                self.talking.leave(ended.conversation_id)
                if self.room is not None and self.room.conversation_id == ended.conversation_id:
                    self.tell("you are not in this conversation any more")

    async def _hear_news(self) -> None:
        self.session.news.inbox()
        self.session.news.typing()
        async for news in self.session.news:
            self._around.hear(news)
            if isinstance(news, InboxList):
                self._list(news.entries)
            self._head()

    def _list(self, entries: list[inbox_service_pb2.InboxEntry]) -> None:
        conversations = self.query_one("#list", OptionList)
        chosen = conversations.highlighted_option
        conversations.set_options([Option(looks.entry_of(entry), id=entry.conversation_id) for entry in entries])
        if chosen is not None and chosen.id in self._around.entries:
            conversations.highlighted = conversations.get_option_index(chosen.id)
        if self.room is None and entries and not self._first:
            self.look_at(entries[0].conversation_id)

    async def _watch_presence(self, conversation_id: str) -> None:
        now = await self.client.chat.get_conversation(conversation_id)
        others = [member.user_id for member in now.members if member.user_id != self.me][:_MOST_WATCHED]
        self.session.news.presence(others, remove=self._around.look_at(others))
        self._head()

    # --- what is done -----------------------------------------------------------------------------

    def look_at(self, conversation_id: str) -> None:
        """Show a conversation, and say that it was read."""
        self._work(partial(self._enter, conversation_id), "enter")

    async def _enter(self, conversation_id: str) -> None:
        room = await self.talking.enter(conversation_id)
        self.room = room
        self.thread = self.reply_to = self.editing = 0
        self.tell("")
        self._show_all()
        self._read()
        self._work(partial(self._watch_presence, conversation_id), "presence")

    @on(OptionList.OptionSelected, "#list")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id:
            self.look_at(event.option_id)
            self.query_one(Input).focus()

    @on(OptionList.OptionSelected, "#log")
    def _line_chosen(self) -> None:
        self.action_on_line("thread")

    @on(Log.Beginning)
    def _wants_older(self) -> None:
        if self.room is not None and not self.thread:
            self._work(partial(self._older, self.room), "older")

    async def _older(self, room: Room) -> None:
        if await self.talking.older(room) and room is self.room:
            self.query_one(Log).prepend(room.seen(), room)

    @on(Input.Changed)
    def _typing(self, event: Input.Changed) -> None:
        if self.room is not None and event.value and not event.value.startswith("/") and not self.editing:
            self._work(partial(self.talking.typing, self.room), "types", quiet=True)

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            return
        try:
            wanted = typed.read(event.value)
        except typed.Mistyped as mistake:
            self.tell(str(mistake))
            return
        event.input.clear()
        self.tell("")
        # One after the other, in the order of being typed.
        self._work(partial(self._perform, wanted, self.query_one(Log).chosen, event.value), "acts", exclusive=False)

    async def _perform(self, wanted: typed.Command | str, line: Line | None, words: str) -> None:
        """Do what was typed; what could not be done stands in the line again, unless something else does by then."""
        before = self.editing, self.reply_to
        try:
            await perform(self, wanted, line)
        except (TradewindError, OSError):
            if not self.query_one(Input).value:
                self.editing, self.reply_to = before
                self._prefill(words)
            raise

    def action_on_line(self, what: str) -> None:
        """Do something with the chosen line; only while lines are chosen, not while one types."""
        log = self.query_one(Log)
        line = log.chosen
        if self.room is None or line is None or not log.has_focus:
            return
        typing = self.query_one(Input)
        if what == "thread":
            self._work(partial(self._open_thread, self.room, line.thread_root or line.version), "enter")
        elif what == "reply":
            self.reply_to = line.version
            self.tell(f"answering {looks.name_of(line.sender)} (escape: not)")
            typing.focus()
        elif what == "edit" and line.sender == self.me and not line.deleted:
            self.editing = line.version
            self._prefill(line.text)
        elif what == "react":
            self._prefill("/react ")
        elif what in ("delete", "pin"):
            work = self.talking.delete if what == "delete" else self.talking.pin
            self._work(partial(work, self.room, line), "acts", exclusive=False)
        elif what == "open":
            self._work(partial(self._save, self.room, line), "acts", exclusive=False)

    def _prefill(self, text: str) -> None:
        typing = self.query_one(Input)
        typing.value = text
        typing.cursor_position = len(text)
        typing.focus()

    async def _open_thread(self, room: Room, root: int) -> None:
        await self.talking.thread(room, root)
        self.thread = root
        self._show_all()
        self.query_one(Input).focus()

    async def _save(self, room: Room, line: Line) -> None:
        saved = await self.talking.fetch(room, line, Path.cwd())
        self.tell(f"saved {', '.join(shown(path.name) for path in saved)}" if saved else "there is no file")

    def action_leave_off(self) -> None:
        """Leave off: an answer, an edit, a thread."""
        if self.editing or self.reply_to:
            if self.editing:
                self.query_one(Input).clear()
            self.editing = self.reply_to = 0
        elif self.thread:
            self.thread = 0
            self._show_all()
        self.tell("")
        self.query_one(Input).focus()

    def action_next_pane(self) -> None:
        """Go from typing to lines to conversations, and back."""
        panes = [self.query_one(Input), self.query_one(Log), self.query_one("#list", OptionList)]
        now = next((at for at, pane in enumerate(panes) if pane.has_focus), -1)
        panes[(now + 1) % len(panes)].focus()

    def tell(self, text: str) -> None:
        """Say something to who sits here."""
        self.query_one("#told", Static).update(Text(text))

    # --- what is shown ----------------------------------------------------------------------------

    def _show_all(self) -> None:
        if self.room is not None:
            self.query_one(Log).show(self.room.seen(self.thread), self.room, thread=self.thread)
        self._head()

    def _show(self, changed: list[int]) -> None:
        if self.room is not None:
            self.query_one(Log).change([self.room.lines[each] for each in changed if each in self.room.lines])

    def _head(self) -> None:
        if self.room is not None:
            self.query_one("#head", Static).update(self._around.head(self.room.conversation_id, self.thread))

    def _read(self) -> None:
        if self.room is not None and not self.thread:
            self._work(partial(self.talking.read, self.room), "reads", quiet=True)

    def _work(
        self, work: Callable[[], Awaitable[None]], group: str, *, exclusive: bool = True, quiet: bool = False
    ) -> None:
        async def told() -> None:
            try:
                await work()
            except TradewindError as refused:
                if not quiet:
                    self.tell(shown(refused.message or refused.reason or type(refused).__name__))
            except OSError as error:
                self.tell(f"{shown(str(error.filename or 'a file'))}: {error.strerror or type(error).__name__}")

        self.run_worker(told(), group=group, exclusive=exclusive)
