"""NATS credentials: the user's JWT, and the nkey that signs the server's nonce; read without a further package."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BLOCK: Final = re.compile(r"-----BEGIN [^-]+-----\s*(\S+)\s*-+END [^-]+-+")
_SEED: Final = 18
_SEED_BYTES: Final = 36


def credentials(path: Path) -> tuple[Callable[[], bytes], Callable[[str], bytes]]:
    """Read a creds file: give what tells the JWT and what signs a nonce. Raises ValueError where it is none."""
    blocks = _BLOCK.findall(path.read_text())
    if len(blocks) != 2:
        raise ValueError("the file holds no NATS credentials")
    jwt, seed = blocks
    key = seed_key(seed)

    def sign(nonce: str) -> bytes:
        return base64.b64encode(key.sign(nonce.encode()))

    return str(jwt).encode, sign


def seed_key(seed: str) -> Ed25519PrivateKey:
    """Read an nkey seed: base32 of two bytes of prefix, 32 of key, two of checksum. Raises ValueError."""
    try:
        data = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        data = b""
    if len(data) != _SEED_BYTES or data[0] >> 3 != _SEED:
        raise ValueError("not an nkey seed")
    return Ed25519PrivateKey.from_private_bytes(data[2:34])
