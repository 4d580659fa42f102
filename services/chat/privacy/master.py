"""The deployment's own secret, under which the keys of persons are kept.

A file of one line or several, each of 32 bytes as hexadecimal text: new keys are wrapped with the first, all open what they once wrapped.
So a new one is put before the old ones, and those stay for as long as keys wrapped with them do.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.runtime.config import Unstartable

_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class Master:
    """Wraps keys, and opens them.

    Args:
        keys: the first wraps, all open.
    """

    def __init__(self, keys: list[bytes]) -> None:
        """Hold the deployment's keys."""
        self._ciphers = [AESGCM(key) for key in keys]
        # The oldest stays when a new one is put before it, so a write that is repeated over that is known again.
        self.digest_key = hashlib.blake2b(keys[-1], digest_size=32, person=b"fingerprints").digest()
        """With this the ledger makes digests of requests that nobody else can make."""

    @classmethod
    def from_file(cls, path: Path) -> Master:
        """Read the file. Raises Unstartable where it is not what it must be."""
        try:
            keys = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            keys = []
        if not keys or any(len(key) != _BYTES for key in keys):
            raise Unstartable(f"{path} must hold keys of 32 bytes as hexadecimal text, one a line")
        return cls(keys)

    def wrap(self, key: bytes, *, bound: bytes) -> bytes:
        """Encrypt a key; ``bound`` says whose it is."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, key, bound)

    def unwrap(self, wrapped: bytes, *, bound: bytes) -> bytes | None:
        """Give the key back; None where none of the deployment's keys wrapped it for this ``bound``."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound)
            except (InvalidTag, ValueError):
                continue
        return None
