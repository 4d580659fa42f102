"""What people see while a standalone runs: on a terminal live, elsewhere a line for each thing that happened."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segment, Segments
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_TICK = Text("✓", style="bold green")
_PICTURED_LINES = 34
_CROSS = Text("✗", style="bold red")


@dataclass
class Step:
    """One step of what is shown: its title, what was seen of it so far, how long it took."""

    title: str
    facts: list[str] = field(default_factory=list)
    seconds: float | None = None
    failed: bool = False

    def saw(self, fact: str) -> None:
        """Show a fact below the title; plain text."""
        self.facts.append(fact)

    def shows(self, fact: str) -> None:
        """Show this fact alone, instead of those before; plain text."""
        self.facts[:] = [fact]


class Picture:
    """What the screen shows, as an SVG; of anything long only the beginning."""

    def __init__(self, width: int) -> None:
        """Take a picture ``width`` characters wide."""
        self._console = Console(
            file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor"
        )

    def take(self, text: RenderableType, style: str | None) -> None:
        """Add what is shown."""
        lines = self._console.render_lines(text, style=self._console.get_style(style or "none"), pad=False)
        for line in lines[:_PICTURED_LINES]:
            self._console.print(Segments([*line, Segment.line()]), end="")
        if len(lines) > _PICTURED_LINES:
            self._console.print(f"    … and {len(lines) - _PICTURED_LINES} lines more", style="dim")

    def save(self, path: Path, title: str) -> None:
        """Write the SVG; it loads nothing from elsewhere. Raises OSError."""
        svg = self._console.export_svg(title=title)
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


class Screen:
    """Prints steps; the one under way is live where the console is a terminal."""

    def __init__(self, console: Console, picture: Picture | None = None) -> None:
        """Show on ``console``, and in a picture where one is taken."""
        self.console = console
        self._picture = picture
        self._current: tuple[Step, float] | None = None
        self._spinner = Spinner("dots", style="cyan")

    def say(self, text: RenderableType, style: str | None = None) -> None:
        """Print something; text is not read as markup."""
        self.console.print(
            text, style=style, markup=not isinstance(text, str), highlight=False, soft_wrap=isinstance(text, str | Text)
        )
        if self._picture is not None:
            self._picture.take(text, style)

    def warn(self, line: str) -> None:
        """Print what people should notice."""
        self.say(f"! {line}", style="yellow")

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while it is under way, and its end; an exception marks it as failed and passes."""
        step = Step(title)
        start = time.monotonic()
        self._current = (step, start)
        try:
            if self.console.is_terminal:
                with Live(get_renderable=self._live, console=self.console, refresh_per_second=12, transient=True):
                    yield step
            else:
                yield step
        except BaseException:
            step.failed = True
            raise
        finally:
            step.seconds = time.monotonic() - start
            self._current = None
            self.say(_row(_CROSS if step.failed else _TICK, step, step.seconds))

    def _live(self) -> RenderableType:
        if self._current is None:
            return Text()
        step, start = self._current
        return _row(self._spinner, step, time.monotonic() - start)


def _row(mark: RenderableType, step: Step, seconds: float) -> RenderableType:
    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(width=2)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(mark, Text(step.title, style="bold"), Text(f"{seconds:.2f} s", style="dim"))
    facts = Table.grid(padding=(0, 1))
    facts.add_column(width=3)
    facts.add_column()
    for fact in step.facts:
        facts.add_row("", Text(fact, style="default"))
    return Group(head, facts)
