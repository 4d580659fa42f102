"""Frames that no client sends: mutations of valid ones, and bytes without any meaning, as a seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

TEXTS = (
    "", "\0", "a\0b", "\x1b[2J", "a\r\nb: c", "../..", "a/b", "a.b.*.>", "' OR 1=1 --", "{{7*7}}", "%s%n", "\u202e", "\u200b",
    "\u2028", "\ufeff", "\U0010ffff", "\ud7ff", "e" + "\u0301" * 500, "\u05d0\u202dx", "👩\u200d👩\u200d👧" * 40, "x" * 129, "x" * 5_000,
    "nan", "-1", "9" * 40, "\u0663", "00000000-0000-0000-0000-000000000000", "01900000-0000-4000-8000-000000000000",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1)
_VARINTS = (b"\x00", b"\x01", b"\x7f", b"\xff\x01", b"\xff" * 9 + b"\x01", b"\x80" * 10 + b"\x01", b"\xff" * 12)
_MOST_BYTES = 200_000


class Mutator:
    """Makes frames of valid ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._ways: Sequence[Callable[[Message, Sequence[Message]], bytes]] = (
            self._field, self._field, self._field, self._field, self._flipped, self._cut, self._spliced, self._inserted, self._varint,
            self._repeated, self._noise, self._nested,
        )  # fmt: skip

    def frame(self, valid: Sequence[Message]) -> bytes:
        """Give the next frame."""
        message = self._random.choice(valid)
        return self._random.choice(self._ways)(message, valid)[:_MOST_BYTES]

    def _field(self, message: Message, _valid: Sequence[Message]) -> bytes:
        """One to three fields, however deep, with a value that fits on the wire and perhaps nowhere else."""
        changed = type(message)()
        changed.CopyFrom(message)
        for _ in range(self._random.randint(1, 3)):
            self._change(changed)
        return changed.SerializeToString()

    def _change(self, message: Message) -> None:
        if not message.DESCRIPTOR.fields:
            return
        at: Any = self._random.choice(message.DESCRIPTOR.fields)
        if self._random.random() < 0.1:
            message.ClearField(at.name)
        elif at.message_type is not None:
            self._go_in(message, at)
        else:
            self._set(message, at)

    def _go_in(self, message: Message, at: FieldDescriptor) -> None:
        value: Any = getattr(message, at.name)
        if at.message_type is not None and at.message_type.GetOptions().map_entry:
            value.update({f"{self._text()[:80]}{n}": self._text() for n in range(self._random.choice((1, 2, 17)))})
        elif not at.is_repeated:
            value.SetInParent()
            self._change(value)
        elif len(value) and self._random.random() < 0.7:
            self._change(self._random.choice(value))
        else:
            for _ in range(self._random.choice((1, 2, 33, 257))):
                made = value.add()
                if len(value) > 1:
                    made.CopyFrom(value[0])

    def _set(self, message: Message, at: FieldDescriptor) -> None:
        value: Any
        if at.type == FieldDescriptor.TYPE_STRING:
            value = self._text()
        elif at.type == FieldDescriptor.TYPE_BYTES:
            value = self._random.randbytes(self._random.choice((0, 1, 16, 32, 65, 5_000)))
        elif at.type == FieldDescriptor.TYPE_BOOL:
            value = self._random.random() < 0.5
        else:
            value = self._random.choice(NUMBERS)
        try:
            if at.is_repeated:
                getattr(message, at.name).extend([value] * self._random.choice((1, 2, 51)))
            else:
                setattr(message, at.name, value)
        except (ValueError, OverflowError):
            message.ClearField(at.name)  # no such number fits into this field on the wire

    def _text(self) -> str:
        return self._random.choice(TEXTS)

    def _flipped(self, message: Message, _valid: Sequence[Message]) -> bytes:
        data = bytearray(message.SerializeToString())
        for _ in range(self._random.randint(1, 8)):
            if data:
                data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def _cut(self, message: Message, _valid: Sequence[Message]) -> bytes:
        data = message.SerializeToString()
        return data[: self._random.randint(0, len(data))]

    def _spliced(self, message: Message, valid: Sequence[Message]) -> bytes:
        first, second = message.SerializeToString(), self._random.choice(valid).SerializeToString()
        return first[: self._random.randint(0, len(first))] + second[self._random.randint(0, len(second)) :]

    def _inserted(self, message: Message, _valid: Sequence[Message]) -> bytes:
        data = message.SerializeToString()
        at = self._random.randint(0, len(data))
        return data[:at] + self._random.randbytes(self._random.randint(1, 16)) + data[at:]

    def _varint(self, message: Message, _valid: Sequence[Message]) -> bytes:
        data = message.SerializeToString()
        at = self._random.randint(0, len(data))
        return data[:at] + self._random.choice(_VARINTS) + data[at + 1 :]

    def _repeated(self, message: Message, _valid: Sequence[Message]) -> bytes:
        return message.SerializeToString() * self._random.choice((2, 3, 50, 300))

    def _noise(self, _message: Message, _valid: Sequence[Message]) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 16, 256, 4096)))

    def _nested(self, message: Message, _valid: Sequence[Message]) -> bytes:
        """A message in a message, over and over; or a group in a group that never ends."""
        if self._random.random() < 0.5:
            return b"\x0b" * self._random.choice((1, 100, 50_000))
        data = message.SerializeToString()[:64]
        for _ in range(self._random.choice((3, 30, 200))):
            data = bytes([self._random.randint(1, 15) << 3 | 2]) + _length(len(data)) + data
        return data


def _length(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
