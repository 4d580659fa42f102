"""Protobuf as bytes: the fields of a message without its type, so that an event's bytes are compared as they came over the wire.

Encoding as in https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator

_FIXED = {1: 8, 5: 4}


class Malformed(Exception):
    """The bytes are no protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field in order: its number, and its value (an integer, or bytes).

    Raises:
        Malformed: these bytes are no message.
    """
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        length, place = _varint(data, place) if kind == 2 else (_FIXED.get(kind, -1), place)
        if length < 0 or place + length > len(data):
            raise Malformed("a field ends beyond its message")
        yield number, data[place : place + length]
        place += length


def repeated(data: bytes, number: int) -> list[bytes]:
    """The values of a repeated field of messages, strings or bytes."""
    return [value for found, value in fields(data) if found == number and isinstance(value, bytes)]


def integer(data: bytes, number: int) -> int:
    """An integer field; 0 where it is absent."""
    return next((value for found, value in fields(data) if found == number and isinstance(value, int)), 0)


def text(data: bytes, number: int) -> str:
    """A string field; empty where it is absent."""
    return next((value.decode() for found, value in fields(data) if found == number and isinstance(value, bytes)), "")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise Malformed("a number does not end")
