"""The list of lines: it follows what is new while one looks at the end, and asks for what is older at the beginning."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tradewind.cli.terminal.looks import line_of
from tradewind.cli.terminal.room import Line, Room


class Log(OptionList):
    """Lines of a room, one of which may be chosen."""

    class Beginning(Message):
        """Somebody looks at the oldest line that is there."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._room: Room | None = None
        self._thread = 0

    @property
    def chosen(self) -> Line | None:
        """The line that is chosen."""
        option = self.highlighted_option
        if option is None or option.id is None or self._room is None:
            return None
        return self._room.lines.get(int(option.id))

    def show(self, lines: Sequence[Line], room: Room, *, thread: int = 0) -> None:
        """Show these lines and no others, the end of them."""
        self._room, self._thread = room, thread
        self.set_options([self._option(line) for line in lines])
        self.call_after_refresh(self.scroll_end, animate=False)

    def prepend(self, lines: Sequence[Line], room: Room) -> None:
        """Show more lines at the beginning, and stay where one looks."""
        if room is not self._room or self._thread:
            return
        before, chosen = self.option_count, self.highlighted
        self.set_options([self._option(line) for line in lines])
        if chosen is not None:
            self.highlighted = chosen + self.option_count - before

    def change(self, lines: Sequence[Line]) -> None:
        """Show lines that are new, and those that look different now."""
        assert self._room is not None
        follows = self.max_scroll_y - self.scroll_y <= 1
        for line in lines:
            name = str(line.version)
            if name in self._id_to_option:
                self.replace_option_prompt(name, self._option(line).prompt)
            elif (line.thread_root == self._thread) or (self._thread and line.version == self._thread):
                self.add_option(self._option(line))
        if follows:
            self.call_after_refresh(self.scroll_end, animate=False)

    def action_cursor_up(self) -> None:
        """Choose the line before; from the first one on, ask for older ones."""
        if self.option_count and self.highlighted in (None, 0):
            if self.highlighted == 0:
                self.post_message(self.Beginning())
            else:
                self.highlighted = self.option_count - 1
            return
        super().action_cursor_up()

    def _option(self, line: Line) -> Option:
        assert self._room is not None
        return Option(line_of(line, self._room, in_thread=bool(self._thread)), id=str(line.version))
