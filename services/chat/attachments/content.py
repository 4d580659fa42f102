"""What a file is, told by its content.

The rule, in this order:

1. Text, that is valid UTF-8 without control characters other than white space: HTML and SVG are what they look like; a script for a
   shell is a program; else what was declared stands where it is a type of text, and ``text/plain`` where it is not.
2. Content with a known signature (puremagic): programs are ``application/x-executable``; what was declared stands where the signature is
   one of that type too (all Office files are ZIP archives); else the most certain type of the signature.
3. All else is ``application/octet-stream``.

So what is declared wrongly gets its true type, and that is then held against the types that are taken.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

import puremagic

HEAD_BYTES: Final = 4096
UNKNOWN: Final = "application/octet-stream"
PROGRAM: Final = "application/x-executable"
TEXT: Final = "text/plain"
PICTURES: Final = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}
"""Types of which thumbnails are made, and what Pillow calls them."""
_TEXTUAL: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml"}
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# What stands before is taken once and never given back (atomic): else many comments can be cut in 2**n ways, and all are tried.
_SVG: Final = re.compile(r"(?>\s+|<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>)*+<svg[\s>]", re.I | re.S).match
_HTML: Final = re.compile(
    r"(?>\s+|<\?xml[^>]*>|<!--.*?-->)*+<(?:!doctype\s+html|html|head|body|script|iframe|style|title|meta|link|img|a|div|table|h1|p|br)[\s>/]",
    re.I | re.S,
).match
_LEAST_SIGNATURE: Final = 3
_ALIASES: Final = {
    "audio/wave": "audio/wav", "audio/x-wav": "audio/wav", "audio/mp3": "audio/mpeg", "audio/x-flac": "audio/flac",
    "application/x-gzip": "application/gzip", "application/ogg": "audio/ogg", "image/x-ms-bmp": "image/bmp",
    "application/x-zip-compressed": "application/zip", "application/x-pdf": "application/pdf", "image/jpg": "image/jpeg",
    "application/x-rar": "application/vnd.rar", "application/x-rar-compressed": "application/vnd.rar",
}  # fmt: skip
_ZIP: Final = b"PK\x03\x04"


class Sniffer:
    """Takes a file's bytes in order, and tells what it is."""

    def __init__(self) -> None:
        """Begin with the first byte."""
        self._head = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = True

    def take(self, data: bytes) -> None:
        """Look at the next bytes."""
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        if self._text:
            self._text = self._goes_on(data, False)

    def media_type(self, declared: str) -> str:
        """Tell what all that was taken is."""
        declared = _plain(declared)
        if self._text and self._goes_on(b"", True):
            return _text_type(self._head.decode("utf-8", "ignore"), declared)
        return _signed_type(self._head, declared)

    def _goes_on(self, data: bytes, final: bool) -> bool:
        try:
            return _CONTROL.search(self._decoder.decode(data, final)) is None
        except UnicodeDecodeError:
            return False


def allowed(media_type: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a type is one of those that are taken: ``type/subtype``, or ``type/*``."""
    family = media_type.partition("/")[0] + "/*"
    return any(pattern in (media_type, family, "*/*") for pattern in patterns)


def _plain(media_type: str) -> str:
    name = media_type.lower()
    return _ALIASES.get(name, name)


def _text_type(head: str, declared: str) -> str:
    head = head.removeprefix("\ufeff")
    if _SVG(head):
        return "image/svg+xml"
    if _HTML(head):
        return "text/html"
    if head.startswith("#!"):
        return PROGRAM
    textual = declared.startswith("text/") or declared in _TEXTUAL or declared.endswith(("+json", "+xml"))
    active = declared in ("text/html", "image/svg+xml", "application/xhtml+xml")
    return declared if textual and not active else TEXT


def _signed_type(head: bytes, declared: str) -> str:
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return UNKNOWN
    if head.startswith((b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")):
        return PROGRAM
    types = [_plain(each.mime_type) for each in found if each.mime_type and len(each.byte_match) >= _LEAST_SIGNATURE]
    if declared in types:
        return declared
    if head.startswith(_ZIP):
        return "application/zip"
    return types[0] if types else UNKNOWN
