"""Page tokens: they say themselves where to go on, and fit only the listing they were made for.

A token is no secret and no permission: whoever turns a page is checked like whoever opens the listing. What it carries of
the listing is a digest, so that a token of another user, conversation or direction is refused instead of misread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from services.chat.domain import Refused

_DIGEST_BYTES: Final = 8


def make(position: str, *listing: str) -> str:
    """Make the token that goes on after ``position`` (ASCII) in a listing."""
    raw = _digest(listing) + position.encode("ascii")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(token: str, *listing: str) -> str:
    """Read a token's position. Raises Refused (INVALID_PAGE_TOKEN) for one that was not made for this listing."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        position = raw[_DIGEST_BYTES:].decode("ascii")
    except (binascii.Error, ValueError):
        raise refused() from None
    if raw[:_DIGEST_BYTES] != _digest(listing) or not position:
        raise refused()
    return position


def read_version(token: str, *listing: str) -> int:
    """Read a token whose position is a version. Raises Refused (INVALID_PAGE_TOKEN)."""
    position = read(token, *listing)
    if not position.isdecimal() or len(position) > 20:
        raise refused()
    return int(position)


def _digest(listing: tuple[str, ...]) -> bytes:
    digest = hashlib.sha256()
    for part in listing:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.digest()[:_DIGEST_BYTES]


def refused() -> Refused:
    """Refuse a token that is no token of the listing."""
    return Refused("INVALID_PAGE_TOKEN", "the page token belongs to another listing, or to none", field="page_token")
