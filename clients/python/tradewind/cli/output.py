"""What commands say: for people on a terminal, or with ``--json`` one object a line for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_PIPE_WIDTH = 240
# Texts are other people's: what commands a terminal, or turns the writing around, is shown and not obeyed.
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys((*range(0x80, 0xA0), *_BIDI), "\ufffd"),
}
_JSON_SHOWN = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_BIDI)}


def plain(message: Message) -> dict[str, Any]:
    """Turn a message into what JSON can say: contract names, integers as integers, times as RFC 3339, enums by name, bytes as
    hexadecimal digits.

    Fields without presence are there also when empty; absent messages are left out.
    """
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = dict(value)
        elif field.is_repeated:
            found[field.name] = [_plain_value(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _plain_value(field, value)
    return found


def _plain_value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def shown(text: str) -> str:
    """Make a text harmless to a terminal: control characters become their pictures, line ends and tabs stay."""
    return text.translate(_SHOWN)


def _json(fields: Any) -> str:
    # JSON escapes most control characters by itself; these mean the same escaped.
    return json.dumps(fields, ensure_ascii=False).translate(_JSON_SHOWN)


class Output:
    """Writes results to stdout, and whatever is not a result to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # A file or a pipe has no width to respect.
        self.out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def line(self, fields: Mapping[str, Any], text: str) -> None:
        """Say one thing: `fields` to programs, `text` (plain) to people."""
        if self.as_json:
            self.raw(_json(fields))
        else:
            self.out.print(escape(shown(text)))

    def message(self, message: Message, text: str) -> None:
        """Say one message of a contract."""
        self.line(plain(message), text)

    def raw(self, text: str) -> None:
        """Write a line as it is."""
        # One write, so that a reader of a pipe never sees half a line; surrogates cannot come from a contract's strings.
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Sequence[tuple[Mapping[str, Any], Sequence[str]]]) -> None:
        """Say many things: `rows` pair the fields for programs with the cells for people."""
        if self.as_json:
            for fields, _ in rows:
                self.raw(_json(fields))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        # The first column names the thing, and is there to be copied.
        longest = max((len(cells[0]) for _, cells in rows), default=0)
        for at, column in enumerate(columns):
            table.add_column(column, min_width=longest if at == 0 else None, overflow="fold")
        for _, cells in rows:
            table.add_row(*(escape(shown(cell)) for cell in cells))
        self.out.print(table)

    def note(self, fields: Mapping[str, Any], text: str) -> None:
        """Say something beside the results: `{"note": …}` to programs, on stderr to people."""
        if self.as_json:
            self.raw(_json({"note": fields}))
        else:
            self.err.print(escape(shown(text)))

    def error(self, kind: str, reason: str, text: str) -> None:
        """Say why the command failed."""
        if self.as_json:
            self.raw(_json({"error": kind, "reason": reason, "message": text}))
        else:
            self.err.print(f"[bold red]{escape(shown(kind))}[/]: {escape(shown(text))}")

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Show long work while it goes on: call with a step's name, how much is done, and how much there is."""
        if self.as_json or not self.err.is_terminal:
            yield lambda step, done, total: None
            return
        columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.err, refresh_per_second=8) as bars:
            tasks: dict[str, Any] = {}

            def show(step: str, done: int, total: int | None) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=total)
                bars.update(tasks[step], completed=done, total=total)

            yield show
