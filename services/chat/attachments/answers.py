"""What HTTP says of an attachment: whether a part is asked for, whether the client has it, and how browsers are to treat it.

RFC 9110 (conditions, ranges), RFC 9111 and 8246 (caching), RFC 6266 and 8187 (names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

_INLINE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"})
"""Types that a browser may show; all else, such as HTML and SVG, which can hold programs, it may only save."""
_INLINE_FAMILIES: Final = ("audio/", "video/")
_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.I).match
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~()\[\]{}@,=-]")
_MOST_NAME: Final = 150


class Unsatisfiable(Exception):
    """A range that begins beyond the end."""


def safety() -> dict[str, str]:
    """Headers of every answer: what is served comes from anybody."""
    return {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src 'self'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
    }


def content_type(media_type: str) -> str:
    """Give the type to serve something as. Text is UTF-8: it was held to it."""
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def disposition(media_type: str, name: str) -> str:
    """Say whether it may be shown, and what to call it where it is saved."""
    how = "inline" if media_type in _INLINE or media_type.startswith(_INLINE_FAMILIES) else "attachment"
    name = _NO_NAME.sub("", name).strip(". ")[:_MOST_NAME] or "attachment"
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'{how}; filename="{plain}"'
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def has_it(headers: Mapping[str, str], tag: str) -> bool:
    """Tell whether the client has what the tag names (If-None-Match)."""
    wanted = headers.get("If-None-Match", "")
    return wanted.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in wanted.split(","))


def part(headers: Mapping[str, str], tag: str, size: int) -> tuple[int, int] | None:
    """Give the part that is asked for, as first byte and length; None: all of it. Raises Unsatisfiable.

    One range; several, or what is none, may be answered with all. So is a part of what has changed meanwhile (If-Range).
    """
    found = _RANGE(headers.get("Range", ""))
    if found is None or found.group(1, 2) == ("", "") or headers.get("If-Range", tag).strip() != tag:
        return None
    first, last = found.group(1, 2)
    if not first:
        length = min(int(last), size)
        if not length:
            raise Unsatisfiable
        return size - length, length
    begin, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < begin:
        return None  # not a range at all
    if begin >= size:
        raise Unsatisfiable
    return begin, end - begin
