"""A line of a chat channel's day: what it must be by itself, and how it is written again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tradewind.cli.verdicts import Broken

MAX_TEXT_BYTES: Final = 16_384
MAX_REPLIES: Final = 32
_MAX_NICK: Final = 128
_MAX_EXTRA_BYTES: Final = 1_024
_MAX_NUMBER: Final = 1 << 53
_AT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")
KINDS: Final = ("message", "action", "join", "part", "system")
FIELDS: Final = ("at", "line", "from", "kind", "text", "reply_to", "annotated")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is taken. `number` is its place in the file, `line` its own number; `lost` are answered lines that were refused."""

    number: int
    at: str
    line: int
    sender: str
    kind: str
    text: str
    reply_to: tuple[int, ...]
    annotated: bool
    extra: str = ""
    lost: frozenset[int] = frozenset()
    raw: bytes = field(default=b"", repr=False, compare=False)


def parse(number: int, raw: bytes | None) -> Line:
    """Read one line by itself. Raises Broken."""
    if raw is None:
        raise Broken("line_too_long", "the line is longer than a mebibyte")
    fields = _object(raw)
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        raise Broken("missing_field", f"it has no {', '.join(missing)}")
    line = Line(
        number=number,
        at=_at(fields["at"]),
        line=_number(fields["line"], "line"),
        sender=_nick(fields["from"]),
        kind=_kind(fields["kind"]),
        text=_text(fields["text"]),
        reply_to=_reply_to(fields["reply_to"]),
        annotated=_flag(fields["annotated"]),
        extra=_extra({name: value for name, value in fields.items() if name not in FIELDS}),
        raw=raw,
    )
    if any(answered >= line.line for answered in line.reply_to):
        raise Broken("reply_to", "it answers itself or a later line")
    return line


def _object(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken("encoding", f"byte {error.start + 1} is not UTF-8") from error
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Broken("json", f"it is not JSON: {error.msg.removesuffix(' at')}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise Broken("json", "it is not JSON that can be read") from error
    if not isinstance(found, dict):
        raise Broken("json", "it is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Broken("json", "it names a field twice")
    return found


def _no_constant(name: str) -> None:
    raise Broken("json", f"{name} is not JSON")


def _at(value: object) -> str:
    if isinstance(value, str) and _AT.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise Broken("at", f"at is no date and time: {error}") from error
        return value
    raise Broken("at", "at is not a date and time to the minute, as 2004-11-15T00:18")


def _number(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_NUMBER:
        raise Broken(name, f"{name} is not a number from 0 on")
    return value


def _nick(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NICK:
        raise Broken("from", f"from is not a name of 1 to {_MAX_NICK} characters")
    _encoded(value, "from")
    return value


def _kind(value: object) -> str:
    if not isinstance(value, str) or value not in KINDS:
        raise Broken("kind", f"kind is not one of {', '.join(KINDS)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Broken("text", "text is not a string")
    size = len(_encoded(value, "text"))
    if size > MAX_TEXT_BYTES:
        raise Broken("text_too_long", f"text has {size} bytes; a message holds {MAX_TEXT_BYTES}")
    return value


def _encoded(value: str, name: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Broken(name, f"{name} holds half a surrogate pair, which is no character") from error


def _reply_to(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise Broken("reply_to", "reply_to is not a list")
    numbers = tuple(_number(each, "reply_to") for each in value)
    if len(set(numbers)) != len(numbers):
        raise Broken("reply_to", "reply_to names a line twice")
    if len(numbers) > MAX_REPLIES:
        raise Broken("reply_to", f"it answers {len(numbers)} lines; a message can answer {MAX_REPLIES}")
    return numbers


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Broken("annotated", "annotated is neither true nor false")
    return value


def _extra(fields: dict[str, Any]) -> str:
    if not fields:
        return ""
    text = json.dumps(fields, ensure_ascii=False)
    if len(_encoded(text, "extra")) > _MAX_EXTRA_BYTES:
        raise Broken("extra", f"fields beside {', '.join(FIELDS)} take more than {_MAX_EXTRA_BYTES} bytes")
    return text


@dataclass(frozen=True, slots=True)
class Form:
    """How lines are written: two habits of JSON writers that say the same otherwise."""

    ascii: bool = False
    compact: bool = False

    @property
    def name(self) -> str:
        """The form as one word, for an attribute."""
        return f"{'ascii' if self.ascii else 'utf-8'}{',compact' if self.compact else ''}"

    @staticmethod
    def named(name: str) -> Form:
        """The inverse of `name`; an unknown one is the usual form."""
        return next((form for form in FORMS if form.name == name), FORMS[0])

    def write(self, fields: dict[str, Any]) -> str:
        """Write a line, without its end."""
        return json.dumps(fields, ensure_ascii=self.ascii, separators=(",", ":") if self.compact else (", ", ": "))


FORMS: Final = (Form(), Form(ascii=True), Form(compact=True), Form(ascii=True, compact=True))


def fields_of(line: Line) -> dict[str, Any]:
    """Give a line's object again, in the usual order."""
    fields: dict[str, Any] = {
        "at": line.at,
        "line": line.line,
        "from": line.sender,
        "kind": line.kind,
        "text": line.text,
        "reply_to": list(line.reply_to),
        "annotated": line.annotated,
    }
    return {**fields, **json.loads(line.extra)} if line.extra else fields
