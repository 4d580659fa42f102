"""What is typed: a message, or a command that begins with a slash."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

COMMANDS: Final = {
    "direct": ("USER", "talk with one other"),
    "group": ("USER… [-- TITLE]", "begin a group"),
    "join": ("CONVERSATION", "join an open one"),
    "add": ("USER…", "add members"),
    "title": ("TITLE", "call it otherwise"),
    "leave": ("", "leave it"),
    "react": ("EMOJI", "to the chosen message; again takes it back"),
    "attach": ("FILE [TEXT]", "send a file"),
    "search": ("WORDS", "in all your conversations"),
    "help": ("", "what can be typed"),
    "quit": ("", "end"),
}
"""Commands, what they take, what they do."""


class Mistyped(Exception):
    """A command that cannot be read; its message is for people."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and its words. `text`: all that was typed behind it."""

    name: str
    words: tuple[str, ...]
    text: str


def read(typed: str) -> Command | str:
    """Read what was typed: a command, or words to be said. Two slashes begin words that begin with one. Raises Mistyped."""
    if not typed.startswith("/"):
        return typed
    if typed.startswith("//"):
        return typed[1:]
    name, _, text = typed[1:].strip().partition(" ")
    if name not in COMMANDS:
        raise Mistyped(f"there is no /{name}; /help tells what there is")
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise Mistyped(f"/{name}: {error}") from error
    if not words and COMMANDS[name][0]:
        raise Mistyped(f"/{name} {COMMANDS[name][0]}")
    return Command(name, words, text.strip())


def told() -> str:
    """Write what can be typed."""
    width = max(len(name) + len(takes) for name, (takes, _) in COMMANDS.items()) + 4
    return "\n".join(f"{f'/{name} {takes}':<{width}}{does}" for name, (takes, does) in COMMANDS.items())
