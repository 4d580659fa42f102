"""An attachment's bytes, sealed: chunk by chunk under a key of the file's own, which is wrapped with the key of who uploaded it.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance,
CRYPTO 2015) over AES-256-GCM: a chunk's nonce holds its number and whether it is the last, so chunks that were moved, left out, or cut off
at the end do not open, and any chunk opens by itself. In STREAM the rest of the nonce is one for all chunks of a message, as each is sealed
once; here it is drawn for each chunk and stands before it, since a chunk may be sealed twice: an upload goes on with other bytes where
nobody knows whether the last ones landed, or two streams meet.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chat.attachments.vault import CHUNK_BYTES, SPARE_BYTES, full
from services.chat.privacy import sealing

_VERSION: Final = b"\x01"
_KEY_BYTES: Final = 32
_DRAWN_BYTES: Final = SPARE_BYTES - 16
"""The rest is GCM's tag."""


class FileKey:
    """Seals and opens the chunks of one object."""

    def __init__(self, raw: bytes) -> None:
        """Use 32 bytes that nothing else is sealed with."""
        self._cipher = AESGCM(raw)

    def seal(self, number: int, data: bytes, *, is_last: bool) -> bytes:
        """Seal a chunk, counted from 0."""
        drawn = os.urandom(_DRAWN_BYTES)
        return drawn + self._cipher.encrypt(_nonce(drawn, number, is_last), data, None)

    def opened(self, number: int, chunk: bytes, *, is_last: bool) -> bytes | None:
        """Open a chunk; None where it was not sealed so, or not for this place."""
        if len(chunk) < SPARE_BYTES:
            return None
        drawn, sealed = chunk[:_DRAWN_BYTES], memoryview(chunk)[_DRAWN_BYTES:]
        try:
            return self._cipher.decrypt(_nonce(drawn, number, is_last), sealed, None)
        except InvalidTag:
            return None


def new_key(name: str, person: sealing.Key) -> tuple[FileKey, bytes]:
    """Make a key for an object, and the note from which whoever has the person's key makes it again."""
    raw = os.urandom(_KEY_BYTES)
    return FileKey(raw), _VERSION + sealing.wrap(person, name, raw)


def key_of(name: str, note: bytes, person: sealing.Key) -> FileKey | None:
    """Read an object's key out of its note; None where it is not of this object and person."""
    raw = sealing.unwrap(note[1:], person, name)
    return FileKey(raw) if raw is not None else None


def key_id(note: bytes) -> bytes | None:
    """Tell with which of a person's keys a note was made; None where it is none that this release knows."""
    return note[1 : 1 + sealing.KEY_ID_BYTES] if note[:1] == _VERSION else None


def plain_size(held: int, note: bytes) -> int:
    """Give how many bytes of a file are in so many of an object."""
    return held - SPARE_BYTES * -(-held // full(note)) if note else held


def held_size(plain: int, note: bytes) -> int:
    """Give how many bytes of an object so many of a file take."""
    return plain + SPARE_BYTES * -(-plain // CHUNK_BYTES) if note else plain


def _nonce(drawn: bytes, number: int, is_last: bool) -> bytes:
    return drawn + number.to_bytes(4, "big") + bytes((is_last,))
