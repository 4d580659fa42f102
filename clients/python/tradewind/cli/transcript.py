"""A day of a chat channel as JSON Lines: what a line must be, and how each is written again.

A line is an object with `at` (date and time to the minute, no zone), `line` (its number in the excerpt, dense from 0), `from`, `kind`
(message, action, join, part, system), `text`, `reply_to` (numbers of earlier lines) and `annotated`. Broken lines are refused one by one;
the others go on. Some things are told and do not hurt: see `Note`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from tradewind.cli.chat_line import Line, parse
from tradewind.cli.source import SourceLine
from tradewind.cli.verdicts import Broken, Note, Refusal

MAX_MEMBERS: Final = 5_000
_MOST_BETWEEN: Final = 256


class Transcript:
    """Judges the lines of one file, in order, in what they have to do with each other.

    Numbers: dense. Where one jumps ahead and the next line goes on from there, lines are missing, which is told; where the next goes on
    from before the jump, the jump is refused; a number that repeats or goes back is refused. Answers: to lines that are not there are
    refused; a line that answers a refused one is taken, its full `reply_to` kept beside the message, and told. Members: lines of nicks
    beyond the 5,000th are refused.
    """

    def __init__(self) -> None:
        self.members: dict[str, None] = {}
        self._next = 0
        self._kept: set[int] = set()
        self._refused: set[int] = set()
        # Lines since the last good one whose numbers cannot be known.
        self._nameless = 0

    def read(self, lines: Iterable[SourceLine]) -> Iterator[Line | Refusal | Note]:
        """Yield what becomes of every line that is not blank, in order."""
        # A line is judged when the next readable one is known; what stands between the two waits, up to a bound.
        held: list[Line] = []
        between: list[Refusal | Note] = []
        blank: Note | None = None
        for source in lines:
            if source.raw is not None and not source.raw.strip():
                blank = blank or Note(source.number, "blank", "the line is blank and passed over")
                continue
            if blank is not None:
                # Blank lines at the very end are nobody's mistake.
                between.append(blank)
                blank = None
            item = _parsed(source)
            if isinstance(item, Refusal):
                between.append(item)
            if isinstance(item, Line) or len(between) > _MOST_BETWEEN:
                yield from self._in_turn(held, between, item.line if isinstance(item, Line) else None)
                held = [item] if isinstance(item, Line) else []
        yield from self._in_turn(held, between, None)

    def _in_turn(
        self, held: list[Line], between: list[Refusal | Note], following: int | None
    ) -> Iterator[Line | Refusal | Note]:
        for line in held:
            yield from self._judged(line, following)
        yield from between
        self._nameless += sum(isinstance(item, Refusal) for item in between)
        between.clear()

    def _judged(self, item: Line, following: int | None) -> Iterator[Line | Refusal | Note]:
        expected = self._next
        try:
            skipped = self._skipped(item, following)
        except Broken as broken:
            self._nameless += 1
            # Right or wrong, the number may be meant by lines that follow.
            self._refused.add(item.line)
            yield Refusal(item.number, broken.rule, broken.reason)
            return
        self._next = item.line + 1
        self._nameless = 0
        if skipped:
            yield Note(item.number, "gap", _gap(expected, item.line - 1))
        try:
            self._check(item)
        except Broken as broken:
            self._refused.add(item.line)
            yield Refusal(item.number, broken.rule, broken.reason)
            return
        self._kept.add(item.line)
        self.members.setdefault(item.sender)
        yield from self._answering(item)

    def _skipped(self, item: Line, following: int | None) -> bool:
        """Tell whether lines are missing before this one that no refused line can have been. Raises Broken."""
        gap = item.line - self._next
        if gap < 0:
            raise Broken("line", f"line {item.line} repeats or goes back; {self._next} is next")
        if gap > self._nameless and following is not None and following <= item.line:
            raise Broken("line", f"line {item.line} jumps ahead; {self._next} is next")
        if gap > self._nameless + len(self._refused):
            return True
        missing = [number for number in range(self._next, item.line) if number not in self._refused]
        if len(missing) > self._nameless:
            return True
        self._refused.update(missing)
        return False

    def _check(self, item: Line) -> None:
        """Hold a line to what stands before it. Raises Broken."""
        for answered in item.reply_to:
            if answered not in self._kept and answered not in self._refused:
                raise Broken("reply_to", f"it answers line {answered}, which is not in the file before it")
        if item.sender not in self.members and len(self.members) >= MAX_MEMBERS:
            raise Broken("members_limit", f"a group has at most {MAX_MEMBERS} members, and the file has more nicks")

    def _answering(self, item: Line) -> Iterator[Line | Note]:
        lost = frozenset(item.reply_to) & self._refused
        if not lost:
            yield item
            return
        named = ", ".join(map(str, sorted(lost)))
        yield Note(
            item.number, "reply_to_refused", f"it answers line {named}, refused; taken, the link as an attribute only"
        )
        yield replace(item, lost=lost)


def _gap(first: int, last: int) -> str:
    return f"line {first} is not in the file" if first == last else f"lines {first} to {last} are not in the file"


def _parsed(source: SourceLine) -> Line | Refusal:
    try:
        return parse(source.number, source.raw)
    except Broken as broken:
        return Refusal(source.number, broken.rule, broken.reason)
