"""What the screen says when the journey is over and everything serves: where things are, and what to try next."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.text import Text

from services.standalone.home import Home
from services.standalone.journey.play import Journey
from services.standalone.keys import endpoints
from services.standalone.ports import Ports
from services.standalone.screen import Screen


def show(screen: Screen, home: Home, ports: Ports, journey: Journey) -> None:
    """Print endpoints and five commands."""
    screen.say("\nServing until Ctrl-C", style="bold")
    _two_columns(screen, [*endpoints(ports).items(), ("state", _shown(home.root))])
    screen.say("\nTo try next, in another terminal", style="bold")
    _two_columns(screen, _commands(journey, home))


def _commands(journey: Journey, home: Home) -> list[tuple[str, str]]:
    told = "" if home.root == Path(".tradewind").absolute() else f"TRADEWIND_HOME={shlex.quote(_shown(home.root))} "
    tradewind = f"{told}.venv/bin/tradewind"
    return [
        (f"{tradewind} order list --shop shop", "the orders of this tenant"),
        (f"{tradewind} order show {journey.order_id}", "the one that travelled"),
        (f"{tradewind} chat history order-{journey.order_id}", "what was said about it"),
        (f"{tradewind} mail stats", "what was written, delivered, opened"),
        (f"{tradewind} trace show {journey.trace_id}", "the way through all of it"),
    ]


def _two_columns(screen: Screen, rows: list[tuple[str, str]]) -> None:
    """Print rows whole, however narrow the screen is: commands are there to be copied."""
    width = max(len(left) for left, _ in rows)
    most = max(len(right) for _, right in rows)
    if screen.console.is_terminal and width + most + 4 > screen.console.width:
        for left, right in rows:
            screen.say(Text.assemble((f"  {left}", "cyan"), (f"\n      {right}", "dim")))
        return
    for left, right in rows:
        screen.say(Text.assemble((f"  {left:<{width}}  ", "cyan"), (right, "dim")))


def _shown(path: Path) -> str:
    """A path as people would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
