"""What people see while a standalone runs: on a terminal live, elsewhere a line for each thing that happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_TICK = Text("✓", style="bold green")
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


class Screen:
    """Prints steps; the one under way is live where the console is a terminal."""

    def __init__(self, console: Console) -> None:
        """Show on ``console``."""
        self.console = console
        self._current: tuple[Step, float] | None = None
        self._spinner = Spinner("dots", style="cyan")

    def say(self, text: RenderableType, style: str | None = None) -> None:
        """Print something; text is not read as markup."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=isinstance(text, str | Text))

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
            self.console.print(_row(_CROSS if step.failed else _TICK, step, step.seconds))

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
