"""What may be said of a line of a file: it is refused, or something is worth a word."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """A line that is not taken: its number in the file from 1, the rule it breaks, and what is wrong."""

    number: int
    rule: str
    reason: str


class Note(NamedTuple):
    """Something worth saying about a line that is taken, or is blank, all the same."""

    number: int
    rule: str
    reason: str


class Broken(Exception):
    """A line that breaks a rule."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason
