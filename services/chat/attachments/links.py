"""Signed links: whoever has one can fetch an attachment by HTTP until it expires."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.runtime.config import Unstartable

MOST_TOKEN: Final = 1024
_SIGNATURE_BYTES: Final = 16
_FEWEST_KEY_BYTES: Final = 32
_PURPOSE: Final = b"attachment\x00"


class UnusableKey(Unstartable):
    """A file holds no key for signing links."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link leads to, and until when, in seconds since the Unix epoch."""

    tenant: str
    attachment_id: str
    thumbnail: int
    expires: int


class Links:
    """Signs and reads links. A link says tenant and attachment, and nothing of any person."""

    def __init__(self, base_url: str, keys: Sequence[bytes], lasts: float) -> None:
        """Sign with the first key, take all. ``lasts``: seconds that a link can be used at least; at most twice as long."""
        self._base = base_url.rstrip("/")
        self._keys = tuple(keys)
        self._window = max(1, int(lasts))

    @classmethod
    def from_file(cls, base_url: str, path: Path, lasts: float) -> Links:
        """Read the keys, one a line, as hexadecimal text. Raises UnusableKey."""
        try:
            keys = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
        except (ValueError, OSError):
            raise UnusableKey(f"{path}, for keys of attachment links, holds no hexadecimal text") from None
        if not keys or min(map(len, keys)) < _FEWEST_KEY_BYTES:
            raise UnusableKey(f"a key for attachment links has at least {_FEWEST_KEY_BYTES} bytes")
        return cls(base_url, keys, lasts)

    def make(self, tenant: str, attachment_id: str, thumbnail: int, now: float) -> tuple[str, int]:
        """Give a link and when it expires; the same one for as long as the window lasts in which ``now`` (seconds) is."""
        expires = (int(now) // self._window + 2) * self._window
        body = f"{tenant}\x00{attachment_id}\x00{thumbnail}\x00{expires}".encode()
        token = base64.urlsafe_b64encode(body + _signature(self._keys[0], body)).rstrip(b"=").decode()
        return f"{self._base}/a/{token}", expires

    def read(self, token: str, now: float) -> Link | None:
        """Give what a link leads to; None where it is none of ours, or has expired."""
        if len(token) > MOST_TOKEN:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
        # Every key is tried, so that the time taken tells nothing.
        matches = [hmac.compare_digest(signature, _signature(key, body)) for key in self._keys]
        if not any(matches):
            return None
        tenant, attachment_id, thumbnail, expires = body.decode().split("\x00")
        link = Link(tenant, attachment_id, int(thumbnail), int(expires))
        return link if link.expires > now else None


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, hashlib.sha256)[:_SIGNATURE_BYTES]
