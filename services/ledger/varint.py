"""The two pieces of protobuf's encoding that entries and frames are joined from: varints and length-delimited fields
(protobuf.dev, "Encoding")."""

from __future__ import annotations

from typing import Final


def _write(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = tuple(_write(number) for number in range(1 << 14))


def varint(number: int) -> bytes:
    """Encode an unsigned number."""
    if number < 16_384:
        return _SMALL[number]
    if number < 2_097_152:  # versions of a conversation that is much talked in
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    return _write(number)


def field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field (a string, bytes or a message)."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint: its value and the place after it. Raises IndexError where the data ends within it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
